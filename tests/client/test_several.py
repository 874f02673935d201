"""Tests of one command on several nodes, which are in memory."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mezite.client import several
from mezite.client.node import NodeConnection
from mezite.client.session import LocalFiles, SessionRequest
from mezite.client.several import Errand, Outcome, SharedOutput, run_on_each
from mezite.error import Unavailable
from mezite.names import LoginName, NodeName
from tests.client.test_session import NodeChannel, NodePair
from tests.ssh.pair import ROOT

DB1, DB2, DB3 = (NodeName(name) for name in ("db1", "db2", "db3"))


class RunOnEachTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.pairs: dict[NodeName, NodePair] = {}
        self.dialing: list[NodeName] = []
        self.waiting: dict[NodeName, Deferred[NodeConnection]] = {}
        self.patch(several, "dial_node", self.dial)
        self.pipes = [os.pipe(), os.pipe()]
        self.addCleanup(lambda: [os.close(file) for pipe in self.pipes for file in pipe])
        for reading, _ in self.pipes:
            os.set_blocking(reading, False)
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)

    def dial(
        self, reactor: object, profile: object, node: NodeName, login: LoginName, **rest: object
    ) -> Deferred[NodeConnection]:
        self.dialing.append(node)
        if node in self.waiting:
            return self.waiting[node]
        return succeed(self.connect(node))

    def connect(self, node: NodeName) -> NodeConnection:
        self.pairs[node] = NodePair(make_channel=NodeChannel).connect()
        return NodeConnection(self.pairs[node].client, self.pairs[node].connection)

    def begin(
        self, *nodes: NodeName, parallel: int = 20, coloured: bool = False
    ) -> Deferred[list[Outcome]]:
        files = LocalFiles(None, self.pipes[0][1], self.pipes[1][1])
        self.output = SharedOutput(self.reactor, files, self.stack, (coloured, False))
        errand = Errand(None, ROOT, SessionRequest(command=b"uptime"))  # type: ignore[arg-type]
        running = Deferred.fromCoroutine(
            run_on_each(self.reactor, errand, nodes, parallel, self.output)
        )
        self.addCleanup(self.stop, running)
        self.flush()
        return running

    def stop(self, running: Deferred[list[Outcome]]) -> None:
        running.addErrback(lambda _: None)
        running.cancel()

    def flush(self) -> None:
        for pair in tuple(self.pairs.values()):
            pair.pump.flush()
        for writer in list(self.reactor.writers):
            why = writer.doWrite()
            if why is not None:
                writer.connectionLost(why)
        for pair in tuple(self.pairs.values()):
            pair.pump.flush()

    def node(self, name: NodeName) -> NodeChannel:
        channel = self.pairs[name].served[0].made[0]
        assert isinstance(channel, NodeChannel)
        return channel

    def shown(self, which: int = 0) -> bytes:
        try:
            return os.read(self.pipes[which][0], 1 << 20)
        except BlockingIOError:
            return b""

    def test_lines(self) -> None:
        """Lines say whose they are, output and errors apart; the last is completed."""
        running = self.begin(DB1, DB2)
        self.node(DB1).write(b"one\ntw")
        self.node(DB2).write(b"uno\n")
        self.node(DB2).writeExtended(1, b"oops")
        self.flush()
        self.assertEqual(sorted(self.shown().splitlines()), [b"db1: one", b"db2: uno"])
        self.node(DB1).exit(0)
        self.node(DB2).exit(3)
        self.flush()
        self.flush()
        self.assertEqual(self.successResultOf(running), [Outcome(DB1, 0), Outcome(DB2, 3)])
        self.assertEqual(self.shown(), b"db1: tw\n")
        self.assertEqual(self.shown(1), b"db2: oops\n")

    def test_no_input(self) -> None:
        """The commands see the end of their input at once."""
        self.begin(DB1)
        self.assertTrue(self.node(DB1).has_ended)
        self.assertEqual(self.node(DB1).requests[0][0], b"exec")

    def test_so_many_at_a_time(self) -> None:
        """No more than so many nodes are visited at a time."""
        running = self.begin(DB1, DB2, DB3, parallel=2)
        self.assertEqual(self.dialing, [DB1, DB2])
        self.node(DB2).exit(0)
        self.flush()
        self.assertEqual(self.dialing, [DB1, DB2, DB3])
        self.node(DB1).exit(0)
        self.flush()
        self.node(DB3).exit(0)
        self.flush()
        self.assertEqual([each.node for each in self.successResultOf(running)], [DB1, DB2, DB3])

    def test_problems(self) -> None:
        """What cannot be reached is an outcome, and no other node suffers."""
        self.waiting[DB1] = Deferred()
        running = self.begin(DB1, DB2)
        self.waiting[DB1].errback(Unavailable("db1 is not connected"))
        self.node(DB2).exit(0)
        self.flush()
        self.assertEqual(
            self.successResultOf(running),
            [Outcome(DB1, problem="db1 is not connected"), Outcome(DB2, 0)],
        )

    def test_refused(self) -> None:
        """So is a node that does not run it, or that goes away meanwhile."""
        self.patch(NodeChannel, "refused", (b"exec",))
        (refused,) = self.successResultOf(self.begin(DB1))
        self.assertEqual(refused.problem, "the node did not run the command")
        self.patch(NodeChannel, "refused", ())
        running = self.begin(DB2)
        self.pairs[DB2].server.disconnect(11, "the hub is stopping")
        self.flush()
        (lost,) = self.successResultOf(running)
        self.assertEqual(lost.problem, "the hub is stopping")

    def test_colours(self) -> None:
        """On a terminal the names have colours."""
        self.begin(DB1, coloured=True)
        self.node(DB1).write(b"x\n")
        self.flush()
        self.assertEqual(self.shown(), b"\x1b[36mdb1:\x1b[0m x\n")

    def test_slow_reader(self) -> None:
        """While nobody reads, no node may send on, not even one that comes later."""
        self.waiting[DB2] = Deferred()
        self.begin(DB1, DB2)
        for _ in range(100):
            self.node(DB1).write(b"y\n" * 8192)
            self.flush()
        self.waiting[DB2].callback(self.connect(DB2))
        self.flush()
        channels = [*self.pairs[DB1].connection.channels.values()]
        channels += self.pairs[DB2].connection.channels.values()
        self.assertEqual([each._is_paused for each in channels], [True, True])
        for _ in range(200):
            self.shown()
            self.flush()
        self.assertEqual([each._is_paused for each in channels], [False, False])

    def test_nobody_reads(self) -> None:
        """When nobody will ever read it, all of it ends."""
        self.waiting[DB2] = Deferred()
        running = self.begin(DB1, DB2)
        os.close(self.pipes[0][0])
        self.pipes[0] = (os.dup(self.pipes[0][1]), self.pipes[0][1])
        self.node(DB1).write(b"y\n")
        self.flush()
        self.flush()
        self.failureResultOf(running, BrokenPipeError)

    def test_cancelled(self) -> None:
        """Giving up closes every connection."""
        running = self.begin(DB1, DB2)
        running.cancel()
        self.flush()
        self.failureResultOf(running)
        self.assertTrue(all(pair.connection.channels == {} for pair in self.pairs.values()))
