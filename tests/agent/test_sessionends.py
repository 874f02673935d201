"""Tests of sessions that are ended from without."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.permit import SessionPermit
from mezite.agent.sessionends import OpenSessions
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.ssh.sessionwatch import SessionBounds, SessionWatch
from tests.agent.test_sshd import NodePair, NodeSshTestCase, SessionNamed
from tests.ssh.pair import user_key


class GoneStream:
    """A stream that notes that it was closed."""

    is_closed = False

    def loseConnection(self) -> None:
        self.is_closed = True


class EndedSessionTests(NodeSshTestCase):
    """Through a node's SSH server, what the person hears."""

    def end(self, pair: NodePair, session_id: str = "s1", reason: str = "ada is locked") -> None:
        header = StreamHeader(service="end-session", session_id=session_id, reason=reason)
        stream: Any = GoneStream()
        self.node.open_sessions.serve(header).makeConnection(stream)
        self.assertTrue(stream.is_closed)
        pair.pump.flush()

    def permit(self, **bounds: Any) -> None:
        permit = SessionPermit(True, "", SessionBounds(**bounds))
        self.authorizer.answer = succeed(permit)

    def wait(self, pair: NodePair, seconds: float) -> None:
        # In steps, so that what is sent arrives in time.
        for _ in range(int(seconds)):
            self.clock.advance(1)
            pair.pump.flush()

    def test_by_the_hub(self) -> None:
        """The sentence is on the terminal and in the goodbye."""
        pair = self.connect()
        session = pair.open(SessionNamed())
        self.end(pair)
        self.assertEqual(bytes(session.extra), b"\r\nada is locked\r\n")
        self.assertEqual(self.refusal(pair), "ada is locked")

    def test_without_terminal(self) -> None:
        """A connection that only forwards ends with the goodbye."""
        pair = self.connect()
        self.end(pair)
        self.assertEqual(self.refusal(pair), "ada is locked")

    def test_before_anybody_is_in(self) -> None:
        """A connection ends also while the hub still thinks about it."""
        self.authorizer.answer = Deferred()
        pair = self.connect()
        self.end(pair)
        self.assertEqual(self.refusal(pair), "ada is locked")

    def test_another_session(self) -> None:
        """A session that is not there is none of this connection's business."""
        pair = self.connect()
        self.end(pair, "s2")
        self.assertNoResult(pair.client.ended())

    def test_hostile_sentence(self) -> None:
        """What a terminal would obey does not come through, nor what is endless."""
        pair = self.connect()
        session = pair.open(SessionNamed())
        self.end(pair, reason="\x1b]0;x\x07 gone\r\n" + "x" * 3000)
        self.assertNotIn(b"\x1b", session.extra)
        self.assertLess(len(session.extra), 1100)

    def test_twice(self) -> None:
        """A connection that is being ended is not ended again."""
        pair = self.connect()
        self.end(pair)
        self.assertFalse(self.node.open_sessions.end("s1", "again"))

    def test_idle(self) -> None:
        """Silence ends a connection after so long; keepalives do not count."""
        self.permit(idle_timeout=60.0)
        pair = self.connect()
        session = pair.open(SessionNamed())
        self.wait(pair, 59)
        self.assertNoResult(pair.client.ended())
        self.wait(pair, 1)
        self.assertIn(b"nothing moved for 1 min", session.extra)
        self.assertIn("nothing moved for 1 min", self.refusal(pair))

    def test_busy(self) -> None:
        """What moves begins the wait anew."""
        self.permit(idle_timeout=10.0)
        pair = self.connect()
        channel = pair.open(SessionNamed())
        for _ in range(3):
            self.wait(pair, 9)
            channel.write(b"x")
            pair.pump.flush()
        self.assertNoResult(pair.client.ended())
        self.wait(pair, 10)
        self.assertIn("nothing moved", self.refusal(pair))

    def test_certificate_ends(self) -> None:
        """If the hub says so, the session ends with its certificate."""
        self.permit(ends_with_certificate=True)
        pair = self.connect(key=user_key(lifetime=100.0))
        self.wait(pair, 99)
        self.assertNoResult(pair.client.ended())
        self.wait(pair, 2)
        self.assertIn("certificate has expired", self.refusal(pair))

    def test_certificate_may_end(self) -> None:
        """If it does not, the session goes on, and no timer waits for anything."""
        pair = self.connect(key=user_key(lifetime=100.0))
        self.wait(pair, 200)
        self.assertNoResult(pair.client.ended())

    def test_nothing_left(self) -> None:
        """When the person goes, so do the timers."""
        self.permit(idle_timeout=60.0, ends_with_certificate=True)
        pair = self.connect()
        pair.client.close()
        pair.pump.flush()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class SessionWatchTests(SynchronousTestCase):
    def test_clock_set_back(self) -> None:
        """A wall clock that is set while a session runs is believed within a minute."""
        clock = Clock()
        wall = [0.0]
        ended: list[str] = []
        watch = SessionWatch(
            SessionBounds(ends_with_certificate=True),
            3600.0,
            clock,
            lambda: wall[0],
            lambda: 0.0,
            ended.append,
        )
        watch.start()
        wall[0] = 4000.0
        clock.advance(60)
        self.assertEqual(len(ended), 1)
        self.assertEqual(clock.getDelayedCalls(), [])


class OpenSessionsTests(SynchronousTestCase):
    def test_forgets(self) -> None:
        """A connection that nobody holds any more is not kept."""

        class Held:
            disconnecting = False

        sessions = OpenSessions()
        held = Held()
        sessions.add("s1", held)
        del held
        self.assertFalse(sessions.end("s1", "x"))
