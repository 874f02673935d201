"""Tests of the lines that a person types to sftp."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.globbing import unescaped
from mezite.client.sftpline import MAX_LINE, Command, help_text, parse, quoted, words
from mezite.error import BadInput


class WordsTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Quotes and backslashes are OpenSSH's; what they protect is no pattern."""
        for line, expected in (
            ("a b", ["a", "b"]),
            ("  a\t b ", ["a", "b"]),
            ("'a b' \"c d\"", ["a b", "c d"]),
            ("a\\ b", ["a b"]),
            ("a'b'\"c\"d", ["abcd"]),
            ("'it\\'s'", ["it's"]),
            ('"say \\"so\\""', ['say "so"']),
            ("'' x", ["", "x"]),
            ("*.gz", ["*.gz"]),
            ("'*.gz' \\*", ["\\*.gz", "\\*"]),
            ("a # b", ["a"]),
            ("a#b", ["a#b"]),
            ("\\\\", ["\\\\"]),
            ("a\\", ["a\\"]),
        ):
            self.assertEqual(words(line), expected, line)

    def test_no_end(self) -> None:
        """A quote that does not end is refused, and so is a line without end."""
        for line in ("'a", '"a', "a 'b\\'"):
            self.assertRaises(BadInput, words, line)
        self.assertRaises(BadInput, words, "a" * (MAX_LINE + 1))

    @given(st.text(st.characters(exclude_characters="\n\r\0"), min_size=1, max_size=20))
    @settings(max_examples=100, deadline=None)
    def test_quoted(self, name: str) -> None:
        """Any name can be typed so that it means itself."""
        (word,) = words(quoted(name))
        self.assertEqual(unescaped(word), name)


class ParseTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Options, other names, and the marks before a command."""
        for line, expected in (
            ("pwd", Command("pwd")),
            ("PWD", Command("pwd")),
            ("ls -la1 x", Command("ls", frozenset("la1"), ("x",))),
            ("dir", Command("ls")),
            ("get -P -r a b", Command("get", frozenset("pr"), ("a", "b"))),
            ("mget *.gz", Command("get", frozenset(), ("*.gz",))),
            ("put -- -odd", Command("put", frozenset(), ("-odd",))),
            ("put -", Command("put", frozenset(), ("-",))),
            ("-rm x", Command("rm", frozenset(), ("x",), True)),
            ("@rm x", Command("rm", frozenset(), ("x",), False, True)),
            ("-@ rm x", Command("rm", frozenset(), ("x",), True, True)),
            ("!ls 'a  b'", Command("!", frozenset(), ("ls 'a  b'",))),
            ("!", Command("!")),
            ("lls -l 'a  b'", Command("lls", frozenset(), ("-l 'a  b'",))),
            ("?", Command("help")),
            ("exit", Command("bye")),
            ("quit", Command("bye")),
            ("ls -R", None),
            ("", None),
            ("   ", None),
            ("# a remark", None),
            ("-", None),
        ):
            if line == "ls -R":
                self.assertRaises(BadInput, parse, line)
            else:
                self.assertEqual(parse(line), expected, line)

    def test_refused(self) -> None:
        """What cannot be understood is refused with how it is written."""
        for line, sentence in (
            ("frob", "there is no command 'frob'; help shows those there are"),
            ("get", "write: get [-apr] REMOTE [LOCAL]"),
            ("cd a b", "write: cd [PATH]"),
            ("pwd x", "write: pwd"),
            ("get -z a", "get has no option -z; write: get [-apr] REMOTE [LOCAL]"),
        ):
            with self.assertRaises(BadInput) as caught:
                parse(line)
            self.assertEqual(str(caught.exception), sentence)

    @given(st.text(max_size=40))
    @settings(max_examples=100, deadline=None)
    def test_anything(self, line: str) -> None:
        """No line does more than be refused."""
        try:
            parse(line)
        except BadInput:
            pass

    def test_help(self) -> None:
        """Every command is told in a line that fits a terminal."""
        text = help_text()
        for name in ("get", "reput", "symlink", "!COMMAND"):
            self.assertIn(f"\n{name} "[1:], text)
        self.assertLess(max(map(len, text.splitlines())), 80)
