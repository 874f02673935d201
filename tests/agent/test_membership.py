"""Tests of what makes a node one that has joined."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.error import BadIssue
from mezite.agent.membership import Membership, NodeKeys
from tests.doubles.agenthub import HUB, OTHER_ID, AgentHub


class MembershipTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = AgentHub()
        self.keys = NodeKeys.generate()

    def test_first_to_end(self) -> None:
        """The certificate that ends first says when to renew."""
        membership = self.hub.membership(self.keys)
        self.assertEqual(membership.expires, self.hub.began + self.hub.ssh_lifetime)
        self.assertEqual(membership.tls_expires, self.hub.began + self.hub.tls_lifetime)

    def test_other_keys(self) -> None:
        """Certificates for other keys are not taken."""
        with self.assertRaises(BadIssue):
            Membership.of(HUB, NodeKeys.generate(), self.hub.issue(self.keys))

    def test_other_authority(self) -> None:
        """A certificate that the authority did not sign is not taken."""
        issued = self.hub.issue(self.keys)
        forged = evolve(issued, cluster_ca_pem=AgentHub().cluster_ca.certificate_pem)
        with self.assertRaises(BadIssue):
            Membership.of(HUB, self.keys, forged)

    def test_nothing_for_users(self) -> None:
        """Without an authority for users nobody could come in, or anybody."""
        with self.assertRaises(BadIssue):
            Membership.of(HUB, self.keys, evolve(self.hub.issue(self.keys), user_ca=()))

    def test_renewed_for_another(self) -> None:
        """A renewal keeps the agent id."""
        membership = self.hub.membership(self.keys)
        self.hub.agent_id = OTHER_ID
        with self.assertRaises(BadIssue):
            membership.renewed(self.hub.issue(self.keys))

    def test_secrets_stay_out_of_logs(self) -> None:
        """A membership that is printed shows no key."""
        self.assertNotIn("PRIVATE", repr(self.hub.membership(self.keys)))
        self.assertNotIn("Ed25519PrivateKey object", repr(self.keys))
