"""Tests of recordings as asciicast v2."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.recording.error import BadRecording, LocalRecordingError
from mezite.recording.events import (
    Caption,
    Event,
    Exited,
    Header,
    Input,
    Kind,
    Marker,
    Note,
    Output,
    Resized,
    Stream,
    Unknown,
)
from mezite.recording.format import EVENT_BYTES, LINE_LIMIT, NOTHING, Decoder, Encoder

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "recording.json").read_text("utf-8")
)
HEADER = Header(timestamp=1_700_000_000, session="s1", number=1)
STREAMS = (Stream.INPUT, Stream.OUTPUT, Stream.ERROR)
# Text, pieces of characters, line ends and noise.
PIECES = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode("utf-8", "replace")),
    st.sampled_from(
        [b"\n", b"\r\n", b"\r\r\n", b"\xe2\x82", b"\xac", b"\0" * 40, b"\x1b[2J", b"\xff"]
    ),
)
WRITES = st.lists(
    st.tuples(st.sampled_from(STREAMS), PIECES, st.integers(-10, 1_000_000)), max_size=12
)


def written(header: Header, events: list[Event]) -> bytes:
    encoder = Encoder(header)
    return encoder.begin() + b"".join(map(encoder.encode, events)) + encoder.flush()


def read(data: bytes, chunk: int | None = None) -> list[Any]:
    decoder = Decoder()
    found: list[Any] = []
    step = chunk or max(1, len(data))
    for at in range(0, len(data), step):
        found.extend(decoder.receive(data[at : at + step]))
    decoder.finish()
    return found


def bytes_of(events: list[Any]) -> dict[Stream, bytes]:
    """What went through each stream."""
    whole = dict.fromkeys(STREAMS, b"")
    for event in events:
        if isinstance(event, Output):
            whole[event.stream] += event.data
        elif isinstance(event, Input):
            whole[Stream.INPUT] += event.data
    return whole


def events_of(vectors: list[dict[str, Any]]) -> list[Event]:
    made = []
    kinds: dict[str, Any] = {
        each.__name__: each for each in (Output, Input, Resized, Marker, Caption, Note, Exited)
    }
    for vector in vectors:
        fields = dict(vector)
        kind = kinds[fields.pop("is")]
        if "hex" in fields:
            fields["data"] = bytes.fromhex(fields.pop("hex"))
        if "stream" in fields:
            fields["stream"] = Stream(fields["stream"])
        made.append(kind(**fields))
    return made


def header_of(vector: dict[str, Any]) -> Header:
    fields = dict(vector)
    fields["kind"] = Kind(fields["kind"])
    if "command" in fields:
        fields["command"] = bytes.fromhex(fields["command"])
    return Header(**fields)


class VectorTests(SynchronousTestCase):
    def test_written(self) -> None:
        """Recordings are written as the specification's vectors say, and read from them."""
        for vector in VECTORS["recordings"]:
            data = "".join(f"{line}\n" for line in vector["lines"]).encode()
            header, events = header_of(vector["header"]), events_of(vector["events"])
            self.assertEqual(written(header, events), data, vector["what"])
            found_header, *found = read(data)
            self.assertEqual(evolve(found_header, has_input=header.has_input), header)
            self.assertEqual(bytes_of(found), bytes_of(events), vector["what"])

    def test_refused(self) -> None:
        """What is no recording is refused."""
        for vector in VECTORS["refused"]:
            with self.assertRaises(BadRecording, msg=vector["why"]):
                Decoder().receive("".join(f"{line}\n" for line in vector["lines"]).encode())


