"""Tests of recordings on their way to the hub, in a tunnel in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.agent.error import TunnelDown
from mezite.agent.upload import WAIT_SECONDS
from mezite.agent.uploads import BEGIN_SECONDS, RETRY_FIRST, ISpooled, RecordingUploads
from mezite.error import Denied, Unavailable
from mezite.hub.recordinguploads import IRecordingIntake, RecordingReceiver
from mezite.identity.x509 import NodeIdentity
from mezite.names import AgentId, ClusterName, NodeName
from mezite.recording.events import Header, Note, Output
from mezite.recording.format import Decoder
from mezite.recording.recorder import FLUSH_SECONDS, Caps, Recorder
from mezite.recording.recordings import SpooledRecordings
from mezite.recording.spool import Spool, SpoolLimits
from mezite.rpc.opening import Opening
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode
from tests.doubles.recordings import PLENTY, Disk
from tests.doubles.recordingstore import MemoryRecordings
from tests.doubles.threads import InlineThreads
from tests.mux.pair import Pair

DB1 = NodeIdentity(ClusterName("demo"), AgentId.new(), NodeName("db1"))


class UploadsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.begin_test(self.mktemp())

    def begin_test(self, path: str) -> None:
        self.path = Path(path)
        self.store = MemoryRecordings()
        self.clock = Clock()
        self.pair: Pair | None = None
        self.serves = True
        self.agent()

    def agent(self) -> None:
        """An agent starts, or starts again."""
        spool = Spool(self.path, SpoolLimits(PLENTY, 0), Disk().free)
        threads = InlineThreads()
        self.uploads = RecordingUploads(
            spool, threads, self.clock, self.open_stream, lambda low, high: high
        )
        self.recordings = SpooledRecordings(
            spool=spool,
            threads=threads,
            caps=Caps(PLENTY, PLENTY),
            uploads=self.uploads,
            clock=self.clock,
            wall_clock=self.clock.seconds,
            monotonic=self.clock.seconds,
        )
        self.uploads.adopt(spool.prepare())
        self.advance(0)

    def open_stream(self, header: StreamHeader) -> Any:
        if self.pair is None:
            raise TunnelDown()
        stream = self.pair.agent.open_stream()
        stream.write(encode(header))
        return stream

    def connect(self) -> None:
        self.pair = Pair(hub_accepts=lambda: Opening(self.pair.clock, self.serve))  # type: ignore[union-attr]
        self.uploads.tunnel_up()
        self.advance(0)

    def serve(self, header: StreamHeader) -> Protocol | None:
        assert self.pair is not None
        assert header.service == "recording"
        return RecordingReceiver(DB1, self.store, self.pair.clock) if self.serves else None

    def cut(self) -> None:
        """The tunnel breaks, with what was on its way."""
        pair, self.pair = self.pair, None
        if pair is not None:
            pair.agent.abort()
            pair.flush()

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        if self.pair is not None:
            self.pair.flush()

    def record(self, session: str = "s") -> Recorder:
        header = Header(0, session=session, number=1)
        begun = Deferred.fromCoroutine(
            self.recordings.begin(header, is_lossy=False, on_failed=lambda error: None)
        )
        return self.successResultOf(begun)

    def files(self) -> list[str]:
        return sorted(path.name for path in self.path.glob("*/*"))

    def events(self, recording: str = "s.1") -> list[Any]:
        return Decoder().receive(self.store.recordings[recording].content)


class UploadTests(UploadsTestCase):
    def test_interfaces(self) -> None:
        """They are what the recorders and the receivers know."""
        verifyObject(ISpooled, self.uploads)
        verifyObject(IRecordingIntake, self.store)

    def test_live(self) -> None:
        """What happens is at the hub within a second, and off the node when it is over."""
        self.connect()
        recorder = self.record()
        self.advance(BEGIN_SECONDS)
        recorder.output(b"$ ")
        self.advance(FLUSH_SECONDS)
        self.assertEqual(self.events()[1:], [Output(500_000, b"$ ")])
        self.assertFalse(self.store.recordings["s.1"].is_verified)
        recorder.exited(0)
        self.advance(0)
        self.advance(0)
        self.assertTrue(self.store.recordings["s.1"].is_verified)
        self.assertIsNone(self.store.recordings["s.1"].interrupted)
        self.assertEqual(self.files(), [])
        self.assertEqual(self.uploads.held, {})

    def test_without_a_tunnel(self) -> None:
        """What was recorded meanwhile is uploaded once the tunnel is up."""
        recorder = self.record()
        recorder.output(bytes(1_000_000))
        recorder.exited(0)
        self.advance(10)
        self.assertEqual(self.files(), ["1.chunks"])
        self.connect()
        self.assertTrue(self.store.recordings["s.1"].is_verified)
        self.assertEqual(self.files(), [])

    def test_inventory(self) -> None:
        """The hub is told what the node still holds, also when that is nothing."""
        self.connect()
        self.assertEqual(self.store.listed, [frozenset()])
        self.cut()
        self.record()
        self.connect()
        self.assertEqual(self.store.listed[1:], [frozenset({"s.1"})])

    def test_no_service(self) -> None:
        """A hub without the service is asked again, seldom, and loses nothing."""
        self.serves = False
        self.connect()
        recorder = self.record()
        recorder.exited(0)
        self.advance(BEGIN_SECONDS)
        self.serves = True
        self.advance(RETRY_FIRST - 1)
        self.assertEqual(self.store.recordings, {})
        self.advance(1)
        self.assertEqual(self.files(), [])
        self.assertTrue(self.store.recordings["s.1"].is_verified)

    def test_refused_now(self) -> None:
        """A hub whose disk is full is asked again."""
        self.store.fails = Unavailable("the hub's disk is full")
        self.connect()
        self.record().exited(0)
        self.advance(BEGIN_SECONDS)
        self.assertEqual(self.files(), ["1.chunks"])
        self.store.fails = None
        self.advance(RETRY_FIRST)
        self.assertEqual(self.files(), [])

    def test_refused_for_ever(self) -> None:
        """What the hub never takes is kept for an administrator, and not tried again."""
        self.store.fails = Denied("this session was not on this node")
        self.connect()
        self.record().exited(0)
        self.advance(BEGIN_SECONDS)
        self.assertEqual(self.files(), ["1.refused"])
        self.agent()
        self.assertEqual(self.uploads.held, {})

    def test_killed(self) -> None:
        """What a killed agent left behind is closed as interrupted, where it ends."""
        recorder = self.record()
        recorder.output(b"before")
        self.clock.advance(FLUSH_SECONDS)
        recorder.output(b"lost")
        self.agent()
        self.connect()
        kept = self.store.recordings["s.1"]
        self.assertEqual(kept.interrupted, "the agent or its machine went down")
        self.assertEqual(self.events()[1:], [Output(0, b"before")])
        self.assertEqual(self.files(), [])

    def test_hub_has_more(self) -> None:
        """What a power cut took from the node, and the hub has, stays at the hub."""
        self.connect()
        recorder = self.record()
        for text in (b"one", b"two"):
            recorder.output(text)
            self.advance(1.0)
        self.cut()
        path = self.path / "s" / "1.chunks"
        path.write_bytes(path.read_bytes()[:-5])
        self.agent()
        self.connect()
        kept = self.store.recordings["s.1"]
        self.assertEqual(len(kept.chunks), 3)
        self.assertIsNotNone(kept.interrupted)
        self.assertEqual(self.files(), [])

    def test_other_recording(self) -> None:
        """Two recordings of one name are not mixed: the node's is set aside."""
        self.record("other").exited(0)
        self.record().exited(0)
        self.connect()
        self.store.recordings["s.1"].is_verified = False
        self.store.recordings["s.1"].chunks[:] = self.store.recordings["other.1"].chunks[:1]
        self.cut()
        self.record().exited(0)
        self.connect()
        self.assertEqual(self.files(), ["1.refused"])

    def test_idle(self) -> None:
        """A shell at which nobody works has no stream, and gets one for its next byte."""
        self.connect()
        recorder = self.record()
        self.advance(BEGIN_SECONDS)
        self.advance(WAIT_SECONDS)
        assert self.pair is not None
        [held] = self.uploads.held.values()
        self.assertIsNone(held.upload)
        self.advance(10 * WAIT_SECONDS)
        self.assertIsNone(held.upload)
        recorder.output(b"a")
        self.advance(FLUSH_SECONDS)
        self.advance(BEGIN_SECONDS)
        self.assertEqual(len(self.events()), 2)

    def test_reason(self) -> None:
        """A recording that could not go on is interrupted, and the hub hears why."""
        self.connect()
        recorder = self.record()
        recorder.fail(Unavailable("the disk of the node is full"))
        self.advance(BEGIN_SECONDS)
        self.assertEqual(self.store.recordings["s.1"].interrupted, "the disk of the node is full")

    def test_stopped(self) -> None:
        """An agent that stops leaves what it has on the disk, whole."""
        self.connect()
        self.record().output(b"a")
        self.successResultOf(Deferred.fromCoroutine(self.recordings.stop()))
        self.uploads.stop()
        self.cut()
        self.agent()
        self.connect()
        self.assertIn(Note(0, "ended", {"reason": "the agent was stopped"}), self.events())
        self.assertIsNone(self.store.recordings["s.1"].interrupted)

    @given(
        st.lists(
            st.tuples(st.sampled_from(["write", "cut", "kill", "pass"]), st.integers(1, 4000)),
            max_size=20,
        )
    )
    @settings(max_examples=40, deadline=None)
    def test_chaos(self, steps: list[tuple[str, int]]) -> None:
        """Whatever is cut and killed, the hub has what was on the disk, once and in order."""
        self.begin_test(self.mktemp())
        recorders = [self.record("s0")]
        for number, (step, size) in enumerate(steps, 1):
            if step == "write":
                recorders[-1].output(b"%d " % number * size)
                self.advance(FLUSH_SECONDS)
            elif step == "cut":
                self.cut()
                self.connect()
            elif step == "kill":
                self.cut()
                self.agent()
                recorders.append(self.record(f"s{number}"))
            else:
                self.advance(size / 100)
        recorders[-1].exited(0)
        self.cut()
        self.agent()
        self.connect()
        self.advance(1)
        self.assertEqual(self.files(), [])
        for recording, kept in self.store.recordings.items():
            self.assertTrue(kept.is_verified)
            is_last = recording == recorders[-1].recording
            self.assertEqual(kept.interrupted is None, is_last)
            Decoder().receive(kept.content)
        self.assertEqual(len(self.store.recordings), len(recorders))
