"""
The frames of a resumable connection: bytes in, frames out, and back.

``docs/protocols/resumption.rst`` is the text of it. A connection begins with a
greeting: a HELLO one way, and a WELCOME, a REFUSED or a PLAIN the other way. All
others follow that. The standard library only, since ``msh proxy ssh`` uses it.
"""

from __future__ import annotations

import struct

from mezite.resume.error import LocalResumeError, RemoteResumeError

VERSION = 1
HELLO, WELCOME, REFUSED, PLAIN = 1, 2, 3, 4
DATA, ACK, END, RESET, PING, PONG = 5, 6, 7, 8, 9, 10

# 256 bits, drawn at random: nobody guesses one.
TOKEN_LENGTH = 32
# Why a client that wanted to go on may not. What is not known counts as DENIED.
DENIED, GONE, NOT_NOW = 1, 2, 3
REASONS = frozenset({DENIED, GONE, NOT_NOW})
# A sentence of ours fits into one line of a terminal or three.
SENTENCE_LENGTH = 512
# A reader hands out data as it comes, so this bounds nothing but what is absurd.
DATA_LENGTH = 1024 * 1024
# One octet of kind, three of length.
HEADER_LENGTH = 4
# 2**63 bytes are 29,000 years at 10 MB/s; a number beyond it is no count.
COUNT_LIMIT = 1 << 63

_HELLO_NEW = 1 + 8
_HELLO_AGAIN = _HELLO_NEW + TOKEN_LENGTH
# The least and the most that each kind may carry.
LENGTHS = {
    HELLO: (_HELLO_NEW, _HELLO_AGAIN),
    WELCOME: (1 + 8 + TOKEN_LENGTH, 1 + 8 + TOKEN_LENGTH),
    REFUSED: (1, 1 + SENTENCE_LENGTH),
    PLAIN: (0, 0),
    DATA: (1, DATA_LENGTH),
    ACK: (8, 8),
    END: (0, 0),
    RESET: (0, 0),
    PING: (0, 0),
    PONG: (0, 0),
}
_GREETINGS = frozenset({HELLO, WELCOME, REFUSED, PLAIN})
_COUNTED = struct.Struct("!BQ")
_COUNT = struct.Struct("!Q")


class Hello:
    """What a client says first: with a token it wants to go on, without one to begin."""

    __slots__ = ("received", "token")

    def __init__(self, token: bytes, received: int) -> None:
        self.token = token
        self.received = received


class Welcome:
    """What an agent answers: the token to come back with, and how much it has received."""

    __slots__ = ("received", "token")

    def __init__(self, token: bytes, received: int) -> None:
        self.token = token
        self.received = received


class Refusal:
    """Why not: one of the reasons, and a sentence for the person."""

    __slots__ = ("reason", "sentence")

    def __init__(self, reason: int, sentence: str) -> None:
        self.reason = reason
        self.sentence = sentence


class Plain:
    """The hub's answer where nothing can be resumed: what follows is the connection itself."""

    __slots__ = ()


Greeting = Hello | Welcome | Refusal | Plain


def header(kind: int, length: int) -> bytes:
    """The four octets before a payload."""
    return (kind << 24 | length).to_bytes(HEADER_LENGTH, "big")


def hello(token: bytes = b"", received: int = 0) -> bytes:
    """A HELLO; without a token it asks for a new connection."""
    if len(token) not in (0, TOKEN_LENGTH):
        raise LocalResumeError(f"a token has {TOKEN_LENGTH} octets")
    return _frame(HELLO, _COUNTED.pack(VERSION, received) + token)


def welcome(token: bytes, received: int) -> bytes:
    return _frame(WELCOME, _COUNTED.pack(VERSION, received) + token)


def refused(reason: int, sentence: str) -> bytes:
    """A REFUSED; a sentence that is too long is cut."""
    text = sentence.encode()[:SENTENCE_LENGTH].decode("utf-8", "ignore").encode()
    return _frame(REFUSED, bytes([reason]) + text)


def plain() -> bytes:
    return _frame(PLAIN)


def acknowledgement(count: int) -> bytes:
    return _frame(ACK, _COUNT.pack(count))


