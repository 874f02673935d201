"""Tests of the sessions of a node that outlive the streams of its tunnel."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent import resumption
from mezite.agent.permit import SessionPermit
from mezite.agent.resumption import (
    ASK_SECONDS,
    HELLO_SECONDS,
    PARKED_SECONDS,
    ResumableSessions,
)
from mezite.agent.sessionends import OpenSessions
from mezite.error import TimedOut, Unavailable
from mezite.names import UserName
from mezite.resume import frames
from mezite.resume.frames import DENIED, GONE, NOT_NOW, GreetingReader, Refusal, Welcome
from mezite.resume.transport import LINGER_SECONDS
from mezite.rpc.error import ChannelClosed
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from tests.doubles.legs import PlayedLeg
from tests.doubles.resumablenode import Avatar, Certificate, PlayedHub, Server


class ResumableTestCase(SynchronousTestCase):
    """An agent, its hub, and clients' streams."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.hub = PlayedHub()
        self.servers: list[Server] = []
        self.open_sessions = OpenSessions()
        self.sessions = ResumableSessions(
            self.serve, self.open_sessions, self.hub.calls, self.clock
        )

    def serve(self, header: StreamHeader) -> Server:
        server = Server(b"SSH-2.0-node\r\n")
        self.servers.append(server)
        self.open_sessions.add(header.session_id, server)
        return server

    def arrive(self, session_id: str, said: bytes, user: str = "ada") -> PlayedLeg:
        leg = PlayedLeg()
        header = StreamHeader(service="ssh-resume", session_id=session_id, user=user)
        leg.attach(self.sessions.serve(header))
        leg.protocol.dataReceived(said)
        return leg

    def begin(self, session_id: str = "s1", user: str = "ada") -> tuple[PlayedLeg, bytes]:
        """A session of somebody who is in: what carries it, and its token."""
        leg = self.arrive(session_id, frames.hello(), user)
        welcome = self.greeting(leg)
        assert isinstance(welcome, Welcome)
        self.sessions.admitted(Avatar(session_id, Certificate(UserName(user))))  # type: ignore
        return leg, welcome.token

    def greeting(self, leg: PlayedLeg) -> Any:
        complete = GreetingReader().receive(leg.taken())
        assert complete is not None
        leg.written = complete[1]
        return complete[0]

    def assert_refused(self, leg: PlayedLeg, reason: int) -> str:
        greeting = self.greeting(leg)
        assert isinstance(greeting, Refusal)
        self.assertEqual(greeting.reason, reason)
        self.assertTrue(leg.is_closed)
        return greeting.sentence

    def said(self, payload: bytes) -> bytes:
        return frames.header(frames.DATA, len(payload)) + payload


