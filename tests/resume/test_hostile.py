"""Tests of a resumable connection whose other end means harm, or has a fault."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.resume import frames
from mezite.resume.error import LocalResumeError, RemoteResumeError
from mezite.resume.link import LIMIT, Link
from mezite.resume.silence import ANSWER_SECONDS, ASK_SECONDS
from mezite.resume.transport import LINGER_SECONDS, ResumableTransport
from tests.doubles.legs import PlayedLeg, Talker


def data(payload: bytes) -> bytes:
    return frames.header(frames.DATA, len(payload)) + payload


class HostilePeerTestCase(SynchronousTestCase):
    """An end of ours, and a leg on which a test says anything."""

    is_client = False

    def setUp(self) -> None:
        self.clock = Clock()
        self.cuts = 0
        self.overs = 0
        self.talker = Talker()
        self.transport = ResumableTransport(
            self.clock, on_cut=self.was_cut, on_over=self.was_over, is_client=self.is_client
        )
        self.transport.keeps_last_words = not self.is_client
        self.transport.attach(self.talker)
        self.carry(0)

    def was_cut(self) -> None:
        self.cuts += 1

    def was_over(self) -> None:
        self.overs += 1

    def carry(self, received: int, rest: bytes = b"") -> None:
        self.leg = PlayedLeg()
        self.transport.carry(self.leg, received, rest)

    def hear(self, said: bytes) -> None:
        if self.leg.protocol is not None:
            self.leg.protocol.dataReceived(said)

    def assert_over(self) -> None:
        """It is over, is told once, and nothing of it is left."""
        self.assertEqual((self.overs, self.cuts), (1, 0))
        self.assertIsNotNone(self.talker.reason)
        self.assertTrue(self.leg.is_aborted or self.leg.is_closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AgentTests(HostilePeerTestCase):
    """An agent's end."""

    def test_impossible(self) -> None:
        """What cannot be said ends it, without a traceback; nothing behind it is heard."""
        for said in (
            frames.acknowledgement(6),
            frames.acknowledgement(3) + frames.acknowledgement(2),
            frames.header(frames.ACK, 8) + b"\xff" * 8,
            frames.end() + data(b"x"),
            frames.end() + frames.end(),
            frames.hello(),
            frames.welcome(bytes(32), 0),
            frames.plain(),
            frames.refused(frames.DENIED, "no"),
            frames.header(frames.DATA, 0),
            frames.header(frames.DATA, frames.DATA_LENGTH + 1),
            frames.header(frames.PING, 1) + b"x",
            frames.header(0, 0),
            frames.header(11, 0),
            b"\xff" * 4,
        ):
            self.setUp()
            self.transport.write(b"hello")
            self.hear(said + data(b"behind"))
            self.assertTrue(self.leg.is_aborted, said)
            self.assert_over()
            self.assertEqual(self.talker.heard, b"")
            self.assertEqual(self.flushLoggedErrors(), [])

    def test_impossible_when_carried(self) -> None:
        """A count that goes back, or beyond what was said, changes nothing of what is there."""
        self.transport.write(b"hello")
        self.hear(frames.acknowledgement(3))
        before = self.leg
        for count in (2, 6, frames.COUNT_LIMIT - 1):
            self.assertRaises(RemoteResumeError, self.transport.carry, PlayedLeg(), count)
        self.assertFalse(before.is_aborted)
        self.hear(data(b"still here"))
        self.assertEqual(self.talker.heard, b"still here")

    @settings(deadline=None)
    @given(st.lists(st.binary(max_size=40), max_size=8))
    def test_anything(self, pieces: list[bytes]) -> None:
        """Whatever arrives is heard or ends it, is never a bug, and leaves nothing waiting."""
        self.setUp()
        self.transport.write(b"hello")
        for piece in pieces:
            self.hear(piece)
        self.assertLessEqual(self.overs, 1)
        self.assertEqual(self.flushLoggedErrors(), [])
        if self.overs:
            self.assert_over()

    def test_asks_and_reads_nothing(self) -> None:
        """Who asks on and on, and takes no answer, has none kept for them."""
        self.leg.producer.pauseProducing()
        for _ in range(1000):
            self.hear(frames.ping())
        self.assertEqual(self.leg.written, b"")
        self.leg.producer.resumeProducing()
        self.hear(frames.ping())
        self.assertEqual(self.leg.written, frames.pong())

    def test_last_words_not_taken(self) -> None:
        """Last words that nobody takes are not kept for ever, although something carries them."""
        self.transport.write(b"exit status 7")
        self.transport.loseConnection()
        # As SSH does after 5 s.
        self.transport.abortConnection()
        self.clock.advance(0)
        self.assertIsNotNone(self.talker.reason)
        for count in (1, 2, 3):
            # Who takes some is waited for.
            self.clock.advance(LINGER_SECONDS - 1)
            self.assertEqual(self.overs, 0)
            self.hear(frames.acknowledgement(count))
            self.clock.advance(1)
        self.hear(frames.ping() + data(b"on and on"))
        self.clock.advance(LINGER_SECONDS)
        self.assert_over()

    def test_nothing_to_keep(self) -> None:
        """Of who was never let in nothing is kept: an abort ends it at once, as TCP's does."""
        self.transport.keeps_last_words = False
        self.transport.write(b"no")
        self.transport.loseConnection()
        self.transport.abortConnection()
        self.clock.advance(0)
        self.assertEqual(self.leg.taken(), data(b"no") + frames.end() + frames.reset())
        self.assert_over()

    def test_reads_nothing(self) -> None:
        """Who reads nothing does not hold the leg, either: it is cut, and not closed in order."""
        self.transport.write(b"hello")
        self.leg.producer.pauseProducing()
        self.transport.abortConnection()
        self.clock.advance(0)
        self.assertTrue(self.leg.is_aborted)
        self.assertFalse(self.transport.was_closed)
        self.assert_over()

    def test_no_end(self) -> None:
        """Nor is an end waited for that the other side does not say."""
        self.transport.loseConnection()
        self.transport.abortConnection()
        self.clock.advance(0)
        self.hear(frames.acknowledgement(1))
        self.clock.advance(LINGER_SECONDS)
        self.clock.advance(LINGER_SECONDS)
        self.assert_over()

    def test_last_words_of_one_who_is_away(self) -> None:
        """Who is away is its owner's to count; and what they took last is known when they come."""
        self.transport.write(b"exit status 7")
        self.transport.loseConnection()
        self.leg.lose()
        self.clock.advance(3 * LINGER_SECONDS)
        self.assertEqual((self.cuts, self.overs), (1, 0))
        self.carry(14)
        self.assertEqual(self.overs, 0)
        self.hear(frames.end())
        self.assertEqual(self.overs, 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_greetings_say_the_rest(self) -> None:
        """Where both had said all, and only the last words about it were lost, it is over."""
        self.transport.loseConnection()
        self.hear(frames.end())
        self.leg.lose()
        self.assertEqual(self.overs, 0)
        self.carry(1)
        self.assertEqual(self.overs, 1)
        self.assertTrue(self.leg.is_closed)
        self.clock.advance(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_closed(self) -> None:
        """A leg that ended in order was no cut to whoever was before us."""
        for error, was_closed in ((None, False), (ConnectionDone(), True), (None, False)):
            self.leg.lose(error)
            self.assertEqual(self.transport.was_closed, was_closed)
            self.carry(0)

    def test_writer_does_not_wait(self) -> None:
        """A writer of ours that does not wait ends its connection, and is told so once."""
        self.transport.write(bytes(LIMIT))
        self.transport.write(b"x")
        self.transport.write(b"y")
        self.assertIsNone(self.talker.reason)
        self.clock.advance(0)
        self.assert_over()
        self.assertEqual(len(self.flushLoggedErrors(LocalResumeError)), 1)

    def test_many_small_pieces(self) -> None:
        """Bytes that come one by one are acknowledged seldom, and nothing of them is kept."""
        for _ in range(2000):
            self.hear(data(b"x"))
        self.assertEqual(self.leg.written, b"")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(self.leg.taken(), frames.acknowledgement(2000))


class ClientTests(HostilePeerTestCase):
    """A client's end."""

    is_client = True

    def test_goodbye_waits(self) -> None:
        """A client that goes leaves behind what it wrote, so that the agent hears its goodbye."""
        self.leg.producer.pauseProducing()
        self.transport.loseConnection()
        self.assertTrue(self.leg.is_closed)
        self.assertFalse(self.leg.is_aborted)
        self.assertEqual(self.leg.taken(), frames.end() + frames.reset())

    def test_half_a_frame(self) -> None:
        """Who stops in the middle of a frame is asked, and then left."""
        for said in (b"\x05", data(b"0123456789")[:8], frames.acknowledgement(0)[:9]):
            self.setUp()
            self.hear(said)
            for _ in range(round(ASK_SECONDS + ANSWER_SECONDS) + 6):
                self.clock.advance(1)
            self.assertTrue(self.leg.is_aborted)
            self.assertEqual((self.cuts, self.overs), (1, 0))
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_junk_behind_greeting(self) -> None:
        """What comes along with the greeting is no more trusted than what comes later."""
        self.leg.lose()
        self.cuts = 0
        self.carry(0, frames.acknowledgement(1))
        self.assertTrue(self.leg.is_aborted)
        self.assert_over()


class LinkTests(SynchronousTestCase):
    """The bytes that are kept."""

    @settings(deadline=None)
    @given(st.lists(st.integers(1, 3000), max_size=30), st.lists(st.integers(0, 90_000)))
    def test_kept(self, sizes: list[int], counts: list[int]) -> None:
        """Whatever is acknowledged, what is kept is what was sent and is not acknowledged."""
        link, said, known = Link(), b"", 0
        link.carried(0)
        for number, size in enumerate(sizes):
            piece = bytes([number]) * size
            said += piece
            link.send(piece)
        for count in counts:
            try:
                link.receive(frames.acknowledgement(count))
            except RemoteResumeError:
                self.assertFalse(known <= count <= len(said))
            else:
                known = count
            self.assertEqual(link.unacknowledged, len(said) - known)
        link.cut()
        link.carried(known)
        heard = b"".join(
            bytes(payload)
            for _, payload in frames.FrameReader().receive(b"".join(link.take_output()))
        )
        self.assertEqual(heard, said[known:])
