"""
Where a hub tells others of access requests.

Owns what stands in ``requests.webhooks``; secrets stay in files of their own,
which :mod:`mezite.hub.tap`'s hub reads when it starts.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urlsplit

from attrs import evolve, frozen

from mezite.config.document import Items, Section, Value
from mezite.config.settings import a_path, one_text

# Each has a queue of its own; more than these are a program's that takes one and passes it on.
WEBHOOKS: Final = 8
_URL_LENGTH: Final = 2048
_KEYS: Final = ("url", "secret_file")


@frozen
class Webhook:
    """One place to tell, and the file with the secret that signs what it is told."""

    url: str
    secret_file: Path

    def below(self, directory: Path) -> Webhook:
        """The same, with a path that begins at this directory."""
        return evolve(self, secret_file=directory / self.secret_file)


def webhooks(value: Value) -> tuple[Webhook, ...]:
    """A list of ``url`` and ``secret_file``."""
    if not isinstance(value, Items):
        raise ValueError(
            "a list is expected, in the file, of: - {url: https://..., secret_file: PATH}"
        )
    if len(value.items) > WEBHOOKS:
        raise ValueError(f"at most {WEBHOOKS} webhooks are accepted")
    return tuple(_webhook(item) for item in value.items)


def _webhook(value: Value) -> Webhook:
    if not isinstance(value, Section) or set(value.entries) != set(_KEYS):
        raise ValueError(f"each webhook has {' and '.join(_KEYS)}, and nothing else")
    url, secret_file = (value.entries[key].value for key in _KEYS)
    return Webhook(_url(one_text(url)), a_path(secret_file))


def _url(text: str) -> str:
    """
    An address that keeps what is told to it between the two.

    Plain HTTP is for this machine alone, where a program may pass it on.
    """
    problem = ValueError(
        f"{text[:80]!r} is no address of a webhook: write https://HOST/PATH"
        " (http:// for 127.0.0.1, ::1 and localhost only)"
    )
    if len(text) > _URL_LENGTH or not text.isascii() or not text.isprintable() or " " in text:
        raise problem
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise problem from None
    if not parts.hostname or port == 0 or parts.username is not None or parts.fragment:
        raise problem
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_here(parts)):
        raise problem
    return text


def _is_here(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
