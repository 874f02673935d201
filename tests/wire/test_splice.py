"""
Two connections joined in the middle, and what their far ends notice.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.wire.contexts import client_context
from mezite.wire.handshake import Handshake
from mezite.wire.splice import Spliced, splice
from mezite.wire.transport import TLSTransport
from tests.doubles.certificates import certificate_set
from tests.doubles.link import Link, link
from tests.wire.test_transport import HalfCloser, Pauser, Producer, contexts


class SpliceContract:
    """
    What a splice does, whatever it joins.

    A subclass makes two far ends, ``left`` and ``right``, each a transport
    with a :class:`HalfCloser` attached, and the near ends to be spliced.
    """

    clock: Clock
    left: Any
    right: Any
    near_left: Any
    near_right: Any
    links: list[Link]
    done: Deferred[Spliced]

    def setUp(self) -> None:
        self.clock = Clock()
        self.links = []
        self.heard_left, self.heard_right = HalfCloser(), HalfCloser()
        self.make_ends()
        self.done = splice(self.near_left, self.near_right)
        self.flush()

    def make_ends(self) -> None:
        raise NotImplementedError

    def tls(self, heard: Any) -> tuple[TLSTransport, TLSTransport]:
        """A TLS connection: its far end, where ``heard`` is, and its near one."""
        context = client_context(b"mezite-auth", certificate_set().ca_pem)
        far = TLSTransport(
            context.connection(None),
            self.clock,
            Handshake(lambda transport: transport.attach(heard), lambda failure: None),
        )
        near = TLSTransport(
            contexts().serverConnectionForTLS(self),
            self.clock,
            Handshake(lambda transport: transport.attach(Pauser()), lambda failure: None),
        )
        self.links.append(link(far, near, self.clock))
        return far, near

    def flush(self) -> None:
        # Each gets its turn, so no generator here.
        while any([end.flush() for end in self.links]):  # noqa: C419
            pass

    def result(self) -> Spliced:
        return self.successResultOf(self.done)

    def test_both_ways(self) -> None:
        """Bytes go both ways, and are counted."""
        data = bytes(range(256)) * 1000
        self.left.write(data)
        self.right.write(data[::-1][:70_000])
        self.flush()
        self.assertEqual(self.heard_right.received, data)
        self.assertEqual(self.heard_left.received, data[::-1][:70_000])
        self.left.loseConnection()
        self.right.loseConnection()
        self.flush()
        self.assertEqual(self.result(), Spliced(256_000, 70_000, None, True))

    def test_half_close(self) -> None:
        """The end of one direction is carried through, and the other goes on."""
        self.left.write(b"question")
        self.left.loseWriteConnection()
        self.flush()
        self.assertTrue(self.heard_right.is_read_lost)
        self.assertNoResult(self.done)
        self.right.write(b"answer")
        self.right.loseWriteConnection()
        self.flush()
        self.assertEqual(self.heard_left.received, b"answer")
        self.assertTrue(self.heard_left.is_read_lost)
        self.assertEqual(self.result(), Spliced(8, 6, None, True))
        for heard in (self.heard_left, self.heard_right):
            assert heard.lost is not None
            self.assertIsNotNone(heard.lost.check(ConnectionDone))

    def test_finished(self) -> None:
        """It is finished once one side has ended it, though that breaks before the other's end."""
        for side, other in (("left", "right"), ("right", "left")):
            for breaks in (side, other):
                self.setUp()
                getattr(self, side).loseWriteConnection()
                self.flush()
                self.assertNoResult(self.done)
                getattr(self, breaks).abortConnection()
                self.flush()
                self.assertTrue(self.result().is_finished)
            self.setUp()
            getattr(self, side).abortConnection()
            self.flush()
            self.assertFalse(self.result().is_finished)

    def test_abort(self) -> None:
        """When one side breaks, the other is broken too, never ended in good order."""
        for side, other in (("left", "right"), ("right", "left")):
            self.setUp()
            getattr(self, side).write(b"half a fi")
            self.flush()
            getattr(self, side).abortConnection()
            self.flush()
            heard = getattr(self, f"heard_{other}")
            self.assertFalse(heard.is_read_lost)
            self.assertIsNone(heard.lost.check(ConnectionDone))
            self.assertIsNotNone(self.result().failure)

    def test_pressure(self) -> None:
        """A far end that does not read stops the other from writing, at a bound."""
        for writer, reader in (("left", "right"), ("right", "left")):
            self.setUp()
            far = getattr(self, writer)
            getattr(self, reader).pauseProducing()
            producer = Producer(far, total=30_000_000)
            far.registerProducer(producer, True)
            producer.resumeProducing()
            self.flush()
            self.assertTrue(producer.is_paused)
            self.assertGreater(producer.total, 26_000_000)
            getattr(self, reader).resumeProducing()
            self.flush()
            heard = getattr(self, f"heard_{reader}")
            self.assertEqual(len(heard.received), 30_000_000)

    def test_end_behind_pressure(self) -> None:
        """An end waits behind the bytes that were before it."""
        self.right.pauseProducing()
        self.left.write(b"x" * 600_000)
        self.left.loseWriteConnection()
        self.flush()
        self.assertFalse(self.heard_right.is_read_lost)
        self.right.resumeProducing()
        self.flush()
        self.assertEqual(len(self.heard_right.received), 600_000)
        self.assertTrue(self.heard_right.is_read_lost)

    def test_cancel(self) -> None:
        """Cancelling aborts both."""
        self.done.cancel()
        self.failureResultOf(self.done, CancelledError)
        self.flush()
        self.assertIsNotNone(self.heard_left.lost)
        self.assertIsNotNone(self.heard_right.lost)

    def test_early_bytes(self) -> None:
        """Bytes that came before the splice was made are not lost."""
        self.heard_left, self.heard_right = HalfCloser(), HalfCloser()
        self.make_ends()
        self.left.write(b"SSH-2.0-early\r\n")
        self.flush()
        self.done = splice(self.near_left, self.near_right)
        self.flush()
        self.assertEqual(self.heard_right.received, b"SSH-2.0-early\r\n")