class GoingOnTests(ResumableTestCase):
    """Sessions that are begun, cut, and go on."""

    def test_begin(self) -> None:
        """A new connection gets a token of its own, and what the server says."""
        first, token = self.begin()
        self.assertEqual(first.written, self.said(b"SSH-2.0-node\r\n"))
        self.assertEqual(len(token), frames.TOKEN_LENGTH)
        _, other = self.begin("s2")
        self.assertNotEqual(token, other)

    def test_early_bytes(self) -> None:
        """What comes right behind the hello is the server's."""
        self.arrive("s1", frames.hello() + self.said(b"SSH-2.0-me\r\n"))
        self.assertEqual(self.servers[0].heard, b"SSH-2.0-me\r\n")

    def test_cut(self) -> None:
        """The server hears nothing of a cut, and the client gets what it lacks."""
        leg, token = self.begin()
        leg.protocol.dataReceived(self.said(b"question"))
        leg.lose()
        self.assertEqual(self.sessions.parked, 1)
        self.servers[0].transport.write(b"answer")
        again = self.arrive("s2", frames.hello(token, 5))
        ((session_id, living),) = self.hub.asked
        self.assertEqual((session_id, living.session_id, living.login), ("s2", "s1", "root"))
        welcome = self.greeting(again)
        self.assertEqual((welcome.token, welcome.received), (token, len(b"question")))
        self.assertEqual(again.written, self.said(b"2.0-node\r\n"[-9:]) + self.said(b"answer"))
        self.assertIsNone(self.servers[0].reason)
        self.assertEqual((self.sessions.parked, len(self.servers)), (0, 1))

    def test_newest(self) -> None:
        """A client that comes again replaces what looks alive."""
        leg, token = self.begin()
        again = self.arrive("s2", frames.hello(token, 14))
        self.assertTrue(leg.is_aborted)
        self.assertEqual(self.sessions.parked, 0)
        again.protocol.dataReceived(self.said(b"still here"))
        self.assertEqual(self.servers[0].heard, b"still here")

    def test_not_in_yet(self) -> None:
        """
        Who is cut before they are in loses nothing, and nothing is kept for them.

        The hub hears of it, since it may have let them in already.
        """
        leg = self.arrive("s1", frames.hello())
        leg.lose()
        self.assertIsNotNone(self.servers[0].reason)
        self.assertEqual(len(self.sessions), 0)
        self.assertEqual((self.hub.reports, self.hub.beginning), ([[]], [[]]))

    def test_beginning(self) -> None:
        """The hub hears of those that nobody is in yet: it may have let them in already."""
        self.begin()
        self.arrive("s2", frames.hello())
        self.sessions.tunnel_up()
        self.assertEqual((self.hub.reports, self.hub.beginning), ([["s1"]], [["s2"]]))

    def test_too_late(self) -> None:
        """Nobody comes: the session ends, and the hub hears of it."""
        leg, token = self.begin()
        self.begin("s2")
        leg.lose()
        self.clock.advance(PARKED_SECONDS)
        self.assertIsNotNone(self.servers[0].reason)
        self.assertEqual(self.hub.reports, [["s2"]])
        self.assert_refused(self.arrive("s3", frames.hello(token, 0)), GONE)

    def test_broken(self) -> None:
        """A client that breaks the protocol leaves nothing behind, nor at the hub."""
        leg, _ = self.begin()
        leg.protocol.dataReceived(b"SSH-2.0-x\r\n")
        self.assertTrue(leg.is_aborted)
        self.assertEqual((len(self.sessions), self.hub.reports), (0, [[]]))

    def test_closed_in_order(self) -> None:
        """
        A stream that ends in order, and should not have, is told to the hub.

        It has taken that for the end of the session, which then is not kept for 300 s
        where nobody sees it.
        """
        leg, _ = self.begin()
        self.hub.ended = [("s1", "the hub does not know this session any more")]
        leg.lose(ConnectionDone())
        self.assertEqual(self.hub.reports, [["s1"]])
        self.clock.advance(0)
        self.assertIsNotNone(self.servers[0].reason)

    def test_last_words_not_taken(self) -> None:
        """Who holds a connection to a server that is gone does not do so for ever."""
        leg, _ = self.begin()
        self.servers[0].transport.loseConnection()
        self.servers[0].transport.abortConnection()
        self.clock.advance(0)
        self.assertIsNotNone(self.servers[0].reason)
        self.assertEqual(len(self.sessions), 1)
        leg.protocol.dataReceived(self.said(b"still here"))
        self.clock.advance(LINGER_SECONDS)
        self.assertTrue(leg.is_closed)
        self.assertEqual((len(self.sessions), self.hub.reports), (0, []))

    def test_nobody_in(self) -> None:
        """Who is not let in does not hold the connection for longer than the server wants it."""
        leg = self.arrive("s1", frames.hello())
        self.servers[0].transport.loseConnection()
        self.servers[0].transport.abortConnection()
        self.clock.advance(0)
        self.assertTrue(leg.is_closed)
        self.assertEqual((len(self.sessions), self.hub.reports), (0, []))

    def test_reads_nothing(self) -> None:
        """Who reads nothing is cut when the server ends; the hub hears that it is the end."""
        leg, _ = self.begin()
        leg.producer.pauseProducing()
        self.servers[0].transport.abortConnection()
        self.clock.advance(0)
        self.assertTrue(leg.is_aborted)
        self.assertEqual((len(self.sessions), self.hub.reports), (0, [[]]))

    def test_many_too_late(self) -> None:
        """Many that end in the same moment are told together."""
        for number in range(50):
            leg, _ = self.begin(f"s{number}")
            leg.lose()
        answer: Deferred[None] = Deferred()
        self.hub.failures = [answer]
        self.clock.advance(PARKED_SECONDS)
        answer.callback(None)
        self.assertEqual([len(each) for each in self.hub.reports], [49, 0])

    def test_no_server(self) -> None:
        """A session for which there is no server leaves nothing behind."""

        def fail(header: StreamHeader) -> Server:
            raise ValueError("a bug")

        self.sessions.serve_ssh = fail
        with self.assertRaises(ValueError):
            self.arrive("s1", frames.hello())
        self.assertEqual(len(self.sessions), 0)

    def test_client_goes(self) -> None:
        """A client that ends it leaves nothing behind."""
        leg, _ = self.begin()
        leg.protocol.dataReceived(self.said(b"bye") + frames.end() + frames.reset())
        self.assertEqual(self.servers[0].heard, b"bye")
        self.assertIsNotNone(self.servers[0].reason)
        self.assertEqual((len(self.sessions), self.hub.reports), (0, []))
        self.assertTrue(leg.is_closed)

    def test_tunnel_up(self) -> None:
        """A hub that is there again hears of all sessions, and says which are to end."""
        self.begin()
        leg, _ = self.begin("s2")
        leg.lose()
        self.hub.ended = [("s2", "ada is locked")]
        self.sessions.tunnel_up()
        self.assertEqual(self.hub.reports, [["s1", "s2"]])
        self.assertEqual(self.servers[1].sentence, "ada is locked")
        self.clock.advance(0)
        self.assertIsNotNone(self.servers[1].reason)
        self.assertIsNone(self.servers[0].reason)


