"""Tests of a transport that outlives what carries it."""

from __future__ import annotations

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.resume import frames
from mezite.resume.link import FULL
from mezite.resume.silence import ANSWER_SECONDS, ASK_SECONDS
from mezite.resume.transport import (
    ACKNOWLEDGE_SECONDS,
    ResumableTransport,
)
from tests.doubles.legs import PlayedLeg, Talker, exchange


class Tap:
    """A producer that notes whether it may go on."""

    is_open = True

    def pauseProducing(self) -> None:
        self.is_open = False

    def resumeProducing(self) -> None:
        self.is_open = True

    def stopProducing(self) -> None:
        self.is_open = False


class End:
    """One end: its transport, who speaks on it, and what happened to it."""

    def __init__(self, clock: Clock, *, is_client: bool) -> None:
        self.cuts = 0
        self.overs = 0
        self.leg = PlayedLeg()
        self.talker = Talker()
        self.transport = ResumableTransport(
            clock, on_cut=self._cut, on_over=self._over, is_client=is_client
        )
        self.transport.keeps_last_words = not is_client
        self.transport.attach(self.talker)

    def _cut(self) -> None:
        self.cuts += 1

    def _over(self) -> None:
        self.overs += 1

    def carry(self, received: int) -> None:
        self.leg = PlayedLeg()
        self.transport.carry(self.leg, received)


class TransportTestCase(SynchronousTestCase):
    """A client and an agent, which are connected."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.client = End(self.clock, is_client=True)
        self.agent = End(self.clock, is_client=False)
        self.connect()

    def connect(self) -> None:
        client, agent = (each.transport.link.received for each in (self.client, self.agent))
        self.client.carry(agent)
        self.agent.carry(client)
        self.flush()

    def flush(self) -> None:
        exchange(self.client.leg, self.agent.leg)

    def cut(self) -> None:
        self.client.leg.lose()
        self.agent.leg.lose()


class GoingOnTests(TransportTestCase):
    """What is said, and what becomes of it when the line is cut."""

    def test_interfaces(self) -> None:
        """It is what a TCP transport is to its protocol."""
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, self.client.transport)
        self.assertEqual(self.agent.transport.getPeer(), "192.0.2.7:4711")

    def test_cut(self) -> None:
        """What was on its way when the line was cut, and what was said after, arrives once."""
        self.client.transport.write(b"one ")
        self.flush()
        self.client.transport.write(b"two ")
        self.client.transport.writeSequence([b"three ", b"four "])
        self.cut()
        self.assertEqual((self.client.cuts, self.agent.cuts), (1, 1))
        self.client.transport.write(b"five")
        self.agent.transport.write(b"ans")
        self.connect()
        self.agent.transport.write(b"wer")
        self.flush()
        self.assertEqual(self.agent.talker.heard, b"one two three four five")
        self.assertEqual(self.client.talker.heard, b"answer")

    def test_newest(self) -> None:
        """A leg that looks alive is dropped for the next one, and that is no cut."""
        before = self.agent.leg
        self.agent.transport.write(b"x")
        self.connect()
        self.assertTrue(before.is_aborted)
        self.assertEqual(self.agent.cuts, 0)
        self.assertEqual(self.client.talker.heard, b"x")

    def test_acknowledged(self) -> None:
        """What came is acknowledged after a while, so that nothing is kept for nothing."""
        self.client.transport.write(b"x")
        self.flush()
        self.assertEqual(self.client.transport.link.unacknowledged, 1)
        self.clock.advance(ACKNOWLEDGE_SECONDS)
        self.flush()
        self.assertEqual(self.client.transport.link.unacknowledged, 0)

    def test_broken(self) -> None:
        """A peer that breaks the protocol is dropped for good."""
        self.agent.leg.protocol.dataReceived(b"SSH-2.0-nobody\r\n")
        self.assertTrue(self.agent.leg.is_aborted)
        self.assertIsNotNone(self.agent.talker.reason)
        self.assertEqual((self.agent.overs, self.agent.cuts), (1, 0))
        # The client's look into silence.
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)


class EndTests(TransportTestCase):
    """How a connection comes to its end."""

    def assert_over(self) -> None:
        for end in (self.client, self.agent):
            self.assertIsNotNone(end.talker.reason)
            self.assertEqual(end.overs, 1)
            self.assertEqual(end.cuts, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_by_client(self) -> None:
        """What the client wrote last arrives, then the end; nothing is left at the agent."""
        self.client.transport.write(b"goodbye")
        self.client.transport.loseConnection()
        self.assertTrue(self.client.leg.is_closed)
        self.flush()
        self.clock.advance(0)
        self.assertEqual(self.agent.talker.heard, b"goodbye")
        self.assert_over()

    def test_by_agent(self) -> None:
        """The agent's last words arrive, then the end; then both close."""
        self.agent.transport.write(b"goodbye")
        self.agent.transport.loseConnection()
        self.flush()
        self.clock.advance(0)
        self.assertEqual(self.client.talker.heard, b"goodbye")
        assert self.agent.talker.reason is not None
        self.assertIsNotNone(self.agent.talker.reason.check(ConnectionDone))
        self.assert_over()

    def test_abort(self) -> None:
        """An abort drops it for both at once."""
        for end in ("agent", "client"):
            self.setUp()
            getattr(self, end).transport.abortConnection()
            self.flush()
            self.clock.advance(0)
            self.assert_over()

    def test_last_words(self) -> None:
        """What an agent said before it ended, while nothing led to the client, is kept for it."""
        self.cut()
        self.agent.transport.write(b"exit status 7")
        self.agent.transport.loseConnection()
        self.clock.advance(0)
        self.assertIsNotNone(self.agent.talker.reason)
        self.agent.transport.abortConnection()
        self.clock.advance(0)
        self.assertEqual(self.agent.overs, 0)
        self.connect()
        self.assertEqual(self.client.talker.heard, b"exit status 7")
        self.assertIsNotNone(self.client.talker.reason)
        self.assertEqual((self.client.overs, self.agent.overs), (1, 1))

    def test_client_gives_up(self) -> None:
        """A client that goes while nothing leads to the agent does not come back."""
        self.cut()
        self.client.transport.loseConnection()
        self.clock.advance(0)
        self.assertIsNotNone(self.client.talker.reason)
        self.assertEqual(self.client.overs, 1)


