"""
Patterns of file names, and the files that they name on either side.

The patterns are the shell's: ``*``, ``?``, ``[a-z]``, ``[!a-z]``, a backslash
before a character that means itself, and ``{a,b}`` where it is asked for.
No shell sees them: names come from the directories themselves, and a leading
dot is matched by a dot only.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from mezite.client.copysides import FileTrouble, IFileSide, is_directory, joined
from mezite.error import BadInput

# A command line cannot be that long, and a directory may be (copysides.MAX_ENTRIES).
MAX_MATCHES: Final = 100_000
# {a,b}{a,b}… doubles with each pair.
MAX_ALTERNATIVES: Final = 1024
_MAGIC: Final = "*?["


@frozen
class _Set:
    """One character of these, or of any but these."""

    characters: frozenset[str]
    spans: tuple[tuple[str, str], ...]
    is_negated: bool

    def takes(self, character: str) -> bool:
        found = character in self.characters or any(
            low <= character <= high for low, high in self.spans
        )
        return found is not self.is_negated


class _Star:
    """Any characters."""


class _Any:
    """Any one character."""


_STAR: Final = _Star()
_ANY: Final = _Any()
_Token = str | _Set | _Star | _Any


@frozen
class Pattern:
    """A pattern of one name, without slashes."""

    tokens: tuple[_Token, ...]

    @classmethod
    def parse(cls, text: str) -> Pattern:
        tokens: list[_Token] = []
        at = 0
        while at < len(text):
            character = text[at]
            at += 1
            if character == "*":
                if not tokens or tokens[-1] is not _STAR:
                    tokens.append(_STAR)
            elif character == "?":
                tokens.append(_ANY)
            elif character == "[" and (found := _set(text, at)) is not None:
                token, at = found
                tokens.append(token)
            elif character == "\\" and at < len(text):
                tokens.append(text[at])
                at += 1
            else:
                tokens.append(character)
        return cls(tuple(tokens))

    def matches(self, name: str) -> bool:
        """In time that grows with pattern times name, whatever either is."""
        tokens = self.tokens
        if name.startswith(".") and (not tokens or tokens[0] != "."):
            return False
        token_at = name_at = 0
        # Where the last star stood, and how much of the name it takes.
        star_at, taken = -1, 0
        while name_at < len(name):
            if token_at < len(tokens) and tokens[token_at] is _STAR:
                star_at, taken = token_at, name_at
                token_at += 1
            elif token_at < len(tokens) and _takes(tokens[token_at], name[name_at]):
                token_at += 1
                name_at += 1
            elif star_at >= 0:
                taken += 1
                token_at, name_at = star_at + 1, taken
            else:
                return False
        return all(token is _STAR for token in tokens[token_at:])


def _takes(token: _Token, character: str) -> bool:
    if isinstance(token, _Set):
        return token.takes(character)
    return token is _ANY or token == character


def _set(text: str, at: int) -> tuple[_Set, int] | None:
    """The set that begins behind a bracket, and where it ends; None if it does not end."""
    is_negated = text[at : at + 1] in ("!", "^")
    if is_negated:
        at += 1
    characters: set[str] = set()
    spans: list[tuple[str, str]] = []
    is_first = True
    while at < len(text) and (text[at] != "]" or is_first):
        is_first = False
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
        low = text[at]
        at += 1
        if text[at : at + 1] == "-" and text[at + 1 : at + 2] not in ("", "]"):
            spans.append((low, text[at + 1]))
            at += 2
        else:
            characters.add(low)
    if at >= len(text):
        return None
    return _Set(frozenset(characters), tuple(spans), is_negated), at + 1


def has_magic(pattern: str) -> bool:
    """Whether the pattern may name several files."""
    is_escaped = False
    for character in pattern:
        if not is_escaped and character in _MAGIC:
            return True
        is_escaped = character == "\\" and not is_escaped
    return False


def escaped(text: str) -> str:
    """The pattern that means exactly this."""
    return "".join(f"\\{each}" if each in _MAGIC + "\\{}," else each for each in text)


def unescaped(pattern: str) -> str:
    """What a pattern without magic means."""
    found, at = [], 0
    while at < len(pattern):
        if pattern[at] == "\\" and at + 1 < len(pattern):
            at += 1
        found.append(pattern[at])
        at += 1
    return "".join(found)


def alternatives(pattern: str) -> list[str]:
    """
    The patterns that ``{a,b}`` makes of one, as a shell would.

    :raises BadInput: if they are too many.
    """
    done: list[str] = []
    waiting = [pattern]
    while waiting:
        if len(done) + len(waiting) > MAX_ALTERNATIVES:
            raise BadInput(f"{pattern[:40]!r} means more than {MAX_ALTERNATIVES} patterns")
        one = waiting.pop(0)
        found = _first_brace(one)
        if found is None:
            done.append(one)
        else:
            start, choices, end = found
            waiting[:0] = [one[:start] + choice + one[end:] for choice in choices]
    return done


def _first_brace(pattern: str) -> tuple[int, list[str], int] | None:
    for start, character in enumerate(pattern):
        if character == "{" and not _is_escaped(pattern, start):
            depth, begun, choices = 0, start + 1, []
            for at in range(start, len(pattern)):
                if _is_escaped(pattern, at):
                    continue
                if pattern[at] == "{":
                    depth += 1
                elif pattern[at] == "}":
                    depth -= 1
                if (pattern[at] == "," and depth == 1) or depth == 0:
                    choices.append(pattern[begun:at])
                    begun = at + 1
                if depth == 0:
                    if len(choices) > 1:
                        return start, choices, at + 1
                    break
    return None


def _is_escaped(pattern: str, at: int) -> bool:
    count = 0
    while at - count > 0 and pattern[at - count - 1] == "\\":
        count += 1
    return count % 2 == 1


async def expand(side: IFileSide, pattern: str) -> list[str]:
    """
    The paths that this pattern names, in order of their names.

    A pattern that names nothing is taken for a path, which may then be
    missing; so is one without magic, and nobody looks whether it is there.

    :raises FileTrouble: if they are too many.
    """
    if not has_magic(pattern):
        return [unescaped(pattern)]
    found = ["/"] if pattern.startswith("/") else [""]
    parts = [part for part in pattern.split("/") if part]
    is_certain = True
    for part in parts:
        if has_magic(part):
            found = await _matching(side, found, Pattern.parse(part))
            is_certain = True
        else:
            found = [joined(path, unescaped(part)) for path in found]
            is_certain = False
        if len(found) > MAX_MATCHES:
            raise FileTrouble(f"{side.shown(pattern)}: names more than {MAX_MATCHES} files")
    if pattern.endswith("/"):
        found = [path for path in found if await _is_there(side, path, directory=True)]
    elif not is_certain:
        found = [path for path in found if await _is_there(side, path)]
    return found or [unescaped(pattern)]


async def _matching(side: IFileSide, directories: list[str], pattern: Pattern) -> list[str]:
    found: list[str] = []
    for directory in directories:
        try:
            listed = await side.names(directory)
        except FileTrouble:
            continue  # no directory, or one that is not ours to read
        found += [joined(directory, each.name) for each in listed if pattern.matches(each.name)]
    return found


async def _is_there(side: IFileSide, path: str, *, directory: bool = False) -> bool:
    try:
        attributes = await side.look(path, follow=directory)
    except FileTrouble:
        return False
    return not directory or is_directory(attributes)
