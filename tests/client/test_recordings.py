"""
Recordings on their way to a person.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.playtext import write_json, write_text
from mezite.client.recordings import (
    Piece,
    RecordingReader,
    RecordingSealed,
    RecordingState,
    open_file,
    read_identity,
    spooled,
)
from mezite.error import BadInput, NotFound
from mezite.recording.chunks import Packer, Position
from mezite.recording.error import BadChunk, BadRecording
from mezite.recording.events import (
    Caption,
    Event,
    Exited,
    Input,
    Kind,
    Marker,
    Note,
    Output,
    Resized,
    Stream,
)
from mezite.recording.sealing import WrongIdentity
from mezite.recording.tape import Tape
from tests.recording.tapes import HEADER, cast, tape, written
from tests.recording.test_sealing import ADA, BOB, pem, private_pem, sealed

ID = f"{HEADER.session}.{HEADER.number}"
LINES = cast(written((0.0, "one\r\n"), (1.0, "two\r\n"), (2.0, "three\r\n")))


def chunked(lines: bytes = LINES, recording: str = ID, *, is_finished: bool = True) -> list[bytes]:
    """The chunks of a recording, one for each line."""
    packer = Packer(Position.start(recording))
    pieces = lines.splitlines(keepends=True)
    last = len(pieces) - 1
    return [
        packer.pack(piece, is_last=is_finished and number == last).data
        for number, piece in enumerate(pieces)
    ]


@define(eq=False)
class Source:
    """A recording that comes in pieces of so many bytes."""

    data: bytes
    state: RecordingState = RecordingState.COMPLETE
    size: int = 1000
    is_sealed: bool = False
    asked: list[int] = field(factory=list)

    async def read(self, offset: int) -> Piece:
        self.asked.append(offset)
        return Piece(self.data[offset : offset + self.size], self.state, self.is_sealed)


class ReaderCase(SynchronousTestCase):
    def result(self, coroutine: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coroutine))

    def failure(self, coroutine: Any, kind: type[Exception]) -> Exception:
        failure = self.failureResultOf(Deferred.fromCoroutine(coroutine), kind)
        assert isinstance(failure.value, kind)
        return failure.value


class RecordingReaderTests(ReaderCase):
    """Chunks, checked as they come."""

    def read(self, source: Source) -> bytes:
        with self.result(spooled(RecordingReader(ID, source))) as file:
            content: bytes = file.read()
            return content

    def test_whole(self) -> None:
        """A recording comes whole, in pieces of any size."""
        for size in (1, 7, 53, 10_000):
            self.assertEqual(self.read(Source(b"".join(chunked()), size=size)), LINES)

    def test_interrupted(self) -> None:
        """One that was interrupted ends where it ends."""
        data = b"".join(chunked(is_finished=False)[:3])
        source = Source(data, RecordingState.INTERRUPTED)
        self.assertEqual(self.read(source), b"".join(LINES.splitlines(keepends=True)[:3]))

    def test_live(self) -> None:
        """Of a live one there is what is there; later there is more."""
        chunks = chunked()
        source = Source(chunks[0] + chunks[1][:20], RecordingState.LIVE)
        reader = RecordingReader(ID, source)
        self.assertEqual(len(self.result(reader.more())), 1)
        self.assertEqual(self.result(reader.more()), [])
        self.assertFalse(reader.is_over)
        source.data, source.state = b"".join(chunks), RecordingState.COMPLETE
        self.assertEqual(len(self.result(reader.more())), 3)
        self.assertEqual(self.result(reader.more()), [])
        self.assertTrue(reader.is_over)

    def test_damaged(self) -> None:
        """What is changed, cut, swapped or another's is refused."""
        chunks = chunked()
        whole = b"".join(chunks)
        changed = bytearray(whole)
        changed[len(chunks[0]) + 60] ^= 1
        for name, data in {
            "changed": bytes(changed),
            "cut": whole[:-1],
            "without its end": b"".join(chunks[:-1]),
            "swapped": b"".join([chunks[0], chunks[2], chunks[1], chunks[3]]),
            "another's": b"".join(chunked(recording="another.1")),
            "longer": whole + whole,
            "nothing": b"",
            "noise": b"\xff" * 200,
        }.items():
            with self.subTest(name):
                self.failure(spooled(RecordingReader(ID, Source(data))), BadChunk)

    def test_sealed(self) -> None:
        """One that is encrypted is not taken for damaged."""
        source = Source(b"age-encryption.org/v1", is_sealed=True)
        error = self.failure(RecordingReader(ID, source).more(), RecordingSealed)
        self.assertIn("--identity", str(error))


