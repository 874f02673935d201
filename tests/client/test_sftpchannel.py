"""Tests of the SFTP subsystem on an SSH connection in memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.agent.sftpfiles import EXTENSIONS, Files
from mezite.client.sftpchannel import ISftp, NoSftp, SftpChannel, SftpEnded, begin_sftp
from mezite.client.sftpconversation import AnswerRefused
from mezite.client.sftpfiles import RemoteFiles
from mezite.ssh import sftpwire as wire
from mezite.ssh.channel import STDERR, FlowChannel
from mezite.ssh.error import ConnectionEnded
from mezite.ssh.fields import string
from mezite.ssh.sftpfields import Attributes
from tests.ssh.pair import EchoingConnection, Pair


class ServingChannel(FlowChannel):
    """A node's session that has nothing but SFTP."""

    def __init__(self, **rest: Any) -> None:
        super().__init__(**rest)
        self.files = Files()
        self.packets = wire.PacketReader()
        self.requests: list[bytes] = []
        self.is_greeted = False

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        self.requests.append(data)
        return requestType == b"subsystem" and data == string(b"sftp")

    def dataReceived(self, data: bytes) -> None:
        for packet in self.packets.receive(data):
            message: Any = wire.decode(packet)
            if self.is_greeted:
                self.write(wire.encode(self.files.answer(message)))
            else:
                self.is_greeted = True
                self.write(wire.encode(wire.Version(3, EXTENSIONS)))

    def closed(self) -> None:
        self.files.close()


class SessionConnection(EchoingConnection):
    """A node's connection that opens sessions."""

    def make_channel(self, kind: bytes) -> FlowChannel:
        return super().make_channel(b"echo" if kind == b"session" else kind)


class RefusingChannel(ServingChannel):
    """A node's session without SFTP."""

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        self.writeExtended(STDERR, b"there is no sftp\x1b here\r\n")
        return False


class EndingChannel(ServingChannel):
    """A node's session whose SFTP server ends at the first request."""

    def dataReceived(self, data: bytes) -> None:
        if self.is_greeted:
            self.writeExtended(STDERR, b"sftp: out of luck\n")
            self.loseConnection()
        else:
            super().dataReceived(data)


class LyingChannel(ServingChannel):
    """A node's session that answers what nobody asked."""

    def dataReceived(self, data: bytes) -> None:
        is_first = not self.is_greeted
        super().dataReceived(data)
        if not is_first:
            self.write(wire.encode(wire.Status(4711, 0, b"")))


class SftpChannelTests(SynchronousTestCase):
    def begin(self, make: type[FlowChannel] = ServingChannel) -> Deferred[SftpChannel]:
        self.pair = Pair()
        self.pair._serve = self.serve  # type: ignore[method-assign]
        self.pair.make_channel = make
        self.pair.__attrs_post_init__()
        self.pair.connect()
        self.lost: Exception | None = None
        begun = Deferred.fromCoroutine(begin_sftp(self.pair.connection, lambda: self.lost))
        self.pair.pump.flush()
        return begun

    def serve(self, avatar: Any) -> EchoingConnection:
        self.pair.served.append(SessionConnection(self.pair.make_channel))
        return self.pair.served[-1]

    def channel(self, make: type[FlowChannel] = ServingChannel) -> SftpChannel:
        return self.successResultOf(self.begin(make))

    def test_begun(self) -> None:
        """SFTP is asked for by its name, and its extensions are known."""
        channel = self.channel()
        self.assertTrue(verifyObject(ISftp, channel))
        self.assertEqual(channel.extensions, dict(EXTENSIONS))

    def test_large_files(self) -> None:
        """Megabytes go both ways in large requests, more than the channel would hold."""
        path = os.path.abspath(self.mktemp())
        files = RemoteFiles(self.channel(), "db1")
        self.run_through(files.learn_limits())
        content = os.urandom(6_000_000)
        writing = self.run_through(files.open_writing(path, 0o600, keep=False))
        size = writing.most
        parts = range(0, len(content), size)
        writes = [writing.write(at, content[at : at + size]) for at in parts]
        self.pair.pump.flush()
        for each in writes:
            self.successResultOf(each)
        self.assertEqual(Path(path).read_bytes(), content)
        reading = self.run_through(files.open_reading(path))
        found = b""
        while len(found) < len(content):
            # This node's channel knows no pressure, so it gets no more than a window to send.
            reads = [reading.read(len(found) + n * size, size) for n in range(6)]
            self.pair.pump.flush()
            found += b"".join(map(self.successResultOf, reads))
        self.assertEqual(found, content)

    def run_through(self, coroutine: Any) -> Any:
        running = Deferred.fromCoroutine(coroutine)
        self.pair.pump.flush()
        return self.successResultOf(running)

    def test_refused(self) -> None:
        """A node without SFTP is told as such, in its own words."""
        error = self.failureResultOf(self.begin(RefusingChannel), NoSftp).value
        self.assertIn("the node has no SFTP: there is no sftp", str(error))
        self.assertTrue(str(error).isprintable())

    def test_server_ends(self) -> None:
        """When the node's server ends, whoever waits is told why, and who asks later too."""
        channel = self.channel(EndingChannel)
        asked = [channel.ask(wire.Stat(0, b"/")) for _ in range(3)]
        self.pair.pump.flush()
        asked.append(channel.ask(wire.Stat(0, b"/")))
        for each in asked:
            error = self.failureResultOf(each, SftpEnded).value
            self.assertEqual(str(error), "the node's SFTP server ended: sftp: out of luck")

    def test_lies(self) -> None:
        """An answer that nobody asked for ends the session, and no more."""
        channel = self.channel(LyingChannel)
        asked = channel.ask(wire.Stat(0, b"/"))
        self.pair.pump.flush()
        self.successResultOf(asked)
        self.failureResultOf(channel.ask(wire.Stat(0, b"/")), AnswerRefused)
        self.assertFalse(self.pair.client.disconnecting)

    def test_connection_lost(self) -> None:
        """When the connection goes, its reason is the answer."""
        channel = self.channel()
        asked = channel.ask(wire.Stat(0, b"/"))
        self.lost = ConnectionEnded("the wire was cut")
        self.pair.client_io.loseConnection()
        self.pair.client.connectionLost(None)
        self.assertEqual(
            str(self.failureResultOf(asked, ConnectionEnded).value), "the wire was cut"
        )

    def test_nobody_waits_any_more(self) -> None:
        """An answer to somebody who gave up is dropped."""
        channel = self.channel()
        asked = channel.ask(wire.Stat(0, b"/"))
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.pair.pump.flush()
        again = channel.ask(wire.Mkdir(0, b"/", Attributes()))
        self.pair.pump.flush()
        self.assertIsInstance(self.successResultOf(again), wire.Status)

    def test_wire_form(self) -> None:
        """Subsystem and greeting leave together, so that they cost one turn of the line."""
        self.channel()
        (served,) = self.pair.served[-1].made
        self.assertEqual(served.requests, [string(b"sftp")])
