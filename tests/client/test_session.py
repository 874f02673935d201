"""Tests of sessions, joined to pipes on one side and to a node in memory on the other."""

from __future__ import annotations

import errno
import os
import select
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.node import NodeConnection
from mezite.client.session import (
    NO_STATUS,
    LocalFiles,
    OpenFailed,
    Pty,
    RequestRefused,
    SessionRequest,
    run_session,
)
from mezite.ssh.channel import WINDOW, FlowChannel
from mezite.ssh.error import ConnectionEnded, PeerDisconnected
from mezite.ssh.fields import string, uint32
from tests.ssh.pair import EchoingConnection, Pair, RecordingAvatar


class NodeChannel(FlowChannel):
    """A session's channel on the node, which a test plays by hand."""

    refused: tuple[bytes, ...] = ()

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        self.requests: list[tuple[bytes, bytes]] = []
        self.heard = bytearray()
        self.has_ended = False

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        self.requests.append((requestType, data))
        return requestType not in self.refused

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def eofReceived(self) -> None:
        self.has_ended = True

    def exit(self, status: int) -> None:
        self.conn.sendRequest(self, b"exit-status", uint32(status))
        self.loseConnection()


class NodeServing(EchoingConnection):
    def make_channel(self, kind: bytes) -> FlowChannel:
        if kind != b"session":
            return super().make_channel(kind)
        self.made.append(self.make())
        return self.made[-1]  # type: ignore[no-any-return]


class NodePair(Pair):
    def _serve(self, avatar: RecordingAvatar) -> EchoingConnection:
        self.served.append(NodeServing(self.make_channel))
        return self.served[-1]


@define
class Pipes:
    """Standard input, output and error, with the other end of each in the test's hand."""

    files: LocalFiles
    to_input: int
    from_output: int
    from_error: int
    open: set[int] = field(factory=set)

    @classmethod
    def make(cls) -> Pipes:
        pairs = [os.pipe() for _ in range(3)]
        pipes = cls(
            LocalFiles(pairs[0][0], pairs[1][1], pairs[2][1]),
            pairs[0][1],
            pairs[1][0],
            pairs[2][0],
        )
        pipes.open = {file for pair in pairs for file in pair}
        for file in (pipes.to_input, pipes.from_output, pipes.from_error):
            os.set_blocking(file, False)
        return pipes

    def close(self, *files: int) -> None:
        for file in files or tuple(self.open):
            self.open.discard(file)
            os.close(file)

    def take(self, file: int) -> bytes:
        taken = bytearray()
        try:
            while data := os.read(file, 65536):
                taken += data
        except BlockingIOError:
            pass
        return bytes(taken)


class RunSessionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor: Any = MemoryReactorClock()
        self.pipes = Pipes.make()
        self.addCleanup(lambda: self.pipes.close())
        self.pair = NodePair(make_channel=NodeChannel).connect()
        self.node_connection = NodeConnection(self.pair.client, self.pair.connection)

    def begin(self, request: SessionRequest | None = None) -> Deferred[int]:
        running = Deferred.fromCoroutine(
            run_session(
                self.reactor,
                self.pair.connection,
                request or SessionRequest(command=b"true"),
                self.pipes.files,
                self.node_connection.lost_because,
            )
        )
        self.pair.pump.flush()
        return running

    @property
    def node(self) -> NodeChannel:
        channel = self.pair.served[0].made[0]
        assert isinstance(channel, NodeChannel)
        return channel

    def turn(self) -> None:
        """One turn of the reactor: what is ready is read and written, then the network moves."""
        poll = select.poll()
        waiting: dict[int, Any] = {}
        for reader in self.reactor.readers:
            poll.register(reader.fileno(), select.POLLIN)
            waiting[reader.fileno()] = reader.doRead
        for writer in self.reactor.writers:
            poll.register(writer.fileno(), select.POLLOUT)
            waiting[writer.fileno()] = lambda writer=writer: self.write(writer)
        for file, _ in poll.poll(0):
            waiting[file]()
        self.pair.pump.flush()

    def write(self, writer: Any) -> None:
        why = writer.doWrite()
        if why is not None:
            writer.connectionLost(why)

    def turns(self, count: int = 6) -> None:
        for _ in range(count):
            self.turn()

    def test_output_and_error_apart(self) -> None:
        """What the command writes arrives where it was written, and its status is ours."""
        running = self.begin()
        self.node.write(b"out\0\xff")
        self.node.writeExtended(1, b"err")
        self.node.writeExtended(7, b"of no kind that is known")
        self.node.exit(7)
        self.pair.pump.flush()
        self.assertNoResult(running)
        self.turns()
        self.assertEqual(self.successResultOf(running), 7)
        self.assertEqual(self.pipes.take(self.pipes.from_output), b"out\0\xff")
        self.assertEqual(self.pipes.take(self.pipes.from_error), b"err")

    def test_input_and_its_end(self) -> None:
        """Standard input reaches the command, and so does its end."""
        running = self.begin(SessionRequest(command=b"cat"))
        os.write(self.pipes.to_input, b"\0\1\2")
        self.turns()
        self.assertEqual(bytes(self.node.heard), b"\0\1\2")
        self.assertFalse(self.node.has_ended)
        self.pipes.close(self.pipes.to_input)
        self.turns()
        self.assertTrue(self.node.has_ended)
        self.assertNoResult(running)
        self.node.exit(0)
        self.turns()
        self.assertEqual(self.successResultOf(running), 0)

    def test_hang_up_of_input(self) -> None:
        """A reactor that reports a closed pipe instead of its end is understood."""
        self.begin(SessionRequest(command=b"cat"))
        (reader,) = self.reactor.readers
        reader.connectionLost(None)
        reader.connectionLost(None)
        self.turns()
        self.assertTrue(self.node.has_ended)
        self.assertEqual(list(self.reactor.readers), [])

    def test_what_is_asked_for(self) -> None:
        """Environment, terminal and command are asked for in this order."""
        running = self.begin(
            SessionRequest(
                command=b"vim", pty=Pty("tmux-256color", None), environment={"LANG": "C.UTF-8"}
            )
        )
        self.assertEqual(
            self.node.requests,
            [
                (b"env", string(b"LANG") + string(b"C.UTF-8")),
                (
                    b"pty-req",
                    string(b"tmux-256color")
                    + b"".join(map(uint32, (80, 24, 0, 0)))
                    + string(b"\0"),
                ),
                (b"exec", string(b"vim")),
            ],
        )
        self.assertNoResult(running)

    def test_shell(self) -> None:
        """Without a command the login's shell is asked for."""
        self.begin(SessionRequest())
        self.assertEqual(self.node.requests, [(b"shell", b"")])

    def test_subsystem_and_agent(self) -> None:
        """The ssh-agent is lent before anything runs; a subsystem is asked for by name."""
        request = SessionRequest(command=b"sftp", is_subsystem=True, lends_agent=True)
        self.begin(request)
        self.assertEqual(
            self.node.requests,
            [(b"auth-agent-req@openssh.com", b""), (b"subsystem", string(b"sftp"))],
        )

    def test_no_input(self) -> None:
        """Without standard input the command sees its end at once."""
        self.pipes.files = LocalFiles(
            None, self.pipes.files.standard_output, self.pipes.files.standard_error
        )
        running = self.begin()
        self.assertTrue(self.node.has_ended)
        self.assertEqual(list(self.reactor.readers), [])
        self.node.exit(0)
        self.turns()
        self.assertEqual(self.successResultOf(running), 0)

    def test_break(self) -> None:
        """A BREAK is asked for with its length."""
        self.begin()
        for channel in self.pair.connection.channels.values():
            channel.send_break()
        self.pair.pump.flush()
        self.assertEqual(self.node.requests[-1], (b"break", uint32(1000)))

    def test_refused(self) -> None:
        """A node that does not run the command, or gives no terminal, ends the session."""
        for refused, sentence in (
            (b"exec", "the node did not run the command"),
            (b"pty-req", "the node gave no terminal"),
        ):
            self.patch(NodeChannel, "refused", (refused,))
            running = self.begin(SessionRequest(command=b"x", pty=Pty("xterm", None)))
            failure = self.failureResultOf(running, RequestRefused)
            self.assertEqual(str(failure.value), sentence)
            self.assertEqual(list(self.reactor.readers), [])

    def test_no_session(self) -> None:
        """A node that opens no session says why."""
        self.patch(NodeServing, "make_channel", EchoingConnection.make_channel)
        failure = self.failureResultOf(self.begin(), OpenFailed)
        self.assertEqual(str(failure.value), "there is no such channel here")

    def test_ended_by_a_signal(self) -> None:
        """A command that a signal ended is 255, as with ssh; so is one that tells nothing."""
        running = self.begin()
        self.node.conn.sendRequest(
            self.node, b"exit-signal", string(b"KILL") + b"\0" + string(b"") + string(b"")
        )
        self.node.loseConnection()
        self.turns()
        self.assertEqual(self.successResultOf(running), NO_STATUS)
        running = self.begin()
        self.pair.served[0].made[1].loseConnection()
        self.turns()
        self.assertEqual(self.successResultOf(running), NO_STATUS)

    def test_status_is_an_octet(self) -> None:
        """A status that no process can have is cut to what an exit code is."""
        running = self.begin()
        self.node.exit(0x1FF)
        self.turns()
        self.assertEqual(self.successResultOf(running), 255)

    def test_malformed_status(self) -> None:
        """A status that cannot be read ends the connection, and the session with it."""
        running = self.begin()
        self.node.conn.sendRequest(self.node, b"exit-status", b"\0")
        self.turns()
        self.failureResultOf(running)

    def test_connection_lost(self) -> None:
        """A connection that ends before the session is an error, with its reason."""
        running = self.begin()
        self.pair.server.disconnect(11, "the hub is stopping")
        self.turns()
        failure = self.failureResultOf(running, PeerDisconnected)
        self.assertEqual(str(failure.value), "the hub is stopping")
        self.assertEqual(list(self.reactor.readers), [])

    def test_connection_lost_while_asking(self) -> None:
        """The same holds before anything runs."""
        running = Deferred.fromCoroutine(
            run_session(
                self.reactor,
                self.pair.connection,
                SessionRequest(command=b"x"),
                self.pipes.files,
                self.node_connection.lost_because,
            )
        )
        self.pair.client_io.abortConnection()
        self.pair.pump.flush()
        self.failureResultOf(running, ConnectionEnded)

    def test_status_then_lost(self) -> None:
        """A status that arrived counts, however rudely the connection ends after it."""
        running = self.begin()
        self.node.conn.sendRequest(self.node, b"exit-status", uint32(3))
        self.pair.pump.flush()
        self.pair.server_io.abortConnection()
        self.turns()
        self.assertEqual(self.successResultOf(running), 3)

    def test_output_that_nobody_takes(self) -> None:
        """While a local pipe is full no more is taken from the node; then all of it arrives."""
        running = self.begin()
        data = os.urandom(3 * WINDOW)
        sent = 0
        while sent < len(data) and self.node._queued < 65536:
            self.node.write(data[sent : sent + 65536])
            sent += 65536
            self.turn()
        self.assertLessEqual(sent, WINDOW + 1024 * 1024)
        received = bytearray()
        while sent < len(data) or self.node._queued:
            received += self.pipes.take(self.pipes.from_output)
            if sent < len(data):
                self.node.write(data[sent : sent + 65536])
                sent += 65536
            self.turn()
        self.node.exit(0)
        while not running.called:
            self.turn()
            received += self.pipes.take(self.pipes.from_output)
        received += self.pipes.take(self.pipes.from_output)
        self.assertEqual(bytes(received), data)
        self.assertEqual(self.successResultOf(running), 0)

    def test_input_that_nobody_takes(self) -> None:
        """While the node takes nothing, standard input is not read."""
        self.begin(SessionRequest(command=b"sleep"))
        self.node.pauseProducing()
        written = 0
        for _ in range(2 * WINDOW // 65536):
            try:
                written += os.write(self.pipes.to_input, bytes(65536))
            except OSError as error:
                self.assertEqual(error.errno, errno.EAGAIN)
                break
            self.turn()
        self.assertLess(written, WINDOW + 1024 * 1024)
        self.assertEqual(list(self.reactor.readers), [])
        self.node.resumeProducing()
        self.turns(200)
        self.assertEqual(len(self.node.heard), written)

    def test_nobody_reads_output(self) -> None:
        """When the reader of standard output is gone, the session ends as a pipe does."""
        running = self.begin(SessionRequest(command=b"yes"))
        self.pipes.close(self.pipes.from_output)
        self.node.write(b"y\n")
        self.pair.pump.flush()
        self.turns()
        self.failureResultOf(running, BrokenPipeError)
        self.assertTrue(self.node.localClosed)

    def test_cancelled(self) -> None:
        """A session that is given up closes its channel and gives its files back."""
        running = self.begin()
        running.cancel()
        self.pair.pump.flush()
        self.failureResultOf(running)
        self.assertTrue(self.node.localClosed)
        self.assertEqual(list(self.reactor.readers), [])
        self.assertTrue(os.get_blocking(self.pipes.files.standard_input))
        self.assertTrue(os.get_blocking(self.pipes.files.standard_output))
