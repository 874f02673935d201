"""
One command on several nodes at once, its output in one place.

Each line says whose it is. So many nodes are visited at a time, and a reader
that stops slows all of them down. Which nodes, and what is said about it
afterwards, is left to :mod:`mezite.cli.severalnodes`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred, gatherResults

from mezite.client.lines import LinePrefixer
from mezite.client.node import DEFAULT_PATIENCE, Patience, dial_node
from mezite.client.profile import Profile
from mezite.client.session import (
    LocalFiles,
    SessionChannel,
    SessionRequest,
    first_failure,
    run_unattended,
)
from mezite.client.stdio import Brake, OutputFile
from mezite.error import MeziteError
from mezite.names import LoginName, NodeName

# The six colours that can be read on black and on white.
_COLOURS: Final = (36, 33, 35, 32, 34, 31)


@frozen
class Outcome:
    """How it went on one node: an exit code, or why there is none."""

    node: NodeName
    code: int | None = None
    problem: str | None = None

    @property
    def is_failure(self) -> bool:
        return self.code != 0


@frozen
class Errand:
    """What to do on each node, and as whom."""

    profile: Profile
    login: LoginName
    request: SessionRequest
    patience: Patience = DEFAULT_PATIENCE


class SharedOutput:
    """Standard output and error, for many sessions."""

    def __init__(
        self, reactor: Any, files: LocalFiles, stack: ExitStack, colours: tuple[bool, bool]
    ) -> None:
        self._channels: set[SessionChannel] = set()
        self._is_paused = False
        self._colours = colours
        self._is_broken = False
        brake = Brake(self)
        self.files = [
            OutputFile(reactor, file, self._broke)
            for file in (files.standard_output, files.standard_error)
        ]
        for file in self.files:
            stack.callback(file.give_back)
            brake.attach(file)

    def _broke(self) -> None:
        self._is_broken = True
        for channel in tuple(self._channels):
            channel.fail(BrokenPipeError())

    def add(self, channel: SessionChannel) -> None:
        self._channels.add(channel)
        if self._is_broken:
            channel.fail(BrokenPipeError())
        elif self._is_paused:
            channel.pauseProducing()

    def remove(self, channel: SessionChannel) -> None:
        self._channels.discard(channel)

    def pauseProducing(self) -> None:
        self._is_paused = True
        for channel in tuple(self._channels):
            channel.pauseProducing()

    def resumeProducing(self) -> None:
        self._is_paused = False
        for channel in tuple(self._channels):
            channel.resumeProducing()

    def lines(self, node: NodeName, number: int) -> tuple[NodeLines, NodeLines]:
        """Where a node's output and errors go."""
        colour = _COLOURS[number % len(_COLOURS)]
        output, errors = (
            NodeLines(
                LinePrefixer(f"\x1b[{colour}m{node}:\x1b[0m ".encode())
                if coloured
                else LinePrefixer(f"{node}: ".encode()),
                file,
            )
            for file, coloured in zip(self.files, self._colours, strict=True)
        )
        return output, errors

    async def drained(self) -> None:
        for file in self.files:
            await file.drained()


@frozen(eq=False)
class NodeLines:
    """One of a node's two outputs."""

    prefixer: LinePrefixer
    file: OutputFile

    def write(self, data: bytes) -> None:
        whole = self.prefixer.receive(data)
        if whole:
            self.file.write(whole)

    def finish(self) -> None:
        partial = self.prefixer.finish()
        if partial:
            self.file.write(partial)


async def run_on_each(
    reactor: Any, errand: Errand, nodes: Sequence[NodeName], parallel: int, output: SharedOutput
) -> list[Outcome]:
    """
    Run it on all of them, ``parallel`` at a time; the outcomes in the nodes' order.

    :raises BrokenPipeError: if nobody reads the output any more.
    """
    numbers = {node: number for number, node in enumerate(nodes)}

    async def visit(node: NodeName) -> Outcome:
        try:
            code = await _run_on(reactor, errand, node, output, numbers[node])
        except MeziteError as error:
            return Outcome(node, problem=str(error))
        return Outcome(node, code)

    waiting = deque(nodes)
    outcomes: dict[NodeName, Outcome] = {}

    async def work() -> None:
        while waiting:
            node = waiting.popleft()
            outcomes[node] = await visit(node)

    workers = [Deferred.fromCoroutine(work()) for _ in range(min(parallel, len(nodes)))]
    try:
        await gatherResults(workers, consumeErrors=True).addErrback(first_failure)
    finally:
        for worker in workers:
            worker.cancel()
    await output.drained()
    return [outcomes[node] for node in nodes]


async def _run_on(
    reactor: Any, errand: Errand, node: NodeName, output: SharedOutput, number: int
) -> int:
    node_connection = await dial_node(
        reactor, errand.profile, node, errand.login, patience=errand.patience
    )
    standard, errors = output.lines(node, number)
    opened: list[SessionChannel] = []

    def on_open(channel: SessionChannel) -> None:
        opened.append(channel)
        output.add(channel)

    try:
        return await run_unattended(
            node_connection.connection,
            errand.request,
            standard,
            errors,
            node_connection.lost_because,
            on_open,
        )
    finally:
        for channel in opened:
            output.remove(channel)
        standard.finish()
        errors.finish()
        node_connection.close()
