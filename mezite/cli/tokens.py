"""
The token that a program was given, from a file or from the environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mezite.error import BadInput

VARIABLE: Final = "MEZITE_TOKEN"
# Ours have 47 characters.
_LENGTH: Final = 256


def read_token(path: Path | None, environment: Mapping[str, str] | None = None) -> str | None:
    """
    The token in this file, or in ``MEZITE_TOKEN``; None if there is neither.

    ``environment`` is the process's unless another is given.

    :raises BadInput: the file cannot be read, or what is there is no token.
    """
    if path is None:
        variables = os.environ if environment is None else environment
        text, where = variables.get(VARIABLE, ""), VARIABLE
        if not text:
            return None
    else:
        where = str(path)
        try:
            with path.open("rb") as file:
                text = file.read(_LENGTH + 2).decode("ascii", "replace")
        except OSError as error:
            reason = (error.strerror or "").lower()
            raise BadInput(f"{path} cannot be read: {reason}") from None
    token = text.strip()
    is_token = token and len(token) <= _LENGTH and token.isascii() and token.isprintable()
    if not is_token or " " in token:
        # Nothing of it is shown: it may be a password that was put in the wrong place.
        raise BadInput(f"what is in {where} is no token")
    if token.startswith("mzt_"):
        raise BadInput(
            f"what is in {where} is a join token, for twist mezd;"
            " mezctl api-tokens create makes others"
        )
    return token
