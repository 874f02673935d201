"""Tests of SSH certificates: issued, read and refused."""

from __future__ import annotations

import base64
from collections.abc import Collection
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.authority import SshAuthority
from mezite.identity.error import BadPublicKey, CertificateRefused
from mezite.identity.sshcert import UserCertificate, blob_of, check_host, check_user
from mezite.identity.sshissuing import DEFAULT_EXTENSIONS, issue_host, issue_user
from mezite.identity.sshkeys import BLOB_LIMIT, LINE_LIMIT, load_public_line
from mezite.names import AgentId, LoginName, UserName
from tests.identity import forge

NOW = 1_800_000_000.0
ADA = UserName("ada")
ROOT = LoginName("root")
AGENT = AgentId("6f2a1c1e-8a39-4f5e-9f0a-1d3c5b7e9f00")

# Made once: keys are slow to make, and no test depends on which they are.
CA = SshAuthority(Ed25519PrivateKey.from_private_bytes(b"\1" * 32))
SUBJECT = Ed25519PrivateKey.from_private_bytes(b"\2" * 32)
RSA = rsa.generate_private_key(65537, 2048)
RSA_SHORT = rsa.generate_private_key(65537, 1024)
TOKENS = (
    forge.Token(Ed25519PrivateKey.from_private_bytes(b"\4" * 32)),
    forge.Token(ec.derive_private_key(5, ec.SECP256R1())),
)
CURVES = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1())


def checked(blob: bytes, **changes: Any) -> UserCertificate:
    arguments: dict[str, Any] = {
        "trusted": [CA.public_blob],
        "now": NOW,
        "login": ROOT,
        "source_address": None,
    }
    return check_user(blob, **(arguments | changes))


def forged(**changes: Any) -> bytes:
    return forge.certificate(CA.private_key, SUBJECT, **changes)


