"""
Recordings as asciicast v2, without losing a byte (docs/protocols/recording.rst).

An :class:`Encoder` makes lines of events, a :class:`Decoder` events of bytes in
any pieces. Players of asciicast show what the lines say; the bytes that are no
text stand beside it, in events of our own that players pass over.
"""

from __future__ import annotations

import base64
import binascii
import json
from codecs import utf_8_decode
from collections.abc import Callable, Mapping
from typing import Final

from mezite.recording.error import BadRecording, LocalRecordingError
from mezite.recording.events import (
    COLUMNS,
    ROWS,
    Caption,
    Event,
    Exited,
    Header,
    Input,
    Marker,
    Note,
    Output,
    Resized,
    Stream,
    Unknown,
)
from mezite.recording.headertree import header_of, header_tree, side

# What one event carries at most, so that a reader need not hold more than a line.
EVENT_BYTES: Final = 64 * 1024
# A command of 128 KiB (execve(2)), six characters for each byte, and what else a header says.
LINE_LIMIT: Final = 1024 * 1024
# More of a command's output being NULs than one byte in so many, or being no text than one
# character in so many, makes the whole piece no text.
_NULS: Final = 16
_NO_TEXT: Final = 6
_SAMPLE: Final = 512
# What players show of a session in which nothing was.
NOTHING: Final = "[nothing was written]\r\n"
_REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}"

_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(", ", ": ")).encode


class Encoder:
    """
    One recording's events, as lines.

    Characters that were split between two pieces of a stream are put together;
    times that go back are held at the latest one.
    """

    def __init__(self, header: Header) -> None:
        self._header = header
        self._cooks = not header.has_terminal
        self._tails: dict[Stream, bytes] = {}
        self._time = 0
        self._has_shown = False

    def begin(self) -> bytes:
        """The header's line."""
        return f"{_json(header_tree(self._header))}\n".encode()

    def encode(self, event: Event) -> bytes:
        """
        The lines of one event, which belong together; none if they have to wait.

        :raises LocalRecordingError: for an event that has no lines.
        """
        return b"".join(self.parts(event))

    def parts(self, event: Event) -> list[bytes]:
        """The same in pieces, for whoever puts more together."""
        self._time = max(self._time, event.time)
        match event:
            case Output(data=data, stream=stream):
                return self._bytes(data, stream, final=False)
            case Input(data=data):
                return self._bytes(data, Stream.INPUT, final=False)
            case Resized(columns=columns, rows=rows):
                return self._line("r", f"{side(columns, COLUMNS)}x{side(rows, ROWS)}")
            case Marker(label=label):
                return self._line("m", label)
            case Caption(text=text):
                return self._caption(text)
            case Note(kind=kind, fields=fields):
                return self._line("z", _json({"event": kind, **fields}))
            case Exited(status=status):
                return [self.end(), *self._line("x", str(status))]
        raise LocalRecordingError(f"there is no way to write {type(event).__name__}")

    def flush(self) -> bytes:
        """What waited for the rest of a character that will not come."""
        waiting = list(self._tails)
        return b"".join(part for stream in waiting for part in self._bytes(b"", stream, final=True))

    def end(self) -> bytes:
        """What has to stand in a recording before it ends."""
        flushed = self.flush()
        # The web player takes no recording in which nothing is shown.
        return flushed if self._has_shown else flushed + b"".join(self._caption(NOTHING))

    def _caption(self, text: str) -> list[bytes]:
        self._has_shown = True
        return [*self._line("b", "1:"), *self._line("o", text)]

    def _bytes(self, data: bytes, stream: Stream, *, final: bool) -> list[bytes]:
        data = self._tails.pop(stream, b"") + data
        parts: list[bytes] = []
        at = 0
        while at < len(data):
            piece = data[at : at + EVENT_BYTES]
            is_end = at + len(piece) == len(data)
            made, used = self._piece(piece, stream, final=final and is_end)
            parts += made
            at += used
            if is_end and used < len(piece):
                self._tails[stream] = data[at:]
                break
        return parts

    def _piece(self, piece: bytes, stream: Stream, *, final: bool) -> tuple[list[bytes], int]:
        """The lines of a piece, and how much of it they carry."""
        try:
            text, used = utf_8_decode(piece, "strict", final)
        except UnicodeDecodeError:
            return self._stand_in(piece, stream, final=final)
        if not used:
            return [], 0
        if self._cooks and _has_many_nuls(piece):
            return self._no_text(piece, stream), len(piece)
        announced = self._line("b", "2") if stream is Stream.ERROR else []
        return [*announced, *self._shown(text, stream, cooks=self._cooks)], used

    def _stand_in(self, piece: bytes, stream: Stream, *, final: bool) -> tuple[list[bytes], int]:
        if self._cooks:
            sample, _ = utf_8_decode(piece[:_SAMPLE], "replace", False)
            if sample.count(_REPLACEMENT) * _NO_TEXT > len(sample):
                return self._no_text(piece, stream), len(piece)
        text, used = utf_8_decode(piece, "replace", final)
        exact = self._line("b", f"{stream:d}:{base64.b64encode(piece[:used]).decode()}")
        return [*exact, *self._shown(text, stream, cooks=self._cooks)], used

    def _no_text(self, piece: bytes, stream: Stream) -> list[bytes]:
        # Bytes all the way: this is where 100 MB/s may come by.
        announced = f'[{self._now}, "b", "{stream:d}:'.encode()
        text = f"[{len(piece)} bytes that are no text]\r\n"
        shown = self._shown(text, stream, cooks=False)
        return [announced, base64.b64encode(piece), b'"]\n', *shown]

    def _shown(self, text: str, stream: Stream, *, cooks: bool) -> list[bytes]:
        if stream is Stream.INPUT:
            return self._line("i", text)
        self._has_shown = True
        return self._line("o", text.replace("\n", "\r\n") if cooks else text)

    @property
    def _now(self) -> str:
        return f"{self._time / 1_000_000:.6f}"

    def _line(self, code: str, text: str) -> list[bytes]:
        begin = f'[{self._now}, "{code}", '.encode()
        return [begin, _json(text).encode("utf-8", "replace"), b"]\n"]