def end() -> bytes:
    return _frame(END)


def reset() -> bytes:
    return _frame(RESET)


def ping() -> bytes:
    return _frame(PING)


def pong() -> bytes:
    return _frame(PONG)


def count_in(payload: bytes) -> int:
    """What an ACK says."""
    (count,) = _COUNT.unpack(payload)
    return _checked(count)


class GreetingReader:
    """Takes the first bytes until the greeting is whole; holds no more than that."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = b""

    def receive(self, data: bytes) -> tuple[Greeting, bytes] | None:
        """
        The greeting and what follows it, or None while it is incomplete.

        Not to be called again after it has given the greeting.

        :raises RemoteResumeError: for bytes that no peer may begin with.
        """
        self._data += data
        if not self._data:
            return None
        if self._data[0] not in _GREETINGS:
            raise RemoteResumeError("a resumable connection begins with other bytes")
        if len(self._data) < HEADER_LENGTH:
            return None
        kind, length = _opened(int.from_bytes(self._data[:HEADER_LENGTH], "big"))
        whole = HEADER_LENGTH + length
        if len(self._data) < whole:
            return None
        payload, rest = self._data[HEADER_LENGTH:whole], self._data[whole:]
        self._data = b""
        return _greeting(kind, payload), rest


class FrameReader:
    """
    Takes what follows the greeting, in any pieces.

    The payload of DATA is handed out as it comes; other frames once they are
    whole, so that at most the beginning of one waits here.
    """

    __slots__ = ("_left", "_waiting")

    def __init__(self) -> None:
        # Bytes of a DATA frame that are still to come.
        self._left = 0
        self._waiting = b""

    def receive(self, data: bytes | memoryview) -> list[tuple[int, memoryview]]:
        """
        Kinds and payloads; several pieces of one DATA frame may follow each other.

        :raises RemoteResumeError: for a frame that may not be there.
        """
        if self._waiting:
            data, self._waiting = self._waiting + bytes(data), b""
        view = memoryview(data)
        frames: list[tuple[int, memoryview]] = []
        at, end_ = 0, len(view)
        while at < end_:
            if self._left:
                piece = view[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                frames.append((DATA, piece))
                continue
            payload_at = at + HEADER_LENGTH
            if payload_at > end_:
                break
            kind, length = _opened(int.from_bytes(view[at:payload_at], "big"))
            if kind == DATA:
                self._left, at = length, payload_at
                continue
            if kind in _GREETINGS:
                raise RemoteResumeError("a greeting came in the middle of a connection")
            if payload_at + length > end_:
                break
            at = payload_at + length
            frames.append((kind, view[payload_at:at]))
        if at < end_:
            self._waiting = bytes(view[at:])
        return frames


def _frame(kind: int, payload: bytes = b"") -> bytes:
    return header(kind, len(payload)) + payload


def _opened(word: int) -> tuple[int, int]:
    kind, length = word >> 24, word & 0xFFFFFF
    bounds = LENGTHS.get(kind)
    if bounds is None:
        raise RemoteResumeError(f"there is no frame of kind {kind}")
    if not bounds[0] <= length <= bounds[1]:
        raise RemoteResumeError(f"a frame of kind {kind} does not have {length} octets")
    return kind, length


def _greeting(kind: int, payload: bytes) -> Greeting:
    if kind == PLAIN:
        return Plain()
    if kind == REFUSED:
        reason = payload[0] if payload[0] in REASONS else DENIED
        return Refusal(reason, _printable(payload[1:].decode("utf-8", "replace")))
    if kind == HELLO and len(payload) not in (_HELLO_NEW, _HELLO_AGAIN):
        raise RemoteResumeError(f"a token has {TOKEN_LENGTH} octets")
    version, count = _COUNTED.unpack_from(payload)
    if version != VERSION:
        raise RemoteResumeError(f"version {version} of resumption is not spoken here")
    token = payload[_COUNTED.size :]
    return (Hello if kind == HELLO else Welcome)(token, _checked(count))


def _checked(count: int) -> int:
    if count >= COUNT_LIMIT:
        raise RemoteResumeError("a count is beyond what was ever sent")
    return count


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)