class IssueTests(SynchronousTestCase):
    def issued(self, subject: forge.PrivateKey | forge.Token = SUBJECT, **changes: Any) -> str:
        arguments: dict[str, Any] = {
            "user": ADA,
            "logins": [ROOT, LoginName("ada")],
            "serial": 7,
            "now": NOW,
            "lifetime": 3600,
        }
        return issue_user(CA, forge.public_line(subject), **(arguments | changes))

    def test_user(self) -> None:
        """What was issued for a user is what is read from the certificate."""
        line = self.issued()
        self.assertTrue(line.startswith("ssh-ed25519-cert-v01@openssh.com AAAA"))
        self.assertTrue(line.endswith(" ada"))
        self.assertEqual(
            checked(blob_of(line)),
            UserCertificate(
                user=ADA,
                key_id="ada",
                serial=7,
                principals=frozenset({"ada", "root"}),
                valid_after=int(NOW) - 60,
                valid_before=int(NOW) + 3600,
                critical_options={},
                extensions=DEFAULT_EXTENSIONS,
                public_blob=forge.public_blob(SUBJECT),
            ),
        )

    def test_requests(self) -> None:
        """A certificate carries access requests; what is written otherwise carries none."""
        line = self.issued(requests=["7f", "80a1"])
        self.assertEqual(checked(blob_of(line)).requests, ("7f", "80a1"))
        self.assertEqual(checked(blob_of(self.issued())).requests, ())
        for text in ("7f,", ",", "x", "7f 80", "7F", "7" * 33, ",".join(["7f"] * 33), "\u00e9"):
            self.assertEqual(checked(blob_of(self.issued(requests=[text]))).requests, (), text)

    def test_host(self) -> None:
        """What was issued for a host is what is read from the certificate."""
        line = issue_host(
            CA,
            forge.public_line(SUBJECT),
            agent_id=AGENT,
            principals=["db1", "db1.hub"],
            serial=8,
            now=NOW,
            lifetime=60,
        )
        read = check_host(blob_of(line), trusted=[CA.public_blob], now=NOW, principals=["db1.hub"])
        self.assertEqual(read.agent_id, AGENT)
        self.assertEqual(read.principals, {"db1", "db1.hub"})
        self.assertEqual(read.public_blob, forge.public_blob(SUBJECT))

    def test_hub(self) -> None:
        """A hub's host certificate names no agent, and is good for a clock that was put right."""
        line = issue_host(
            CA,
            forge.public_line(SUBJECT),
            agent_id=None,
            principals=["hub"],
            serial=8,
            now=NOW,
            lifetime=60,
        )
        for now in (NOW, NOW - 7 * 86400):
            read = check_host(blob_of(line), trusted=[CA.public_blob], now=now, principals=["hub"])
            self.assertIsNone(read.agent_id)

    def test_kinds_of_keys(self) -> None:
        """RSA and ECDSA keys are certified as well as Ed25519 ones."""
        for subject in (RSA, *map(ec.generate_private_key, CURVES)):
            certificate = checked(blob_of(self.issued(subject)))
            self.assertEqual(certificate.public_blob, forge.public_blob(subject))

    def test_tokens(self) -> None:
        """So are keys on security tokens, for people and not for hosts."""
        for token in TOKENS:
            line = self.issued(token, critical_options={"verify-required": b""})
            certificate = checked(blob_of(line))
            self.assertEqual(certificate.public_blob, forge.public_blob(token))
            self.assertTrue(certificate.demands_verification)
            self.assertTrue(line.startswith(token.algorithm.decode().split("@")[0] + "-cert-v01@"))
            with self.assertRaises(BadPublicKey):
                issue_host(
                    CA,
                    forge.public_line(token),
                    agent_id=AGENT,
                    principals=["db1"],
                    serial=8,
                    now=NOW,
                    lifetime=60,
                )

    def test_no_logins(self) -> None:
        """A certificate without principals, good for every login, cannot be issued."""
        self.assertRaises(AssertionError, self.issued, logins=[])

    def test_refused_keys(self) -> None:
        """Keys that are broken, weak or of other kinds get no certificate."""
        ed25519 = forge.public_line(SUBJECT)
        certificate = self.issued()
        for line in (
            "",
            "ssh-ed25519",
            "ssh-ed25519 !!!",
            "ssh-ed25519 AAAA",
            "ssh-dss AAAAB3NzaC1kc3M=",
            "sk-ssh-ed25519@openssh.com AAAA",
            ed25519.replace("ssh-ed25519", "ssh-rsa", 1),
            ed25519[:-4],
            forge.public_line(RSA_SHORT),
            certificate,
            ed25519 + " " + "x" * LINE_LIMIT,
        ):
            self.assertRaises(BadPublicKey, load_public_line, line)

    @settings(max_examples=60, deadline=None)
    @given(
        st.sets(st.from_regex(r"[a-z][a-z0-9._-]{0,10}", fullmatch=True), min_size=1, max_size=20),
        st.integers(0, 2**64 - 1),
        st.integers(1, 10**9),
    )
    def test_round_trip(self, logins: set[str], serial: int, lifetime: int) -> None:
        """Whatever is issued is read back as it was meant."""
        line = self.issued(logins=map(LoginName, logins), serial=serial, lifetime=lifetime)
        read = checked(blob_of(line), login=None)
        self.assertEqual(read.principals, logins)
        self.assertEqual(read.serial, serial)
        self.assertEqual(read.valid_before, int(NOW) + lifetime)


