"""
Patterns of label values and logins: ``^db[0-9]+$`` and the like.

A :class:`Pattern` owns its syntax, a small part of what :mod:`re` takes, and
how it is matched: all alternatives are followed at once, letter by letter, so
that the time is at most (length of the pattern) times (length of the text).
Python's own matcher tries one alternative after the other, and twenty letters
like ``(a|a)(a|a)…`` make it try for hours; no timeout stops it within a
process. Hence also no back-references and no look-around, which cannot be
matched like this.
"""

from __future__ import annotations

from typing import Final, Self

from attrs import field, frozen

from mezite.identity.error import BadPattern

# With label values of 255 characters, below 33,000 steps for a match.
PATTERN_LENGTH: Final = 128
# Each "(" is a call of the parser: few people nest more than two.
_DEPTH: Final = 8

ACCEPTED: Final = (
    r"a pattern is written ^...$ with letters, digits, . [a-z] [^a-z] \d \w | ( ) ? * +"
    rf" and \ before any other sign, in {PATTERN_LENGTH} characters at most"
)
_DIGITS: Final = (("0", "9"),)
_WORD: Final = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))
_CLASSES: Final = {"d": _DIGITS, "w": _WORD}

Ranges = tuple[tuple[str, str], ...]


@frozen
class _Letters:
    """A state that one letter leaves: one of these ranges, or none of them."""

    ranges: Ranges
    is_negated: bool
    next: int

    def takes(self, letter: str) -> bool:
        return any(first <= letter <= last for first, last in self.ranges) != self.is_negated


@frozen
class _Ways:
    """A state that is left without a letter, to several others."""

    next: tuple[int, ...]


_END: Final = _Ways(())
_State = _Letters | _Ways


@frozen
class Pattern:
    """A pattern that was understood; two are equal when their texts are."""

    text: str
    _states: tuple[_State, ...] = field(eq=False, repr=False)
    _start: int = field(eq=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Understand ``^...$``.

        :raises BadPattern: its sentence says what is accepted.
        """
        if len(text) > PATTERN_LENGTH or len(text) < 2 or text[0] != "^" or text[-1] != "$":
            raise BadPattern(f"{text[:80]!r} is not understood: {ACCEPTED}")
        parser = _Parser(text[1:-1], text)
        start = parser.pattern()
        return cls(text, tuple(parser.states), start)

    def matches(self, text: str) -> bool:
        """Whether the pattern stands for all of this text."""
        current = self._closed({self._start})
        for letter in text:
            current = self._closed(
                {
                    state.next
                    for state in map(self._states.__getitem__, current)
                    if isinstance(state, _Letters) and state.takes(letter)
                }
            )
            if not current:
                return False
        return any(self._states[index] is _END for index in current)

    def _closed(self, states: set[int]) -> set[int]:
        """These states, and all that are reached from them without a letter."""
        found = set(states)
        waiting = list(states)
        while waiting:
            state = self._states[waiting.pop()]
            if isinstance(state, _Ways):
                fresh = [index for index in state.next if index not in found]
                found.update(fresh)
                waiting.extend(fresh)
        return found


@frozen
class _Node:
    """A part of the pattern, as the parser saw it."""

    kind: str
    parts: tuple[_Node, ...] = ()
    ranges: Ranges = ()
    is_negated: bool = False


class _Parser:
    """From a text to states, from the last to the first."""

    def __init__(self, body: str, whole: str) -> None:
        self._body = body
        self._whole = whole
        self._at = 0
        self.states: list[_State] = [_END]

    def pattern(self) -> int:
        node = self._alternatives(0)
        if self._at < len(self._body):
            raise self._refused()
        return self._build(node, 0)

    def _refused(self) -> BadPattern:
        return BadPattern(f"{self._whole!r} is not understood: {ACCEPTED}")

    def _peek(self) -> str:
        return self._body[self._at] if self._at < len(self._body) else ""

    def _take(self) -> str:
        letter = self._peek()
        if not letter:
            raise self._refused()
        self._at += 1
        return letter

    def _alternatives(self, depth: int) -> _Node:
        if depth > _DEPTH:
            raise self._refused()
        parts = [self._sequence(depth)]
        while self._peek() == "|":
            self._take()
            parts.append(self._sequence(depth))
        return parts[0] if len(parts) == 1 else _Node("|", tuple(parts))

    def _sequence(self, depth: int) -> _Node:
        parts: list[_Node] = []
        while self._peek() not in ("", "|", ")"):
            part = self._atom(depth)
            if self._peek() in ("?", "*", "+"):
                part = _Node(self._take(), (part,))
                # "a+?" and "a++" mean something else elsewhere.
                if self._peek() in ("?", "*", "+"):
                    raise self._refused()
            parts.append(part)
        return _Node(",", tuple(parts))

    def _atom(self, depth: int) -> _Node:
        letter = self._take()
        if letter == "(":
            node = self._alternatives(depth + 1)
            if self._take() != ")":
                raise self._refused()
            return node
        if letter == "[":
            return self._class()
        if letter == ".":
            return _Node("letter", is_negated=True)
        if letter == "\\":
            return _Node("letter", ranges=self._escaped())
        if letter in "?*+{}^$]":
            raise self._refused()
        return _Node("letter", ranges=((letter, letter),))

    def _escaped(self) -> Ranges:
        letter = self._take()
        if letter in _CLASSES:
            return _CLASSES[letter]
        if letter.isalnum():
            raise self._refused()
        return ((letter, letter),)

    def _class(self) -> _Node:
        is_negated = self._peek() == "^"
        if is_negated:
            self._take()
        ranges: list[tuple[str, str]] = []
        while self._peek() != "]":
            first = self._member()
            rest = self._body[self._at : self._at + 2]
            # A "-" at the end of the class is itself.
            if rest.startswith("-") and rest != "-]":
                self._take()
                last = self._member()
                (low, also_low), (high, also_high) = first[0], last[0]
                if low != also_low or high != also_high or high < low:
                    raise self._refused()
                first = ((low, high),)
            ranges.extend(first)
        self._take()
        if not ranges:
            raise self._refused()
        return _Node("letter", ranges=tuple(ranges), is_negated=is_negated)

    def _member(self) -> Ranges:
        letter = self._take()
        if letter == "\\":
            return self._escaped()
        if letter == "[":
            raise self._refused()
        return ((letter, letter),)

    def _add(self, state: _State) -> int:
        self.states.append(state)
        return len(self.states) - 1

    def _build(self, node: _Node, after: int) -> int:
        """The state in which this part begins, when ``after`` comes behind it."""
        if node.kind == "letter":
            return self._add(_Letters(node.ranges, node.is_negated, after))
        if node.kind == ",":
            for part in reversed(node.parts):
                after = self._build(part, after)
            return after
        if node.kind == "|":
            return self._add(_Ways(tuple(self._build(part, after) for part in node.parts)))
        (part,) = node.parts
        if node.kind == "?":
            return self._add(_Ways((self._build(part, after), after)))
        # A loop: its state is known before what it leads to is.
        loop = self._add(_END)
        begin = self._build(part, loop)
        self.states[loop] = _Ways((begin, after))
        return loop if node.kind == "*" else begin
