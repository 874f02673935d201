"""Tests of one authority taking over from another."""

from __future__ import annotations

import itertools

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.authorities import Authorities, fingerprint_of
from mezite.identity.authority import SshAuthority, X509Authority
from mezite.identity.error import NotInThisPhase
from mezite.identity.succession import Kind, Phase, Step, Succession
from mezite.names import ClusterName

DAY = 86400.0
BEGAN = 1_800_000_000.0
GRACE = 3 * DAY
OLD: Succession[str] = Succession("old")
PREPARED = OLD.begin("new", BEGAN, GRACE)
ROTATED = PREPARED.stepped(Step.SWITCH, BEGAN + DAY)
ROLLED_BACK = ROTATED.stepped(Step.ROLL_BACK, BEGAN + 2 * DAY)
PHASES = (OLD, PREPARED, ROTATED, ROLLED_BACK)


class StepTests(SynchronousTestCase):
    """What each step changes."""

    def test_whole_way(self) -> None:
        """The new one is trusted, then it signs, then the old one is forgotten."""
        self.assertEqual((PREPARED.signing, PREPARED.other), ("old", "new"))
        self.assertEqual((ROTATED.signing, ROTATED.other), ("new", "old"))
        ended = ROTATED.stepped(Step.FINISH, BEGAN + GRACE)
        self.assertEqual((ended.signing, ended.other, ended.phase), ("new", None, Phase.STANDBY))
        self.assertEqual((ended.number, ended.other_number, ended.last), (2, 0, 2))

    def test_back_from_prepare(self) -> None:
        """What has signed nothing is forgotten at once."""
        back = PREPARED.stepped(Step.ROLL_BACK, BEGAN + 1)
        self.assertEqual((back.trusted, back.phase), (("old",), Phase.STANDBY))

    def test_back_from_rotate(self) -> None:
        """The old one signs again, and what the new one has signed counts for a while."""
        self.assertEqual(ROLLED_BACK.trusted, ("old", "new"))
        ended = ROLLED_BACK.stepped(Step.FINISH, BEGAN + 3 * DAY)
        self.assertEqual(ended.trusted, ("old",))
        # A number is never used again: what was forgotten stays so.
        again = ended.begin("newer", BEGAN + 4 * DAY, GRACE)
        self.assertEqual((again.number, again.other_number), (1, 3))

    def test_table(self) -> None:
        """Of all pairs of phase and step these move, and every other one says why not."""
        moves = {
            ("standby", "begin"),
            ("prepare", "switch"),
            ("prepare", "roll back"),
            ("rotate", "finish"),
            ("rotate", "roll back"),
            ("rollback", "finish"),
        }
        for succession, step in itertools.product(PHASES, Step):
            try:
                if step is Step.BEGIN:
                    succession.begin("newer", BEGAN, GRACE)
                else:
                    succession.stepped(step, BEGAN)
                moved = True
            except NotInThisPhase as error:
                self.assertTrue(str(error))
                moved = False
            self.assertEqual(moved, (succession.phase.value, step.value) in moves)

    @given(st.lists(st.sampled_from(Step), max_size=12))
    @settings(max_examples=100, deadline=None)
    def test_any_steps(self, steps: list[Step]) -> None:
        """Whatever is tried, there is one that signs, and one beside it outside standby only."""
        names = itertools.count(2)
        succession: Succession[int] = Succession(1)
        for step in steps:
            before = succession
            try:
                if step is Step.BEGIN:
                    succession = succession.begin(next(names), BEGAN, GRACE)
                else:
                    succession = succession.stepped(step, BEGAN)
            except NotInThisPhase:
                self.assertEqual(succession, before)
            self.assertEqual(succession.other is None, succession.phase is Phase.STANDBY)
            self.assertNotEqual(succession.number, succession.other_number)
            # Nobody is locked out by one step: what signed before is trusted after.
            if step is not Step.FINISH:
                self.assertIn(before.signing, succession.trusted)


class ScheduleTests(SynchronousTestCase):
    """When the next step is due."""

    def test_a_third_each(self) -> None:
        """Of 72 h, one day is for learning, and two are for the old certificates to end."""
        self.assertEqual(PREPARED.window(), (BEGAN + DAY, BEGAN + 2 * DAY))
        self.assertEqual(ROTATED.window(), (BEGAN + 3 * DAY, BEGAN + 4 * DAY))
        self.assertEqual(ROLLED_BACK.window(), (BEGAN + 3 * DAY, BEGAN + 4 * DAY))

    def test_waits_for_all(self) -> None:
        """A step waits for those who are not ready, up to another third."""
        for succession, step in (
            (PREPARED, Step.SWITCH),
            (ROTATED, Step.FINISH),
            (ROLLED_BACK, Step.FINISH),
        ):
            early, late = succession.window() or (0.0, 0.0)
            for now, ready, wanted in (
                (early - 1, True, None),
                (early, True, step),
                (early, False, None),
                (late - 1, False, None),
                (late, False, step),
            ):
                self.assertEqual(succession.due(now, is_everybody_ready=ready), wanted)

    def test_late_switch(self) -> None:
        """When the switch came late, the old one is still trusted for a third."""
        late = PREPARED.stepped(Step.SWITCH, BEGAN + 5 * DAY)
        self.assertEqual(late.window(), (BEGAN + 6 * DAY, BEGAN + 7 * DAY))

    def test_nothing_to_do(self) -> None:
        """In standby, and where a person makes the steps, nothing is ever due."""
        for succession in (OLD, evolve(PREPARED, grace=0.0), evolve(ROTATED, grace=0.0)):
            self.assertIsNone(succession.window())
            self.assertIsNone(succession.due(BEGAN * 2, is_everybody_ready=True))


class AuthoritiesTests(SynchronousTestCase):
    """All three at once."""

    def setUp(self) -> None:
        self.cluster = ClusterName("demo")
        self.first = Authorities(
            self.cluster,
            SshAuthority.generate(),
            SshAuthority.generate(),
            X509Authority.generate(self.cluster, BEGAN),
        )

    def test_one_at_a_time(self) -> None:
        """A step of one kind leaves the others, and makes a new generation."""
        new = SshAuthority.generate()
        after = self.first.replaced(Kind.HOST, self.first.hosts.begin(new, BEGAN, GRACE))
        self.assertEqual(after.generation, self.first.generation + 1)
        self.assertEqual(len(after.host_lines), 2)
        self.assertEqual(after.user_lines, self.first.user_lines)
        self.assertEqual(after.tls_pem, self.first.tls_pem)
        self.assertIs(after.host_ca, self.first.host_ca)

    def test_links(self) -> None:
        """While there are two X.509 authorities, each vouches for the other."""
        self.assertEqual(self.first.links_pem, b"")
        new = X509Authority.generate(self.cluster, BEGAN)
        after = self.first.replaced(Kind.TLS, self.first.tls.begin(new, BEGAN, GRACE))
        self.assertEqual(after.links_pem.count(b"BEGIN CERTIFICATE"), 2)
        link = self.first.cluster_ca.vouch_for(new)
        link.verify_directly_issued_by(self.first.cluster_ca.certificate)
        self.assertEqual(link.public_key(), new.certificate.public_key())

    def test_fingerprints(self) -> None:
        """Fingerprints are as ssh-keygen writes them, and of X.509 the pin."""
        self.assertRegex(fingerprint_of(self.first.user_ca), r"^SHA256:[A-Za-z0-9+/]{43}$")
        self.assertEqual(fingerprint_of(self.first.cluster_ca), self.first.cluster_ca.pin)