class PressureTests(TransportTestCase):
    """Who writes waits for who reads."""

    def test_unacknowledged(self) -> None:
        """A writer waits when much is not acknowledged, and goes on when a quarter of it is."""
        tap = Tap()
        self.agent.transport.registerProducer(tap, True)
        self.client.leg.is_paused = True
        self.agent.transport.write(bytes(FULL))
        self.assertFalse(tap.is_open)
        self.client.leg.is_paused = False
        self.flush()
        self.assertTrue(tap.is_open)

    def test_never_stalls(self) -> None:
        """Whoever waits for an acknowledgement gets one at once, whatever pieces arrive."""
        tap = Tap()
        self.agent.transport.registerProducer(tap, True)
        for size in (50_000, 96 * 1024 + 4, 256 * 1024, 777_777):
            for _ in range(5):
                while tap.is_open:
                    self.agent.transport.write(bytes(size))
                self.flush_in_pieces(size // 3 + 1)
                self.assertTrue(tap.is_open, size)
                self.client.talker.heard = b""

    def flush_in_pieces(self, size: int) -> None:
        written = self.agent.leg.taken()
        for start in range(0, len(written), size):
            self.client.leg.protocol.dataReceived(written[start : start + size])
        self.flush()

    def test_cut(self) -> None:
        """A writer waits while nothing carries its bytes."""
        tap = Tap()
        self.agent.transport.registerProducer(tap, True)
        self.cut()
        self.assertFalse(tap.is_open)
        self.connect()
        self.assertTrue(tap.is_open)

    def test_full_leg(self) -> None:
        """A writer waits for the leg as well."""
        tap = Tap()
        self.agent.transport.registerProducer(tap, True)
        self.agent.leg.producer.pauseProducing()
        self.assertFalse(tap.is_open)
        self.agent.leg.producer.resumeProducing()
        self.assertTrue(tap.is_open)

    def test_reader(self) -> None:
        """A reader that pauses has the leg paused, also the one that comes next."""
        self.agent.transport.pauseProducing()
        self.assertTrue(self.agent.leg.is_paused)
        self.connect()
        self.assertTrue(self.agent.leg.is_paused)
        self.agent.transport.resumeProducing()
        self.assertFalse(self.agent.leg.is_paused)


class SilenceTests(TransportTestCase):
    """A client that hears nothing."""

    def wait(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            self.clock.advance(1)

    def test_answered(self) -> None:
        """It asks, is answered, and all is well."""
        self.wait(ASK_SECONDS + 3)
        self.assertEqual(self.client.leg.written, frames.ping())
        self.flush()
        self.wait(ANSWER_SECONDS - 4)
        self.assertEqual(self.client.cuts, 0)

    def test_unanswered(self) -> None:
        """It asks, is not answered, and takes the leg for dead within 20 s."""
        self.wait(20)
        self.assertEqual(self.client.cuts, 1)
        self.assertTrue(self.client.leg.is_aborted)

    def test_not_listening(self) -> None:
        """Silence means nothing while nobody listens."""
        self.client.transport.pauseProducing()
        self.wait(60)
        self.assertEqual(self.client.cuts, 0)

    def test_agent(self) -> None:
        """An agent does not count it: a client that was stopped says nothing."""
        self.wait(60)
        self.assertEqual(self.agent.cuts, 0)
