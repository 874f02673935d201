"""Tests of the agent's tunnel, with a hub's end in memory."""

from __future__ import annotations

import itertools
import os
import random
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.backoff import LONGEST, LONGEST_REFUSED, ceiling
from mezite.agent.condition import State
from mezite.agent.currentmembership import CurrentMembership
from mezite.agent.error import NoAddress, TunnelDown
from mezite.agent.hubaddresses import HubAddresses
from mezite.agent.report import MachineFacts, NodeReport
from mezite.agent.resolvers import SrvAnswer
from mezite.agent.state import StateDirectory
from mezite.agent.tunnel import DIAL_SECONDS, LONGEST_TOLD
from mezite.agent.tunnelservice import TunnelService
from mezite.config.hubplaces import SrvName
from mezite.error import Denied
from mezite.names import HostPort, LoginName, UserName
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode
from mezite.wire.error import HandshakeFailed, HubUnreachable
from tests.doubles.agenthub import HUB, NODE, AgentHub, Silence


def refused() -> HubUnreachable:
    error = HubUnreachable(HUB, "refused")
    error.__cause__ = ConnectionRefusedError()
    return error


class Echo(Protocol):
    """Answers what it hears, and remembers how it ended."""

    def __init__(self, header: StreamHeader) -> None:
        self.header = header
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data.upper())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class Client(Protocol):
    def __init__(self) -> None:
        self.heard = b""
        self.lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class TunnelServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = AgentHub()
        self.sessions: list[Echo] = []
        self.unwelcome = 0
        # The longest that each wait could be, which is then waited.
        self.ceilings: list[float] = []
        self.service = self.make()

    def longest_wait(self, low: float, high: float) -> float:
        self.assertEqual(low, 0)
        self.ceilings.append(high)
        return high

    def make(self) -> TunnelService:
        state = StateDirectory(Path(self.mktemp()))
        self.addCleanup(os.close, state.prepare())
        self.current = CurrentMembership.of(self.hub.membership(state.keys()), state)
        return TunnelService(
            current=self.current,
            report=lambda: NodeReport({"env": "dev"}),
            clock=self.hub.clock,
            wall_clock=self.hub.wall_clock,
            endpoint=self.hub.endpoint,
            services={"ssh": self.serve},
            on_unwelcome=self.on_unwelcome,
            uniform=self.longest_wait,
        )

    def serve(self, header: StreamHeader) -> IProtocol:
        session = Echo(header)
        self.sessions.append(session)
        return session  # type: ignore[return-value]

    def on_unwelcome(self) -> None:
        self.unwelcome += 1

    def seldom(self) -> None:
        """Let the hub want a heartbeat every ten minutes."""
        self.hub.heartbeat_seconds = 600
        self.service.uniform = lambda low, high: high

    def start(self) -> None:
        self.service.startService()
        self.hub.advance()

    def stop(self) -> None:
        stopped = self.service.stopService()
        self.hub.advance(1)
        self.successResultOf(stopped)

    def open(self, header: bytes) -> Client:
        client = Client()
        stream = self.hub.tunnels[-1].open_stream()
        stream.attach(client)
        stream.write(header)
        self.hub.flush()
        return client

    # --- the tunnel and what is said in it

    def test_facts(self) -> None:
        """What the machine is goes with the registration, and later only if it changed."""
        facts = MachineFacts(("192.0.2.1",), "Debian", "x86_64")
        self.service.report = lambda: NodeReport({"env": "dev", "k": "6"}, ("k",), facts)
        self.start()
        (registered,) = self.hub.heard("RegisterAgent")
        self.assertEqual(list(registered.facts.addresses), ["192.0.2.1"])
        self.assertEqual(list(registered.command_labels), ["k"])
        self.hub.advance(10)
        facts = MachineFacts(("192.0.2.2",), "Debian", "x86_64")
        self.hub.advance(20)
        beats = self.hub.heard("AgentHeartbeat")
        self.assertEqual([beat.HasField("facts") for beat in beats], [False, True, False])
        self.assertEqual(list(beats[1].facts.addresses), ["192.0.2.2"])
        self.stop()

    def test_registers(self) -> None:
        """Once the tunnel is up, the node is registered with its labels."""
        self.start()
        (request,) = self.hub.heard("RegisterAgent")
        self.assertEqual(dict(request.labels), {"env": "dev"})
        self.assertEqual(request.hostname, NODE.text)
        self.assertTrue(self.service.is_registered)

    def test_heartbeats(self) -> None:
        """The agent is heard from as often as the hub asked."""
        self.start()
        self.hub.advance(35)
        self.assertEqual(len(self.hub.heard("AgentHeartbeat")), 3)

    def test_asked(self) -> None:
        """A hub that wants to hear from the agent hears from it at once."""
        self.start()
        self.open(encode(StreamHeader(service="report")))
        self.hub.advance(0.1)
        self.assertEqual(len(self.hub.heard("AgentHeartbeat")), 1)
        self.open(encode(StreamHeader(service="report")))
        self.hub.advance(0.1)
        self.assertEqual(len(self.hub.heard("AgentHeartbeat")), 2)

    def test_news(self) -> None:
        """What changed is told soon, and what did not is not, where the hub wants little."""
        self.seldom()
        labels = {"env": "dev"}
        self.service.report = lambda: NodeReport(dict(labels))
        self.start()
        self.hub.advance(120)
        self.assertEqual(self.hub.heard("AgentHeartbeat"), [])
        labels["env"] = "prod"
        self.hub.advance(10)
        (told,) = self.hub.heard("AgentHeartbeat")
        self.assertEqual(dict(told.labels), {"env": "prod"})
        self.hub.advance(600)
        self.assertEqual(len(self.hub.heard("AgentHeartbeat")), 2)

    def test_idle_channel(self) -> None:
        """A stream for calls is ended when there are none, and opened for the next one."""
        self.seldom()
        self.start()
        self.assertEqual(self.hub.tunnels[-1].stream_count, 1)
        self.hub.advance(7)
        self.assertEqual(self.hub.tunnels[-1].stream_count, 0)
        self.assertTrue(self.service.is_registered)
        asked = Deferred.fromCoroutine(
            self.service.calls.authorize(UserName("ada"), LoginName("ada"), "s1")
        )
        self.hub.advance(0.1)
        self.assertTrue(self.successResultOf(asked).allowed)

    def test_stopped_for_good(self) -> None:
        """Nothing goes on after the end, and the hub cannot be asked."""
        self.seldom()
        self.start()
        self.stop()
        with self.assertRaises(TunnelDown):
            self.service.calls  # noqa: B018
        self.hub.advance(1)
        self.assertEqual(self.hub.clock.getDelayedCalls(), [])

    def test_session(self) -> None:
        """A stream that the hub opens reaches the node's SSH server with its header."""
        self.start()
        header = encode(StreamHeader(service="ssh", session_id="s1", user="ada"))
        client = self.open(header + b"ls")
        (session,) = self.sessions
        self.assertEqual((session.header.session_id, session.header.user), ("s1", "ada"))
        self.assertEqual(client.heard, b"LS")

    def test_unknown_service(self) -> None:
        """A stream for anything else is reset, and the tunnel stays."""
        self.start()
        client = self.open(encode(StreamHeader(service="telnet")))
        self.assertIsNotNone(client.lost)
        self.assertEqual(self.sessions, [])
        self.assertTrue(self.service.is_registered)

    def test_broken_header(self) -> None:
        """A stream that begins with nonsense is reset, and the tunnel stays."""
        self.start()
        for nonsense in (b"\0\0", b"\xff\xff" + b"x" * 100, b"\0\4abcd"):
            self.assertIsNotNone(self.open(nonsense).lost)
        self.assertTrue(self.service.is_registered)

    def test_slow_header(self) -> None:
        """A stream without a header is reset in the end."""
        self.start()
        client = self.open(b"\0")
        self.hub.advance(9)
        self.assertIsNone(client.lost)
        self.hub.advance(2)
        self.assertIsNotNone(client.lost)

    def test_registration_is_retried(self) -> None:
        """A hub that fails to register the node is asked again on the same tunnel."""
        self.hub.errors["RegisterAgent"] = Denied("not now")
        self.start()
        self.assertFalse(self.service.is_registered)
        del self.hub.errors["RegisterAgent"]
        self.hub.advance(2)
        self.assertTrue(self.service.is_registered)
        self.assertEqual(len(self.hub.tunnels), 1)

    def test_lost_heartbeat(self) -> None:
        """After a heartbeat that failed the node is registered anew."""
        self.start()
        self.hub.errors["AgentHeartbeat"] = Denied("who are you?")
        self.hub.advance(15)
        self.assertEqual(len(self.hub.heard("RegisterAgent")), 2)

    # --- going down and coming back

    def test_comes_back(self) -> None:
        """A tunnel that was lost is dialed again, and the node registered."""
        self.start()
        self.hub.tunnels[-1].abort()
        self.hub.advance()
        self.assertRaises(TunnelDown, lambda: self.service.calls)
        self.hub.advance(1)
        self.assertEqual(len(self.hub.tunnels), 2)
        self.assertTrue(self.service.is_registered)

    def test_never_gives_up(self) -> None:
        """After a day of failures it still dials."""
        self.hub.refusals = [HandshakeFailed("no")] * 3000
        self.start()
        self.hub.clock.pump([30.0] * 2880)
        before = len(self.hub.dials)
        self.hub.clock.pump([30.0] * 2)
        self.assertGreater(len(self.hub.dials), before)

    def test_waits_grow(self) -> None:
        """Each failure makes the longest wait longer, up to half a minute."""
        self.hub.refusals = [HandshakeFailed("no")] * 15
        self.start()
        self.hub.clock.pump([0.5] * 600)
        self.assertEqual(self.ceilings[:15], [ceiling(n) for n in range(15)])
        self.assertEqual(self.ceilings[14], LONGEST)

    def test_dials_count(self) -> None:
        """From one dial to the next it is 30 s at most, however long the first took."""
        self.hub.refusals = [Silence()] * 30
        self.start()
        self.hub.clock.pump([0.5] * 900)
        gaps = [later - dial for dial, later in itertools.pairwise(self.hub.dials)]
        self.assertEqual(max(gaps), LONGEST)
        self.assertEqual(self.ceilings[-1], LONGEST - DIAL_SECONDS)

    def test_restarted_hub(self) -> None:
        """While the hub's machine refuses connections, nobody waits for long."""
        self.hub.refusals = [refused() for _ in range(1000)]
        self.start()
        self.hub.clock.pump([0.5] * 360)
        self.assertEqual(max(self.ceilings), LONGEST_REFUSED)
        self.hub.refusals.clear()
        self.hub.advance(LONGEST_REFUSED)
        self.assertTrue(self.service.is_registered)

    def test_reset_only_when_stable(self) -> None:
        """A tunnel that falls over at once does not make the next wait short."""
        self.hub.refusals = [HandshakeFailed("no")] * 6
        self.start()
        self.hub.clock.pump([0.5] * 60)
        self.hub.flush()
        self.assertEqual(len(self.hub.tunnels), 1)
        self.hub.advance(5)
        self.hub.tunnels[-1].abort()
        self.hub.advance()
        self.assertEqual(self.ceilings[-1], ceiling(6))

    def test_reset_when_stable(self) -> None:
        """A tunnel that lasted makes the next wait short."""
        self.hub.refusals = [HandshakeFailed("no")] * 6
        self.start()
        self.hub.clock.pump([0.5] * 60)
        self.hub.advance(31)
        self.hub.tunnels[-1].abort()
        self.hub.advance()
        self.assertEqual(self.ceilings[-1], ceiling(0))

    def test_dial_deadline(self) -> None:
        """A dial that nobody answers ends after ten seconds."""
        self.hub.refusals = [Silence()]
        self.start()
        self.hub.clock.advance(9.9)
        self.assertEqual(len(self.hub.dials), 1)
        self.hub.clock.advance(0.2)
        self.hub.advance(1)
        self.assertEqual(len(self.hub.dials), 2)
        self.assertTrue(self.service.is_registered)

    def test_dead_hub_is_noticed(self) -> None:
        """A hub that falls silent without a word is given up within 30 s."""
        self.start()
        link = self.hub.links[-1]
        link.server.is_reading = link.client.is_reading = False
        self.hub.clock.pump([0.5] * 59)
        self.assertIs(link.client.is_aborted, True)

    def test_silence_counts(self) -> None:
        """The 29 s of a silence are taken from the wait behind it, as those of a dial are."""
        self.hub.refusals = [HandshakeFailed("no")] * 15
        self.start()
        self.hub.clock.pump([0.5] * 600)
        self.hub.flush()
        link = self.hub.links[-1]
        link.server.is_reading = link.client.is_reading = False
        while not link.client.is_aborted:
            self.hub.clock.advance(0.5)
        self.hub.flush()
        self.assertLessEqual(self.ceilings[-1], LONGEST - 29)

    def test_unwelcome(self) -> None:
        """A hub that keeps hanging up before it registers the node is asked why."""
        self.hub.errors["RegisterAgent"] = Denied("no")
        self.start()
        self.hub.tunnels[-1].abort()
        self.hub.advance(3)
        self.assertEqual(self.unwelcome, 0)
        self.hub.tunnels[-1].abort()
        self.hub.advance(3)
        self.assertEqual(self.unwelcome, 1)

    def test_another_hub(self) -> None:
        """A hub of another authority is looked into at once; other failures are not."""
        self.hub.refusals = [HandshakeFailed("the connection ended too early")]
        self.hub.refusals += [HandshakeFailed("the certificate is not from an authority we know")]
        self.start()
        self.assertEqual(self.unwelcome, 0)
        self.hub.advance(1)
        self.assertEqual(self.unwelcome, 1)

    # --- several addresses

    def round(self, *addresses: HostPort) -> None:
        async def lookup(name: str) -> list[SrvAnswer]:
            raise NoAddress("there is no name")

        self.service.hubs = HubAddresses(addresses, lookup, self.hub.clock, random.Random(1))
        self.service.__attrs_post_init__()

    def test_next_address(self) -> None:
        """Within a round nothing is waited for, and whichever answers is the hub's."""
        other = HostPort("hub2.example.com", 443)
        self.round(HUB, other)
        self.hub.refusals = [HandshakeFailed("no")]
        self.start()
        self.assertTrue(self.service.is_registered)
        self.assertEqual((len(self.hub.dials), self.ceilings), (2, []))
        self.assertEqual(self.service.condition.hub, str(self.current.membership.hub))

    def test_wait_between_rounds(self) -> None:
        """When no address answers, it is waited as after one dial; what happened is told."""
        self.round(HUB, HostPort("hub2.example.com", 443))
        self.hub.refusals = [HandshakeFailed("no")] * 4
        self.start()
        self.assertEqual((len(self.hub.dials), self.ceilings), (2, [ceiling(0)]))
        self.assertEqual(self.service.condition.state, State.WAITING)
        self.hub.advance(0.5)
        self.assertEqual((len(self.hub.dials), self.ceilings[1:]), (4, [ceiling(1)]))

    def test_silent_address(self) -> None:
        """An address that does not answer costs ten seconds, and the next is tried."""
        self.round(HUB, HostPort("hub2.example.com", 443))
        self.hub.refusals = [Silence()]
        self.start()
        self.hub.clock.advance(10)
        self.hub.advance()
        self.assertTrue(self.service.is_registered)

    def test_no_address(self) -> None:
        """A name that leads nowhere is waited for like a hub that is not there."""
        self.round(SrvName("_mezite._tcp.example.com"))  # type: ignore[arg-type]
        self.start()
        self.hub.clock.pump([0.5] * 20)
        trouble = self.service.condition.trouble
        assert trouble is not None
        self.assertEqual(trouble.sentence, "there is no name")
        self.assertGreater(len(self.ceilings), 3)

    def test_stop_between_addresses(self) -> None:
        """A stop in the middle of a round dials no other address."""
        self.round(HUB, HostPort("hub2.example.com", 443))
        self.hub.refusals = [Silence()]
        self.start()
        self.stop()
        self.assertEqual(len(self.hub.dials), 1)

    # --- a hub that is being stopped

    def send_away(self, milliseconds: int) -> None:
        self.open(encode(StreamHeader(service="drain", come_back_after_ms=milliseconds)))
        self.hub.tunnels[-1].go_away()
        self.hub.advance()

    def test_sent_away(self) -> None:
        """The agent lets go of the tunnel, waits as long as it was told, and dials."""
        self.start()
        self.send_away(7500)
        self.assertFalse(self.service.is_registered)
        self.assertFalse(self.hub.tunnels[-1].is_up)
        self.hub.clock.advance(7.4)
        self.assertEqual((len(self.hub.dials), self.ceilings), (1, []))
        self.hub.clock.advance(0.2)
        self.hub.advance()
        self.assertTrue(self.service.is_registered)
        self.assertEqual(self.unwelcome, 0)

    def test_sent_away_once(self) -> None:
        """What the hub said counts for one dial; after that it is as ever."""
        self.start()
        self.send_away(1000)
        self.hub.refusals = [HandshakeFailed("no")]
        self.hub.advance(1.1)
        self.assertEqual(self.ceilings, [ceiling(1)])

    def test_sent_away_for_ever(self) -> None:
        """No hub keeps an agent away for longer than two minutes."""
        self.start()
        self.send_away(2**32 - 1)
        self.hub.advance(LONGEST_TOLD + 1)
        self.assertEqual(len(self.hub.tunnels), 2)

    def test_sessions_stay(self) -> None:
        """Sessions in the tunnel go on after the hub has taken its leave."""
        self.start()
        client = self.open(encode(StreamHeader(service="ssh")))
        self.send_away(1000)
        client.transport.write(b"ls")  # type: ignore[union-attr]
        self.hub.flush()
        self.assertEqual(client.heard, b"LS")
        self.assertEqual(len(self.hub.dials), 1)

    # --- the end

    def test_goodbye(self) -> None:
        """A clean stop deregisters, ends the sessions, and dials no more."""
        self.start()
        client = self.open(encode(StreamHeader(service="ssh")))
        self.stop()
        self.assertEqual(len(self.hub.heard("DeregisterAgent")), 1)
        self.assertIsNotNone(self.sessions[0].lost)
        self.assertIsNotNone(client.lost)
        self.hub.advance(60)
        self.assertEqual(len(self.hub.dials), 1)
        self.assertEqual(self.hub.clock.getDelayedCalls(), [])

    def test_stop_while_dialing(self) -> None:
        """A stop during a dial cancels it."""
        self.hub.refusals = [Silence()]
        self.start()
        self.stop()
        self.hub.advance(60)
        self.assertEqual(len(self.hub.dials), 1)
        self.assertEqual(self.hub.clock.getDelayedCalls(), [])

    def test_stop_while_waiting(self) -> None:
        """A stop between two dials cancels the wait."""
        self.hub.refusals = [refused()]
        self.start()
        self.stop()
        self.hub.advance(60)
        self.assertEqual(len(self.hub.dials), 1)

    def test_stop_with_deaf_hub(self) -> None:
        """A hub that does not listen any more does not hold up the end."""
        self.start()
        link = self.hub.links[-1]
        link.server.is_reading = link.client.is_reading = False
        stopped = self.service.stopService()
        self.hub.clock.pump([0.5] * 12)
        self.successResultOf(stopped)


class BackoffTests(SynchronousTestCase):
    @given(st.integers(0, 10**9), st.booleans(), st.floats(0, 1000))
    @settings(max_examples=50, deadline=None)
    def test_bounds(self, failures: int, was_refused: bool, spent: float) -> None:
        """The ceiling is never below the first one, nor above the longest."""
        found: Any = ceiling(failures, was_refused=was_refused, spent=spent)
        self.assertTrue(0.5 <= found <= (LONGEST_REFUSED if was_refused else LONGEST))
