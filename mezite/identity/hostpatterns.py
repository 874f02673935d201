"""
Which host names a join token lets a machine claim: ``db1`` or ``web-*.eu``.

A ``*`` stands for anything within one part of a name, between two dots, as in
the certificates of web servers: ``web-*`` is ``web-1`` and not ``web-1.eu``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Self

from attrs import frozen

from mezite.identity.error import BadPattern
from mezite.names import NodeName

# As long as a host name may be.
_LENGTH: Final = 190
_PART: Final = re.compile(r"[a-z0-9*-]{1,63}")
# Who needs more has a scheme of names, which patterns describe.
PATTERNS_LIMIT: Final = 64


@frozen
class HostPattern:
    """A host name in lower case, in which ``*`` may stand."""

    text: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        :raises BadPattern:
        """
        pattern = text.strip().lower()
        parts = pattern.split(".")
        if len(pattern) > _LENGTH or not all(_PART.fullmatch(part) for part in parts):
            raise BadPattern(
                f"{text[:80]!r} is no host name, nor one with * in it: use letters, digits,"
                " hyphens and *, in parts joined by dots"
            )
        return cls(pattern)

    def matches(self, node: NodeName) -> bool:
        mine, theirs = self.text.split("."), node.text.split(".")
        return len(mine) == len(theirs) and all(map(_part_matches, mine, theirs))

    def __str__(self) -> str:
        return self.text


def parse_patterns(texts: Iterable[str]) -> tuple[HostPattern, ...]:
    """
    :raises BadPattern: also for more than ``PATTERNS_LIMIT``.
    """
    patterns = tuple(dict.fromkeys(map(HostPattern.parse, texts)))
    if len(patterns) > PATTERNS_LIMIT:
        raise BadPattern(f"a join token has at most {PATTERNS_LIMIT} host names")
    return patterns


def _part_matches(pattern: str, part: str) -> bool:
    """The pieces between the stars, each as early as it comes: no way needs a second try."""
    first, *pieces = pattern.split("*")
    if not pieces:
        return pattern == part
    last = pieces.pop()
    if len(part) < len(first) + len(last) or not part.startswith(first) or not part.endswith(last):
        return False
    at, end = len(first), len(part) - len(last)
    for piece in pieces:
        found = part.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