class SealedTests(ReaderCase):
    """Recordings that are encrypted, and the keys that open them."""

    def read(self, source: Source, key: X25519PrivateKey = ADA) -> RecordingReader:
        return RecordingReader(ID, source, key)

    def content(self, coroutine: Any) -> bytes:
        with self.result(coroutine) as file:
            content: bytes = file.read()
            return content

    def test_opened(self) -> None:
        """With its key one comes whole, in pieces of any size."""
        data = sealed(b"".join(chunked()), BOB, ADA, recording=ID)
        for size in (1, 53, 100_000):
            source = Source(data, size=size, is_sealed=True)
            self.assertEqual(self.content(spooled(self.read(source))), LINES)

    def test_interrupted(self) -> None:
        """One that was interrupted ends where it ends."""
        data = sealed(b"".join(chunked(is_finished=False)[:3]), recording=ID)
        source = Source(data, RecordingState.INTERRUPTED, is_sealed=True)
        lines = b"".join(LINES.splitlines(keepends=True)[:3])
        self.assertEqual(self.content(spooled(self.read(source))), lines)

    def test_other_key(self) -> None:
        """Another's key opens nothing."""
        data = sealed(b"".join(chunked()), recording=ID)
        self.failure(spooled(self.read(Source(data, is_sealed=True), BOB)), WrongIdentity)

    def test_damaged(self) -> None:
        """What is changed, cut, another's, or no longer sealed half-way is refused."""
        whole = sealed(b"".join(chunked()), recording=ID)
        for name, data in {
            "changed": whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:],
            "cut": whole[:-1],
            "nothing": b"",
            "in its header": whole[:50],
            "another's": sealed(b"".join(chunked()), recording="another.1"),
            "noise": b"\xff" * 200,
        }.items():
            with self.subTest(name):
                self.failure(spooled(self.read(Source(data, is_sealed=True))), BadRecording)

    def test_put_away_meanwhile(self) -> None:
        """One that is encrypted, or is not any more, while it is read is to be begun anew."""
        chunks = b"".join(chunked())
        source = Source(chunks, size=200)
        reader = self.read(source)
        self.result(reader.more())
        source.is_sealed = True
        self.failure(reader.more(), BadRecording)
        source = Source(sealed(chunks, recording=ID), size=100, is_sealed=True)
        reader = self.read(source)
        self.result(reader.more())
        source.is_sealed = False
        self.failure(reader.more(), BadRecording)

    def test_file(self) -> None:
        """A file of a sealed recording is opened if its name is the recording's id."""
        directory = Path(self.mktemp())
        directory.mkdir()
        path = directory / f"{ID}.mze"
        path.write_bytes(sealed(b"".join(chunked()), recording=ID))
        self.assertEqual(self.content(open_file(path, ADA)), LINES)
        self.failure(open_file(path), RecordingSealed)
        other = path.rename(directory / "secret.mze")
        self.assertIn("ID.mze", str(self.failure(open_file(other, ADA), BadInput)))

    def test_key_files(self) -> None:
        """A key is read from its file; what is none is said in a sentence."""
        path = Path(self.mktemp())
        self.assertRaises(NotFound, read_identity, path)
        path.write_bytes(private_pem(ADA))
        self.assertEqual(read_identity(path).private_bytes_raw(), ADA.private_bytes_raw())
        for data in (b"", b"x" * 100_000, pem([ADA])):
            path.write_bytes(data)
            self.assertRaises(BadInput, read_identity, path)
        self.assertRaises(BadInput, read_identity, path.parent)


