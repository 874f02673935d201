"""
The values that a role document is made of, each checked where it stands.

Owns what a length of time, a truth, a number, a network or a list is there;
which key holds what is :mod:`mezite.identity.rolesdoc`'s.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from mezite.error import BadInput
from mezite.identity.error import BadRole
from mezite.identity.networks import Network, Networks, parse_network

# Sixty-four of anything is more than one person reads.
TERMS_LIMIT: Final = 64

_DURATION: Final = re.compile(r"(?=.)(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?")
_NUMBER: Final = re.compile(r"[0-9]{1,7}")
_TRUTHS: Final = {"true": True, "on": True, "yes": True, "false": False, "off": False, "no": False}

T = TypeVar("T")
Where = tuple[str | int, ...]


def duration_text(seconds: float) -> str:
    """A length of time as roles write it."""
    for size, unit in ((3600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def listing(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def text(value: object, where: Where, accepted: str) -> str:
    if not isinstance(value, str):
        raise BadRole(where, f"{accepted} is expected")
    return value


def exactly(wanted: str) -> Callable[[object, Where], str]:
    def parse(value: object, where: Where) -> str:
        if value != wanted:
            raise BadRole(where, f"{wanted!r} is expected")
        return wanted

    return parse


def truth(value: object, where: Where) -> bool:
    if isinstance(value, bool):
        return value
    known = _TRUTHS.get(value.lower()) if isinstance(value, str) else None
    if known is None:
        raise BadRole(where, "true or false is expected (also: on, off, yes, no)")
    return known


def duration(shortest: float, longest: float) -> Callable[[object, Where], float]:
    def parse(value: object, where: Where) -> float:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise BadRole(where, "a length of time is expected, such as 8h, 30m or 1h30m")
        hours, minutes, seconds = (float(part or 0) for part in match.groups())
        total = hours * 3600 + minutes * 60 + seconds
        if not shortest <= total <= longest:
            raise BadRole(
                where,
                f"between {duration_text(shortest)} and {duration_text(longest)} is expected",
            )
        return total

    return parse


def number(most: int) -> Callable[[object, Where], int]:
    """A number from 1 on; all values of a file of ours are texts."""

    def parse(value: object, where: Where) -> int:
        digits = str(value) if isinstance(value, str | int) else ""
        if not _NUMBER.fullmatch(digits) or not 1 <= int(digits) <= most:
            raise BadRole(where, f"a number between 1 and {most} is expected")
        return int(digits)

    return parse


def network(value: object, where: Where) -> Network:
    try:
        return parse_network(text(value, where, "a network"))
    except BadInput as error:
        if isinstance(error, BadRole):
            raise
        raise BadRole(where, str(error)) from None


def networks(value: object, where: Where) -> Networks:
    found = listed(network)(value, where)
    if not found:
        raise BadRole(where, "at least one network is expected")
    return found


def items(value: object, where: Where) -> Sequence[tuple[object, Where]]:
    """The values of a list, or the one that stands in place of a list."""
    if not isinstance(value, list | tuple):
        return [(value, where)]
    if len(value) > TERMS_LIMIT:
        raise BadRole(where, f"a list has at most {TERMS_LIMIT} values")
    return [(item, (*where, place)) for place, item in enumerate(value)]


def listed(parse: Callable[[object, Where], T]) -> Callable[[object, Where], tuple[T, ...]]:
    def parse_all(value: object, where: Where) -> tuple[T, ...]:
        return tuple(dict.fromkeys(parse(item, place) for item, place in items(value, where)))

    return parse_all
