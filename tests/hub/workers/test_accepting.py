"""Tests of workers that share what comes to one port, with a port that is played."""

from __future__ import annotations

import os
from typing import Any

from attrs import define, field
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.workers.accepting import ABSENT, BATCH, LEAD, PATIENCE, Board, EvenAccepting


@define(eq=False, slots=False)
class PlayedPort:
    """A listening port of Twisted's, as far as it is changed."""

    waiting: list[int]
    numberAccepts: int = 100
    is_reading: bool = True
    is_listening: bool = True
    transport: Any = None
    accepted: int = field(init=False, default=0)

    def doRead(self) -> None:
        taken = min(self.numberAccepts, self.waiting[0])
        self.waiting[0] -= taken
        self.accepted += taken

    def stopReading(self) -> None:
        self.is_reading = False

    def startReading(self) -> None:
        self.is_reading = True

    def stopListening(self) -> None:
        self.is_listening = False


class BoardTests(SynchronousTestCase):
    """What workers read of each other."""

    def setUp(self) -> None:
        self.fd = Board.create(3)
        self.addCleanup(os.close, self.fd)
        self.boards = [Board(self.fd, 3) for _ in range(2)]

    def test_shared(self) -> None:
        """What one writes, the others read."""
        here, there = self.boards
        here.set(1, LEAD)
        self.assertFalse(there.is_ahead(1))
        there.set(2, 0)
        self.assertTrue(here.is_ahead(1))
        there.set(2, 1)
        self.assertFalse(here.is_ahead(1))

    def test_nobody_there(self) -> None:
        """A worker that is not there is never waited for."""
        board = self.boards[0]
        board.set(1, 100_000)
        for number in (2, 3):
            board.set(number, ABSENT)
        self.assertFalse(board.is_ahead(1))


class EvenAcceptingTests(SynchronousTestCase):
    """Who takes the next connection."""

    def setUp(self) -> None:
        fd = Board.create(2)
        self.addCleanup(os.close, fd)
        self.clock = Clock()
        self.board = Board(fd, 2)
        self.waiting = [100]
        self.port = PlayedPort(self.waiting)
        self.accepting = EvenAccepting(self.port, self.board, 1, self.clock)

    def test_batches(self) -> None:
        """A few are taken at once."""
        self.port.doRead()
        self.assertEqual(self.port.accepted, BATCH)

    def test_ahead(self) -> None:
        """Who has more leaves the next ones for a moment, and takes what is still there."""
        self.board.set(2, 0)
        self.board.set(1, LEAD)
        self.port.doRead()
        self.assertEqual((self.port.accepted, self.port.is_reading), (0, False))
        self.waiting[0] = 3
        self.clock.advance(PATIENCE)
        self.assertEqual((self.port.accepted, self.port.is_reading), (3, True))

    def test_stopped(self) -> None:
        """A port that was closed is not read again, and nobody waits for this worker."""
        self.board.set(2, 0)
        self.board.set(1, LEAD)
        self.port.doRead()
        self.accepting.stop()
        self.clock.advance(PATIENCE)
        self.assertEqual((self.port.accepted, self.port.is_listening), (0, False))
        self.board.set(2, 100_000)
        self.assertFalse(self.board.is_ahead(2))
