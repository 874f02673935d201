"""Tests of reading YAML files."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.config.document import FILE_SIZE, Section, parse, read_document
from mezite.config.error import ConfigError

NAME = Path("mezite.yaml")


class ParseTests(SynchronousTestCase):
    def refused(self, text: str, expected: str) -> None:
        error = self.assertRaises(ConfigError, parse, text, NAME)
        self.assertIn(expected, str(error))
        self.assertNotIn("\n", str(error))

    def test_empty(self) -> None:
        """A file of nothing, or of comments, holds no settings."""
        for text in ("", "\n\n", "# nothing\n", "---\n", "~", "{}"):
            self.assertEqual(parse(text, NAME).entries, {})

    def test_broken(self) -> None:
        """Broken YAML is told with its line."""
        self.refused("a: 1\nb: [1,\n", "mezite.yaml:3: this is not YAML: ")
        self.refused("a: 1\n\tb: 2\n", "mezite.yaml:2: this is not YAML: ")
        self.refused("a: b: c\n", "mezite.yaml:1: this is not YAML: ")

    def test_control_characters(self) -> None:
        """Bytes that YAML does not allow are told with their line."""
        self.refused("a: 1\nb: \x1b[2J\n", "mezite.yaml:2: this is not YAML: it holds a control")

    def test_numbers_beyond_python(self) -> None:
        """Escapes and directives too large for Python are no crash."""
        self.refused('a: "\\UFFFFFFFF"', "not YAML")
        self.refused("%YAML 1." + "9" * 5000 + "\n---\na: 1\n", "not YAML")

    def test_surrogates(self) -> None:
        """Half a character cannot be written anywhere, and is refused."""
        self.refused('a: "\\uD800"', "mezite.yaml:1: this holds half a character")
        self.refused('"\\uD800": 1', "mezite.yaml:1: this holds half a character")

    def test_duplicate_keys(self) -> None:
        """A key that stands twice is refused with both lines."""
        self.refused("a: 1\nb: 2\na: 3\n", "mezite.yaml:3: 'a' stands here and in line 1")
        self.refused("s:\n  x: 1\n  x: 1\n", "mezite.yaml:3: 'x' stands here and in line 2")

    def test_aliases(self) -> None:
        """Aliases, which could expand to gigabytes, are refused."""
        self.refused("a: &x [1]\nb: *x\n", "mezite.yaml:2: aliases")
        self.refused("a: &x [*x]\n", "mezite.yaml:1: aliases")
        self.refused("<<: {a: 1}\n", "mezite.yaml:1: merging")

    def test_depth(self) -> None:
        """Deep nesting ends before it could end the process."""
        self.refused("[" * 60_000, "nested deeper")
        self.refused("{a: " * 10_000, "nested deeper")

    def test_documents(self) -> None:
        """The second document is not silently left out."""
        self.refused("a: 1\n---\nb: 2\n", "mezite.yaml:2: a file holds one document")

    def test_tags(self) -> None:
        """Nothing in a file can name a class."""
        for text in ("a: !!python/name:os.system x", "a: !x y", "!x {a: 1}", "a: [!x y]"):
            self.refused(text, "mezite.yaml:1: ")

    def test_not_a_mapping(self) -> None:
        """Settings have keys."""
        self.refused("hello\n", "KEY: VALUE")
        self.refused("- a\n", "KEY: VALUE")

    def test_nested_lists(self) -> None:
        """No setting is a list of lists, and none has a list for a key."""
        self.refused("a: [[b]]\n", "a text is expected")
        self.refused("? [a]\n: b\n", "a text is expected")

    @given(st.text(st.sampled_from("ab:-[]{}!&*#|>'\"%@`?,~<\\ \n\t0\x00é\ud800"), max_size=60))
    @example("? ")
    @example("!!binary x")
    @settings(max_examples=100, deadline=None)
    def test_any_text(self, text: str) -> None:
        """Any text at all is settings, or is refused in one line."""
        try:
            section = parse(text, NAME)
        except ConfigError as error:
            self.assertNotIn("\n", str(error))
        else:
            self.assertIsInstance(section, Section)


class ReadDocumentTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).resolve()
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def refused(self, path: Path, expected: str) -> None:
        error = self.assertRaises(ConfigError, read_document, path)
        self.assertIn(expected, str(error))
        self.assertIn(str(path), str(error))

    def test_missing(self) -> None:
        """A file that is not there is named."""
        self.refused(self.path, "No such file")

    def test_directory(self) -> None:
        """A directory is called one."""
        self.path.mkdir()
        self.refused(self.path, "this is a directory")

    def test_pipe(self) -> None:
        """A pipe without a writer does not make the program wait."""
        os.mkfifo(self.path)
        self.refused(self.path, "not a regular file")

    def test_nul_in_name(self) -> None:
        """An impossible name is a sentence too."""
        self.refused(Path("a\x00b"), "not a file name")

    def test_encoding(self) -> None:
        """Latin-1 is refused with the line of the first byte that is wrong."""
        self.path.write_bytes("a: b\nc: é\n".encode("latin-1"))
        self.refused(self.path, f"{self.path}:2: the file is not UTF-8")

    def test_byte_order_mark(self) -> None:
        """Editors that begin a file with a mark are forgiven."""
        self.path.write_bytes(b"\xef\xbb\xbfa: b\n")
        self.assertEqual(list(read_document(self.path).root.entries), ["a"])

    def test_size(self) -> None:
        """A file too large for settings is not parsed."""
        self.path.write_bytes(b"#" * (FILE_SIZE + 1))
        self.refused(self.path, "longer than")
        self.path.write_bytes(b"#" * FILE_SIZE)
        self.assertEqual(read_document(self.path).root.entries, {})

    def test_devnull(self) -> None:
        """The null device holds no settings."""
        self.assertEqual(read_document(Path(os.devnull)).root.entries, {})

    def test_exposed(self) -> None:
        """Only what every account may read is exposed; a group may be meant."""
        self.path.write_bytes(b"a: b\n")
        for mode, expected in ((0o600, False), (0o640, False), (0o644, True)):
            self.path.chmod(mode)
            self.assertIs(read_document(self.path).is_exposed, expected)