class RefusalTests(SynchronousTestCase):
    def assert_refused(
        self, blob: bytes, sentence: str = "", reason: str = "", **changes: Any
    ) -> None:
        with self.assertRaises(CertificateRefused) as caught:
            checked(blob, **changes)
        self.assertIn(sentence, str(caught.exception))
        self.assertIn(reason, caught.exception.reason)

    def test_good(self) -> None:
        """The forged certificate is good as long as nothing in it is wrong."""
        self.assertEqual(checked(forged()).user, ADA)

    def test_unknown_authority(self) -> None:
        """A certificate of an authority that is not trusted is refused."""
        other = Ed25519PrivateKey.from_private_bytes(b"\3" * 32)
        self.assert_refused(forge.certificate(other, SUBJECT), "not signed by an authority")
        self.assert_refused(forged(), "not signed by an authority", trusted=[])

    def test_false_flag(self) -> None:
        """Naming the authority's key without its signature is noticed."""
        other = Ed25519PrivateKey.from_private_bytes(b"\3" * 32)
        blob = forge.certificate(other, SUBJECT, signer_blob=CA.public_blob)
        self.assert_refused(blob, "signature on the certificate is wrong")

    def test_every_flipped_bit(self) -> None:
        """No octet of a certificate can be changed unnoticed."""
        blob = forged()
        for position in range(len(blob)):
            changed = bytearray(blob)
            changed[position] ^= 1
            self.assert_refused(bytes(changed))

    def test_every_truncation(self) -> None:
        """A certificate cut anywhere, or followed by anything, is refused."""
        blob = forged()
        for length in range(len(blob)):
            self.assert_refused(blob[:length])
        self.assert_refused(forged(trailing=b"\0"))

    def test_times(self) -> None:
        """Validity begins 60 s early, for clocks that differ, and ends on time."""
        blob = forged(valid_after=int(NOW), valid_before=int(NOW) + 10)
        checked(blob, now=NOW - 60)
        checked(blob, now=NOW + 9.9)
        self.assert_refused(blob, "not valid yet", now=NOW - 60.5)
        self.assert_refused(blob, "expired at 2027-01-15 08:00:10 UTC", now=NOW + 10)
        self.assert_refused(forged(valid_after=2**64 - 1), "not valid yet")

    def test_kind(self) -> None:
        """A host certificate is nobody's login, nor a number that is no kind."""
        self.assert_refused(forged(kind=2), "not a user certificate")
        self.assert_refused(forged(kind=0), "cannot be read")

    def test_login(self) -> None:
        """A login that is not among the principals is refused; none asks for none."""
        self.assert_refused(
            forged(), "not good for the login bob", "bob is not among root", login=LoginName("bob")
        )
        checked(forged(), login=None)

    def test_no_principals(self) -> None:
        """No principals, which is everybody to OpenSSH, is nobody here."""
        for principals in ((), (b"",), (b"root", b"")):
            self.assert_refused(forged(principals=principals), login=None)

    def test_too_many_principals(self) -> None:
        """More principals than OpenSSH allows are refused."""
        checked(forged(principals=[b"root"] * 256))
        self.assert_refused(forged(principals=[b"root"] * 257), "cannot be read")

    def test_too_long(self) -> None:
        """A certificate beyond the limit is not even parsed."""
        self.assert_refused(b"\0" * (BLOB_LIMIT + 1), reason="more than 16384")

    def test_key_id(self) -> None:
        """The key id must be a user's name."""
        for key_id in (b"", b"a b", b"\xff", b"x" * 65):
            self.assert_refused(forged(key_id=key_id), "cannot be read")

    def test_critical_options(self) -> None:
        """A restriction that nobody here enforces is a refusal."""
        for name in (b"force-command", b"x@example.com", b"\xff"):
            self.assert_refused(forged(options=[(name, b"x")]), "restriction", "critical options")

    def test_forced_command(self) -> None:
        """A command is forced where the caller says that it obeys, and nowhere else."""
        enforces = {"force-command"}
        self.assertIsNone(checked(forged(), enforces=enforces).forced_command)
        for command in ("/usr/bin/backup --now", "café", "a b\nc"):
            blob = forged(options=[(b"force-command", command.encode())])
            self.assertEqual(checked(blob, enforces=enforces).forced_command, command)
            self.assert_refused(blob, "restriction", "force-command")
        for nothing in (b"", b"true\0false"):
            blob = forged(options=[(b"force-command", nothing)])
            self.assert_refused(blob, "cannot be read", enforces=enforces)
        blob = forged(options=[(b"force-command", b"x"), (b"x@example.com", b"x")])
        self.assert_refused(blob, "restriction", "x@example.com", enforces=enforces)

    def test_tokens(self) -> None:
        """Keys on security tokens are certified, by an authority that is on none."""
        for token in TOKENS:
            read = checked(forge.certificate(CA.private_key, token))
            self.assertEqual(read.public_blob, forge.public_blob(token))
            self.assertTrue(read.demands_touch)
            self.assertFalse(read.demands_verification)
            untouched = [(b"no-touch-required", b"")]
            read = checked(forge.certificate(CA.private_key, token, extensions=untouched))
            self.assertFalse(read.demands_touch)
            self.assert_refused(
                forge.certificate(token, SUBJECT),
                "signed in a way",
                trusted=[forge.public_blob(token)],
            )

    def test_verification(self) -> None:
        """Verification is demanded of tokens only: no other key could say it was done."""
        options = [(b"verify-required", b"")]
        for token in TOKENS:
            read = checked(forge.certificate(CA.private_key, token, options=options))
            self.assertTrue(read.demands_verification)
            odd = [(b"verify-required", b"yes")]
            self.assert_refused(
                forge.certificate(CA.private_key, token, options=odd), "demands a security token"
            )
        self.assert_refused(forged(options=options), "demands a security token")

    def test_options_twice(self) -> None:
        """Options out of order or given twice are refused."""
        address = (b"source-address", b"10.0.0.0/8")
        self.assert_refused(forged(options=[address, address]), "cannot be read")
        self.assert_refused(forged(extensions=[(b"b", b""), (b"a", b"")]), "cannot be read")

    def test_source_address(self) -> None:
        """A certificate bound to addresses is good from there only."""
        blob = forged(options=[(b"source-address", b"10.1.2.3/8,2001:db8::/32")])
        for good in ("10.200.0.1", "2001:db8::1"):
            self.assertEqual(
                checked(blob, source_address=good).critical_options,
                {"source-address": b"10.1.2.3/8,2001:db8::/32"},
            )
        for bad in ("11.0.0.1", "::1", "nowhere", None):
            self.assert_refused(blob, "not good from where you are", source_address=bad)
        broken = forged(options=[(b"source-address", b"10.0.0.0/99")])
        self.assert_refused(broken, "cannot be read", source_address="10.0.0.1")

    def test_unknown_extensions(self) -> None:
        """Extensions only add rights, so one that is unknown is carried along."""
        read = checked(forged(extensions=[(b"permit-pty", b""), (b"x@example.com", b"1")]))
        self.assertEqual(read.extensions, {"permit-pty", "x@example.com"})

    def test_rsa_signatures(self) -> None:
        """An RSA authority signs with SHA-2; SHA-1 is refused."""
        trusted = [forge.public_blob(RSA)]
        for algorithm in (None, "rsa-sha2-256"):
            checked(forge.certificate(RSA, SUBJECT, algorithm=algorithm), trusted=trusted)
        self.assert_refused(
            forge.certificate(RSA, SUBJECT, algorithm="ssh-rsa"),
            "signed in a way",
            "'ssh-rsa', signature 'ssh-rsa'",
            trusted=trusted,
        )

    def test_ecdsa_authorities(self) -> None:
        """Certificates of ECDSA authorities are accepted."""
        for curve in CURVES:
            signer = ec.generate_private_key(curve)
            checked(forge.certificate(signer, SUBJECT), trusted=[forge.public_blob(signer)])

    def test_short_rsa(self) -> None:
        """RSA keys below 2048 bits are refused, as subjects and as authorities."""
        self.assert_refused(forge.certificate(CA.private_key, RSA_SHORT), "1024 bits")
        self.assert_refused(
            forge.certificate(RSA_SHORT, SUBJECT),
            "1024 bits",
            trusted=[forge.public_blob(RSA_SHORT)],
        )

    def test_nested(self) -> None:
        """A certificate cannot sign a certificate, even one that is trusted."""
        nested = forged()
        self.assert_refused(
            forged(signer_blob=nested), "signed in a way", "cert-v01", trusted=[nested]
        )

    def test_other_types(self) -> None:
        """Plain keys, DSA and token certificates, and nonsense are refused."""
        self.assert_refused(forge.public_blob(SUBJECT), "not an SSH certificate")
        for name in (
            b"ssh-dss-cert-v01@openssh.com",
            b"sk-ssh-ed25519@openssh.com-cert-v01@openssh.com",
            b"webauthn-sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
            b"ssh-ed25519-cert-v01@openssh.com-cert-v01@openssh.com",
            b"-cert-v01@openssh.com",
            b"\xff\xfe",
        ):
            self.assert_refused(forged(type_name=name), "not an SSH certificate")
        self.assert_refused(forged(type_name=b"ssh-rsa-cert-v01@openssh.com"))
        self.assert_refused(forged(type_name=b"sk-ssh-ed25519-cert-v01@openssh.com"))

    def test_lines(self) -> None:
        """A line that is not a type and base64 is refused."""
        for line in ("", "x", "ssh-ed25519-cert-v01@openssh.com !", "x " * LINE_LIMIT):
            self.assertRaises(CertificateRefused, blob_of, line)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=400))
    def test_noise(self, noise: bytes) -> None:
        """Whatever arrives, the answer is a refusal."""
        self.assert_refused(noise)
        self.assert_refused(forge.string(b"ssh-ed25519-cert-v01@openssh.com") + noise)

    @settings(max_examples=100, deadline=None)
    @given(st.data())
    def test_signed_noise(self, data: st.DataObject) -> None:
        """Even what an authority signed is either read or refused, never an error."""
        short = st.binary(max_size=12)
        blob = forged(
            kind=data.draw(st.integers(0, 3)),
            key_id=data.draw(short),
            principals=data.draw(st.lists(short, max_size=4)),
            valid_after=data.draw(st.integers(0, 2**64 - 1)),
            valid_before=data.draw(st.integers(0, 2**64 - 1)),
            options=data.draw(st.lists(st.tuples(short, short), max_size=2)),
            extensions=data.draw(st.lists(st.tuples(short, short), max_size=2)),
        )
        try:
            checked(blob, login=None)
        except CertificateRefused as error:
            self.assertTrue(error.reason)