class ExactnessTests(SynchronousTestCase):
    """No byte is lost, and none is changed."""

    @given(WRITES, st.booleans(), st.integers(1, 64))
    @settings(max_examples=100, deadline=None)
    def test_any_bytes(
        self, writes: list[tuple[Stream, bytes, int]], has_terminal: bool, chunk: int
    ) -> None:
        """Whatever is written in whatever pieces comes back, however the file is cut."""
        header = evolve(HEADER, has_terminal=has_terminal)
        events: list[Event] = [
            Input(time, data) if stream is Stream.INPUT else Output(time, data, stream)
            for stream, data, time in writes
        ]
        data = written(header, events)
        found_header, *found = read(data, chunk)
        self.assertEqual(found_header, header)
        self.assertEqual(bytes_of(found), bytes_of(events))
        times = [event.time for event in found]
        self.assertEqual(times, sorted(times))
        for line in data.splitlines()[1:]:
            [time, code, text] = json.loads(line)
            self.assertIsInstance(time, float)
            self.assertIn(code, "oibrmzx")
            text.encode()

    def test_split_character(self) -> None:
        """A character that two reads have cut is shown whole."""
        found = read(written(HEADER, [Output(1, b"\xe2\x82"), Output(2, b"\xac")]))
        self.assertEqual(found[1:], [Output(2, "€".encode())])

    def test_half_character_at_the_end(self) -> None:
        """What stays half a character is kept, and shown as the sign for that."""
        found = read(written(HEADER, [Output(1, b"a\xe2\x82"), Exited(2, 0)]))
        self.assertEqual(found[1:], [Output(1, b"a"), Output(2, b"\xe2\x82"), Exited(2, 0)])
        self.assertEqual(found[2].shown, "\N{REPLACEMENT CHARACTER}")

    def test_bytes_on_a_terminal(self) -> None:
        """A terminal shows what is no text as its own sign, and so do players."""
        [line] = [
            json.loads(line)
            for line in written(HEADER, [Output(1, b"caf\xe9\n")]).splitlines()
            if b'"o"' in line
        ]
        self.assertEqual(line[2], "caf\N{REPLACEMENT CHARACTER}\n")

    def test_noise_of_a_command(self) -> None:
        """A command's noise is shown as its size alone, and kept."""
        noise = bytes(range(256)) * 16
        [event] = read(written(evolve(HEADER, has_terminal=False), [Output(1, noise)]))[1:]
        self.assertEqual(event, Output(1, noise))
        self.assertEqual(event.shown, "[4096 bytes that are no text]\r\n")

    def test_nuls(self) -> None:
        """A command's zeros are not written with six characters each."""
        data = written(evolve(HEADER, has_terminal=False), [Output(1, bytes(EVENT_BYTES))])
        self.assertLess(len(data), EVENT_BYTES * 1.5)

    def test_text_with_some_bytes(self) -> None:
        """A command's text in another encoding is still readable."""
        line = "naïve façade, and so on\n".encode("latin-1") * 10
        [event] = read(written(evolve(HEADER, has_terminal=False), [Output(1, line)]))[1:]
        self.assertEqual(event.data, line)
        self.assertIn("and so on\r\n", event.shown)

    def test_large_write(self) -> None:
        """A large write is several events, of whole characters each."""
        data = "ä€".encode() * EVENT_BYTES
        found = read(written(HEADER, [Output(1, data)]))
        self.assertEqual(bytes_of(found)[Stream.OUTPUT], data)
        self.assertTrue(all(each.shown is None for each in found[1:]))

    def test_time_goes_on(self) -> None:
        """A clock that was set back does not take the recording along."""
        found = read(written(HEADER, [Output(5_000_000, b"a"), Output(4_000_000, b"b")]))
        self.assertEqual([event.time for event in found[1:]], [5_000_000, 5_000_000])

    def test_command_of_bytes(self) -> None:
        """A command that is no text is kept as it was."""
        header = evolve(HEADER, command=b"ls /tmp/\xff", kind=Kind.COMMAND)
        data = written(header, [])
        self.assertEqual(read(data), [header])
        about = json.loads(data)["mezite"]
        self.assertEqual(base64.b64decode(about["command"]), b"ls /tmp/\xff")

    def test_nothing_written(self) -> None:
        """A command that wrote nothing has something to show, and no byte more."""
        found = read(written(HEADER, [Exited(5, 0)]))
        self.assertEqual(found[1:], [Caption(5, NOTHING), Exited(5, 0)])

    def test_hostile_environment(self) -> None:
        """What a client calls its terminal cannot break the file."""
        data = written(evolve(HEADER, environment={"TERM": 'x"\n\udcff'}), [])
        self.assertEqual(data.count(b"\n"), 1)
        self.assertEqual(json.loads(data)["env"]["TERM"], 'x"\n?')

    def test_no_size(self) -> None:
        """A client without a size does not make a player of no size."""
        header = evolve(HEADER, columns=0, rows=0)
        found = read(written(header, [Resized(1, 0, 1 << 20)]))
        self.assertEqual((found[0].columns, found[0].rows), (80, 24))
        self.assertEqual(found[1], Resized(1, 80, 65535))

    def test_unknown_cannot_be_written(self) -> None:
        """What was not understood is not written again by accident."""
        with self.assertRaises(LocalRecordingError):
            Encoder(HEADER).encode(Unknown(1, "q", ""))


