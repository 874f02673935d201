"""
A YAML file as values that know their lines.

Only what settings need is read: texts, lists of texts and mappings. Every
scalar is text as it was written, so ``yes``, ``0123`` and ``1.10`` mean the
same in the file as in the environment. What a key may hold is decided in
:mod:`mezite.config.settings`.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import yaml
from attrs import frozen

from mezite.config.error import ConfigError

# A file with 64 labels of the longest is below 24 KB; what is larger is not a settings file.
FILE_SIZE: Final = 65_536
# The deepest key is section, name, label. The composer recurses, and must not end the process.
_DEPTH: Final = 8

_NOTHING_TAG: Final = "tag:yaml.org,2002:null"
_MERGE_TAG: Final = "tag:yaml.org,2002:merge"
# What plain YAML resolves to; any other was written out, and names something of a language.
_PLAIN_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ["bool", "float", "int", "map", "merge", "null", "seq", "str", "timestamp", "value"]
)


@frozen
class Text:
    """One scalar."""

    text: str
    line: int


@frozen
class Items:
    """A list of scalars, or of mappings."""

    items: tuple[Text | Section, ...]
    line: int


@frozen
class Section:
    """Keys and their values, each key with its own line."""

    entries: Mapping[str, Entry]
    line: int


@frozen
class Nothing:
    """A key that was written without a value."""

    line: int


Value = Text | Items | Section | Nothing


@frozen
class Entry:
    """A value, and the line of its key."""

    value: Value
    line: int


@frozen
class Document:
    """
    What stands in a file.

    ``is_exposed`` tells that every account of the machine may read it.
    """

    path: Path
    root: Section
    is_exposed: bool = False


def read_document(path: Path) -> Document:
    """
    Read a file of settings; an empty one holds none.

    :raises ConfigError: when it cannot be read, or is not the YAML that settings are.
    """
    data, mode = _contents(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: the file is not UTF-8 text") from None
    return Document(path, parse(text, path), bool(mode & stat.S_IROTH))


def parse(text: str, path: Path) -> Section:
    """
    Read YAML text; ``path`` is for the sentences of errors.

    :raises ConfigError:
    """
    reader = _Reader(path)
    try:
        reader.examine(text)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "it cannot be understood"
        raise reader.error(mark, f"this is not YAML: {problem}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(
            f"{path}:{line}: this is not YAML: it holds a control character"
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        # Escapes and directives with numbers beyond what chr() and int() take.
        raise ConfigError(f"{path}: this is not YAML: it holds an impossible number") from None
    if node is None or node.tag == _NOTHING_TAG:
        return Section({}, 1)
    value = reader.value(node)
    if not isinstance(value, Section):
        raise reader.error(node.start_mark, "settings are written as KEY: VALUE, one a line")
    return value


class _Mark(Protocol):
    """Where something stands; PyYAML has two classes for it."""

    line: int


@frozen
class _Reader:
    """From PyYAML's events and nodes to values; holds only the name for errors."""

    path: Path

    def error(self, mark: _Mark | None, problem: str) -> ConfigError:
        where = f"{self.path}:{mark.line + 1}" if mark is not None else str(self.path)
        return ConfigError(f"{where}: {' '.join(problem.split())}")

    def examine(self, text: str) -> None:
        """Refuse what would make composing dangerous; the parser itself does not recurse."""
        depth = 0
        documents = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                # A few lines of aliases expand to gigabytes.
                raise self.error(event.start_mark, "aliases (*name) are not used in settings")
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self.error(event.start_mark, "a file holds one document, not several")
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
                if depth > _DEPTH:
                    raise self.error(event.start_mark, "this is nested deeper than any setting")
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1

    def value(self, node: yaml.Node) -> Value:
        if node.tag not in _PLAIN_TAGS:
            raise self.error(node.start_mark, f"the tag {node.tag!r} is not used in settings")
        line = node.start_mark.line + 1
        if isinstance(node, yaml.ScalarNode):
            if node.tag == _NOTHING_TAG:
                return Nothing(line)
            return self.text(node)
        if isinstance(node, yaml.SequenceNode):
            return Items(tuple(self.item(item) for item in node.value), line)
        assert isinstance(node, yaml.MappingNode)
        entries: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            key = self.key(key_node)
            if key.text in entries:
                raise self.error(
                    key_node.start_mark,
                    f"{key.text[:80]!r} stands here and in line {entries[key.text].line}; keep one",
                )
            entries[key.text] = Entry(self.value(value_node), key.line)
        return Section(entries, line)

    def item(self, node: yaml.Node) -> Text | Section:
        value = self.value(node) if isinstance(node, yaml.MappingNode) else self.text(node)
        assert isinstance(value, Text | Section)
        return value

    def key(self, node: yaml.Node) -> Text:
        if node.tag == _MERGE_TAG:
            raise self.error(node.start_mark, "merging (<<) is not used in settings")
        return self.text(node)

    def text(self, node: yaml.Node) -> Text:
        if not isinstance(node, yaml.ScalarNode) or node.tag == _NOTHING_TAG:
            raise self.error(node.start_mark, "a text is expected here")
        if node.tag not in _PLAIN_TAGS:
            raise self.error(node.start_mark, f"the tag {node.tag!r} is not used in settings")
        if not is_text(node.value):
            raise self.error(node.start_mark, "this holds half a character (a lone surrogate)")
        return Text(node.value, node.start_mark.line + 1)


def is_text(text: str) -> bool:
    """Whether this can be written as UTF-8, as every setting must."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _contents(path: Path) -> tuple[bytes, int]:
    """The bytes of a file, and its mode."""
    if path == Path(os.devnull):  # the usual way to say "no file at all"
        return b"", 0
    try:
        # Without O_NONBLOCK the open of a pipe would wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise ConfigError(
            f"{path}: the file cannot be read: {reason or 'not a file name'}"
        ) from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise ConfigError(f"{path}: this is {kind}; give a YAML file")
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(FILE_SIZE + 1)
    except OSError as error:
        raise ConfigError(f"{path}: the file cannot be read: {error.strerror}") from None
    finally:
        os.close(descriptor)
    if len(data) > FILE_SIZE:
        raise ConfigError(f"{path}: the file is longer than {FILE_SIZE} bytes")
    return data, status.st_mode
