"""
Patterns looked for in recordings.
"""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from mezite.recording.search import Found, LineSearch
from tests.recording.tapes import HEADER, written


def places(line: str) -> list[tuple[int, int]]:
    return [found.span() for found in re.finditer("hit", line)]


def searched(lines: list[str], context: int = 0) -> list[Found]:
    search = LineSearch(HEADER, places, context)
    events = written(*((float(i), f"{line}\r\n") for i, line in enumerate(lines)))
    return [found for event in events for found in search.receive(event)] + search.finish()


class LineSearchTests(SynchronousTestCase):
    """Lines with matches, and those beside them."""

    def test_matches(self) -> None:
        """Each line with a match is found once, with its time and all places."""
        found = searched(["one", "hit and hit", "two"])
        self.assertEqual([each.line.text for each in found], ["hit and hit"])
        self.assertEqual(found[0].places, ((0, 3), (8, 11)))
        self.assertEqual(found[0].line.time, 1_000_000)
        self.assertEqual(searched(["one", "two"]), [])

    def test_context(self) -> None:
        """Lines before and after come too, each once, and what is apart is marked."""
        lines = ["a", "b", "hit 1", "c", "hit 2", "d", "e", "f", "g", "hit 3"]
        found = searched(lines, context=1)
        wanted = ["b", "hit 1", "c", "hit 2", "d", "g", "hit 3"]
        self.assertEqual([each.line.text for each in found], wanted)
        self.assertEqual([each.line.text for each in found if each.is_apart], ["g"])

    def test_top(self) -> None:
        """In something like top, each state of a row is found, and what stays is found once."""
        search = LineSearch(HEADER, places)
        screens = [(float(i), f"\x1b[Hhit {i % 3}\x1b[K\r\nhit stays") for i in range(9)]
        events = written((0, "\x1b[?1049h\x1b[2J"), *screens, (20, "\x1b[?1049l$ "))
        found = [each for event in events for each in search.receive(event)] + search.finish()
        texts = [each.line.text for each in found]
        self.assertEqual(texts.count("hit stays"), 1)
        self.assertEqual(set(texts), {"hit 0", "hit 1", "hit 2", "hit stays"})
