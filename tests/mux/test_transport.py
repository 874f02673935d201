"""Tests of streams as transports, on two ends connected in memory."""

from __future__ import annotations

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ITCPTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.mux.pair import HalfListener, Listener, Pair, listener


class DeliveryTests(SynchronousTestCase):
    def test_interfaces(self) -> None:
        """A stream is a transport like TCP's, a consumer and a producer."""
        at_hub, _ = Pair(agent_accepts=Listener).stream()
        for interface in (ITCPTransport, IConsumer, IPushProducer):
            verifyObject(interface, at_hub)

    def test_both_ways(self) -> None:
        """What one end writes, the other end's protocol receives."""
        pair = Pair(agent_accepts=Listener)
        at_hub, at_agent = pair.stream()
        at_hub.write(b"uptime\n")
        at_agent.writeSequence([b"load average:", b" 0.1"])
        pair.flush()
        self.assertEqual(listener(at_agent).text, b"uptime\n")
        self.assertEqual(listener(at_hub).text, b"load average: 0.1")

    def test_large(self) -> None:
        """Many windows' worth arrives whole and in order."""
        pair = Pair(agent_accepts=Listener)
        at_hub, at_agent = pair.stream()
        sent = bytes(range(256)) * 40_000
        at_hub.write(sent)
        pair.flush()
        self.assertEqual(listener(at_agent).text, sent)


class EndingTests(SynchronousTestCase):
    def test_lose_connection(self) -> None:
        """The last bytes arrive, then both protocols hear of a clean end, and nothing is kept."""
        pair = Pair(agent_accepts=Listener)
        at_hub, at_agent = pair.stream()
        at_hub.write(b"bye")
        at_hub.loseConnection()
        pair.flush()
        self.assertEqual(listener(at_agent).text, b"bye")
        for stream in (at_hub, at_agent):
            [reason] = listener(stream).lost
            reason.trap(ConnectionDone)
        self.assertEqual((pair.hub.stream_count, pair.agent.stream_count), (0, 0))

    def test_half_close(self) -> None:
        """A stream that one side finished still carries bytes the other way."""
        pair = Pair(agent_accepts=HalfListener)
        at_hub, at_agent = pair.stream(HalfListener())
        at_hub.write(b"question")
        at_hub.loseWriteConnection()
        pair.flush()
        self.assertEqual(listener(at_agent).endings, ["read"])
        self.assertEqual(listener(at_hub).endings, ["write"])
        at_agent.write(b"answer")
        pair.flush()
        self.assertEqual(listener(at_hub).text, b"answer")
        self.assertEqual(listener(at_hub).lost + listener(at_agent).lost, [])
        at_agent.loseWriteConnection()
        pair.flush()
        for stream in (at_hub, at_agent):
            [reason] = listener(stream).lost
            reason.trap(ConnectionDone)
        self.assertEqual((pair.hub.stream_count, pair.agent.stream_count), (0, 0))

    def test_abort(self) -> None:
        """An abort is one to the side that did it and a loss to the other."""
        pair = Pair(agent_accepts=Listener)
        at_hub, at_agent = pair.stream()
        at_hub.abortConnection()
        self.assertEqual(listener(at_hub).lost, [])
        pair.flush()
        listener(at_hub).lost[0].trap(ConnectionAborted)
        listener(at_agent).lost[0].trap(ConnectionLost)
        self.assertEqual((pair.hub.stream_count, pair.agent.stream_count), (0, 0))
