"""
Lists page by page: how long a page is, and where the next one goes on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from mezite.error import BadInput

PAGE: Final = 100
# Ids of requests have 32 characters, those of recordings up to 50.
_ID_LENGTH: Final = 64

Item = TypeVar("Item")


def length_of(size: int) -> int:
    """How many entries a page has that is to have so many."""
    return size if 0 < size <= PAGE else PAGE


def page(
    items: Sequence[Item], key: Callable[[Item], str], size: int, token: str
) -> tuple[list[Item], str]:
    """
    One page of items that are sorted by a unique key, and the token of the next.

    The token is the last key shown, so a page neither repeats nor skips what
    stayed while others came and went.
    """
    length = length_of(size)
    rest = [item for item in items if key(item) > token] if token else list(items)
    shown = rest[:length]
    return shown, key(shown[-1]) if len(rest) > length else ""


def token_of(created: float, item_id: str) -> str:
    """The token after this item, in a list by when items were created."""
    return f"{created!r} {item_id}"


def read_token(token: str) -> tuple[float, str] | None:
    """
    When the last item shown was created, and its id; None for the first page.

    :raises BadInput:
    """
    if not token:
        return None
    moment, _, item_id = token.partition(" ")
    try:
        created = float(moment)
    except ValueError:
        created = math.nan
    if not math.isfinite(created) or not 0 < len(item_id) <= _ID_LENGTH:
        raise BadInput("this is not the page_token of an answer")
    return created, item_id
