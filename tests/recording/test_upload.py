"""Tests of how a recording comes to the hub whole, whatever is cut in between."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.recording.chunks import Chunk, Position
from mezite.recording.error import LocalRecordingError, RemoteUploadError
from mezite.recording.upload import (
    UNACKED,
    ClientState,
    ServerState,
    UploadClient,
    UploadServer,
)
from mezite.recording.uploadwire import (
    FROM_AGENT,
    FROM_HUB,
    IDS_IN_A_MESSAGE,
    Abandon,
    Acked,
    ChunkSent,
    Finish,
    Hello,
    Inventory,
    MessageReader,
    RefusalCode,
    Refused,
    Resume,
    Verified,
    encode,
    is_recording_id,
)
from tests.doubles.recordingstore import StoredRecording
from tests.recording.test_chunks import chunked

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "recording-upload.json").read_text("utf-8")
)
SIDES = {"agent": FROM_AGENT, "hub": FROM_HUB}


class WireTests(SynchronousTestCase):
    def test_vectors(self) -> None:
        """Messages are read as the specification's vectors say, and written so again."""
        for vector in VECTORS["messages"]:
            data = bytes.fromhex(vector["hex"])
            [message] = MessageReader(SIDES[vector["from"]]).receive(data)
            self.assertEqual(encode(message), data, vector["what"])

    def test_refused(self) -> None:
        """What the other side may not say is refused."""
        for vector in VECTORS["refused"]:
            with self.assertRaises(RemoteUploadError, msg=vector["why"]):
                MessageReader(SIDES[vector["from"]]).receive(bytes.fromhex(vector["hex"]))

    @given(st.sampled_from(sorted(SIDES)), st.integers(1, 300))
    @settings(max_examples=40, deadline=None)
    def test_any_chunking(self, side: str, step: int) -> None:
        """Any chunking gives the same messages."""
        data = b"".join(
            bytes.fromhex(vector["hex"]) for vector in VECTORS["messages"] if vector["from"] == side
        )
        reader = MessageReader(SIDES[side])
        found = [
            message
            for at in range(0, len(data), step)
            for message in reader.receive(data[at : at + step])
        ]
        self.assertEqual(found, MessageReader(SIDES[side]).receive(data))

    @given(st.binary(max_size=100), st.sampled_from(sorted(SIDES)))
    @settings(max_examples=100, deadline=None)
    def test_any_bytes(self, data: bytes, side: str) -> None:
        """Any bytes are messages, or the beginning of one, or refused as such."""
        for begin in (b"", *(bytes([n, 0, 0, 0]) for n in (1, 3, 4, 5, 16, 17, 18, 19))):
            try:
                MessageReader(SIDES[side]).receive(begin + data)
            except RemoteUploadError:
                pass

    def test_ids(self) -> None:
        """An id of a recording cannot lead out of a directory."""
        self.assertTrue(is_recording_id("5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f.12"))
        for text in ("", "a", "a.", ".1", "../a.1", "a/b.1", "a.1\n", "a.1.2", "a.²", "-.1"):
            self.assertFalse(is_recording_id(text), text)
            with self.assertRaises(LocalRecordingError):
                encode(Hello(text))

    def test_too_many_ids(self) -> None:
        """An inventory comes in messages of a bounded length."""
        ids = tuple(f"s.{n}" for n in range(IDS_IN_A_MESSAGE + 1))
        with self.assertRaises(RemoteUploadError):
            MessageReader(FROM_AGENT).receive(encode(Inventory(ids)))


@define
class Cut:
    """A connection that carries so many bytes more, one way and the other."""

    up: int
    down: int

    def carry_up(self, data: bytes) -> bytes:
        carried, self.up = data[: self.up], max(0, self.up - len(data))
        return carried

    def carry_down(self, data: bytes) -> bytes:
        carried, self.down = data[: self.down], max(0, self.down - len(data))
        return carried


@define
class Hub:
    """Keeps what an :class:`UploadServer` hands on, as a store would."""

    recordings: dict[str, StoredRecording] = field(factory=dict)
    server: UploadServer = field(factory=UploadServer)
    current: StoredRecording | None = None

    def connect(self) -> None:
        self.server = UploadServer()

    def hear(self, data: bytes) -> None:
        for message in self.server.receive(data):
            self.on(message)

    def on(self, message: Any) -> None:
        server = self.server
        match message:
            case Hello(recording=recording):
                kept = self.recordings.setdefault(recording, StoredRecording(recording))
                self.current = kept
                if kept.is_verified:
                    server.verified(kept.position)
                else:
                    is_whole = bool(kept.chunks) and kept.chunks[-1].is_last
                    server.resume(kept.position, is_whole=is_whole)
            case Chunk():
                assert self.current is not None
                self.current.chunks.append(message)
                server.ack(message.number + 1)
            case Finish() | Abandon():
                assert self.current is not None
                self.current.is_verified = True
                if isinstance(message, Abandon):
                    self.current.interrupted = message.reason
                server.verified(server.position)


