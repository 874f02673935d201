"""Tests of recordings as they come in, against agents that do not keep the rules."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.recordinguploads import HELLO_SECONDS, INVENTORY_LIMIT, RecordingReceiver
from mezite.identity.x509 import NodeIdentity
from mezite.names import AgentId, ClusterName, NodeName
from mezite.recording.uploadwire import (
    FROM_HUB,
    IDS_IN_A_MESSAGE,
    Acked,
    ChunkSent,
    Hello,
    Inventory,
    MessageReader,
    Resume,
    encode,
)
from tests.doubles.recordingstore import MemoryRecordings
from tests.recording.test_chunks import chunked

DB1 = NodeIdentity(ClusterName("demo"), AgentId.new(), NodeName("db1"))


class SlowRecordings(MemoryRecordings):
    """Answers when the test says so."""

    def append(self, *what: Any) -> Deferred[None]:
        self.answer: Deferred[None] = Deferred()
        return self.answer


class ReceiverTests(SynchronousTestCase):
    def receiver(self, store: MemoryRecordings) -> RecordingReceiver:
        self.clock = Clock()
        self.transport = StringTransport()
        made = RecordingReceiver(DB1, store, self.clock)
        made.makeConnection(self.transport)
        return made

    def said(self) -> list[Any]:
        return MessageReader(FROM_HUB).receive(self.transport.value())

    def test_silence(self) -> None:
        """An agent that does not say which recording it is about is not waited for."""
        self.receiver(MemoryRecordings())
        self.clock.advance(HELLO_SECONDS)
        self.assertTrue(self.transport.disconnected)

    def test_too_early(self) -> None:
        """A chunk before the hub has said where it stands breaks the rules."""
        receiver = self.receiver(MemoryRecordings())
        [chunk] = chunked([b"a"], "s.1", ends=False)
        receiver.dataReceived(encode(Hello("s.1")) + encode(ChunkSent(chunk.data)))
        self.assertTrue(self.transport.disconnected)

    def test_silent_shell(self) -> None:
        """After that an agent may be silent: so is a shell at night."""
        receiver = self.receiver(MemoryRecordings())
        receiver.dataReceived(encode(Hello("s.1")))
        self.clock.advance(1e6)
        self.assertFalse(self.transport.disconnecting)

    def test_garbage(self) -> None:
        """What is no message ends the stream; what waited is not kept."""
        store = MemoryRecordings()
        receiver = self.receiver(store)
        receiver.dataReceived(encode(Hello("s.1")) + b"\xff" * 10)
        self.assertTrue(self.transport.disconnected)

    def test_acknowledged_when_kept(self) -> None:
        """A chunk is acknowledged once the store has it, and not before."""
        store = SlowRecordings()
        receiver = self.receiver(store)
        [chunk] = chunked([b"a"], "s.1", ends=False)
        receiver.dataReceived(encode(Hello("s.1")))
        receiver.dataReceived(encode(ChunkSent(chunk.data)))
        self.assertEqual([type(each) for each in self.said()], [Resume])
        store.answer.callback(None)
        self.assertEqual(self.said()[1:], [Acked(1)])

    def test_bug_of_the_store(self) -> None:
        """A store that fails in a way nobody foresaw ends the stream, and is logged."""
        store = SlowRecordings()
        receiver = self.receiver(store)
        [chunk] = chunked([b"a"], "s.1", ends=False)
        receiver.dataReceived(encode(Hello("s.1")))
        receiver.dataReceived(encode(ChunkSent(chunk.data)))
        store.answer.errback(ZeroDivisionError())
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_endless_inventory(self) -> None:
        """A list without end is not held."""
        store = MemoryRecordings()
        receiver = self.receiver(store)
        part = encode(Inventory(tuple(f"s.{n}" for n in range(IDS_IN_A_MESSAGE)), False))
        for _ in range(INVENTORY_LIMIT // IDS_IN_A_MESSAGE + 1):
            receiver.dataReceived(part)
        self.assertTrue(self.transport.disconnected)
        self.assertEqual(store.listed, [])
