"""Tests of the rotation of authorities, through a whole hub in memory."""

from __future__ import annotations

import time
from typing import Any

from attrs import evolve
from cryptography import x509
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mezite.audit.events import AuditEvent, EventType
from mezite.error import BadInput, Denied, Unavailable
from mezite.hub import adminsocket
from mezite.identity import sshcert, sshissuing
from mezite.identity.authorities import Authorities, fingerprint_of
from mezite.identity.error import CertificateRefused
from mezite.identity.x509 import NodeIdentity
from mezite.mux.protocol import MuxProtocol
from mezite.names import LoginName
from mezite.rpc.channel import GrpcChannel
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from mezite.store.records import AuditQuery
from tests.doubles.hubworld import Heard, HubWorld, ssh_public_line

HOUR = 3600.0
# Shorter than what a tunnel's keepalive bears.
STEP = 5.0
GRACE = 300
TYPES = ("user", "host", "tls")


class Agent:
    """An agent with a tunnel, which renews when it is told of other authorities."""

    def __init__(self, world: HubWorld, identity: NodeIdentity) -> None:
        self.world = world
        self.identity = identity
        self.generation = 0
        self.answer = pb.GenerateHostCertsResponse()
        self.mux: MuxProtocol = world.open_tunnel(identity)
        world.flush()
        self.client = world.calls_in(self.mux)
        self.beat()

    def beat(self) -> None:
        """One heartbeat, and what follows from it; another one says that it was done."""
        for _ in range(2):
            heard = self.world.done(
                self.client.agent_heartbeat(labels={}, version="0.1", generation=self.generation)
            )
            if heard.authorities_generation == self.generation:
                return
            self.answer = self.world.done(
                self.client.generate_host_certs(
                    ssh_public_key=ssh_public_line(),
                    tls_public_key=self.world.public_key_of(self.identity),
                )
            )
            self.generation = self.answer.authorities_generation
        self.world.done(
            self.client.agent_heartbeat(labels={}, version="0.1", generation=self.generation)
        )


class RotationTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # TLS looks at the machine's clock: what is issued during the test must be in time there.
        clock = MemoryReactorClock()
        clock.advance(time.time() - HOUR / 2)
        self.world = self.make_world(clock)
        self.world.add_user("root", "root", admin=True)
        self.world.add_user("ada", "root")
        self.patch(adminsocket, "listen", lambda reactor, *rest: reactor.listenTCP(1, None))
        self.world.hub.startService()
        self.addCleanup(self.world.hub.stopService)
        self.first = self.world.authorities
        self.db1 = self.world.add_node("db1")
        self.agent = Agent(self.world, self.db1)

    def make_world(self, clock: MemoryReactorClock) -> HubWorld:
        return HubWorld(clock=clock)

    def client(self, user: str = "root", authorities: Authorities | None = None) -> AuthClient:
        channel = GrpcChannel(self.world.clock)
        self.world.dial(
            channel, b"mezite-auth", identity=self.world.user(user), authorities=authorities
        )
        self.world.flush()
        return AuthClient(channel)

    def ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        client = self.client()
        try:
            return self.world.done(getattr(client, method)(*arguments, **named))
        finally:
            client.close()

    def rotate(self, *types: str, **named: Any) -> list[pb.Authority]:
        rows: list[pb.Authority] = self.ask("rotate_authority", types, **named)
        return rows

    def status(self) -> dict[str, pb.Authority]:
        return {each.type: each for each in self.ask("get_authorities").authorities}

    def phases(self) -> list[str]:
        return [each.phase for each in self.status().values()]

    def wait(self, seconds: float) -> None:
        """Let time pass, with heartbeats."""
        for _ in range(int(seconds // STEP)):
            self.tick()
            self.agent.beat()

    def tick(self, times: int = 1) -> None:
        """Let time pass, with nothing but the pings of tunnels."""
        for _ in range(times):
            self.world.clock.advance(STEP)
            self.world.flush()

    def audited(self) -> list[AuditEvent]:
        """The steps that are in the audit, the first one first."""
        query = AuditQuery(types=(EventType.CA_ROTATED.text,))
        found = self.world.done(self.world.store.audit.search(query, limit=100))
        return [each.event for each in found]

    def events(self) -> list[tuple[str, str, str, bool]]:
        return [
            (each.actor.name, each.target, str(each.details["phase"]), each.success)
            for each in self.audited()
        ]


class WholeWayTests(RotationTestCase):
    """From one authority to the next."""

    def test_by_itself(self) -> None:
        """In a third of the time everybody has learned, in two more what is old has ended."""
        (tunnel,) = self.world.hub.registry
        since = tunnel.since
        self.rotate(*TYPES, grace_period_seconds=GRACE)
        self.assertEqual(self.phases(), ["prepare"] * 3)
        self.wait(90)
        self.assertEqual(self.phases(), ["prepare"] * 3)
        # The old ones sign; both are trusted.
        self.assertEqual(self.world.authorities.user_ca, self.first.user_ca)
        self.assertEqual(len(self.agent.answer.user_ca), 2)
        self.wait(20)
        self.assertEqual(self.phases(), ["rotate"] * 3)
        self.assertNotEqual(self.world.authorities.user_ca, self.first.user_ca)
        self.wait(180)
        self.assertEqual(self.phases(), ["rotate"] * 3)
        self.wait(20)
        self.assertEqual(self.phases(), ["standby"] * 3)
        self.assertEqual(len(self.agent.answer.user_ca), 1)
        # The tunnel that was there at first is there still.
        self.assertEqual([each.since for each in self.world.hub.registry], [since])
        self.assertTrue(self.agent.mux.is_up)

    def test_default(self) -> None:
        """Of the 72 h that are the default, a day is for learning."""
        (row,) = self.rotate("user")
        self.assertEqual(row.grace_period_seconds, 72 * 3600)
        self.assertEqual(row.next_change - row.since, 24 * 3600)
        self.assertEqual(row.next_phase, "rotate")

    def test_old_is_refused(self) -> None:
        """Afterwards certificates of the old authorities are refused; until then they count."""
        ada_ssh = sshissuing.issue_user(
            self.first.user_ca,
            ssh_public_line(),
            user=self.world.user("ada").user,
            logins=(LoginName("root"),),
            serial=1,
            now=self.world.clock.seconds(),
            lifetime=24 * HOUR,
            extensions=frozenset(),
        )

        def is_believed() -> bool:
            try:
                sshcert.check_user(
                    sshcert.blob_of(ada_ssh),
                    trusted=self.world.authorities.user_blobs,
                    now=self.world.clock.seconds(),
                    login=None,
                    source_address=None,
                )
            except CertificateRefused as error:
                self.assertIn("msh login", str(error))
                return False
            return True

        def is_connected() -> bool:
            """With a certificate of the old one, a node that trusts both."""
            heard, now = Heard(), self.world.authorities
            # Its certificate is from the old one, and it trusts what the hub trusts.
            theirs = evolve(self.first, tls=evolve(self.first.tls, other=now.tls.signing))
            self.world.dial(heard, b"mezite-tunnel", identity=self.db1, authorities=theirs)
            self.world.flush()
            return heard.reason is None

        for phase in ("prepare", "rotate", "standby"):
            self.rotate(*TYPES, phase=phase)
            is_over = phase == "standby"
            self.assertEqual(is_believed(), not is_over)
            self.assertEqual(is_connected(), not is_over)

    def test_certificates_follow(self) -> None:
        """What is issued in each phase is signed and trusted as the phase says."""
        for phase, signer, trusted in (("prepare", 0, 2), ("rotate", 1, 2), ("standby", 1, 1)):
            self.rotate("tls", phase=phase)
            self.agent.beat()
            certificate = x509.load_pem_x509_certificate(self.agent.answer.tls_certificate.encode())
            now = self.world.authorities
            expected = self.first.cluster_ca if signer == 0 else now.cluster_ca
            certificate.verify_directly_issued_by(expected.certificate)
            self.assertEqual(self.agent.answer.cluster_ca.count("BEGIN CERTIFICATE"), trusted)
            self.assertEqual(self.ask("ping").cluster_ca, now.tls_pem.decode())
            self.assertEqual(self.ask("ping").ca_pin, now.cluster_ca.pin)
            # Who knows the authority that signs is let in by it at every moment.
            self.assertEqual(self.ask("get_status").ca_pin, expected.pin)

    def test_old_client_until_switch(self) -> None:
        """Who has not learned of the new authority reaches the hub until it signs."""
        self.rotate("tls", phase="prepare")
        self.world.done(self.client(authorities=self.first).ping())
        self.rotate("tls", phase="rotate")
        heard = Heard()
        self.world.dial(heard, b"mezite-auth", authorities=self.first)
        self.world.flush()
        self.assertIsNotNone(heard.reason)

    def test_events(self) -> None:
        """Each step is in the audit, with who made it and both fingerprints."""
        self.rotate("host", grace_period_seconds=GRACE)
        self.wait(GRACE + 20)
        self.assertEqual(
            self.events(),
            [
                ("root", "host", "prepare", True),
                ("hub", "host", "rotate", True),
                ("hub", "host", "standby", True),
            ],
        )
        details = [(each.details["old"], each.details["new"]) for each in self.audited()]
        old = fingerprint_of(self.first.host_ca)
        new = fingerprint_of(self.world.authorities.host_ca)
        self.assertEqual(details, [(old, new)] * 3)


class BackTests(RotationTestCase):
    """Back to the old authority."""

    def test_from_prepare(self) -> None:
        """Before the switch the new one is forgotten at once."""
        self.rotate("user")
        self.ask("rollback_authority", ["user"])
        self.assertEqual(self.phases(), ["standby"] * 3)
        self.assertEqual(self.world.authorities.user_lines, self.first.user_lines)

    def test_from_rotate(self) -> None:
        """After the switch the old one signs again, and later the new one is forgotten."""
        self.rotate("user", grace_period_seconds=GRACE)
        self.rotate("user", phase="rotate")
        new = self.world.authorities.user_ca
        (row,) = self.ask("rollback_authority", ["user"])
        self.assertEqual((row.phase, row.other_is_new), ("rollback", True))
        self.assertEqual(self.world.authorities.user_ca, self.first.user_ca)
        self.assertIn(new.public_blob, self.world.authorities.user_blobs)
        self.wait(GRACE / 3 + 10)
        self.assertEqual(self.world.authorities.user_lines, self.first.user_lines)

    def test_nothing_to_roll_back(self) -> None:
        """In standby there is nothing to be rolled back, and a sentence says so."""
        failure = self.assertRaises(BadInput, self.ask, "rollback_authority", ["host"])
        self.assertIn("host: no rotation is under way", str(failure))


class WaitingTests(RotationTestCase):
    """Who is not ready is waited for."""

    def test_agent_behind(self) -> None:
        """A connected agent that has not renewed holds the switch up, for a third of the time."""
        self.rotate("tls", grace_period_seconds=GRACE)
        self.tick(30)
        self.assertEqual(self.status()["tls"].phase, "prepare")
        self.assertEqual(list(self.status()["tls"].behind), ["db1"])
        self.agent.beat()
        self.assertEqual(list(self.status()["tls"].behind), [])
        self.tick()
        self.assertEqual(self.status()["tls"].phase, "rotate")

    def test_not_for_ever(self) -> None:
        """An agent that never learns does not hold it up for ever."""
        self.rotate("tls", grace_period_seconds=GRACE)
        self.tick(39)
        self.assertEqual(self.status()["tls"].phase, "prepare")
        self.tick(2)
        self.assertEqual(self.status()["tls"].phase, "rotate")

    def test_offline(self) -> None:
        """A node that was away since before the switch is named until it comes back."""
        self.wait(60)
        self.agent.mux.close()
        self.tick(12)
        for phase in ("prepare", "rotate", "standby"):
            self.rotate("tls", phase=phase)
            self.assertEqual(list(self.status()["tls"].behind), ["db1"], phase)
        # What happened to one authority says nothing about the others.
        self.assertEqual(list(self.status()["host"].behind), [])
        self.agent = Agent(self.world, self.db1)
        self.assertEqual(list(self.status()["tls"].behind), [])

    def test_after_a_start(self) -> None:
        """A hub that was down when a step was due lets the agents come back first."""
        self.rotate("user", grace_period_seconds=GRACE)
        prepared = self.world.authorities
        self.world.hub.stopService()
        self.world.clock.advance(GRACE)
        other = HubWorld(starts_with=prepared, clock=self.world.clock)
        other.hub.startService()
        self.addCleanup(other.hub.stopService)
        self.world.clock.advance(30)
        self.assertEqual(other.authorities.users.phase.value, "prepare")
        self.world.clock.pump([10.0] * 4)
        self.assertEqual(other.authorities.users.phase.value, "rotate")


class RefusalTests(RotationTestCase):
    """What is refused, and leaves everything as it was."""

    def refused(self, kind: type[Exception], *types: str, **named: Any) -> str:
        before = self.world.authorities
        failure = self.assertRaises(kind, self.rotate, *types, **named)
        self.assertIs(self.world.authorities, before)
        return str(failure)

    def test_silly_periods(self) -> None:
        """A period in which nobody could learn anything, or that nobody lives to see end."""
        for seconds in (1, 29, -5, 91 * 86400, 2**62):
            sentence = self.refused(BadInput, "user", grace_period_seconds=seconds)
            self.assertIn("30 s to 90 days", sentence)

    def test_types(self) -> None:
        """No type, and types that do not exist."""
        for types in ((), ("users",), ("user", "x" * 1000), ("",)):
            self.assertIn("host, tls, user", self.refused(BadInput, *types))

    def test_phases(self) -> None:
        """Phases that do not exist, or that no step leads to."""
        self.assertIn("is no phase", self.refused(BadInput, "user", phase="rollback"))
        self.assertIn("no rotation", self.refused(BadInput, "user", phase="rotate"))
        self.rotate("user")
        self.assertIn("under way", self.refused(BadInput, "user"))
        self.assertIn("first", self.refused(BadInput, "user", phase="standby"))

    def test_all_or_none(self) -> None:
        """Where one of several cannot be rotated, none is."""
        self.rotate("host")
        self.assertIn("host:", self.refused(BadInput, *TYPES))
        self.assertEqual(self.phases(), ["standby", "prepare", "standby"])

    def test_full_disk(self) -> None:
        """What is not on the disk has not happened, and the audit says that it failed."""
        self.world.key_files.is_full = True
        self.assertIn("cannot be written", self.refused(Unavailable, "user"))
        self.assertEqual(
            self.events(), [("root", "user", "prepare", True), ("root", "user", "prepare", False)]
        )

    def test_rights(self) -> None:
        """Users may not look, and auditors may not act."""
        self.world.add_user("eve", "eve", roles=["auditor"])
        for user, method, arguments in (
            ("ada", "get_authorities", ()),
            ("ada", "rotate_authority", (["user"],)),
            ("eve", "rotate_authority", (["user"],)),
            ("eve", "rollback_authority", (["user"],)),
        ):
            asked = getattr(self.client(user), method)(*arguments)
            self.assertRaises(Denied, self.world.done, asked)
        self.world.done(self.client("eve").get_authorities())
