"""Tests of SSH connections to nodes that are taken up again."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.resumption import ResumableSessions
from mezite.agent.sessionends import OpenSessions
from mezite.client.error import HubUnreachable
from mezite.client.resuming import LegBroke, Notices, ResumingDialer
from mezite.error import Denied, MeziteError
from mezite.resume import frames
from mezite.resume.error import NotNow, RemoteResumeError, ResumeDenied, SessionGone
from mezite.resume.link import FULL
from mezite.resume.redialing import (
    FIRST_WAIT,
    LATE_WAIT,
    LONGEST_SECONDS,
    LONGEST_WAIT,
    STABLE_SECONDS,
    UNANSWERED,
)
from mezite.resume.silence import ANSWER_SECONDS, ASK_SECONDS
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.wire.error import TlsBroken
from tests.doubles.dials import DIAL_SECONDS, Dials
from tests.doubles.legs import PlayedLeg, Talker, exchange
from tests.doubles.resumablenode import Avatar, PlayedHub, Server

TOKEN = bytes(range(32))
OTHER_TOKEN = bytes(32)


def said(payload: bytes) -> bytes:
    return frames.header(frames.DATA, len(payload)) + payload


class ResumingTestCase(SynchronousTestCase):
    """A client, and a node that says what the test says."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.dials = Dials(self.clock)
        self.notes: list[str] = []
        self.waits: list[float] = []
        self.talker = Talker(b"SSH-2.0-client\r\n")
        self.dialer = ResumingDialer(
            self.clock,
            self.dials.endpoint,
            self.dials.dialed,
            Notices(lambda: self.notes.append("lost"), lambda: self.notes.append("back")),
            self.drawn,
        )
        self.connecting: Deferred[None] = ensureDeferred(self.dialer.connect(self.talker))

    def drawn(self, least: float, most: float) -> float:
        self.assertEqual(least, 0)
        self.waits.append(most)
        return most

    def begin(self) -> None:
        """A session that is open, with nothing on its way."""
        self.assertEqual(self.dials.latest.hello().token, b"")
        self.dials.latest.say(frames.welcome(TOKEN, 0))
        self.successResultOf(self.connecting)
        self.dials.latest.leg.taken()

    def cut(self) -> None:
        self.clock.advance(STABLE_SECONDS)
        self.dials.latest.leg.lose()

    def welcome(self, received: int = len(b"SSH-2.0-client\r\n"), behind: bytes = b"") -> None:
        """The hub is there, and the node goes on."""
        hello = self.dials.latest.hello()
        self.assertEqual(hello.token, TOKEN)
        self.dials.latest.say(frames.welcome(TOKEN, received) + behind)

    def assert_over(self, kind: type[Exception]) -> None:
        """The session is over, for this reason, and nothing is left of it."""
        assert self.talker.reason is not None
        self.talker.reason.trap(kind)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        number = len(self.dials)
        self.clock.advance(LONGEST_SECONDS)
        self.assertEqual(len(self.dials), number)
        self.assertEqual(self.flushLoggedErrors(), [])


