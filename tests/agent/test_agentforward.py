from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.agent.agentforward import AgentForwarding
from mezite.agent.loginsockets import ILoginSockets
from tests.doubles.loginsockets import PRIVATE, PlayedLoginSockets
from tests.doubles.recordings import forward_record
from tests.ssh.pair import HearingChannel, Pair


class AgentForwardingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pair = Pair().connect()
        self.channels: list[HearingChannel] = []
        self.pair.connection.make_channel = self._take  # type: ignore[method-assign]
        [server] = self.pair.served
        self.sockets = PlayedLoginSockets()
        record, self.spooled, _ = forward_record(self.mktemp())
        self.agent = AgentForwarding(server, self.sockets, record)

    def _take(self, kind: bytes) -> HearingChannel:
        self.assertEqual(kind, b"auth-agent@openssh.com")
        self.channels.append(HearingChannel())
        return self.channels[-1]

    def test_double(self) -> None:
        """The double provides what it stands for."""
        verifyObject(ILoginSockets, self.sockets)

    def test_one_for_all(self) -> None:
        """The sessions of a connection share a socket, also while it is made."""
        self.sockets.is_held = True
        asked = [self.agent.address() for _ in range(3)]
        self.sockets.go_on()
        self.assertEqual([self.successResultOf(each) for each in asked], [PRIVATE] * 3)
        self.assertEqual(self.successResultOf(self.agent.address()), PRIVATE)
        self.assertEqual(len(self.sockets.listeners), 1)

    def test_none(self) -> None:
        """Where there can be none, there is none; later there may be."""
        self.sockets.refusal = "no space left on device"
        self.assertIsNone(self.successResultOf(self.agent.address()))
        self.sockets.refusal = None
        self.assertEqual(self.successResultOf(self.agent.address()), PRIVATE)

    def test_used(self) -> None:
        """Whatever connects is a channel to the client's agent."""
        self.agent.address()
        protocol, transport = self.sockets.listeners[PRIVATE.encode()].connect()
        self.pair.pump.flush()
        protocol.dataReceived(b"question")
        self.channels[0].write(b"answer")
        self.pair.pump.flush()
        self.assertEqual((self.channels[0].heard, transport.written), (b"question", b"answer"))

    def test_closed(self) -> None:
        """At the end nothing listens any more."""
        self.agent.close()
        self.agent.address()
        self.agent.close()
        self.assertTrue(self.sockets.listeners[PRIVATE.encode()].is_stopped)