class OthersTests(SynchronousTestCase):
    """Recordings that asciinema made, and lines that nobody should."""

    def test_asciinema(self) -> None:
        """A recording of asciinema's is understood."""
        lines = [
            '{"version": 2, "width": 80, "height": 24, "timestamp": 1504467315, "title": "Demo",'
            ' "env": {"TERM": "xterm-256color", "SHELL": "/bin/zsh"}}',
            '[0.248848, "o", "\\u001b[1;31mHello \\u001b[32mWorld!\\u001b[0m\\n"]',
            '[1, "m", ""]',
            '[2.143733, "q", "later"]',
        ]
        header, *events = read("".join(f"{line}\n" for line in lines).encode())
        self.assertEqual((header.columns, header.session), (80, ""))
        self.assertEqual(
            events,
            [
                Output(248_848, b"\x1b[1;31mHello \x1b[32mWorld!\x1b[0m\n"),
                Marker(1_000_000, ""),
                Unknown(2_143_733, "q", "later"),
            ],
        )

    def test_endless_line(self) -> None:
        """A line without end is not waited for."""
        decoder = Decoder()
        with self.assertRaises(BadRecording):
            for _ in range(LINE_LIMIT // 65536 + 2):
                decoder.receive(b"[" * 65536)

    def test_deep_nesting(self) -> None:
        """Brackets in brackets are refused, not followed."""
        with self.assertRaises(BadRecording):
            Decoder().receive(b"[" * 100_000 + b"\n")

    def test_truncated(self) -> None:
        """An end in the middle of an event is noticed."""
        whole = written(HEADER, [Output(1, b"caf\xe9")])
        for cut in range(len(whole)):
            if whole[cut - 1 : cut] == b"\n" and b'"b"' not in whole[:cut]:
                continue
            decoder = Decoder()
            decoder.receive(whole[:cut])
            with self.assertRaises(BadRecording):
                decoder.finish()

    @given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([
        b'{"version": 2}\n', b'[1, "b", "1:!"]\n', b'[1, "o", "\\ud800"]\n', b'[1e999, "o", ""]\n',
        b'[NaN, "o", ""]\n', b'[1, "x", "\xc2\xb2"]\n', b'[1, "r", "9x"]\n', b'[1, "z", "[[["]\n',
        b'[1, "o", ""]\n', b'[1, "b", "0"]\n', b'{"version": 2, "width": 1e400}\n',
        b'{"version": 2, "mezite": {"kind": []}}\n',
    ])), max_size=6))  # fmt: skip
    @settings(max_examples=100, deadline=None)
    def test_any_bytes(self, pieces: list[bytes]) -> None:
        """Any bytes are events, or refused as no recording."""
        decoder = Decoder()
        try:
            for piece in pieces:
                decoder.receive(piece)
            decoder.finish()
        except BadRecording:
            pass
