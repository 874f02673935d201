"""Tests of places as they are typed."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.client.copyplaces import Location, parse_location
from mezite.error import BadInput


class ParseLocationTests(SynchronousTestCase):
    def test_table(self) -> None:
        """There is a node if a colon comes before any slash, as scp has it."""
        for text, expected in (
            ("file", (None, None, "file")),
            ("./a:b", (None, None, "./a:b")),
            ("/a:b", (None, None, "/a:b")),
            (":a", (None, None, ":a")),
            ("-odd name\n", (None, None, "-odd name\n")),
            ("db1:", ("db1", None, "")),
            ("db1:a:b", ("db1", None, "a:b")),
            ("root@db1:/x y", ("db1", "root", "/x y")),
            ("a@b@db1:x", ("db1", "a@b", "x")),
            ("db1.hub.example.com:~/x", ("db1.hub.example.com", None, "~/x")),
        ):
            self.assertEqual(parse_location(text), Location(*expected), text)

    def test_refused(self) -> None:
        """What names no node, or nothing, is refused with how it is written."""
        for text in ("", "@db1:x", "root@:x", "a\0b"):
            self.assertRaises(BadInput, parse_location, text)
