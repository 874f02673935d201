"""Tests of coming into a cluster, and back into it."""

from __future__ import annotations

import os
from pathlib import Path

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.backoff import LONGEST_REFUSED
from mezite.agent.currentmembership import CurrentMembership
from mezite.agent.error import JoinRefused, NotJoined, TunnelDown
from mezite.agent.join import Application, Joining, find_authority
from mezite.agent.membership import Issued, Membership, NodeKeys
from mezite.agent.readmission import Readmission
from mezite.agent.state import StateDirectory
from mezite.config.agent import AgentConfig
from mezite.error import AlreadyExists, Denied, TimedOut, Unavailable
from mezite.rpc.error import ChannelClosed
from mezite.wire.error import HandshakeFailed, HubUnreachable, NotThisHub, TlsBroken
from tests.doubles.agenthub import HOUR, HUB, NODE, OTHER_ID, AgentHub

APPLICATION = Application(HUB, "mzt_secret", NODE, {})


class ApplicationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.config = AgentConfig(data_dir=Path("/data"), hubs=(HUB,), hostname=NODE, token="mzt_x")

    def refused(self, config: AgentConfig) -> str:
        with self.assertRaises(NotJoined) as caught:
            Application.of(config)
        return str(caught.exception)

    def test_complete(self) -> None:
        """Hub and token are enough; the rest has defaults."""
        self.assertEqual(Application.of(self.config).token, "mzt_x")

    def test_nothing_given(self) -> None:
        """Without hub or token the sentence says where they come from."""
        for config in (evolve(self.config, hubs=()), evolve(self.config, token=None)):
            self.assertIn("mezctl tokens create", self.refused(config))

    def test_token_file(self) -> None:
        """A file holds the token, with or without a line's end."""
        path = Path(self.mktemp())
        config = evolve(self.config, token=None, token_file=path)
        self.assertIn("cannot be read", self.refused(config))
        path.write_text("mzt_y\n")
        self.assertEqual(Application.of(config).token, "mzt_y")
        for nonsense in (b"", b"two words", b"\xff\xfe"):
            path.write_bytes(nonsense)
            self.assertIn("does not hold a join token", self.refused(config))

    def test_token_is_secret(self) -> None:
        """The token is not in what is logged."""
        self.assertNotIn("mzt_secret", repr(APPLICATION))


class AuthorityTests(SynchronousTestCase):
    """Whom a node believes to be its hub."""

    def authority(self, application: Application) -> bytes:
        # No reactor: nothing here may need the network.
        return self.successResultOf(Deferred.fromCoroutine(find_authority(None, application)))

    def test_known(self) -> None:
        """A node that has joined before trusts what it trusted, and asks nobody."""
        application = evolve(APPLICATION, known_authority=b"as before")
        self.assertEqual(self.authority(application), b"as before")

    def test_file_comes_first(self) -> None:
        """A CA file that somebody gave replaces it."""
        hub = AgentHub()
        path = Path(self.mktemp())
        pem = hub.membership(NodeKeys.generate()).certificates.cluster_ca_pem
        path.write_bytes(pem)
        application = evolve(APPLICATION, known_authority=b"as before", ca_file=path)
        self.assertEqual(self.authority(application), pem)


class JoiningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = AgentHub()
        self.keys = NodeKeys.generate()
        self.answers: list[BaseException | Membership | Deferred[Membership]] = []
        self.tried: list[float] = []
        self.waits: list[float] = []
        self.joining = Joining(
            self.hub.clock, self.hub.wall_clock, self.attempt, lambda low, high: self.wait(high)
        )

    def wait(self, high: float) -> float:
        self.waits.append(high)
        return high

    async def attempt(self, application: Application, keys: NodeKeys) -> Membership:
        self.tried.append(self.hub.clock.seconds())
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return await answer if isinstance(answer, Deferred) else answer

    def join(self) -> Deferred[Membership]:
        return Deferred.fromCoroutine(self.joining.join(APPLICATION, self.keys))

    def test_at_once(self) -> None:
        """A hub that is there admits the node."""
        membership = self.hub.membership(self.keys)
        self.answers = [membership]
        self.assertEqual(self.successResultOf(self.join()), membership)

    def test_waits_for_the_hub(self) -> None:
        """A hub that is not there yet is waited for, however long."""
        refused = HubUnreachable(HUB, "refused")
        refused.__cause__ = ConnectionRefusedError()
        membership = self.hub.membership(self.keys)
        self.answers = [refused] * 10
        self.answers += [Unavailable("busy"), TimedOut("slow"), HandshakeFailed("odd"), membership]
        joined = self.join()
        self.hub.clock.pump([1.0] * 200)
        self.assertEqual(self.successResultOf(joined), membership)
        self.assertEqual(max(self.waits[:10]), LONGEST_REFUSED)
        self.assertEqual(self.waits[12], 30.0)

    def test_refusals_are_final(self) -> None:
        """A refused token, or a name that is taken, is not tried again."""
        for refusal in (Denied("no"), AlreadyExists("taken")):
            self.answers = [refusal]
            self.failureResultOf(self.join(), type(refusal))

    def test_silence(self) -> None:
        """A hub that does not answer is tried again after half a minute."""
        membership = self.hub.membership(self.keys)
        self.answers = [Deferred(), membership]
        joined = self.join()
        self.hub.clock.pump([1.0] * 32)
        self.assertEqual(self.successResultOf(joined), membership)


class ReadmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = AgentHub()
        self.state = StateDirectory(Path(self.mktemp()))
        self.addCleanup(os.close, self.state.prepare())
        self.old = self.hub.membership(self.state.keys())
        self.state.save(self.old)
        self.current = CurrentMembership.of(self.old, self.state)
        self.reason: Exception | None = None
        self.token: str | None = "mzt_fresh"
        self.join_error: Exception | None = None
        self.joins = 0
        self.readmission = Readmission(
            current=self.current,
            clock=self.hub.clock,
            wall_clock=self.hub.wall_clock,
            renew=self.renew,
            join=self.join,
            application=self.application,
        )

    async def renew(self, membership: Membership) -> Issued:
        if self.reason is not None:
            raise self.reason
        return self.hub.issue(membership.keys)

    async def join(self, application: Application, keys: NodeKeys) -> Membership:
        self.joins += 1
        if self.join_error is not None:
            raise self.join_error
        self.hub.agent_id = OTHER_ID
        return self.hub.membership(keys)

    def application(self) -> Application:
        if self.token is None:
            raise NotJoined("no token")
        return evolve(APPLICATION, token=self.token)

    def mend(self) -> bool:
        return self.successResultOf(Deferred.fromCoroutine(self.readmission.mend()))

    def test_known(self) -> None:
        """A node that the hub knows has fresh certificates, and no new id."""
        self.hub.clock.advance(HOUR)
        self.assertTrue(self.mend())
        self.assertGreater(self.current.membership.expires, self.old.expires)
        self.assertEqual(self.joins, 0)

    def test_removed(self) -> None:
        """A node that was removed joins again with a token, and keeps its keys."""
        self.reason = Denied("node db1 is not part of this cluster any more")
        self.assertTrue(self.mend())
        loaded = self.state.load()
        assert loaded is not None
        self.assertEqual(loaded.identity.agent_id, OTHER_ID)
        self.assertEqual(loaded.keys.ssh_public_line, self.old.keys.ssh_public_line)

    def test_expired(self) -> None:
        """A node whose certificate ended does not even ask."""
        self.hub.clock.advance(31 * 24 * HOUR)
        self.assertTrue(self.mend())
        self.assertEqual(self.joins, 1)

    def test_no_token(self) -> None:
        """Without a token everything stays as it is."""
        self.reason = Denied("removed")
        self.token = None
        self.assertFalse(self.mend())
        self.assertEqual(self.current.membership, self.old)

    def test_hub_not_proved(self) -> None:
        """A token that never reached a hub stays good for the next try."""
        self.reason = Denied("removed")
        for error in (JoinRefused("no proof"), NotThisHub("another pin")):
            self.join_error = error
            self.assertFalse(self.mend())
        self.join_error = None
        self.assertTrue(self.mend())

    def test_spent_token(self) -> None:
        """A token that was refused is not tried again."""
        self.reason = Denied("removed")
        self.join_error = Denied("the token is used up")
        self.assertFalse(self.mend())
        self.assertFalse(self.mend())
        self.assertEqual(self.joins, 1)
        self.assertEqual(self.current.membership, self.old)

    def test_taken_name(self) -> None:
        """A token that bought nothing, because the name was taken, is tried again."""
        self.reason = Denied("removed")
        self.join_error = AlreadyExists("another has the name")
        self.assertFalse(self.mend())
        self.join_error = None
        self.assertTrue(self.mend())

    def test_hub_set_up_anew(self) -> None:
        """A hub of another authority is joined, if it proves itself as for any joining."""
        self.reason = HandshakeFailed("the certificate is not from an authority that is trusted")
        self.assertTrue(self.mend())
        self.assertEqual(self.joins, 1)

    def test_other_handshake_failures(self) -> None:
        """A handshake that failed otherwise costs no token."""
        self.reason = HandshakeFailed("the connection ended too early")
        self.assertFalse(self.mend())
        self.assertEqual(self.joins, 0)

    def test_alerts(self) -> None:
        """A hub that does not take the certificate ends TLS with an alert, and a token helps."""
        for kind in (HandshakeFailed, TlsBroken):
            for alert in ("tlsv1 alert unknown ca", "ssl/tls alert certificate expired"):
                closed = ChannelClosed("the connection was lost")
                closed.__cause__ = kind(alert)
                for reason in (kind(alert), closed):
                    self.reason = reason
                    self.assertTrue(self.mend())
        self.assertEqual(self.joins, 8)
        # Our own complaint about the hub's certificate, and alerts about something else.
        for detail in ("certificate has expired", "tlsv1 alert internal error"):
            self.reason = TlsBroken(detail)
            self.assertFalse(self.mend())
        self.assertEqual(self.joins, 8)

    def test_no_reason(self) -> None:
        """A hub that cannot be asked changes nothing, and costs no token."""
        self.reason = TunnelDown()
        self.assertFalse(self.mend())
        self.assertEqual(self.joins, 0)

    def test_successor(self) -> None:
        """An authority that ours vouches for is followed, and costs no token."""
        foreign = HandshakeFailed("the certificate is not from an authority that is trusted")
        old, self.hub.cluster_ca = self.hub.cluster_ca, AgentHub().cluster_ca
        both = old.certificate_pem + self.hub.cluster_ca.certificate_pem

        async def renew(membership: Membership) -> Issued:
            if membership.certificates.cluster_ca_pem != both:
                raise foreign
            return self.hub.issue(membership.keys)

        async def successor(membership: Membership) -> Membership:
            return membership.trusting(both)

        self.readmission.renew, self.readmission.successor = renew, successor
        self.assertTrue(self.mend())
        self.assertEqual(self.joins, 0)
        loaded = self.state.load()
        assert loaded is not None
        self.assertEqual(loaded.certificates.cluster_ca_pem, self.hub.cluster_ca.certificate_pem)
        self.assertEqual(loaded.identity.agent_id, self.old.identity.agent_id)

    def test_no_successor(self) -> None:
        """Where nothing vouches for the hub's authority, only a token helps, and a command."""

        async def successor(membership: Membership) -> Membership:
            raise NotThisHub("it shows another one")

        self.readmission.successor = successor
        self.reason = HandshakeFailed("the certificate is not from an authority that is trusted")
        self.token = None
        with capturedLogs() as logs:
            self.assertFalse(self.mend())
        said = formatEvent(logs[-1])
        self.assertIn("rotated while this node was away", said)
        self.assertIn("allow-rejoin db1", said)
        self.assertEqual(self.current.membership, self.old)

    def test_refused_certificate(self) -> None:
        """A certificate of an authority that was forgotten meanwhile is explained."""
        self.reason = TlsBroken("tlsv1 alert unknown ca")
        self.token = None
        with capturedLogs() as logs:
            self.assertFalse(self.mend())
        said = formatEvent(logs[-1])
        self.assertIn("rotated while this node was away", said)
        self.assertIn("allow-rejoin db1", said)