def attempt(spool: list[Chunk], recording: str, hub: Hub, cut: Cut) -> bool:
    """One connection, until it is cut; whether the node may delete its recording."""
    hub.connect()
    client = UploadClient(recording)
    while True:
        while client.may_send and client.next_number < len(spool):
            client.send_chunk(client.next_number, spool[client.next_number].data)
        if client.is_all_acked:
            if client.next_number == len(spool) and spool[-1].is_last:
                client.finish(spool[-1].after)
            else:
                client.abandon("cut off")
        said = cut.carry_up(client.data_to_send())
        if not said:
            return False
        hub.hear(said)
        answered = cut.carry_down(hub.server.data_to_send())
        if not answered and client.state is not ClientState.OVER:
            return False
        client.receive(answered)
        if client.state is ClientState.OVER:
            return True


class CutTests(SynchronousTestCase):
    """A recording arrives whole, wherever connections break."""

    def check(self, hub: Hub, spool: list[Chunk]) -> None:
        stored = hub.recordings["s1.1"]
        self.assertTrue(stored.is_verified)
        self.assertEqual(stored.chunks, spool)
        self.assertEqual(stored.interrupted, None if spool[-1].is_last else "cut off")

    def test_cut_at_every_byte(self) -> None:
        """One cut at any byte of either direction, then a connection that holds."""
        for ends in (True, False):
            spool = chunked([b"one\n", b"two\n" * 30, b"three\n"], ends=ends)
            length = sum(len(chunk.data) for chunk in spool) + 200
            for at in range(length):
                for cut in (Cut(at, 1 << 20), Cut(1 << 20, at)):
                    hub = Hub()
                    if not attempt(spool, "s1.1", hub, cut):
                        self.assertTrue(attempt(spool, "s1.1", hub, Cut(1 << 20, 1 << 20)))
                    self.check(hub, spool)
                    # An answer that was lost is given again.
                    self.assertTrue(attempt(spool, "s1.1", hub, Cut(1 << 20, 1 << 20)))

    @given(
        st.lists(st.binary(max_size=400), min_size=1, max_size=20),
        st.booleans(),
        st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 300)), max_size=20),
    )
    @settings(max_examples=60, deadline=None)
    def test_many_cuts(
        self, contents: list[bytes], ends: bool, cuts: list[tuple[int, int]]
    ) -> None:
        """Any number of cuts anywhere, and nothing comes twice or not at all."""
        spool = chunked(contents, ends=ends)
        hub = Hub()
        for up, down in cuts:
            attempt(spool, "s1.1", hub, Cut(up, down))
        self.assertTrue(attempt(spool, "s1.1", hub, Cut(1 << 30, 1 << 30)))
        self.check(hub, spool)

    def test_live(self) -> None:
        """What is recorded while it is sent follows when it is there."""
        hub, client = Hub(), UploadClient("s1.1")
        spool: list[Chunk] = []
        for text in (b"one", b"two"):
            hub.hear(client.data_to_send())
            client.receive(hub.server.data_to_send())
            spool = chunked([*(chunk.content() for chunk in spool), text], ends=False)
            client.send_chunk(client.next_number, spool[-1].data)
        hub.hear(client.data_to_send())
        self.assertEqual(hub.recordings["s1.1"].content, b"onetwo")


