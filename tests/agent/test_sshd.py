from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mezite.agent.accounts import Account, AccountRefused, IAccounts
from mezite.agent.connection import SESSIONS
from mezite.agent.permit import SessionPermit
from mezite.agent.sshd import AUTHORIZE_SECONDS, ISessionAuthorizer, NodeSshFactory
from mezite.error import Unavailable
from mezite.names import LoginName, NodeName, UserName
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.ssh.error import ChannelRefused
from mezite.ssh.fields import string, uint32
from mezite.ssh.hostkeys import ReplaceableHostKey
from mezite.ssh.watchedconnection import ALIVE_SECONDS
from tests.agent.test_forward import PlayedDestinations
from tests.doubles.loginsockets import PlayedLoginSockets
from tests.doubles.ports import PlayedPorts
from tests.doubles.recordings import recordings_below
from tests.ssh.pair import NOW, ROOT, USER_CA, HearingChannel, Pair, host_key, user_key


@implementer(ISessionAuthorizer)
@define(eq=False)
class PlayedAuthorizer:
    """Answers what the test says, and notes what it was asked."""

    answer: Deferred[SessionPermit] = field(factory=lambda: succeed(SessionPermit(True, "")))
    asked: list[tuple[UserName, LoginName, str]] = field(factory=list)
    requests: tuple[str, ...] | None = None

    def authorize(
        self, user: UserName, login: LoginName, session_id: str, requests: Sequence[str] = ()
    ) -> Deferred[SessionPermit]:
        self.asked.append((user, login, session_id))
        self.requests = tuple(requests)
        return self.answer


@implementer(IAccounts)
@define(eq=False)
class PlayedAccounts:
    """One account, or a refusal."""

    refusal: Exception | None = None

    def find(self, login: LoginName) -> Deferred[Account]:
        if self.refusal is not None:
            return fail(self.refusal)
        return succeed(Account(login, 0, 0, (0,), "/root", "/bin/sh"))


class NodePair(Pair):
    """A client, and a node's server."""

    def serve(self, node: NodeSshFactory, header: StreamHeader) -> Any:
        self.server = node.serve(header)
        self.server_io.protocol = self.server
        self.pump.server = self.server
        return self


class SessionNamed(HearingChannel):
    name = b"session"


class PortNamed(HearingChannel):
    name = b"direct-tcpip"