class RefusalTests(ResumableTestCase):
    """Who does not go on."""

    def test_unknown(self) -> None:
        """A token that nobody has, or that is another user's, is unknown."""
        leg, token = self.begin()
        leg.lose()
        for said, user in ((bytes(32), "ada"), (token, "eve")):
            sentence = self.assert_refused(self.arrive("s2", frames.hello(said), user), GONE)
            self.assertIn("does not know this session", sentence)
        self.assertEqual(self.hub.asked, [])
        self.assertEqual(self.sessions.parked, 1)

    def test_denied(self) -> None:
        """Whom the hub denies it hears why, and the session is over."""
        leg, token = self.begin()
        leg.lose()
        self.hub.answer = SessionPermit(False, "ada is locked")
        again = self.arrive("s2", frames.hello(token))
        self.assertEqual(self.assert_refused(again, DENIED), "ada is locked")
        self.assertIsNotNone(self.servers[0].reason)
        self.assertEqual(len(self.sessions), 0)

    def test_hub_away(self) -> None:
        """A hub that cannot be asked is no refusal: the session is kept."""
        leg, token = self.begin()
        leg.lose()
        self.hub.is_there = False
        self.assert_refused(self.arrive("s2", frames.hello(token)), NOT_NOW)
        self.assertEqual(self.sessions.parked, 1)

    def test_hub_silent(self) -> None:
        """
        Nor is one that does not answer.

        It may have let the session go on here; it is to see a way that breaks, and no end.
        """
        leg, token = self.begin()
        leg.lose()
        for answer in (Deferred(), fail(TimedOut("late")), fail(ChannelClosed("gone"))):
            self.hub.answer = answer
            again = self.arrive("s2", frames.hello(token))
            self.clock.advance(ASK_SECONDS)
            self.assertTrue(again.is_aborted)
            self.assertFalse(again.is_closed)
            self.assertEqual(self.sessions.parked, 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_way_gone(self) -> None:
        """Nor is one that knows this way no more: the client comes by another one."""
        leg, token = self.begin()
        leg.lose()
        self.hub.answer = fail(Unavailable("the connection has ended"))
        self.assert_refused(self.arrive("s2", frames.hello(token)), NOT_NOW)
        self.assertEqual(self.sessions.parked, 1)
        self.hub.answer = SessionPermit(True, "")
        self.assertIsInstance(self.greeting(self.arrive("s3", frames.hello(token))), Welcome)

    def test_two_at_once(self) -> None:
        """Of two streams with one token the one that is allowed last carries the session."""
        for order in ((0, 1), (1, 0)):
            leg, token = self.begin()
            leg.lose()
            answers: list[Deferred[SessionPermit]] = []
            legs: list[PlayedLeg] = []
            for number in range(2):
                answers.append(Deferred())
                self.hub.answer = answers[number]
                legs.append(self.arrive(f"way{number}", frames.hello(token)))
            first, last = order
            answers[first].callback(SessionPermit(True, ""))
            self.assertIsInstance(self.greeting(legs[first]), Welcome)
            answers[last].callback(SessionPermit(True, ""))
            self.assertIsInstance(self.greeting(legs[last]), Welcome)
            self.assertTrue(legs[first].is_aborted)
            legs[last].protocol.dataReceived(self.said(b"here"))
            self.assertEqual(self.servers[-1].heard, b"here")
            self.assertEqual(self.sessions.parked, 0)

    def test_guessing(self) -> None:
        """Who guesses tokens learns nothing, costs the hub nothing, and hurts nobody."""
        leg, token = self.begin()
        leg.lose()
        for number in range(500):
            guess = bytes([token[0]]) + number.to_bytes(31, "big")
            self.assert_refused(self.arrive(f"g{number}", frames.hello(guess), "eve"), GONE)
        self.assertEqual((self.hub.asked, len(self.sessions)), ([], 1))
        self.assertIsInstance(self.greeting(self.arrive("s2", frames.hello(token))), Welcome)

    def test_after_the_end(self) -> None:
        """A session that its client or its server has ended does not go on."""
        leg, token = self.begin()
        leg.protocol.dataReceived(frames.end() + frames.reset())
        self.assert_refused(self.arrive("s2", frames.hello(token)), GONE)
        leg, token = self.begin("s3")
        leg.lose()
        self.servers[-1].transport.abortConnection()
        self.clock.advance(0)
        self.assert_refused(self.arrive("s4", frames.hello(token)), GONE)
        self.assertEqual((self.hub.asked, len(self.sessions)), ([], 0))

    def test_gone_while_asking(self) -> None:
        """A client that hangs up while the hub is asked changes nothing."""
        leg, token = self.begin()
        leg.lose()
        self.hub.answer = Deferred()
        self.arrive("s2", frames.hello(token)).lose()
        self.assertEqual(self.sessions.parked, 1)

    def test_over_while_asking(self) -> None:
        """A session that ends while the hub is asked does not go on."""
        leg, token = self.begin()
        leg.lose()
        answer: Deferred[SessionPermit] = Deferred()
        self.hub.answer = answer
        self.clock.advance(PARKED_SECONDS - 1)
        again = self.arrive("s2", frames.hello(token))
        self.clock.advance(1)
        answer.callback(SessionPermit(True, ""))
        self.assert_refused(again, GONE)

    def test_impossible_count(self) -> None:
        """A client that has more than was ever sent is not ours."""
        leg, token = self.begin()
        leg.lose()
        self.assert_refused(self.arrive("s2", frames.hello(token, 10_000)), GONE)
        self.assertEqual(len(self.sessions), 0)

    def test_forgotten_count(self) -> None:
        """Nor is one that lacks what it had acknowledged, which is kept no more."""
        leg, token = self.begin()
        leg.protocol.dataReceived(frames.acknowledgement(14))
        leg.lose()
        self.assert_refused(self.arrive("s2", frames.hello(token, 13)), GONE)
        self.assertEqual(len(self.sessions), 0)

    def test_hostile(self) -> None:
        """What does not begin with a hello is reset; so is who says nothing."""
        for said in (
            b"SSH-2.0-x\r\n",
            frames.plain(),
            frames.hello(bytes(32)) + b"x",
            frames.hello(bytes(32), frames.COUNT_LIMIT),
            frames.hello(bytes(32), (1 << 64) - 1),
            b"\xff" * 99,
        ):
            self.assertTrue(self.arrive("s1", said).is_aborted, said)
        silent = self.arrive("s1", b"\x01")
        self.clock.advance(HELLO_SECONDS)
        self.assertTrue(silent.is_aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_speaks_too_early(self) -> None:
        """A client that goes on before it is welcome is reset."""
        leg, token = self.begin()
        leg.lose()
        self.hub.answer = Deferred()
        again = self.arrive("s2", frames.hello(token))
        again.protocol.dataReceived(b"x")
        self.assertTrue(again.is_aborted)


class BoundTests(ResumableTestCase):
    """What waits is bounded."""

    def park(self, session_id: str, user: str = "ada") -> None:
        leg, _ = self.begin(session_id, user)
        leg.lose()
        self.clock.advance(1)

    def gone(self) -> list[int]:
        return [number for number, each in enumerate(self.servers) if each.reason is not None]

    def test_of_one_user(self) -> None:
        """Of one user's the oldest goes, and nobody else's."""
        self.patch(resumption, "PARKED_OF_ONE_USER", 2)
        for number, user in enumerate(("eve", "ada", "ada", "ada")):
            self.park(f"s{number}", user)
        self.assertEqual(self.gone(), [1])

    def test_of_all(self) -> None:
        """Of all the oldest goes."""
        self.patch(resumption, "PARKED", 2)
        for number, user in enumerate(("eve", "ada", "grace")):
            self.park(f"s{number}", user)
        self.assertEqual(self.gone(), [0])

    def test_bytes(self) -> None:
        """So it does when those that wait hold too much."""
        self.patch(resumption, "PARKED_BYTES", 1500)
        for number in range(2):
            leg, _ = self.begin(f"s{number}")
            self.servers[-1].transport.write(bytes(1000))
            leg.lose()
        self.assertEqual(self.gone(), [0])
