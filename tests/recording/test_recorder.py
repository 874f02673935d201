"""Tests of what happens in a session until it is on the disk."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.rolesdoc import Recording
from mezite.recording.error import RecordingFailed
from mezite.recording.events import (
    Caption,
    Exited,
    Header,
    Input,
    Kind,
    Note,
    Output,
    Resized,
    Stream,
)
from mezite.recording.recorder import BATCH, FLUSH_SECONDS, HIGH, LOSSY_LIMIT, WRITE_SECONDS, Caps
from mezite.recording.recordingfile import SYNC_SECONDS
from mezite.recording.recordings import BEGIN_SECONDS, SessionRecord, SessionRecordings
from tests.doubles.recordings import PLENTY, Disk, recordings_below
from tests.doubles.threads import HeldThreads, InlineThreads

ABOUT = Header(0, session="s1", node="db1", login="root", user="ada", address="192.0.2.7:1")
STRICT, BEST_EFFORT = Recording.STRICT, Recording.BEST_EFFORT


class RecorderTestCase(SynchronousTestCase):
    threads: Any

    def setUp(self) -> None:
        self.clock = Clock()
        self.disk = Disk()
        self.lost: list[Exception] = []
        self.held = HeldThreads([])

    def begin(
        self,
        mode: Recording = STRICT,
        *,
        threads: Any = None,
        has_input: bool = False,
        is_forwards: bool = False,
        caps: Caps = Caps(PLENTY, PLENTY),  # noqa: B008 - it is frozen
        quota: int = PLENTY,
        **about: Any,
    ) -> Any:
        self.node, self.watch = recordings_below(
            self.mktemp(),
            clock=self.clock,
            disk=self.disk,
            threads=threads or InlineThreads(),
            caps=caps,
            quota=quota,
        )
        session = SessionRecordings(self.node, SessionRecord(mode, has_input), ABOUT)
        return session.begin(self.lost.append, is_forwards=is_forwards, **about)

    def begun(self, mode: Recording = STRICT, **rest: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(self.begin(mode, **rest)))

    def events(self, recording: str = "s1.1") -> list[Any]:
        return self.watch.events(recording)[1:]


class WritingTests(RecorderTestCase):
    def test_shell(self) -> None:
        """A session on a terminal, from its first byte to its end."""
        self.clock.advance(1000.0)
        recorder = self.begun(columns=100, rows=40, has_input=True)
        recorder.output(b"$ ")
        self.clock.advance(1.0)
        recorder.input(b"ls\r")
        recorder.resized(120, 50)
        self.clock.advance(1.0)
        recorder.exited(143, "TERM")
        self.assertTrue(recorder.finished.called)
        header, *events = self.watch.events("s1.1")
        self.assertEqual(
            (header.timestamp, header.number, header.node, header.columns, header.has_input),
            (1000, 1, "db1", 100, True),
        )
        self.assertEqual(
            events,
            [
                Output(0, b"$ "),
                Input(1_000_000, b"ls\r"),
                Resized(1_000_000, 120, 50),
                Note(2_000_000, "signal", {"name": "TERM", "core": False}),
                Note(2_000_000, "totals", {"input": 3, "output": 2, "error": 0}),
                Exited(2_000_000, 143),
            ],
        )
        self.assertTrue(self.watch.files["s1.1"].is_finished)
        self.assertEqual(self.watch.ends, {"s1.1": None})

    def test_no_input(self) -> None:
        """What a person types is counted, and not recorded, unless a role says so."""
        recorder = self.begun()
        recorder.input(b"secret")
        recorder.exited(0)
        self.assertNotIn(b"secret", self.watch.content("s1.1"))
        self.assertIn(Note(0, "totals", {"input": 6, "output": 0, "error": 0}), self.events())

    def test_flush(self) -> None:
        """A byte is on the disk within a quarter of a second."""
        recorder = self.begun()
        recorder.output(b"a")
        self.assertEqual(self.events(), [])
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(self.events(), [Output(0, b"a")])

    def test_batch(self) -> None:
        """Much is on the disk at once."""
        recorder = self.begun()
        recorder.output(bytes(BATCH))
        self.assertEqual(sum(len(event.data) for event in self.events()), BATCH)

    def test_merged(self) -> None:
        """What comes in a moment is one event, and other streams are not mixed in."""
        recorder = self.begun(has_terminal=False)
        for data in (b"a", b"b"):
            recorder.output(data)
            self.clock.advance(0.001)
        recorder.output(b"!", Stream.ERROR)
        recorder.output(b"c")
        self.clock.advance(0.03)
        recorder.output(b"d")
        self.clock.advance(FLUSH_SECONDS)
        self.assertEqual(
            [(event.data, event.stream.value) for event in self.events()],
            [(b"ab", 1), (b"!", 2), (b"c", 1), (b"d", 1)],
        )

    def test_synced(self) -> None:
        """The disk is made to keep what is written, every few seconds and at the end."""
        recorder = self.begun()
        synced: list[float] = []
        self.patch(os, "fdatasync", lambda descriptor: synced.append(self.clock.seconds()))
        for _ in range(30):
            recorder.output(b"a")
            self.clock.advance(0.5)
        self.assertLessEqual(len(synced), 15 / SYNC_SECONDS + 1)
        self.assertGreaterEqual(len(synced), 2)
        recorder.exited(0)
        self.assertEqual(synced[-1], self.clock.seconds())

    def test_caps(self) -> None:
        """A command's output and input are recorded up to a cap, and then counted."""
        caps = Caps(output=10, input=4)
        recorder = self.begun(has_terminal=False, has_input=True, caps=caps, kind=Kind.COMMAND)
        for _ in range(3):
            recorder.output(b"1234567")
            recorder.input(b"abc")
        recorder.exited(0)
        self.assertEqual(
            self.events(),
            [
                Output(0, b"1234567"),
                Input(0, b"abc"),
                Output(0, b"123"),
                Note(0, "capped", {"stream": 1, "bytes": 10}),
                Caption(0, "[from here on only counted, after 10 bytes]\r\n"),
                Input(0, b"a"),
                Note(0, "capped", {"stream": 0, "bytes": 4}),
                Caption(0, "[from here on only counted, after 4 bytes]\r\n"),
                Note(0, "totals", {"input": 9, "output": 21, "error": 0}),
                Exited(0, 0),
            ],
        )

    def test_no_cap_on_a_terminal(self) -> None:
        """What a person saw is recorded to its end."""
        recorder = self.begun(caps=Caps(1, 1))
        recorder.output(b"12345")
        recorder.exited(0)
        self.assertEqual(self.events()[0], Output(0, b"12345"))

    def test_numbers(self) -> None:
        """Each channel of a session has its number; what is forwarded has 0."""
        self.begun()
        session = SessionRecordings(self.node, SessionRecord(), ABOUT)
        for expected, is_forwards in (("s1.0", True),):
            recorder = self.successResultOf(
                Deferred.fromCoroutine(session.begin(self.lost.append, is_forwards=is_forwards))
            )
            self.assertEqual(recorder.recording, expected)

    def test_closed(self) -> None:
        """A session without an end of its own says how it ended, once."""
        recorder = self.begun()
        recorder.output(b"a")
        recorder.close("the client closed the session")
        recorder.exited(0)
        recorder.output(b"late")
        self.assertEqual(
            self.events(),
            [
                Output(0, b"a"),
                Note(0, "ended", {"reason": "the client closed the session"}),
                Note(0, "totals", {"input": 0, "output": 1, "error": 0}),
            ],
        )
        self.assertTrue(self.watch.files["s1.1"].is_finished)

    def test_off(self) -> None:
        """Where nothing is to be recorded, nothing is."""
        self.assertIsNone(self.begun(Recording.OFF))
        self.assertEqual(self.watch.files, {})


