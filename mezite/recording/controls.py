"""
What a recorded terminal was told, taken apart, and only as far as it does no harm.

A recording is written by programs on a node, and shown on another person's
terminal later. A :class:`ControlFilter` lets pass what draws on the screen, by a
list (docs/reference/msh-recordings.rst), and nothing else: no sequence that makes
a terminal answer, reach for the clipboard, print, resize, or change what keys send.

What comes out is written anew, whole, from parts that were understood: a terminal
cannot read it otherwise than it was read here.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from attrs import evolve, frozen

# Real sequences are below 60 characters (colours of 24 bits, twice); 9999 is what terminals take.
_PARAMETERS_LENGTH: Final = 128
_DIGITS: Final = 4
_TEXT: Final = re.compile("[^\x00-\x1f\x7f-\x9f]+")
_STRING_END: Final = re.compile("[\x07\x18\x1a\x1b\x9c]")
_NUMBERS: Final = re.compile("[0-9;:]*")
# What is in C1 in eight bits, and behind ESC in seven.
_C1: Final = {chr(code): chr(code - 0x40) for code in range(0x80, 0xA0)}

# Bell, and what moves the cursor; SO and SI, by which lines are drawn. Not ENQ: terminals answer.
SAFE_C0: Final = frozenset("\x07\x08\t\n\x0b\x0c\r\x0e\x0f")
# Cursor saved, restored; lines and columns; tabs; the whole terminal anew (see _REBORN).
SAFE_ESCAPES: Final = frozenset({"7", "8", "D", "E", "H", "M", "c", "#8"})
_CHARSETS: Final = frozenset("()")
SAFE_CHARSETS: Final = frozenset("0AB")
# CSI without anything between its numbers and its end.
SAFE_CSI: Final = frozenset("@ABCDEFGHIJKLMPSTXZ`abdefghlmrsu")
# The same with something between: how the cursor looks, and a soft reset.
SAFE_CSI_WITH: Final = frozenset({" q", "!p"})
# Modes by SM and RM: inserting. Not 2, which locks the keyboard, nor 12 and 20, which change keys.
SAFE_MODES: Final = frozenset({"4"})
# By DECSET and DECRST: reverse video, origin, wrapping, the cursor, the alternate screen. Not
# what changes keys (1, 66), reports the mouse (9, 1000 to 1016), focus (1004), or pastes (2004).
SAFE_PRIVATE_MODES: Final = frozenset({"5", "6", "7", "12", "25", "47", "1047", "1048", "1049"})
# How a terminal is born again, without its scroll-back being lost.
_REBORN: Final = "\x1b[!p\x1b[?1049l\x1b[?5l\x1b[?7h\x1b(B\x1b)B\x0f\x1b[r\x1b[m\x1b[H\x1b[2J"


class Kind(enum.Enum):
    """What a control is made of."""

    C0 = enum.auto()
    ESCAPE = enum.auto()
    CSI = enum.auto()


@frozen
class Control:
    """
    Something that draws no character itself.

    ``name`` is the character of C0; what stands behind ESC; or, of a CSI, what
    stands before and behind its numbers, as in ``?h``.
    """

    kind: Kind
    name: str
    parameters: str = ""

    def __str__(self) -> str:
        match self.kind:
            case Kind.C0:
                return self.name
            case Kind.ESCAPE:
                return _REBORN if self.name == "c" else f"\x1b{self.name}"
        prefix = "?" if self.name.startswith("?") else ""
        return f"\x1b[{prefix}{self.parameters}{self.name[len(prefix) :]}"

    def numbers(self) -> tuple[int, ...]:
        """The parameters; what is left out is 0. Colours may be written with colons."""
        found: list[str] = []
        for part in self.parameters.split(";"):
            first, *rest = part.split(":")
            if first in ("38", "48"):
                # 38:2:COLOUR SPACE:R:G:B, which with semicolons has no colour space.
                found += [first, *(rest[:1] + rest[2:] if len(rest) == 5 else rest)]
            else:
                found.append("24" if part == "4:0" else first)
        return tuple(int(each or 0) for each in found)


class _State(enum.Enum):
    GROUND = enum.auto()
    ESCAPE = enum.auto()
    CSI = enum.auto()
    # OSC, DCS, SOS, PM, APC, and screen's titles: nothing of them passes.
    STRING = enum.auto()


# What begins behind ESC and has an end of its own.
_BEGINNINGS: Final[Mapping[str, _State]] = {
    "[": _State.CSI,
    **dict.fromkeys("]PX^_k", _State.STRING),
}


class ControlFilter:
    """
    Terminal output in any pieces: characters, and the controls that may pass.

    It holds at most one sequence that is not yet complete.
    """

    def __init__(self) -> None:
        self._state = _State.GROUND
        self._held = ""
        self._is_osc = False

    def copy(self) -> ControlFilter:
        """Another one at the same place."""
        made = ControlFilter()
        made._state, made._held, made._is_osc = self._state, self._held, self._is_osc
        return made

    def receive(self, text: str) -> Iterator[str | Control]:
        """What may pass; to be used up before there is more."""
        at = 0
        while at < len(text):
            if self._state is _State.GROUND:
                run = _TEXT.match(text, at)
                if run is not None:
                    yield run[0]
                    at = run.end()
                    continue
            elif self._state is _State.STRING:
                end = _STRING_END.search(text, at)
                if end is None:
                    return
                at = end.start()
            letter = text[at]
            at += 1
            yield from self._next(letter)

    def clean(self, text: str) -> str:
        """The same, as one text again."""
        return "".join(map(str, self.receive(text)))

    def _next(self, letter: str) -> Iterable[str | Control]:
        if letter == "\x1b":
            self._begin(_State.ESCAPE)
            return ()
        if letter in _C1:
            # ST ends a string, and is nothing elsewhere.
            self._begin(_State.ESCAPE)
            return self._escape(_C1[letter])
        if self._state is _State.STRING:
            if letter != "\x07" or self._is_osc:
                self._begin(_State.GROUND)
            return ()
        if letter < " " or letter == "\x7f":
            if letter in "\x18\x1a":
                self._begin(_State.GROUND)
            # Terminals do them in the middle of a sequence, too.
            return (Control(Kind.C0, letter),) if letter in SAFE_C0 else ()
        if self._state is _State.ESCAPE:
            return self._escape(letter)
        if self._state is _State.CSI:
            return self._csi(letter)
        return (letter,)

    def _begin(self, state: _State) -> None:
        self._state = state
        self._held = ""

    def _escape(self, letter: str) -> Iterable[Control]:
        if not self._held and letter in _BEGINNINGS:
            self._begin(_BEGINNINGS[letter])
            self._is_osc = letter == "]"
            return ()
        if " " <= letter <= "/" and len(self._held) < 2:
            self._held += letter
            return ()
        name = self._held + letter
        self._begin(_State.GROUND)
        is_charset = len(name) == 2 and name[0] in _CHARSETS and name[1] in SAFE_CHARSETS
        return (Control(Kind.ESCAPE, name),) if name in SAFE_ESCAPES or is_charset else ()

    def _csi(self, letter: str) -> Iterable[Control]:
        if not "@" <= letter <= "~":
            if letter > "~":
                self._begin(_State.GROUND)  # no sequence has this
            elif len(self._held) <= _PARAMETERS_LENGTH:
                self._held += letter
            return ()
        held = self._held
        self._begin(_State.GROUND)
        if len(held) > _PARAMETERS_LENGTH:
            return ()
        allowed = _allowed(held, letter)
        return () if allowed is None else (allowed,)


def _allowed(held: str, final: str) -> Control | None:
    prefix = "?" if held.startswith("?") else ""
    numbers = _NUMBERS.match(held, len(prefix))
    assert numbers is not None
    parameters, between = numbers[0], held[numbers.end() :]
    if any(len(part) > _DIGITS for part in re.split("[;:]", parameters)):
        return None
    control = Control(Kind.CSI, f"{prefix}{between}{final}", parameters)
    if between:
        return control if not prefix and between + final in SAFE_CSI_WITH else None
    if prefix:
        return _only_modes(control, SAFE_PRIVATE_MODES) if final in "hl" else None
    if final in "hl":
        return _only_modes(control, SAFE_MODES)
    # 3 takes away what the person has above the screen; five numbers are a request for the mouse.
    if (final == "J" and parameters.lstrip("0") == "3") or (final == "T" and ";" in parameters):
        return None
    if ":" in parameters and final != "m":
        return None
    return control if final in SAFE_CSI else None


def _only_modes(control: Control, safe: frozenset[str]) -> Control | None:
    kept = [mode for mode in control.parameters.split(";") if mode.lstrip("0") in safe]
    return evolve(control, parameters=";".join(kept)) if kept else None
