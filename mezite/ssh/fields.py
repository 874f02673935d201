"""
The data types of RFC 4251, section 5, read strictly and written.

A read past the end raises :class:`MalformedMessage`; Conch's ``getNS`` gives
back whatever is left instead.
"""

from __future__ import annotations

from typing import Final

from mezite.ssh.error import MalformedMessage

# What a stranger may make us print: a few lines of an 80-column terminal.
SENTENCE_LENGTH: Final = 400


def uint32(value: int) -> bytes:
    """Four octets, most significant first."""
    return value.to_bytes(4, "big")


def string(value: bytes) -> bytes:
    """A length and that many octets."""
    return len(value).to_bytes(4, "big") + value


class FieldReader:
    """Takes the fields of one message from front to back."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self._at = at

    def octets(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise MalformedMessage("a message ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def byte(self) -> int:
        return self.octets(1)[0]

    def boolean(self) -> bool:
        return self.octets(1) != b"\0"

    def uint32(self) -> int:
        return int.from_bytes(self.octets(4), "big")

    def string(self) -> bytes:
        return self.octets(self.uint32())

    def text(self) -> str:
        """A string in UTF-8."""
        try:
            return self.string().decode("utf-8")
        except UnicodeDecodeError:
            raise MalformedMessage("a text is not in UTF-8") from None

    def names(self) -> tuple[bytes, ...]:
        """A name-list; an empty one has no names."""
        listed = self.string()
        return tuple(listed.split(b",")) if listed else ()

    def rest(self) -> bytes:
        return self.octets(len(self._data) - self._at)

    def end(self) -> None:
        """Insist that nothing is left."""
        if self._at != len(self._data):
            raise MalformedMessage("a message is longer than its fields")


def printable(octets: bytes) -> str:
    """A peer's sentence, made safe for a terminal and a log."""
    text = octets[: 4 * SENTENCE_LENGTH].decode("utf-8", "replace")
    kept = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(kept.split())[:SENTENCE_LENGTH]
