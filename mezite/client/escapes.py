"""
What a person tells msh itself while a session has the keyboard.

As in ssh: at the start of a line ``~`` and one more character. Keys in, keys
and wishes out; who fulfils the wishes is not known here.
"""

from __future__ import annotations

import enum
from typing import Final


class Wish(enum.Enum):
    """What may stand behind the escape character."""

    DISCONNECT = b"."
    SUSPEND = b"\x1a"
    SEND_BREAK = b"B"
    LIST_CONNECTIONS = b"#"
    HELP = b"?"


_WISHES: Final = {wish.value: wish for wish in Wish}
_LINE_ENDS: Final = b"\r\n"
_EXPLAINED: Final = (
    (".", "end the connection"),
    ("^Z", "suspend msh"),
    ("B", "send a BREAK"),
    ("#", "list forwarded connections"),
    ("?", "this list"),
)


class _At(enum.Enum):
    LINE_START = enum.auto()
    ESCAPE = enum.auto()
    ELSEWHERE = enum.auto()


class EscapeReader:
    """The keys of one session; ``character`` is what an escape begins with."""

    def __init__(self, character: bytes = b"~") -> None:
        self.character = character
        self._at = _At.LINE_START

    def receive(self, data: bytes) -> list[bytes | Wish]:
        """What these keys come to, in their order; escapes may span calls."""
        # A paste is seldom about us.
        if self._at is not _At.ESCAPE and self.character not in data:
            self._at = _after(data[-1:]) if data else self._at
            return [data] if data else []
        found: list[bytes | Wish] = []
        keys = bytearray()
        for number in data:
            key = bytes((number,))
            if self._at is _At.ESCAPE:
                wish = _WISHES.get(key)
                if wish is not None and key != self.character:
                    if keys:
                        found.append(bytes(keys))
                        keys.clear()
                    found.append(wish)
                    # As in ssh, one escape may follow another.
                    self._at = _At.LINE_START
                    continue
                if key != self.character:
                    keys += self.character
            elif self._at is _At.LINE_START and key == self.character:
                self._at = _At.ESCAPE
                continue
            keys += key
            self._at = _after(key)
        if keys:
            found.append(bytes(keys))
        return found


def explained(character: bytes) -> str:
    """The list that is shown for :attr:`Wish.HELP`."""
    shown = visible(character)
    lines = [f" {shown}{key:3} - {meaning}" for key, meaning in _EXPLAINED]
    lines.append(f" {shown}{shown:3} - send the escape character itself")
    return "\n".join(["Escapes, at the start of a line:", *lines])


def visible(character: bytes) -> str:
    """A key as people write it: ``~``, ``^]``."""
    number = character[0]
    return f"^{chr(number + 64)}" if number < 32 else chr(number)


def _after(key: bytes) -> _At:
    return _At.LINE_START if key in _LINE_ENDS else _At.ELSEWHERE
