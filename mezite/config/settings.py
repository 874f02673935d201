"""
Where a setting's value comes from, and what is said when it is wrong.

A :class:`Setting` has one key, from which the name of its variable follows,
and perhaps an option. :class:`Settings` holds the three layers and picks the
highest that gives a value; :mod:`mezite.config.hub` and
:mod:`mezite.config.agent` name the settings there are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Generic, TypeVar

from attrs import evolve, frozen

from mezite.config.document import (
    Document,
    Entry,
    Items,
    Nothing,
    Section,
    Text,
    Value,
    is_text,
    read_document,
)
from mezite.config.error import ConfigError
from mezite.error import BadInput

PREFIX: Final = "MEZITE_"
DEFAULT_FILE: Final = Path("/etc/mezite/mezite.yaml")
_FILE_VARIABLE: Final = "MEZITE_CONFIG"
# Linux takes no longer text as a path (PATH_MAX), and no setting needs more, 64 labels in
# one variable excepted: 64 * (63 + 255 + 2).
_TEXT_LENGTH: Final = 20_480

D = TypeVar("D")
T = TypeVar("T")


@frozen
class Setting(Generic[T]):
    """
    One thing that can be set.

    ``parse`` makes it of what was written, and raises :class:`BadInput` or
    :class:`ValueError` with a clause that says what would be accepted.
    """

    key: str
    parse: Callable[[Value], T]
    option: str | None = None
    is_secret: bool = False

    @property
    def variable(self) -> str:
        return PREFIX + self.key.upper().replace(".", "_")


@frozen
class Found(Generic[T]):
    """A value, the words for where it was found, and how strong that place is."""

    value: T
    where: str
    rank: int
    directory: Path | None = None


def one_text(value: Value) -> str:
    """The text of a scalar that is not empty."""
    match value:
        case Text(text):
            if not text:
                raise ValueError("it is empty; leave it out to use the default")
            if len(text) > _TEXT_LENGTH:
                raise ValueError(f"it is longer than {_TEXT_LENGTH} characters")
            if "\x00" in text:
                raise ValueError("it holds a NUL character")
            return text
        case Nothing():
            raise ValueError("it has no value; leave it out to use the default")
        case Items():
            raise ValueError("it holds a list; a single text is accepted")
        case Section():
            raise ValueError("it holds keys of its own; a single text is accepted")


def texts(value: Value) -> tuple[str, ...]:
    """The texts of a list, or of a scalar that separates them by commas."""
    match value:
        case Items(items):
            return tuple(one_text(item) for item in items)
        case _:
            return tuple(part.strip() for part in one_text(value).split(","))


def text_as(parse: Callable[[str], T]) -> Callable[[Value], T]:
    """A parser of values, from one of texts."""

    def parse_value(value: Value) -> T:
        return parse(one_text(value))

    return parse_value


def one_of(accepted: Sequence[str]) -> Callable[[Value], str]:
    """A parser that accepts these words alone."""

    def parse_value(value: Value) -> str:
        text = one_text(value)
        if text not in accepted:
            raise ValueError(f"{text[:80]!r} is not one of: {', '.join(accepted)}")
        return text

    return parse_value


def a_path(value: Value) -> Path:
    """A path; :meth:`Settings.find_path` makes it absolute."""
    try:
        return Path(one_text(value)).expanduser()
    except RuntimeError:
        raise ValueError("the home directory that it names is not known") from None


@frozen
class Settings:
    """All that was given, checked for names that mean nothing."""

    document: Document | None
    environ: Mapping[str, str]
    options: Mapping[str, object]

    @classmethod
    def gather(
        cls,
        known: Collection[Setting[object]],
        options: Mapping[str, object],
        environ: Mapping[str, str],
        *,
        default_file: Path = DEFAULT_FILE,
    ) -> Settings:
        """
        Read the file that was named, or the default one if it is there.

        ``known`` is every key a file may hold, whichever program reads it.

        :raises ConfigError: for an unreadable file, and for an unknown key.
        """
        named = options.get("config") or environ.get(_FILE_VARIABLE)
        path = Path(str(named)) if named else default_file
        document = read_document(path) if named or os.path.lexists(path) else None
        if document is not None:
            _check_keys(document.root, [setting.key for setting in known], document.path)
        return cls(document, environ, options)

    def find(self, setting: Setting[T]) -> Found[T] | None:
        """
        The value of a setting from the highest layer that gives one.

        :raises ConfigError: when that value is not accepted.
        """
        given = (
            self._from_options(setting) or self._from_environ(setting) or self._from_file(setting)
        )
        if given is None:
            return None
        try:
            value = setting.parse(given.value)
        except (BadInput, ValueError) as error:
            raise ConfigError(f"{given.where}: {error}") from None
        return Found(value, given.where, given.rank, given.directory)

    def get(self, setting: Setting[T], default: D) -> T | D:
        """The value of a setting, or the default."""
        found = self.find(setting)
        return default if found is None else found.value

    def find_path(self, setting: Setting[Path]) -> Found[Path] | None:
        """
        The value of a setting, made an absolute path.

        A relative one in the file begins at the file's directory, and any
        other at the current one.
        """
        found = self.find(setting)
        if found is None:
            return None
        absolute = os.path.abspath((found.directory or Path.cwd()) / found.value)
        return evolve(found, value=Path(absolute))

    def get_path(self, setting: Setting[Path], default: Path) -> Path:
        """The value of a setting as an absolute path, or the default."""
        found = self.find_path(setting)
        return default if found is None else found.value

    def warnings(self, known: Collection[Setting[object]]) -> tuple[str, ...]:
        """Sentences about what is accepted, and is probably not what was meant."""
        sentences = []
        variables = {setting.variable for setting in known} | {_FILE_VARIABLE}
        for name in sorted(self.environ):
            if name.startswith(PREFIX) and name not in variables:
                # Refusing would break containers whose platform adds MEZITE_PORT and the like.
                near = get_close_matches(name[:80], variables, n=1, cutoff=0.85)
                meant = f"; did you mean {near[0]}?" if near else ""
                sentences.append(f"environment variable {name[:80]} means nothing here{meant}")
        if self.document is not None and self.document.is_exposed:
            path = self.document.path
            sentences.extend(
                f"{path} holds {setting.key} and every account of this machine can read it;"
                f" run: chmod 600 {path}"
                for setting in known
                if setting.is_secret and _entry(self.document.root, setting.key) is not None
            )
        return tuple(sentences)

    def _from_options(self, setting: Setting[T]) -> Found[Value] | None:
        given = self.options.get(setting.option) if setting.option is not None else None
        if given is None or given == []:
            return None
        where = f"option --{setting.option}"
        if isinstance(given, list | tuple):
            items = tuple(Text(_checked(str(item), where), 0) for item in given)
            return Found(Items(items, 0), where, 3)
        return Found(Text(_checked(str(given), where), 0), where, 3)

    def _from_environ(self, setting: Setting[T]) -> Found[Value] | None:
        text = self.environ.get(setting.variable)
        if text is None:
            return None
        where = f"environment variable {setting.variable}"
        return Found(Text(_checked(text, where), 0), where, 2)

    def _from_file(self, setting: Setting[T]) -> Found[Value] | None:
        if self.document is None:
            return None
        entry = _entry(self.document.root, setting.key)
        if entry is None:
            return None
        path = self.document.path
        where = f"{path}:{entry.line}: {setting.key}"
        return Found(entry.value, where, 1, Path(os.path.abspath(path)).parent)


def _checked(text: str, where: str) -> str:
    # The operating system hands over bytes; Python marks those that are not UTF-8.
    if not is_text(text):
        raise ConfigError(f"{where}: it is not UTF-8 text")
    return text


def _entry(root: Section, key: str) -> Entry | None:
    section, dot, rest = key.partition(".")
    entry = root.entries.get(section)
    if entry is None or not dot:
        return entry
    return _entry(entry.value, rest) if isinstance(entry.value, Section) else None


def _check_keys(section: Section, known: Collection[str], path: Path, prefix: str = "") -> None:
    sections = {key.rpartition(".")[0] for key in known} - {""}
    for name, entry in section.entries.items():
        key = prefix + name
        if prefix == "" and "." in name and name in known:
            outer, _, inner = name.partition(".")
            raise ConfigError(
                f"{path}:{entry.line}: write {name!r} as {outer}: and, indented below it, {inner}:"
            )
        if key in sections:
            match entry.value:
                case Section():
                    _check_keys(entry.value, known, path, f"{key}.")
                case Nothing():
                    pass  # a section whose every line is commented out
                case _:
                    inside = ", ".join(k for k in known if k.startswith(f"{key}."))
                    raise ConfigError(
                        f"{path}:{entry.line}: {key} is a section; below it stand: {inside}"
                    )
        elif key not in known:
            raise ConfigError(
                f"{path}:{entry.line}: there is no setting {key[:80]!r}"
                f"{_nearest(key, known, prefix)}"
            )


def _nearest(key: str, known: Collection[str], prefix: str) -> str:
    """The end of a sentence: what was probably meant, or everything that is accepted there."""
    near = get_close_matches(key[:80], list(known), n=2, cutoff=0.7)
    if near:
        return f"; did you mean {' or '.join(near)}?"
    if prefix:
        accepted = {other for other in known if other.startswith(prefix)}
    else:
        accepted = {other.partition(".")[0] for other in known}
    return f"; accepted are: {', '.join(sorted(accepted))}"