class NodeSshTestCase(SynchronousTestCase):
    """A node's SSH server, and a client whose every question is answered."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.authorizer = PlayedAuthorizer()
        self.accounts = PlayedAccounts()
        self.destinations = PlayedDestinations()
        self.ports = PlayedPorts()
        self.sockets = PlayedLoginSockets()
        self.banner = ""
        self.banners: list[str] = []
        self.header = StreamHeader(
            service="ssh", session_id="s1", user="ada", client_address="192.0.2.7:4711"
        )

    def connect(self, **pair: Any) -> NodePair:
        self.node = NodeSshFactory(
            host_key=ReplaceableHostKey(host_key()),
            user_authorities=lambda: [USER_CA.public_blob],
            authorizer=self.authorizer,
            accounts=self.accounts,
            reactor=self.clock,
            wall_clock=lambda: NOW + self.clock.seconds(),
            node=NodeName.parse("db1"),
            own_uid=0,
            recordings=recordings_below(self.mktemp(), clock=self.clock)[0],
            destinations=self.destinations,
            ports=self.ports,
            sockets_of=lambda account: self.sockets,
            banner=self.banner,
        )
        made = NodePair(clock=self.clock, **pair)
        made.client._on_banner = self.banners.append
        made.serve(self.node, self.header)
        made.connect()
        return made

    def refusal(self, pair: NodePair) -> str:
        return str(self.successResultOf(pair.client.ended()))


class NodeSshTests(NodeSshTestCase):
    """Who comes in on a node, and what they can have there."""

    def test_doubles(self) -> None:
        """The doubles provide what they stand for."""
        verifyObject(ISessionAuthorizer, self.authorizer)
        verifyObject(IAccounts, self.accounts)

    def test_comes_in(self) -> None:
        """The hub is asked about the person, the login and the session."""
        pair = self.connect()
        self.successResultOf(pair.client.authenticated())
        self.assertEqual(self.authorizer.asked, [(UserName.parse("ada"), ROOT, "s1")])

    def test_requests(self) -> None:
        """The hub is told which access requests the certificate carries."""
        self.successResultOf(self.connect().client.authenticated())
        self.assertEqual(self.authorizer.requests, ())
        pair = self.connect(key=user_key(requests=["7f", "80"]))
        self.successResultOf(pair.client.authenticated())
        self.assertEqual(self.authorizer.requests, ("7f", "80"))

    def test_denied(self) -> None:
        """The hub's reason is told to the person."""
        self.authorizer.answer = succeed(SessionPermit(False, "ada may not reach db1"))
        self.assertEqual(self.refusal(self.connect()), "ada may not reach db1")

    def test_no_answer(self) -> None:
        """No answer means no."""
        self.authorizer.answer = Deferred()
        pair = self.connect()
        self.assertNoResult(pair.client.ended())
        self.clock.advance(AUTHORIZE_SECONDS)
        pair.pump.flush()
        self.assertIn("did not say whether ada", self.refusal(pair))

    def test_hub_gone(self) -> None:
        """A hub that cannot be asked means no."""
        self.authorizer.answer = fail(Unavailable("the tunnel is down"))
        self.assertEqual(self.refusal(self.connect()), "the tunnel is down")

    def test_no_account(self) -> None:
        """An account that cannot be used is said to be so."""
        self.accounts.refusal = AccountRefused("there is no account root on this node")
        self.assertEqual(self.refusal(self.connect()), "there is no account root on this node")

    def test_banner(self) -> None:
        """What is to be read before is sent before, also to who is then refused."""
        self.banner = "Private property.\nKeep off.\n"
        pair = self.connect()
        self.assertEqual(self.banners, ["Private property. Keep off."])
        self.successResultOf(pair.client.authenticated())

    def test_another_user(self) -> None:
        """The person at the hub and the person with the certificate must be one."""
        self.header.user = "eve"
        pair = self.connect()
        self.assertIn("is ada's", self.refusal(pair))
        self.assertEqual(self.authorizer.asked, [])

    def test_user_not_named(self) -> None:
        """A stream that names nobody lets nobody in: there is nothing to compare with."""
        self.header.user = ""
        self.assertIn("the connection to the hub is not", self.refusal(self.connect()))

    def test_expired(self) -> None:
        """An expired certificate is refused before the hub is asked."""
        pair = self.connect(key=user_key(now=NOW - 7200))
        self.assertIn("expired", self.refusal(pair))
        self.assertEqual(self.authorizer.asked, [])

    def test_gone_while_asking(self) -> None:
        """A client that goes while the hub is asked leaves nothing behind."""
        cancelled: list[object] = []
        self.authorizer.answer = Deferred(cancelled.append)
        pair = self.connect()
        pair.client.close()
        pair.pump.flush()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_sessions_at_most(self) -> None:
        """A connection has so many sessions at once, and no more."""
        pair = self.connect()
        sessions = [pair.open(SessionNamed()) for _ in range(SESSIONS)]
        [error] = pair.open(SessionNamed()).happened
        self.assertIsInstance(error, ChannelRefused)
        sessions[0].loseConnection()
        pair.pump.flush()
        self.assertEqual(pair.open(SessionNamed()).happened, ["open"])

    def test_no_more_sessions(self) -> None:
        """A client may say that it wants no more sessions."""
        pair = self.connect()
        pair.connection.sendGlobalRequest(b"no-more-sessions@openssh.com", b"")
        [error] = pair.open(SessionNamed()).happened
        self.assertIsInstance(error, ChannelRefused)

    def forward(self, pair: NodePair) -> PortNamed:
        channel = PortNamed()
        extra = string(b"db") + uint32(1) + string(b"") + uint32(0)
        pair.connection.openChannel(channel, extra)
        pair.pump.flush()
        return channel

    def test_forwarding(self) -> None:
        """A certificate with the right to it can open connections from the node."""
        pair = self.connect(key=user_key(extensions=["permit-port-forwarding"]))
        self.forward(pair)
        self.assertEqual(self.destinations.asked, [("db", 1)])

    def test_no_forwarding(self) -> None:
        """One without cannot."""
        pair = self.connect(key=user_key(extensions=["permit-pty"]))
        [error] = self.forward(pair).happened
        self.assertIn("does not permit", str(error))
        self.assertEqual(self.destinations.asked, [])

    def test_withheld(self) -> None:
        """What the certificate permits elsewhere, and not here, is not permitted."""
        withheld = frozenset(["permit-port-forwarding"])
        self.authorizer.answer = succeed(SessionPermit(True, "", withheld=withheld))
        [error] = self.forward(self.connect()).happened
        self.assertIn("does not permit", str(error))

    def test_nothing_else(self) -> None:
        """There are no other channels, and no other requests."""
        pair = self.connect()
        channel = HearingChannel()
        channel.name = b"x11"
        self.assertIsInstance(pair.open(channel).happened[0], ChannelRefused)
        self.failureResultOf(self.ask(pair, b"hostkeys-prove-00@openssh.com", b""))

    def ask(self, pair: NodePair, name: bytes, data: bytes) -> Any:
        asked = pair.connection.sendGlobalRequest(name, data, wantReply=1)
        pair.pump.flush()
        return asked

    def test_listening(self) -> None:
        """A port is opened for who may have it; a free one is told."""
        pair = self.connect()
        where = string(b"localhost")
        asked = self.ask(pair, b"tcpip-forward", where + uint32(0))
        self.assertEqual(self.successResultOf(asked), uint32(40000))
        asked = self.ask(pair, b"tcpip-forward", where + uint32(8080))
        self.assertEqual(self.successResultOf(asked), b"")
        asked = self.ask(pair, b"cancel-tcpip-forward", where + uint32(40000))
        self.assertEqual(self.successResultOf(asked), b"")
        self.assertEqual([each.is_stopped for each in self.ports.made], [True, False])
        pair.client.close()
        pair.pump.flush()
        self.assertEqual([each.is_stopped for each in self.ports.made], [True, True])

    def test_listening_on_file(self) -> None:
        """A unix socket is made for who may have it; later requests wait their turn."""
        pair = self.connect()
        self.sockets.is_held = True
        first = self.ask(pair, b"streamlocal-forward@openssh.com", string(b"/tmp/s"))
        second = self.ask(pair, b"tcpip-forward", string(b"") + uint32(0))
        self.assertNoResult(first)
        self.assertNoResult(second)
        self.sockets.go_on()
        pair.pump.flush()
        self.assertEqual(self.successResultOf(first), b"")
        self.assertEqual(self.successResultOf(second), uint32(40000))
        cancel = b"cancel-streamlocal-forward@openssh.com"
        self.assertEqual(self.successResultOf(self.ask(pair, cancel, string(b"/tmp/s"))), b"")
        self.failureResultOf(self.ask(pair, cancel, string(b"/tmp/s")))
        self.sockets.refusal = "permission denied"
        self.failureResultOf(self.ask(pair, b"streamlocal-forward@openssh.com", string(b"/root/s")))
        pair = self.connect(key=user_key(extensions=["permit-pty"]))
        self.failureResultOf(self.ask(pair, b"streamlocal-forward@openssh.com", string(b"/tmp/s")))

    def test_file_permitted(self) -> None:
        """A unix socket of the node is for those whose certificate permits forwarding."""
        channel = HearingChannel()
        channel.name = b"direct-streamlocal@openssh.com"
        extra = string(b"/run/s") + string(b"") + uint32(0)
        pair = self.connect(key=user_key(extensions=["permit-pty"]))
        pair.connection.openChannel(channel, extra)
        pair.pump.flush()
        [error] = channel.happened
        self.assertIn("does not permit", str(error))
        self.assertEqual(self.sockets.connected, {})

    def request(self, pair: NodePair, name: bytes) -> Any:
        session = pair.open(SessionNamed())
        asked = pair.connection.sendRequest(session, name, b"", wantReply=1)
        pair.pump.flush()
        return asked

    def test_agent(self) -> None:
        """The agent is for those whose certificate says so, and ends with the connection."""
        wish = b"auth-agent-req@openssh.com"
        pair = self.connect(key=user_key(extensions=["permit-pty"]))
        self.failureResultOf(self.request(pair, wish))
        pair = self.connect(key=user_key(extensions=["permit-agent-forwarding"]))
        self.successResultOf(self.request(pair, wish))
        self.assertFalse(self.sockets.is_closed)
        pair.client.close()
        pair.pump.flush()
        self.assertTrue(self.sockets.is_closed)

    def test_no_listening(self) -> None:
        """A port that cannot be had is refused, and ``ssh -v`` shows why."""
        pair = self.connect(key=user_key(extensions=["permit-pty"]))
        self.failureResultOf(self.ask(pair, b"tcpip-forward", string(b"") + uint32(0)))
        pair = self.connect()
        for host, port in ((b"", 40001), (b"a\nb", 8080), (b"a" * 256, 8080), (b"", 65536)):
            self.failureResultOf(self.ask(pair, b"tcpip-forward", string(host) + uint32(port)))
        self.failureResultOf(self.ask(pair, b"cancel-tcpip-forward", string(b"") + uint32(1)))
        self.assertEqual(self.ports.made, [])

    def test_stays_alive(self) -> None:
        """An idle connection says something often enough for what lies between."""
        pair = self.connect()
        heard: list[bytes] = []
        pair.connection.got_global_request = (  # type: ignore[method-assign]
            lambda name, data: heard.append(name)
        )
        for _ in range(3):
            self.clock.advance(ALIVE_SECONDS)
            pair.pump.flush()
        self.assertEqual(heard, [b"keepalive@openssh.com"] * 3)
        pair.client.close()
        pair.pump.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])
