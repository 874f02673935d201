"""Tests of the certificates that people get."""

from __future__ import annotations

import math
from typing import Any

import attrs
from cryptography import x509 as certificates
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.error import BadRequest, NoLogins, UserDisabled
from mezite.auth.issuing import UserCertificates
from mezite.identity.error import BadPublicKey
from mezite.identity.roles import LabelSelector
from mezite.identity.sshcert import blob_of, check_user
from mezite.identity.x509 import UserIdentity, identity_of
from mezite.names import LoginName, UserName
from tests.auth.world import (
    ADA,
    CLUSTER,
    CLUSTER_CA,
    LOCAL,
    PASSWORD,
    ROOT,
    SSH_LINE,
    START,
    TLS_PEM,
    USER_CA,
    World,
)


class IssuingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        creating = self.world.logins.create_user(
            ADA,
            logins=[ROOT, LoginName("ada")],
            node_labels=LabelSelector.parse(["*=*"]),
            password=PASSWORD,
            by=LOCAL,
        )
        self.successResultOf(Deferred.fromCoroutine(creating))

    def issue(self, user: UserName = ADA, **changes: Any) -> Deferred[UserCertificates]:
        arguments: dict[str, Any] = {"ssh_public_line": SSH_LINE, "tls_public_key_pem": TLS_PEM}
        return Deferred.fromCoroutine(
            self.world.issuing.issue_user_certs(user, **(arguments | changes), by=LOCAL)
        )

    def refusal(self, kind: type[Exception], **changes: Any) -> str:
        failure: Failure = self.failureResultOf(self.issue(**changes), kind)
        return str(failure.value)

    def evolve(self, **changes: Any) -> None:
        users = self.world.store._tables.users
        users[ADA] = attrs.evolve(users[ADA], **changes)

    def test_certificates(self) -> None:
        """Both certificates name the user, and end together."""
        issued = self.successResultOf(self.issue())
        ssh = check_user(
            blob_of(issued.ssh_certificate),
            trusted=[USER_CA.public_blob],
            now=self.world.now,
            login=ROOT,
            source_address=None,
        )
        self.assertEqual(ssh.user, ADA)
        self.assertEqual(ssh.principals, {"root", "ada"})
        self.assertEqual(ssh.serial, issued.serial)
        tls = certificates.load_pem_x509_certificate(issued.tls_certificate_pem)
        self.assertEqual(identity_of(tls), UserIdentity(CLUSTER, ADA))
        self.assertEqual(issued.valid_before, START + 12 * 3600)
        self.assertEqual(ssh.valid_before, issued.valid_before)
        self.assertEqual(tls.not_valid_after_utc.timestamp(), issued.valid_before)
        self.assertEqual(issued.logins, (ROOT, LoginName("ada")))
        self.assertEqual(issued.cluster_ca_pem, CLUSTER_CA.certificate_pem)
        self.assertTrue(issued.user_ca_lines[0].startswith(USER_CA.public_line()))

    def test_lifetimes(self) -> None:
        """The wish for a lifetime is kept up to a day, and refused below a minute."""
        for ttl, lifetime in ((60, 60), (1800.9, 1800), (86400, 86400), (1e9, 86400)):
            issued = self.successResultOf(self.issue(ttl=ttl))
            self.assertEqual(issued.valid_before, START + lifetime)
        issued = self.successResultOf(self.issue(ttl=math.inf))
        self.assertEqual(issued.valid_before, START + 86400)
        for ttl in (0, 59.9, -1, math.nan, -math.inf):
            self.assertIn("60 s at least", self.refusal(BadRequest, ttl=ttl))

    def test_end_of_the_authority(self) -> None:
        """Nothing outlives the cluster CA."""
        self.world.now = CLUSTER_CA.certificate.not_valid_after_utc.timestamp() - 100.5
        issued = self.successResultOf(self.issue())
        self.assertEqual(issued.valid_before, self.world.now + 100.5)
        ssh = check_user(
            blob_of(issued.ssh_certificate),
            trusted=[USER_CA.public_blob],
            now=self.world.now,
            login=ROOT,
            source_address=None,
        )
        self.assertEqual(ssh.valid_before, issued.valid_before)

    def test_serials(self) -> None:
        """No two certificates share a serial number."""
        serials = {self.successResultOf(self.issue()).serial for _ in range(20)}
        self.assertEqual(len(serials), 20)

    def test_rights_of_now(self) -> None:
        """Whoever was removed or disabled since they logged in gets nothing."""
        self.refusal(UserDisabled, user=UserName("nobody"))
        self.evolve(disabled=True)
        self.refusal(UserDisabled)

    def test_no_logins(self) -> None:
        """A user without logins gets no certificate, which would be good for all logins."""
        self.evolve(logins=())
        self.assertIn("ada has no logins", self.refusal(NoLogins))

    def test_bad_keys(self) -> None:
        """Keys that get no certificate are refused."""
        self.refusal(BadPublicKey, ssh_public_line="ssh-rsa AAAA")
        self.refusal(BadPublicKey, tls_public_key_pem=b"x")