class FileTests(ReaderCase):
    """Recordings in files."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp())

    def content(self, data: bytes) -> bytes:
        self.path.write_bytes(data)
        with self.result(open_file(self.path)) as file:
            content: bytes = file.read()
            return content

    def test_both_kinds(self) -> None:
        """Asciicasts and chunks are told apart by their content."""
        self.assertEqual(self.content(LINES), LINES)
        self.assertEqual(self.content(b"".join(chunked())), LINES)

    def test_interrupted(self) -> None:
        """Chunks without a last one are a recording that was interrupted."""
        data = b"".join(chunked(is_finished=False)[:2])
        self.assertEqual(self.content(data), b"".join(LINES.splitlines(keepends=True)[:2]))

    def test_nothing(self) -> None:
        """No file, or no recording in it, is said in a sentence."""
        self.failure(open_file(self.path), NotFound)
        for data in (b"MZC1", b"MZC1" + b"\xff" * 100, chunked()[0][:70]):
            self.path.write_bytes(data)
            self.failure(open_file(self.path), BadChunk)
        for data in (b"", b"no recording", b"{}\n", b"\x00" * 100_000):
            with self.assertRaises(BadRecording):
                Tape(io.BytesIO(data))

    def test_header_of_another(self) -> None:
        """A file whose header names another recording than its chain does is damaged."""
        self.path.write_bytes(b"".join(chunked(recording="another.1")))
        self.failure(open_file(self.path), BadChunk)


class Terminal(io.BytesIO):
    """A file that is a terminal."""

    def isatty(self) -> bool:
        return True


class TextTests(SynchronousTestCase):
    """Recordings as text and as JSON."""

    def text(self, of: Tape, kind: type[io.BytesIO] = io.BytesIO) -> tuple[bytes, bytes]:
        out, errors = kind(), kind()
        write_text(of, out, errors)
        return out.getvalue(), errors.getvalue()

    def test_terminal(self) -> None:
        """Of a terminal it is what was left on it."""
        events = written((0.0, "on\x1b[31me\x1b[m\r\n"), (1.0, "to\x08\x08two\x1b]0;title\x07"))
        self.assertEqual(self.text(tape(events)), (b"one\ntwo\n", b""))

    def test_command(self) -> None:
        """Of a command it is what it wrote, to the last byte; on a terminal, what is harmless."""
        header = evolve(HEADER, kind=Kind.COMMAND, has_terminal=False)
        events: list[Event] = [
            Output(0, b"a\r\nb\n\xff\x00\x1b]52;c;AAAA\x07"),
            Output(1, b"bad\x05\n", Stream.ERROR),
            Exited(2, 1),
        ]
        of = tape(events, header)
        self.assertEqual(self.text(of), (b"a\r\nb\n\xff\x00\x1b]52;c;AAAA\x07", b"bad\x05\n"))
        out, errors = self.text(of, Terminal)
        self.assertEqual(errors, b"bad\n")
        self.assertNotIn(b"\x1b]", out)

    def test_transfer(self) -> None:
        """Of a transfer it is the lines for people, in which nothing moves a cursor."""
        header = evolve(HEADER, kind=Kind.SFTP, has_terminal=False)
        events: list[Event] = [
            Note(0, "sftp.read", {"path": "/etc/passwd"}),
            Caption(0, "read /etc/pass\x1b[2Jwd\r\n"),
        ]
        self.assertEqual(self.text(tape(events, header))[0], b"read /etc/passwd\n")

    def test_json(self) -> None:
        """As JSON it is exact, an object a line."""
        events: list[Event] = [
            Output(0, b"\xff\x00"),
            Input(1_500_000, b"ls\r"),
            Resized(2_000_000, 90, 30),
            Marker(2_000_000, "here"),
            Note(2_000_000, "signal", {"name": "TERM", "core": False}),
            Exited(3_000_000, 143),
        ]
        out = io.StringIO()
        write_json(tape(events), out)
        header, *objects = [json.loads(line) for line in out.getvalue().splitlines()]
        self.assertEqual((header["recording"], header["user"]), (ID, "ada"))
        self.assertEqual(
            objects[:3],
            [
                {"time": 0.0, "type": "output", "stream": "output", "base64": "/wA="},
                {"time": 1.5, "type": "input", "text": "ls\r"},
                {"time": 2.0, "type": "resize", "columns": 90, "rows": 30},
            ],
        )
        self.assertEqual([each["type"] for each in objects[3:]], ["marker", "note", "exit"])