class BeginningTests(ResumingTestCase):
    """The first connection."""

    def test_welcome(self) -> None:
        """It is resumable where the node says so."""
        self.assertTrue(self.dials.latest.offers)
        self.assertEqual(self.dials.latest.hello().received, 0)
        self.dials.latest.say(frames.welcome(TOKEN, 0) + said(b"SSH-2.0-node\r\n"))
        self.successResultOf(self.connecting)
        self.assertEqual(self.talker.heard, b"SSH-2.0-node\r\n")
        self.assertEqual(self.dials.latest.leg.written, said(b"SSH-2.0-client\r\n"))

    def test_older_hub(self) -> None:
        """A hub that chose plain SSH hears no hello."""
        leg = self.dials.latest.succeed(b"mezite-ssh")
        self.successResultOf(self.connecting)
        self.assertEqual(leg.written, b"SSH-2.0-client\r\n")
        self.assertIs(leg.protocol, self.talker)
        self.assertFalse(leg.is_paused)

    def test_no_agent(self) -> None:
        """Where the hub says that nothing is resumed, SSH follows at once."""
        self.dials.latest.hello()
        self.dials.latest.say(frames.plain() + b"SSH-2.0-sshd\r\n")
        self.successResultOf(self.connecting)
        self.assertEqual(self.talker.heard, b"SSH-2.0-sshd\r\n")
        self.dials.latest.leg.lose()
        self.assertIsNotNone(self.talker.reason)
        self.assertEqual(len(self.dials), 1)

    def test_older_agent(self) -> None:
        """An agent that resets the stream, and does so again, is asked for plain SSH."""
        for number in range(1, UNANSWERED + 1):
            self.assertEqual((len(self.dials), self.dials.latest.offers), (number, True))
            self.dials.latest.hello()
            self.dials.latest.leg.lose()
        self.assertEqual(len(self.dials), UNANSWERED + 1)
        self.assertFalse(self.dials.latest.offers)
        leg = self.dials.latest.succeed(b"mezite-ssh")
        self.successResultOf(self.connecting)
        self.assertIs(leg.protocol, self.talker)

    def test_cut_at_once(self) -> None:
        """One that was cut before the answer costs no session its resumption."""
        self.dials.latest.hello()
        self.dials.latest.say(frames.welcome(TOKEN, 0)[:20])
        self.dials.latest.leg.lose()
        self.begin()
        self.cut()
        self.welcome()
        self.assertEqual((len(self.dials), self.notes), (3, ["lost", "back"]))

    def test_cut_and_away(self) -> None:
        """Where nobody is there after such a cut, that is what is told."""
        self.dials.latest.hello()
        self.dials.latest.leg.lose()
        self.dials.latest.fail(HubUnreachable("nobody is there"))
        self.failureResultOf(self.connecting, HubUnreachable)

    def test_always_broken(self) -> None:
        """Who hangs up on plain SSH as well cannot be reached."""
        for _ in range(UNANSWERED):
            self.dials.latest.hello()
            self.dials.latest.leg.lose()
        self.dials.latest.fail(LegBroke("the connection to the hub broke"))
        self.failureResultOf(self.connecting, LegBroke)

    def test_refused(self) -> None:
        """A refusal is told in its own words, and is of its kind."""
        kinds: dict[int, type[MeziteError]] = {
            frames.DENIED: ResumeDenied,
            frames.GONE: SessionGone,
            frames.NOT_NOW: NotNow,
        }
        for reason, kind in kinds.items():
            connecting = ensureDeferred(self.dialer.connect(Talker()))
            self.dials.latest.hello()
            self.dials.latest.say(frames.refused(reason, "db1 is not connected"))
            failure = self.failureResultOf(connecting, kind)
            self.assertEqual(str(failure.value), "db1 is not connected")
            self.assertTrue(self.dials.latest.leg.is_aborted)

    def test_certificate(self) -> None:
        """A hub that does not take the certificate is heard, and not asked again."""
        self.dials.latest.hello()
        self.dials.latest.leg.lose(TlsBroken("alert certificate required"))
        self.failureResultOf(self.connecting, Denied)
        self.assertEqual(len(self.dials), 1)

    def test_silence(self) -> None:
        """A hub that says nothing is given up at the deadline, and the connection dropped."""
        self.dials.latest.hello()
        self.clock.advance(DIAL_SECONDS)
        self.failureResultOf(self.connecting, MeziteError)
        self.assertTrue(self.dials.latest.leg.is_aborted)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_junk(self) -> None:
        """What is no greeting breaks the connection; what comes behind it is not read."""
        for junk in (b"SSH-2.0-x\r\n", b"\x00" * 4, b"\x02\xff\xff\xff", frames.end(), b"\xff" * 9):
            connecting = ensureDeferred(self.dialer.connect(Talker()))
            self.dials.latest.hello()
            self.dials.latest.say(junk)
            self.failureResultOf(connecting, RemoteResumeError)
            self.assertTrue(self.dials.latest.leg.is_aborted)
            self.dials.latest.say(b"more")

    def test_hello_from_node(self) -> None:
        """A node that says hello itself is no node."""
        self.dials.latest.hello()
        self.dials.latest.say(frames.hello())
        self.failureResultOf(self.connecting, SessionGone)