class TlsToTlsTests(SpliceContract, SynchronousTestCase):
    """Two TLS transports."""

    def make_ends(self) -> None:
        self.left, self.near_left = self.tls(self.heard_left)
        self.right, self.near_right = self.tls(self.heard_right)

    def test_truncation(self) -> None:
        """A left side cut off without close_notify is not a clean end for the right."""
        self.left.write(b"half a fi")
        self.flush()
        self.links[0].client.producer = None
        self.links[0].client.loseConnection()
        self.flush()
        self.assertFalse(self.heard_right.is_read_lost)
        assert self.heard_right.lost is not None
        self.assertIsNone(self.heard_right.lost.check(ConnectionDone))


class TlsToStreamTests(SpliceContract, SynchronousTestCase):
    """A TLS transport and a stream of a tunnel: the hub's work."""

    def make_ends(self) -> None:
        self.left, self.near_left = self.tls(self.heard_left)
        heard = self.heard_right

        def accept(stream: StreamTransport) -> None:
            self.right = stream
            stream.attach(heard)

        agent = MuxProtocol(role=Role.CLIENT, clock=self.clock, accept=accept)
        hub = MuxProtocol(role=Role.SERVER, clock=self.clock, accept=lambda stream: None)
        context = client_context(
            b"mezite-tunnel",
            certificate_set().ca_pem,
            certificate_set().node.certificate_pem,
            certificate_set().node.key_pem,
        )
        ends = [
            TLSTransport(
                connection,
                self.clock,
                Handshake(lambda transport, mux=mux: transport.attach(mux), lambda failure: None),
            )
            for connection, mux in (
                (context.connection(None), agent),
                (contexts().serverConnectionForTLS(self), hub),
            )
        ]
        self.links.append(link(ends[0], ends[1], self.clock))
        self.tunnel = hub
        self.near_right = hub.open_stream()
        self.flush()

    def test_tunnel_goes_down(self) -> None:
        """When the tunnel breaks, so does the user's connection."""
        self.tunnel.abort()
        self.flush()
        assert self.heard_left.lost is not None
        self.assertIsNone(self.heard_left.lost.check(ConnectionDone))
        self.assertFalse(self.heard_left.is_read_lost)
