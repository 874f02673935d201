"""Tests of coroutines in the background and of deadlines."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import TimedOut, Unavailable
from mezite.tasks import background, within


class BackgroundTests(SynchronousTestCase):
    def test_failure_is_logged(self) -> None:
        """A bug in a coroutine that nobody awaits is logged with its traceback."""

        async def fail() -> None:
            raise ZeroDivisionError

        self.successResultOf(background(fail(), doing="testing"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_expected_failure_is_no_error(self) -> None:
        """What may happen on any day is a warning, without a traceback."""

        async def fail() -> None:
            raise Unavailable("later")

        self.successResultOf(background(fail(), doing="testing"))
        self.assertEqual(self.flushLoggedErrors(), [])


class WithinTests(SynchronousTestCase):
    def test_in_time(self) -> None:
        """What ends in time gives its result and leaves no timer."""
        clock = Clock()
        work: Deferred[int] = Deferred()
        waiting = Deferred.fromCoroutine(within(clock, 5, work, doing="waiting"))
        work.callback(7)
        self.assertEqual(self.successResultOf(waiting), 7)
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_deadline(self) -> None:
        """What does not is cancelled, and the sentence names it."""
        clock = Clock()
        cancelled: list[object] = []
        work: Deferred[int] = Deferred(cancelled.append)
        waiting = Deferred.fromCoroutine(within(clock, 5, work, doing="waiting"))
        clock.advance(5)
        failure = self.failureResultOf(waiting, TimedOut)
        self.assertEqual(str(failure.value), "waiting took longer than 5 s")
        self.assertEqual(cancelled, [work])

    def test_work_with_its_own_word_for_it(self) -> None:
        """What fails in another way when it is cancelled is late all the same."""
        clock = Clock()
        work: Deferred[int] = Deferred(lambda deferred: deferred.errback(ConnectionError()))
        waiting = Deferred.fromCoroutine(within(clock, 5, work, doing="waiting"))
        clock.advance(5)
        self.failureResultOf(waiting, TimedOut)

    def test_callers_cancellation_passes(self) -> None:
        """A caller that cancels sees its own cancellation, not a deadline."""
        clock = Clock()
        waiting = Deferred.fromCoroutine(within(clock, 5, Deferred(), doing="waiting"))
        waiting.cancel()
        failure = self.failureResultOf(waiting)
        self.assertNotIsInstance(failure.value, TimedOut)
        self.assertEqual(clock.getDelayedCalls(), [])