class GoingOnTests(ResumingTestCase):
    """A connection that was cut, and is taken up again."""

    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_at_once(self) -> None:
        """The hub is dialed at once; what was on its way both ways is made good."""
        self.dials.latest.say(said(b"0123456789"))
        self.talker.transport.write(b"lost on the way")
        self.cut()
        self.assertEqual((self.notes, len(self.dials), self.waits), (["lost"], 2, []))
        self.talker.transport.write(b", and typed meanwhile")
        hello = self.dials.latest.hello()
        self.assertEqual((hello.token, hello.received), (TOKEN, 10))
        self.dials.latest.say(frames.welcome(TOKEN, 16) + said(b"more"))
        self.assertEqual(self.notes, ["lost", "back"])
        self.assertEqual(
            self.dials.latest.leg.written, said(b"lost on the way") + said(b", and typed meanwhile")
        )
        self.assertEqual(self.talker.heard, b"0123456789more")

    def test_half_a_frame(self) -> None:
        """A frame that was cut in the middle goes on from there."""
        self.dials.latest.say(said(b"0123456789")[:7])
        self.cut()
        self.assertEqual(self.dials.latest.hello().received, 3)
        self.dials.latest.say(frames.welcome(TOKEN, 16) + said(b"3456789"))
        self.assertEqual(self.talker.heard, b"0123456789")

    def test_waits(self) -> None:
        """Between tries a random time is waited, of up to twice as much each time, and 4 s."""
        self.cut()
        for _ in range(7):
            self.dials.latest.fail(HubUnreachable("nobody is there"))
            self.clock.advance(self.waits[-1])
        self.assertEqual(self.waits[:4], [n * FIRST_WAIT for n in (1, 2, 4, 8)])
        self.assertEqual(set(self.waits[4:]), {LONGEST_WAIT})
        self.assertEqual(len(self.dials), 9)
        self.welcome()
        self.assertEqual(self.notes, ["lost", "back"])

    def test_not_now(self) -> None:
        """A hub that has no tunnel to the node is asked again."""
        self.cut()
        self.dials.latest.hello()
        self.dials.latest.say(frames.refused(frames.NOT_NOW, "db1 is not connected"))
        self.assertTrue(self.dials.latest.leg.is_aborted)
        self.clock.advance(FIRST_WAIT)
        self.welcome()
        self.assertEqual(self.notes, ["lost", "back"])

    def test_junk_meanwhile(self) -> None:
        """Whatever else answers in the hub's place is tried again, too."""
        self.cut()
        for junk in (b"HTTP/1.1 502 Bad Gateway\r\n", b"", frames.end()):
            self.dials.latest.hello()
            if junk:
                self.dials.latest.say(junk)
            else:
                self.dials.latest.leg.lose()
            self.clock.advance(self.waits[-1])
        self.welcome()
        self.assertIsNone(self.talker.reason)

    def test_each_try_is_bounded(self) -> None:
        """A hub that accepts and is silent is left after 10 s, and dialed again."""
        self.cut()
        self.dials.latest.hello()
        silent = self.dials.latest.leg
        self.clock.advance(DIAL_SECONDS)
        self.assertTrue(silent.is_aborted)
        self.clock.advance(FIRST_WAIT)
        self.assertEqual(len(self.dials), 3)
        self.welcome()

    def test_late_answer(self) -> None:
        """An answer on a connection that was left is not heard."""
        self.cut()
        self.dials.latest.hello()
        left = self.dials.latest
        self.clock.advance(DIAL_SECONDS)
        self.clock.advance(FIRST_WAIT)
        left.say(frames.welcome(TOKEN, 16))
        self.assertEqual(self.notes, ["lost"])
        self.welcome()
        self.assertEqual(self.notes, ["lost", "back"])

    def test_silence(self) -> None:
        """A node that says nothing more is looked for over another connection."""
        leg = self.dials.latest.leg
        for _ in range(round(ASK_SECONDS + ANSWER_SECONDS) + 3):
            self.clock.advance(1)
        self.assertTrue(leg.is_aborted)
        self.assertEqual(len(self.dials), 2)
        self.welcome()

    def test_flapping(self) -> None:
        """A line that is cut again and again is not dialed in a tight loop."""
        self.cut()
        for _ in range(6):
            self.welcome()
            self.dials.latest.leg.lose()
            self.clock.advance(self.waits[-1])
        self.assertEqual(self.waits[:4], [n * FIRST_WAIT for n in (1, 2, 4, 8)])
        self.welcome()
        self.cut()
        number = len(self.waits)
        self.welcome()
        self.assertEqual(len(self.waits), number)

    def test_full_both_ways(self) -> None:
        """With both directions full at the cut, who writes waits, and all of it arrives."""
        transport, tap = self.talker.transport, Tap()
        transport.registerProducer(tap, True)
        sent = random.Random(1).randbytes(FULL + 1000)
        for start in range(0, len(sent), 1 << 16):
            transport.write(sent[start : start + (1 << 16)])
        self.assertFalse(tap.is_open)
        transport.pauseProducing()
        self.cut()
        arrived = 777
        self.welcome(16 + arrived, said(b"y" * 1000))
        self.assertTrue(self.dials.latest.leg.is_paused)
        self.assertFalse(tap.is_open)
        written = b"".join(
            bytes(payload)
            for kind, payload in frames.FrameReader().receive(self.dials.latest.leg.written)
            if kind == frames.DATA
        )
        self.assertEqual(written, sent[arrived:])
        transport.resumeProducing()
        self.assertFalse(self.dials.latest.leg.is_paused)
        self.dials.latest.say(frames.acknowledgement(16 + len(sent)))
        self.assertTrue(tap.is_open)


