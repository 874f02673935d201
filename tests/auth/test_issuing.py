"""Tests of the certificates that people get."""

from __future__ import annotations

import math
from typing import Any

import attrs
from cryptography import x509 as certificates
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.audit.events import Actor
from mezite.auth.error import AddressUnknown, BadRequest, NoLogins, UserDisabled, WrongAddress
from mezite.auth.issuing import UserCertificates
from mezite.error import Denied
from mezite.identity.error import BadPublicKey, CertificateRefused
from mezite.identity.networks import parse_network
from mezite.identity.roles import LabelSelector
from mezite.identity.rolesdoc import Options, Role
from mezite.identity.sshcert import blob_of, check_user
from mezite.identity.x509 import UserIdentity, check_source, identity_of
from mezite.names import LoginName, RoleName, UserName
from mezite.store.records import RoleRecord
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

    def give(self, **options: Any) -> None:
        """A role with these options, beside the user's own logins."""
        role = Role(RoleName("strict"), options=Options(**options))
        self.world.store._tables.roles[role.name] = RoleRecord(role, START, START)
        self.evolve(roles=(role.name,))

    def issued_to(self, address: str) -> UserCertificates:
        by = Actor("ada", address)
        issuing = self.world.issuing.issue_user_certs(
            ADA, ssh_public_line=SSH_LINE, tls_public_key_pem=TLS_PEM, by=by
        )
        return self.successResultOf(Deferred.fromCoroutine(issuing))

    def good_from(self, issued: UserCertificates, address: str) -> tuple[bool, bool]:
        """Whether the SSH and the X.509 certificate are good from there."""
        answers = []
        tls = certificates.load_pem_x509_certificate(issued.tls_certificate_pem)
        for check in (
            lambda: check_user(
                blob_of(issued.ssh_certificate),
                trusted=[USER_CA.public_blob],
                now=self.world.now,
                login=ROOT,
                source_address=address,
            ),
            lambda: check_source(tls, address),
        ):
            try:
                check()
                answers.append(True)
            except CertificateRefused:
                answers.append(False)
        return answers[0], answers[1]

    def test_pinned(self) -> None:
        """Both certificates are good from the address that asked, and from nowhere else."""
        self.give(pin_source_address=True)
        for address, same in (
            ("192.0.2.7:4711", "192.0.2.7"),
            ("192.0.2.7:4711", "::ffff:192.0.2.7"),
            ("[::ffff:192.0.2.7]:4711", "192.0.2.7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
        ):
            issued = self.issued_to(address)
            self.assertEqual(self.good_from(issued, same), (True, True), (address, same))
            for other in ("192.0.2.8", "2001:db8::8"):
                self.assertEqual(self.good_from(issued, other), (False, False))
        self.refusal(AddressUnknown)

    def test_networks(self) -> None:
        """Networks of roles stand in both certificates; who asks from elsewhere gets none."""
        self.give(source_addresses=(parse_network("10.0.0.0/8"), parse_network("192.0.2.7")))
        issued = self.issued_to("10.1.2.3:1")
        for address in ("10.9.9.9", "192.0.2.7"):
            self.assertEqual(self.good_from(issued, address), (True, True))
        self.assertEqual(self.good_from(issued, "192.0.2.8"), (False, False))
        self.refusal(WrongAddress)
        self.give(source_addresses=())
        self.refusal(WrongAddress)

    def test_many_networks(self) -> None:
        """More networks than a certificate can name are refused, and so many are not."""
        many = tuple(parse_network(f"10.{number}.0.0/24") for number in range(256))
        self.give(source_addresses=many)
        issued = self.issued_to("10.7.0.1:1")
        self.assertEqual(self.good_from(issued, "10.255.0.9"), (True, True))
        self.give(source_addresses=(*many, parse_network("11.0.0.0/24")))
        by = Actor("ada", "10.7.0.1:1")
        issuing = self.world.issuing.issue_user_certs(
            ADA, ssh_public_line=SSH_LINE, tls_public_key_pem=TLS_PEM, by=by
        )
        self.failureResultOf(Deferred.fromCoroutine(issuing), Denied)

    def test_everywhere(self) -> None:
        """Without such roles certificates are good from everywhere."""
        issued = self.successResultOf(self.issue())
        self.assertEqual(self.good_from(issued, "192.0.2.7"), (True, True))

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