class RuleTests(SynchronousTestCase):
    """What a peer may not do."""

    def receiving(self) -> UploadServer:
        server = UploadServer()
        server.receive(encode(Hello("s1.1")))
        server.resume(Position.start("s1.1"))
        return server

    def test_every_pair(self) -> None:
        """Each message in each state of the hub's half moves it, or is refused and it stays."""
        [chunk] = chunked([b"a"])
        messages = [
            Hello("s1.1"),
            ChunkSent(chunk.data),
            Finish(chunk.after),
            Abandon("gone"),
            Inventory(("s1.1",)),
        ]
        for state in ServerState:
            for message in messages:
                server = self.receiving()
                server.state = state
                try:
                    server.receive(encode(message))
                except RemoteUploadError:
                    self.assertIn(server.state, (state, ServerState.ENDING))

    def test_every_answer(self) -> None:
        """Each message in each state of the agent's half moves it, or is refused and it stays."""
        answers = [
            Resume(Position.start("s1.1")),
            Acked(1),
            Verified(Position.start("s1.1")),
            Refused(RefusalCode.NEVER, "no"),
        ]
        for state in ClientState:
            for answer in answers:
                client = UploadClient("s1.1")
                client.next_number = 1
                client.state = state
                try:
                    client.receive(encode(answer))
                except RemoteUploadError:
                    self.assertEqual(client.state, state)

    def test_damaged_chunk(self) -> None:
        """A chunk that was changed on the way is not kept."""
        [chunk] = chunked([b"some text\n"])
        server = self.receiving()
        with self.assertRaises(RemoteUploadError):
            server.receive(encode(ChunkSent(chunk.data[:-1] + b"!")))

    def test_half_a_chunk(self) -> None:
        """A message holds one chunk, not half of one nor two."""
        one, two = chunked([b"a", b"b"])
        for data in (one.data[:-1], one.data + two.data, one.data + b"M", b""):
            with self.assertRaises(RemoteUploadError):
                self.receiving().receive(encode(ChunkSent(data)))

    def test_end_elsewhere(self) -> None:
        """A recording ends behind its last chunk, and where both say."""
        one, two = chunked([b"a", b"b"])
        for sent, position in (
            ([one], one.after),
            ([one, two], one.after),
            ([one, two], Position(2, bytes(32))),
        ):
            server = self.receiving()
            for chunk in sent:
                server.receive(encode(ChunkSent(chunk.data)))
            with self.assertRaises(RemoteUploadError):
                server.receive(encode(Finish(position)))

    def test_flood(self) -> None:
        """An agent that does not wait for acknowledgements is refused."""
        chunks = chunked([b"a"] * (UNACKED + 1))
        server = self.receiving()
        for chunk in chunks[:-1]:
            server.receive(encode(ChunkSent(chunk.data)))
        with self.assertRaises(RemoteUploadError):
            server.receive(encode(ChunkSent(chunks[-1].data)))

    def test_window(self) -> None:
        """The agent's half sends so much, and then waits."""
        chunks = chunked([b"a"] * (UNACKED + 1))
        client = UploadClient("s1.1")
        client.receive(encode(Resume(Position.start("s1.1"))))
        for chunk in chunks[:-1]:
            client.send_chunk(chunk.number, chunk.data)
        self.assertFalse(client.may_send)
        with self.assertRaises(LocalRecordingError):
            client.send_chunk(chunks[-1].number, chunks[-1].data)
        client.receive(encode(Acked(1)))
        self.assertTrue(client.may_send)

    def test_wrong_ack(self) -> None:
        """A hub cannot acknowledge what was not sent, nor go back."""
        client = UploadClient("s1.1")
        client.receive(encode(Resume(Position(5, bytes(32)))))
        for number in (5, 6):
            with self.assertRaises(RemoteUploadError):
                client.receive(encode(Acked(number)))

    def test_verified_otherwise(self) -> None:
        """A hub that verifies another end than was sent is not believed."""
        [chunk] = chunked([b"a"])
        client = UploadClient("s1.1")
        client.receive(encode(Resume(chunk.after)))
        client.finish(chunk.after)
        with self.assertRaises(RemoteUploadError):
            client.receive(encode(Verified(evolve(chunk.after, chain=bytes(32)))))

    def test_other_version(self) -> None:
        """An agent of a later version is told so."""
        with self.assertRaises(RemoteUploadError):
            UploadServer().receive(encode(Hello("s1.1", version=2)))

    def test_refusal(self) -> None:
        """A hub that takes a recording not now, or never, says which."""
        server = UploadServer()
        server.receive(encode(Hello("s1.1")))
        server.refuse(RefusalCode.NOT_NOW, "the disk of the hub is full")
        client = UploadClient("s1.1")
        self.assertEqual(
            client.receive(server.data_to_send()),
            [Refused(RefusalCode.NOT_NOW, "the disk of the hub is full")],
        )
        self.assertIs(client.state, ClientState.OVER)

    def test_inventory(self) -> None:
        """A list of what a node holds comes on a stream of its own."""
        server = UploadServer()
        lists = [Inventory(("s1.1",), False), Inventory(("s1.2",), True)]
        self.assertEqual(server.receive(b"".join(map(encode, lists))), lists)
        with self.assertRaises(RemoteUploadError):
            server.receive(encode(Hello("s1.1")))
