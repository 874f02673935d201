"""
A session watched as it goes on, and the keys of people who watch.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.playkeys import clock, keys, status
from mezite.client.recordings import RecordingReader, RecordingState
from mezite.client.watching import Watching
from mezite.recording.error import BadChunk
from mezite.recording.player import SECOND, Player
from tests.client.test_recordings import ID, Source, chunked
from tests.recording.tapes import cast, tape, written

LINES = cast(written((0.0, "\x1b[31mone\r\n"), (1.0, "two\x1b]52;c;AAAA\x07"), (2.0, "three")))


class WatchingTests(SynchronousTestCase):
    """What a watcher sees of a recording that grows."""

    def setUp(self) -> None:
        self.chunks = chunked(LINES)
        self.source = Source(b"".join(self.chunks[:2]), RecordingState.LIVE)
        self.clock = Clock()
        self.shown: list[str] = []

    def watch(self, *, from_start: bool) -> Deferred[None]:
        reader = RecordingReader(ID, self.source)
        watching = Watching(reader, self.shown.append, from_start=from_start)
        running = Deferred.fromCoroutine(watching.watch(self.clock))
        self.clock.pump([0.0] * 5)
        return running

    def grow(self, count: int) -> None:
        self.source.data = b"".join(self.chunks[:count])
        # Half a second is what a watcher waits at most.
        self.clock.pump([0.5] + [0.0] * 5)

    def test_from_start(self) -> None:
        """All that was written is shown, then what comes, without what would harm."""
        running = self.watch(from_start=True)
        self.assertEqual("".join(self.shown), "\x1b[31mone\r\n")
        self.grow(3)
        self.assertEqual("".join(self.shown), "\x1b[31mone\r\ntwo")
        self.assertNoResult(running)

    def test_now(self) -> None:
        """The screen is painted as it is, and what comes goes on from there."""
        running = self.watch(from_start=False)
        (painted,) = self.shown
        self.assertIn("one", painted)
        self.assertTrue(painted.startswith("\x1b[!p"))
        self.grow(3)
        self.assertEqual(self.shown[1:], ["two"])
        self.assertNoResult(running)

    def test_end(self) -> None:
        """It ends when the recording does, with all of it shown."""
        running = self.watch(from_start=True)
        self.source.state = RecordingState.COMPLETE
        self.grow(4)
        self.successResultOf(running)
        self.assertIn("three", "".join(self.shown))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_interrupted(self) -> None:
        """A session that was cut off ends the watching, too."""
        running = self.watch(from_start=True)
        self.source.state = RecordingState.INTERRUPTED
        self.grow(2)
        self.successResultOf(running)

    def test_damaged(self) -> None:
        """What does not fit the chain is not shown."""
        running = self.watch(from_start=True)
        self.source.data += self.chunks[3]
        self.clock.pump([0.5] + [0.0] * 5)
        self.failureResultOf(running, BadChunk)

    def test_quiet(self) -> None:
        """A session in which nothing happens is asked for twice a second, not more."""
        running = self.watch(from_start=True)
        self.clock.pump([0.1] * 600)
        before = len(self.source.asked)
        self.clock.pump([0.1] * 100)
        self.assertLessEqual(len(self.source.asked) - before, 21)
        running.cancel()
        self.failureResultOf(running)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class KeysTests(SynchronousTestCase):
    """Keys, and the line that tells where the player is."""

    def test_keys(self) -> None:
        """Each key is one, also those that a terminal sends as a sequence."""
        typed = b" q\x1b[C\x1bOD\x1b[1;5C\xc3\xa9\x1b5"
        wanted = [b" ", b"q", b"\x1b[C", b"\x1bOD", b"\x1b[1;5C", b"\xc3\xa9", b"\x1b", b"5"]
        self.assertEqual(keys(typed), wanted)

    def test_clock(self) -> None:
        """Times are read as on a clock."""
        times = [clock(seconds * SECOND) for seconds in (0, 61, 3661)]
        self.assertEqual(times, ["0:00", "1:01", "1:01:01"])

    def test_status(self) -> None:
        """The line fits the terminal, and tells if the recording does not."""
        player = Player(tape(written((0.0, "a"), (70.0, "b"))))
        player.toggle(0.0)
        line = status(player, 0.0, (120, 10), (132, 43))
        self.assertEqual(len(line), 120)
        self.assertIn("paused 0:00 / 1:10", line)
        self.assertIn("recorded at 132x43, here 120x10", line)
        self.assertEqual(len(status(player, 0.0, (5, 1), (1, 1))), 5)
