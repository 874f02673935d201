"""
A node that forwards, in memory, and a local machine whose sockets a test plays.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.testing import MemoryReactorClock, StringTransport

from mezite.client.incoming import ClientConnection
from mezite.ssh.channel import FlowChannel
from mezite.ssh.error import OPEN_CONNECT_FAILED, ChannelRefused
from tests.ssh.pair import EchoingChannel, EchoingConnection, HearingChannel, Pair, RecordingAvatar

DIRECT = (b"direct-tcpip", b"direct-streamlocal@openssh.com")


class NodeChannel(EchoingChannel):
    """What the node joined to a connection of its own: it answers with what it hears."""

    def __init__(self, kind: bytes, refuses: bool) -> None:
        super().__init__()
        self.kind = kind
        self.wish = b""
        self._refuses = refuses

    def open_requested(self, data: bytes) -> None:
        self.wish = data
        if self._refuses:
            raise ChannelRefused("db:5432 cannot be reached from the node", OPEN_CONNECT_FAILED)


class ForwardingNode(EchoingConnection):
    """Opens the channels of local forwarding, and answers requests to listen."""

    refuses = False
    listening_answer: bytes | None = b""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[bytes, bytes]] = []

    def make_channel(self, kind: bytes) -> FlowChannel:
        if kind not in DIRECT:
            return super().make_channel(kind)
        self.made.append(NodeChannel(kind, self.refuses))
        return self.made[-1]  # type: ignore[no-any-return]

    def got_global_request(self, name: bytes, data: bytes) -> bytes | None:
        self.asked.append((name, data))
        return self.listening_answer


class ForwardingPair(Pair):
    """A client's connection to such a node."""

    def __init__(self) -> None:
        super().__init__(connection=ClientConnection())
        self.connect()

    def _serve(self, avatar: RecordingAvatar) -> EchoingConnection:
        self.served.append(ForwardingNode())
        return self.served[-1]

    @property
    def client_connection(self) -> ClientConnection:
        assert isinstance(self.connection, ClientConnection)
        return self.connection

    @property
    def node(self) -> ForwardingNode:
        (node,) = self.served
        assert isinstance(node, ForwardingNode)
        return node

    def opens(self, kind: bytes, data: bytes = b"") -> HearingChannel:
        """The node opens a channel to the client."""
        channel = HearingChannel()
        channel.name = kind
        self.node.openChannel(channel, data)
        self.pump.flush()
        return channel


class LocalSocket(StringTransport):
    """A local connection, with what was done to it."""

    is_half_closed = False

    def loseWriteConnection(self) -> None:
        self.is_half_closed = True

    def abortConnection(self) -> None:
        self.loseConnection()

    def unregisterProducer(self) -> None:
        self.producer = None  # a socket does not mind being told twice

    @property
    def is_reading(self) -> bool:
        return self.producerState == "producing"


def accepted(factory: Any) -> tuple[Any, LocalSocket]:
    """A program here has connected to what listens."""
    protocol, transport = factory.buildProtocol(None), LocalSocket()
    protocol.makeConnection(transport)
    return protocol, transport


def connected(reactor: MemoryReactorClock) -> tuple[Any, LocalSocket]:
    """The latest connection from here has come about."""
    clients = [*reactor.tcpClients, *reactor.unixClients]
    factory = next(each for each in clients[-1] if hasattr(each, "buildProtocol"))
    return accepted(factory)