class AgentTests(ResumingTestCase):
    """The client, and an agent's own end."""

    def setUp(self) -> None:
        super().setUp()
        self.hub = PlayedHub()
        self.server = Server(b"SSH-2.0-node\r\n")
        self.sessions = ResumableSessions(
            lambda _: self.server, OpenSessions(), self.hub.calls, self.clock
        )
        self.far = PlayedLeg()

    def meet(self, session_id: str) -> None:
        """The latest dial has reached the agent."""
        near = self.dials.latest.succeed()
        header = StreamHeader(service="ssh-resume", session_id=session_id, user="ada")
        self.far = PlayedLeg()
        self.far.attach(self.sessions.serve(header))
        exchange(near, self.far)

    @settings(deadline=None)
    @given(st.lists(st.sampled_from(["ask", "answer", "move", "client cut", "agent cut", "wait"])))
    def test_exactly_once(self, steps: list[str]) -> None:
        """Whatever is said and cut when, every byte arrives once, in order, at both ends."""
        self.setUp()
        self.meet("s0")
        self.sessions.admitted(Avatar("s0"))  # type: ignore[arg-type]
        draw = random.Random(5)
        asked, answered = b"SSH-2.0-client\r\n", b"SSH-2.0-node\r\n"
        for number, step in enumerate([*steps, "client cut", "wait"]):
            near = self.dials.latest.leg
            match step:
                case "ask":
                    asked += (data := draw.randbytes(9))
                    self.talker.transport.write(data)
                case "answer":
                    answered += (data := draw.randbytes(70_000))
                    self.server.transport.write(data)
                case "move":
                    exchange(near, self.far)
                case "client cut":
                    near.lose()
                    near.written = b""
                case "agent cut":
                    self.far.lose()
                    self.far.written = b""
                    near.lose()
                case "wait":
                    self.clock.advance(LONGEST_WAIT)
            if self.dials.latest.leg is not near:
                self.meet(f"s{number + 1}")
        self.clock.advance(LONGEST_WAIT)
        self.assertEqual(self.server.heard, asked)
        self.assertEqual(self.talker.heard, answered)
        self.assertEqual((self.sessions.parked, len(self.sessions)), (0, 1))


