"""Tests of a worker's log lines, through a real pipe."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.workers.processlog import LinePipe, LineReader


class ProcessLogTests(SynchronousTestCase):
    """From a worker's log to the hub's."""

    def setUp(self) -> None:
        self.reading, self.writing = os.pipe()
        self.addCleanup(os.close, self.reading)
        self.addCleanup(os.close, self.writing)
        os.set_blocking(self.reading, False)
        self.clock = Clock()
        self.pipe = LinePipe(self.writing, self.clock, LogLevel.info)
        self.log = Logger(namespace="mezite.somewhere", observer=self.pipe)
        self.reader = LineReader("worker 3")
        self.heard: list[Any] = []
        globalLogPublisher.addObserver(self.heard.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.heard.append)

    def read(self) -> int:
        try:
            data = os.read(self.reading, 1 << 20)
        except BlockingIOError:
            return 0
        self.reader.receive(data)
        return len(data)

    def test_lines(self) -> None:
        """Level, origin and text arrive, whatever braces and newlines are in them."""
        self.log.warn("{what}", what="a {brace}\nand more")
        self.log.debug("nobody asked for this")
        self.read()
        (event,) = self.heard
        self.assertEqual(formatEvent(event), "worker 3: a {brace}\nand more")
        self.assertEqual(event["log_level"], LogLevel.warn)
        self.assertEqual(event["log_namespace"], "mezite.somewhere")

    def test_traceback(self) -> None:
        """A failure comes with its traceback."""
        try:
            raise ValueError("a bug")
        except ValueError:
            self.log.failure("something failed")
        self.read()
        text = formatEvent(self.heard[-1])
        self.assertIn("something failed", text)
        self.assertIn("ValueError: a bug", text)
        self.assertEqual(self.heard[-1]["log_level"], LogLevel.critical)
        self.flushLoggedErrors()

    def test_nobody_reads(self) -> None:
        """A worker never waits; what is too much is counted, and the rest arrives in order."""
        for number in range(1000):
            self.log.info("{number} {filling}", number=number, filling="x" * 1000)
        while self.read():
            self.clock.advance(0.1)
        texts = [formatEvent(event) for event in self.heard]
        numbers = [int(text.split()[2]) for text in texts if "lines of the log" not in text]
        self.assertEqual(numbers, list(range(len(numbers))))
        self.assertGreater(len(numbers), 250)
        self.assertLess(len(numbers), 1000)

    def test_no_json(self) -> None:
        """What Python itself says is passed on as it is, and an endless line in pieces."""
        self.reader.receive(b"Fatal Python error: \xff\n\n[1]\n")
        self.assertEqual(
            [formatEvent(event) for event in self.heard],
            ["worker 3: Fatal Python error: \ufffd", "worker 3: [1]"],
        )
        self.reader.receive(b"y" * 100_000)
        self.assertEqual(len(self.heard), 3)
