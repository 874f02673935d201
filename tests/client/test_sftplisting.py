"""Tests of what ls and df print."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from mezite.client.sftpfiles import FileSystem
from mezite.client.sftplisting import Row, arranged, disk_free, human, listing
from mezite.ssh.sftpfields import Attributes

NOW = time.mktime((2026, 11, 21, 12, 0, 0, 0, 0, -1))


def row(name: str, size: int = 0, modified: int = int(NOW), long_name: str = "") -> Row:
    attributes = Attributes(size, (1000, 100), 0o100640, (0, modified))
    return Row(name, attributes, long_name)


class ListingTests(SynchronousTestCase):
    def listed(self, rows: list[Row], flags: str, width: int | None = None) -> str:
        chosen = frozenset(flags)
        return listing(arranged(rows, chosen), chosen, width=width, now=NOW)

    def test_order(self) -> None:
        """Names are in order, or by size or time, or the other way round."""
        rows = [row("b", 1, 30), row("a", 2, 20), row("c", 3, 10), row(".h")]
        for flags, expected in (
            ("", "a b c"),
            ("a", ".h a b c"),
            ("r", "c b a"),
            ("S", "c a b"),
            ("t", "b a c"),
            ("tr", "c a b"),
            ("f", "b a c"),
        ):
            self.assertEqual(self.listed(rows, flags).split("\n"), expected.split(), flags)

    def test_long(self) -> None:
        """Long lines are the node's own, or ours where it gave none or numbers are wanted."""
        rows = [row("f", 1536, long_name="-rw-r----- 1 ada users 1536 f")]
        self.assertEqual(self.listed(rows, "l"), "-rw-r----- 1 ada users 1536 f")
        own = "-rw-r-----    ? 1000     100              1536 Nov 21 12:00 f"
        self.assertEqual(self.listed(rows, "n"), own)
        self.assertEqual(self.listed([row("f", 1536)], "l"), own)
        self.assertIn(" 1.5K ", self.listed(rows, "lh"))
        self.assertIn(" Jan  1  2020 ", self.listed([row("f", 1, 1577880000)], "l"))

    def test_nothing_known(self) -> None:
        """A file of which the node says nothing has question marks."""
        self.assertIn("??????????", self.listed([Row("f", Attributes())], "l"))

    def test_columns(self) -> None:
        """On a terminal names stand in columns, and never wider than it."""
        rows = [row(f"file{number}") for number in range(9)]
        self.assertEqual(
            self.listed(rows, "", 24),
            "file0  file3  file6\nfile1  file4  file7\nfile2  file5  file8",
        )
        self.assertEqual(self.listed(rows, "1", 24).count("\n"), 8)
        self.assertEqual(self.listed([row("x" * 50)], "", 10), "x" * 50)
        self.assertEqual(self.listed([], "", 10), "")

    def test_no_cursor_moves(self) -> None:
        """A name cannot write over the terminal."""
        for flags in ("", "l", "n"):
            text = self.listed([row("a\x1b[2J\nb", long_name="x\x1b[2J")], flags)
            self.assertTrue(text.isprintable(), text)


class DiskFreeTests(SynchronousTestCase):
    FOUND = FileSystem(1024, 1000, 400, 300, 50, 20)

    def test_blocks(self) -> None:
        """Blocks are kibibytes, or sizes that people read."""
        head, cells = disk_free(self.FOUND, frozenset()).splitlines()
        self.assertEqual(head.split(), ["Size", "Used", "Avail", "(root)", "%Capacity"])
        self.assertEqual(cells.split(), ["1000", "600", "300", "400", "67%"])
        self.assertIn("600K", disk_free(self.FOUND, frozenset("h")))

    def test_inodes(self) -> None:
        """Inodes are counted; a file system without any is not divided by."""
        cells = disk_free(self.FOUND, frozenset("i")).splitlines()[1].split()
        self.assertEqual(cells, ["50", "30", "20", "20", "60%"])
        self.assertIn("0%", disk_free(FileSystem(1, 0, 0, 0, 0, 0), frozenset("i")))

    def test_human(self) -> None:
        """Sizes are in the largest unit that leaves something of them."""
        for size, expected in (
            (0, "0B"),
            (999, "999B"),
            (1536, "1.5K"),
            (102400, "100K"),
            (5 << 30, "5.0G"),
            (2**64 - 1, "16E"),
        ):
            self.assertEqual(human(size), expected)