class PressureTests(RecorderTestCase):
    """A disk that is slower than the session."""

    def slow(self, mode: Recording) -> Any:
        beginning = Deferred.fromCoroutine(self.begin(mode, threads=self.held))
        self.held.work()
        recorder = self.successResultOf(beginning)
        self.pressure: list[bool] = []
        recorder.on_pressure = self.pressure.append
        return recorder

    def test_strict(self) -> None:
        """A strict session waits for its record, which loses nothing."""
        recorder = self.slow(STRICT)
        for _ in range(HIGH // BATCH + 1):
            recorder.output(bytes(BATCH))
        self.assertEqual(self.pressure, [True])
        self.held.work()
        self.assertEqual(self.pressure, [True])
        self.held.work()
        self.assertEqual(self.pressure, [True, False])
        recorder.exited(0)
        while self.held.held:
            self.held.work()
        written = sum(len(each.data) for each in self.events() if isinstance(each, Output))
        self.assertEqual(written, HIGH + BATCH)

    def test_best_effort(self) -> None:
        """Another session never waits: what is too much is lost, and the record says so."""
        recorder = self.slow(BEST_EFFORT)
        for _ in range(LOSSY_LIMIT // BATCH + 10):
            recorder.output(bytes(BATCH))
        self.assertEqual(self.pressure, [])
        recorder.exited(0)
        while self.held.held:
            self.held.work()
        written = sum(len(each.data) for each in self.events() if isinstance(each, Output))
        [gap] = [each for each in self.events() if isinstance(each, Note) and each.kind == "gap"]
        self.assertEqual(written + int(gap.fields["bytes"]), LOSSY_LIMIT + 10 * BATCH)
        self.assertLessEqual(written, LOSSY_LIMIT + 2 * BATCH)

    def test_hanging_disk(self) -> None:
        """A disk that hangs ends a strict session, after a while."""
        recorder = self.slow(STRICT)
        recorder.output(bytes(HIGH))
        self.clock.advance(WRITE_SECONDS)
        self.assertEqual(len(self.lost), 1)
        self.assertIn("does not answer", str(self.lost[0]))
        self.assertEqual(self.pressure, [True, False])
        self.held.work()
        self.assertEqual(self.watch.ends, {"s1.1": "the disk of the node does not answer"})

    def test_stopped_while_it_wrote(self) -> None:
        """A process that was stopped meanwhile does not take the disk for one that hangs."""
        recorder = self.slow(STRICT)
        recorder.output(bytes(BATCH))
        self.clock.advance(10 * WRITE_SECONDS)
        self.assertEqual(self.lost, [])
        self.held.work()
        recorder.output(bytes(BATCH))
        self.clock.advance(10 * WRITE_SECONDS)
        self.clock.advance(WRITE_SECONDS)
        self.assertEqual(len(self.lost), 1)

    def test_slow_beginning(self) -> None:
        """A recording that could not be begun in time is no recording."""
        beginning = Deferred.fromCoroutine(self.begin(STRICT, threads=self.held))
        self.clock.advance(BEGIN_SECONDS)
        self.failureResultOf(beginning, RecordingFailed)
        self.held.work()
        self.held.work()
        self.assertEqual(self.watch.files, {})
        self.assertEqual(self.node.spool.used, 0)


class FullTests(RecorderTestCase):
    """A disk without room."""

    def test_strict_refused(self) -> None:
        """No record, no session."""
        self.disk.room = 1
        beginning = Deferred.fromCoroutine(self.begin(STRICT))
        error = self.failureResultOf(beginning, RecordingFailed).value
        self.assertEqual(
            str(error),
            "this session has to be recorded, and cannot be: the disk of the node is full",
        )

    def test_best_effort_goes_on(self) -> None:
        """A session whose record is best effort goes on without, from the start or later."""
        self.disk.room = 1
        self.assertIsNone(self.begun(BEST_EFFORT))
        self.disk.room = PLENTY
        recorder = self.begun(BEST_EFFORT)
        self.disk.room = 1
        recorder.output(bytes(BATCH))
        recorder.output(b"more")
        recorder.exited(0)
        self.assertEqual(self.lost, [])
        self.assertEqual(self.watch.ends, {"s1.1": "the disk of the node is full"})

    def test_strict_ends(self) -> None:
        """A strict session ends with its record, and is told once."""
        recorder = self.begun(STRICT)
        self.disk.room = 1
        recorder.output(bytes(BATCH))
        recorder.output(b"more")
        recorder.close()
        self.assertEqual([str(error) for error in self.lost], ["the disk of the node is full"])
        self.assertFalse(self.watch.files["s1.1"].is_finished)
        self.assertEqual(self.watch.ends, {"s1.1": "the disk of the node is full"})

    def test_agent_stops(self) -> None:
        """What is recorded when the agent stops is finished, and says why."""
        recorder = self.begun()
        recorder.output(b"a")
        self.successResultOf(Deferred.fromCoroutine(self.node.stop()))
        self.assertIn(Note(0, "ended", {"reason": "the agent was stopped"}), self.events())
        self.assertTrue(self.watch.files["s1.1"].is_finished)