class EndTests(ResumingTestCase):
    """A connection that was cut, and does not go on."""

    def setUp(self) -> None:
        super().setUp()
        self.begin()

    def test_refused(self) -> None:
        """A refusal that would come again ends it, in its own words."""
        for reason, kind in ((frames.DENIED, ResumeDenied), (frames.GONE, SessionGone)):
            self.cut()
            self.dials.latest.hello()
            self.dials.latest.say(frames.refused(reason, "ada is locked"))
            self.assert_over(kind)
            assert self.talker.reason is not None
            self.assertEqual(self.talker.reason.getErrorMessage(), "ada is locked")
            self.setUp()

    def test_certificate(self) -> None:
        """So does a hub that does not take the certificate any more."""
        self.cut()
        self.dials.latest.hello()
        self.dials.latest.leg.lose(TlsBroken("alert certificate expired"))
        self.assert_over(Denied)

    def test_too_late(self) -> None:
        """After five minutes nobody keeps the session, and it is over."""
        self.cut()
        began = self.clock.seconds()
        while self.talker.reason is None:
            self.dials.latest.fail(HubUnreachable("nobody is there"))
            if self.talker.reason is None:
                self.clock.advance(self.waits[-1])
        took = self.clock.seconds() - began
        self.assertGreaterEqual(took, LONGEST_SECONDS)
        self.assertLessEqual(took, LONGEST_SECONDS + LATE_WAIT)
        self.assert_over(SessionGone)

    def test_too_late_in_silence(self) -> None:
        """So it is where each try takes as long as it may."""
        self.cut()
        began = self.clock.seconds()
        while self.talker.reason is None:
            self.clock.advance(1)
        took = self.clock.seconds() - began
        self.assertGreaterEqual(took, LONGEST_SECONDS)
        self.assertLessEqual(took, LONGEST_SECONDS + DIAL_SECONDS + LATE_WAIT)
        self.assert_over(SessionGone)

    def test_person_gives_up(self) -> None:
        """Whoever does not want to wait does not: while it is waited, or dialed."""
        for number in range(3):
            self.cut()
            dial = self.dials.latest
            if number == 1:
                dial.fail(HubUnreachable("nobody is there"))
            elif number == 2:
                dial.hello()
            self.talker.transport.loseConnection()
            self.clock.advance(0)
            self.assertIsNotNone(self.talker.reason)
            self.assertTrue(dial.done.called)
            self.assertTrue(number != 2 or dial.leg.is_aborted)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.setUp()

    def test_another_node(self) -> None:
        """Who has another token, or other counts, is not who we spoke with."""
        for token, received in (
            (OTHER_TOKEN, 16),
            (TOKEN, 17),
            (TOKEN, frames.COUNT_LIMIT - 1),
        ):
            self.cut()
            self.dials.latest.hello()
            self.dials.latest.say(frames.welcome(token, received))
            self.assertTrue(self.dials.latest.leg.is_aborted)
            self.assert_over(SessionGone)
            self.setUp()

    def test_count_goes_back(self) -> None:
        """A node that has forgotten what it had acknowledged lacks bytes that are gone."""
        self.dials.latest.say(frames.acknowledgement(16))
        self.cut()
        self.dials.latest.hello()
        self.dials.latest.say(frames.welcome(TOKEN, 15))
        self.assert_over(SessionGone)

    def test_huge_count(self) -> None:
        """A count that is no count is no greeting: it is asked again."""
        self.cut()
        self.dials.latest.hello()
        huge = frames.COUNT_LIMIT.to_bytes(8, "big")
        self.dials.latest.say(frames.header(frames.WELCOME, 41) + b"\x01" + huge + TOKEN)
        self.clock.advance(FIRST_WAIT)
        self.welcome()

    def test_junk_behind_welcome(self) -> None:
        """Junk behind the greeting ends the connection, and nothing looks for it any more."""
        self.cut()
        self.welcome(behind=b"SSH-2.0-x\r\n")
        self.assert_over(RemoteResumeError)

    def test_ended_meanwhile(self) -> None:
        """What the node said last, while nothing led to it, is heard; then it is over."""
        self.cut()
        self.welcome(behind=said(b"exit 7") + frames.end() + frames.reset())
        self.assertEqual(self.talker.heard, b"exit 7")
        self.assertIsNotNone(self.talker.reason)
        self.clock.advance(LONGEST_SECONDS)
        self.assertEqual((len(self.dials), self.clock.getDelayedCalls()), (2, []))


class Tap:
    """A producer that notes whether it may go on."""

    is_open = True

    def pauseProducing(self) -> None:
        self.is_open = False

    def resumeProducing(self) -> None:
        self.is_open = True

    def stopProducing(self) -> None:
        self.is_open = False
