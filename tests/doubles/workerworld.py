"""
A hub of several processes in one: control, and workers on links in memory.
"""

from __future__ import annotations

import itertools
from typing import Any

from attrs import define, field

from mezite.hub.workers.control import WorkerLink, Workers
from mezite.hub.workers.worker import Worker
from tests.doubles.hubworld import HubWorld
from tests.doubles.link import Link, link


@define(eq=False)
class PlayedWorker:
    """One worker and control's end of its link."""

    worker: Worker
    far: WorkerLink
    socket: Link
    is_over: bool = field(init=False, default=False)

    def die(self) -> None:
        """As by kill -9: every socket that it has ends."""
        self.is_over = True
        self.socket.client.abortConnection()


@define(eq=False)
class WorkerWorld(HubWorld):
    """
    A hub whose port is at its workers.

    Peers come to the one that :attr:`door` numbers, or to each in turn.
    """

    workers: int = 2
    door: int | None = None
    played: dict[int, PlayedWorker] = field(init=False, factory=dict)
    neighbourly: dict[frozenset[int], Link] = field(init=False, factory=dict)
    _turns: Any = field(init=False, factory=itertools.count)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        for number in range(1, self.workers + 1):
            self.begin(number)

    @property
    def control(self) -> Workers:
        return self.hub.workers

    def begin(self, number: int) -> PlayedWorker:
        """Begin a worker, with links to control and to the others."""
        far = self.control.link(number, pid=1000 + number)

        def settled() -> None:
            """Nothing listens here."""

        def ended() -> None:
            self.played[number].is_over = True

        worker = Worker(number, self.clock, on_settings=settled, on_end=ended)
        socket = link(worker.link, far.mux, self.clock)
        self.links.append(socket)
        for other in self.played.values():
            if not other.is_over and other.worker.number != number:
                between = link(
                    worker.neighbour(other.worker.number),
                    other.worker.neighbour(number),
                    self.clock,
                )
                self.links.append(between)
                self.neighbourly[frozenset({number, other.worker.number})] = between
        played = self.played[number] = PlayedWorker(worker, far, socket)
        self.flush()
        return played

    def kill(self, number: int) -> None:
        """End a worker, and every socket that it has."""
        self.played[number].die()
        for pair, between in self.neighbourly.items():
            if number in pair:
                between.client.abortConnection()
        self.flush()

    def build(self, address: Any = None) -> Any:
        number = next(self._turns) % self.workers + 1 if self.door is None else self.door
        router = self.played[number].worker.router
        assert router is not None
        return router.buildProtocol(address)