def _has_many_nuls(piece: bytes) -> bool:
    sample = piece[:_SAMPLE] + piece[-_SAMPLE:]
    return sample.count(0) * _NULS > len(sample)


class Decoder:
    """
    The bytes of one recording, as its header and events.

    Recordings of others, by asciinema say, are understood too.
    """

    def __init__(self) -> None:
        self._partial = b""
        self._header: Header | None = None
        self._announced: str | None = None
        self._time = 0

    def receive(self, data: bytes) -> list[Header | Event]:
        """
        What these bytes complete.

        :raises BadRecording:
        """
        *lines, self._partial = (self._partial + data).split(b"\n")
        if max(map(len, (*lines, self._partial))) > LINE_LIMIT:
            raise BadRecording(f"a line of a recording has at most {LINE_LIMIT} bytes")
        found = [self._understood(line) for line in lines if line.strip()]
        return [each for each in found if each is not None]

    def finish(self) -> None:
        """
        There is no more.

        :raises BadRecording: if the recording stops in the middle of something.
        """
        if self._partial or self._announced is not None or self._header is None:
            raise BadRecording("the recording ends in the middle of an event")

    def _understood(self, line: bytes) -> Header | Event | None:
        try:
            tree = json.loads(line)
        except (ValueError, RecursionError):
            raise BadRecording("a line of the recording is not JSON") from None
        if self._header is None:
            self._header = header_of(tree)
            return self._header
        match tree:
            case [int() | float() as seconds, str() as code, str() as text]:
                return self._event(self._microseconds(seconds), code, text)
        raise BadRecording("a line of the recording is no event")

    def _microseconds(self, seconds: float) -> int:
        try:
            time = round(seconds * 1_000_000)
        except (OverflowError, ValueError):
            raise BadRecording("a time of the recording is no number") from None
        if time < self._time:
            raise BadRecording("the recording goes back in time")
        self._time = time
        return time

    def _event(self, time: int, code: str, text: str) -> Event | None:
        announced, self._announced = self._announced, None
        if announced is not None and code not in ("o", "i"):
            raise BadRecording("the bytes of an event are not followed by the event")
        if code == "b":
            self._announced = text
            return None
        read = _READERS.get(code)
        if read is not None:
            return read(time, text)
        if code in ("o", "i"):
            return self._stream_event(time, code, text, announced)
        return Unknown(time, code, text)

    def _stream_event(self, time: int, code: str, text: str, announced: str | None) -> Event:
        stream, exact = _announcement(announced, code)
        if exact is None:
            if self._header is not None and not self._header.has_terminal and code == "o":
                text = text.replace("\r\n", "\n")
            try:
                data = text.encode()
            except UnicodeEncodeError:
                raise BadRecording("a text of the recording is no text") from None
            shown = None
        elif not exact and code == "o":
            return Caption(time, text)
        else:
            data, shown = exact, text
        if stream is Stream.INPUT:
            return Input(time, data, shown)
        return Output(time, data, stream, shown)


def _announcement(announced: str | None, code: str) -> tuple[Stream, bytes | None]:
    """Whose the next event is, and its bytes, if they are not its text."""
    if announced is None:
        return (Stream.INPUT if code == "i" else Stream.OUTPUT), None
    digit, colon, encoded = announced.partition(":")
    if digit not in ("0", "1", "2") or (digit == "0") != (code == "i"):
        raise BadRecording("the bytes of an event are not those of the next")
    if not colon:
        return Stream(int(digit)), None
    try:
        return Stream(int(digit)), base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise BadRecording("the bytes of an event are not base64") from None


def _resized(time: int, text: str) -> Resized:
    columns, _, rows = text.partition("x")
    # isdecimal() is also true of other scripts' digits, which int() reads; the length is a bound.
    if not (columns.isdecimal() and rows.isdecimal() and len(text) <= 11):
        raise BadRecording("a size of the recording is no size")
    return Resized(time, int(columns), int(rows))


def _note(time: int, text: str) -> Note | Unknown:
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        raise BadRecording("a note of the recording is not JSON") from None
    if isinstance(tree, dict) and isinstance(tree.get("event"), str):
        fields = {key: value for key, value in tree.items() if isinstance(value, str | int)}
        if len(fields) == len(tree):
            return Note(time, str(fields.pop("event")), fields)
    return Unknown(time, "z", text)


def _exited(time: int, text: str) -> Exited:
    if not text.isdecimal() or len(text) > 9:
        raise BadRecording("an exit status of the recording is no number")
    return Exited(time, int(text))


_READERS: Final[Mapping[str, Callable[[int, str], Event]]] = {
    "r": _resized,
    "m": Marker,
    "z": _note,
    "x": _exited,
}
