"""Tests of signals that end a process in one stretch of its code."""

from __future__ import annotations

import signal
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mezite.client.stopsignals import SIGNALS, Stopped, StopSignals


class StopSignalsTests(SynchronousTestCase):
    """Where a signal is an exception, and where it is not."""

    def test_raised(self) -> None:
        """In the stretch, the first signal is raised."""
        signals = StopSignals()
        with self.assertRaises(Stopped) as caught, signals.raised():
            signals.receive(signal.SIGTERM)
        self.assertEqual(caught.exception.number, signal.SIGTERM)

    def test_once(self) -> None:
        """Those that follow are ignored, in the stretch and behind it."""
        signals = StopSignals()
        with self.assertRaises(Stopped), signals.raised():
            signals.receive(signal.SIGTERM)
        signals.receive(signal.SIGHUP)

    def test_early(self) -> None:
        """One that came before the stretch is not lost."""
        signals = StopSignals()
        signals.receive(signal.SIGINT)
        with self.assertRaises(Stopped) as caught, signals.raised():
            self.fail("it begins nevertheless")
        self.assertEqual(caught.exception.number, signal.SIGINT)

    def test_late(self) -> None:
        """One that comes behind the stretch interrupts nothing."""
        signals = StopSignals()
        with signals.raised():
            pass
        signals.receive(signal.SIGHUP)

    def test_failure(self) -> None:
        """After another exception, as little."""
        signals = StopSignals()
        with self.assertRaises(OSError), signals.raised():
            raise OSError
        signals.receive(signal.SIGHUP)

    def test_poll(self) -> None:
        """It is raised while something is waited for; what was ready then is ready again."""
        signals = StopSignals()

        class Polled:
            def poll(self, milliseconds: int | None) -> list[tuple[int, int]]:
                if milliseconds is None:
                    signals.receive(signal.SIGHUP)
                return [(0, 1)]

        polled: Any = Polled()
        self.assertEqual(signals.poll(polled, 5), [(0, 1)])
        for _ in range(2):
            with self.assertRaises(Stopped):
                signals.poll(polled, None)

    def test_handlers(self) -> None:
        """Every signal comes here while it is entered, and where it went before afterwards."""
        before = [signal.getsignal(number) for number in SIGNALS]
        for number in SIGNALS:
            with StopSignals() as signals, self.assertRaises(Stopped), signals.raised():
                signal.raise_signal(number)
        self.assertEqual([signal.getsignal(number) for number in SIGNALS], before)