class HostRefusalTests(SynchronousTestCase):
    def refusal(self, principals: Collection[str] = ("db1",), **changes: Any) -> str:
        fields: dict[str, Any] = {
            "kind": 2,
            "key_id": AGENT.text.encode(),
            "principals": [b"db1"],
        }
        blob = forged(**(fields | changes))
        with self.assertRaises(CertificateRefused) as caught:
            check_host(blob, trusted=[CA.public_blob], now=NOW, principals=principals)
        return str(caught.exception)

    def test_other_host(self) -> None:
        """A host certificate is good for the names in it, and for no others."""
        self.assertEqual(self.refusal(["db2"]), "the host certificate is not one for db2")
        self.assertIn("nothing", self.refusal([]))

    def test_user_certificate(self) -> None:
        """A user is no host."""
        self.assertEqual(self.refusal(kind=1), "this is not a host certificate")

    def test_options(self) -> None:
        """No critical option is known for hosts, the source address neither."""
        self.assertIn("restriction", self.refusal(options=[(b"source-address", b"::/0")]))

    def test_key_id(self) -> None:
        """The key id of a node's certificate is an agent id."""
        for key_id in (b"db1", b"", AGENT.text.upper().encode()):
            self.assertIn("cannot be read", self.refusal(key_id=key_id))

    def test_base64(self) -> None:
        """The line of a certificate is its blob in base64."""
        self.assertEqual(blob_of("x " + base64.b64encode(forged()).decode() + " c"), forged())
