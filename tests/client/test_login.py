"""Tests of logging in: whom to trust, what is asked, what is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import define, evolve, field
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from mezite.client import login, places
from mezite.client.error import UntrustedHub
from mezite.client.login import IConversation, LoginRequest, log_in, write_identity
from mezite.client.profile import Profile, Profiles
from mezite.error import BadInput, Denied, NotAuthenticated, RemoteError
from mezite.identity.authority import pin_of
from mezite.names import HostPort, LoginName, UserName
from mezite.rpc.proto import auth_pb2 as pb
from mezite.wire.trust import PresentedAuthority
from tests.doubles.authservice import AnsweringChannel, OneUser
from tests.doubles.logins import CLUSTER, Cluster

NOW = 1_800_000_000.0
HUB = HostPort("hub.example.com", 3080)


@implementer(IConversation)
@define
class Person:
    """Somebody who answers what they were told to answer."""

    says: list[str] = field(factory=lambda: ["correct horse"])
    confirms: bool = True
    asked: list[str] = field(factory=list)
    shown: list[str] = field(factory=list)

    def password(self, user: UserName) -> str:
        self.asked.append("password")
        return self.says.pop(0)

    def new_password(self) -> str:
        self.asked.append("new password")
        return self.says.pop(0)

    def chosen_password(self, user: UserName) -> str:
        self.asked.append("chosen password")
        return self.says.pop(0)

    def second_factor(self) -> str:
        self.asked.append("code")
        return self.says.pop(0)

    def enrol(self, offer: pb.TotpEnrolment, is_required: bool) -> str:
        self.asked.append(f"enrol {offer.secret} {is_required}")
        return self.says.pop(0)

    def show_recovery_codes(self, codes: Sequence[str]) -> None:
        self.shown.extend(codes)

    def confirm_authority(self, hub: HostPort, pin: str) -> bool:
        self.asked.append(pin)
        return self.confirms


@define
class Trust:
    """What :mod:`mezite.wire.trust` finds out about a hub."""

    authority: bytes
    public_pin: str | None = None
    asked: list[str] = field(factory=list)

    async def fetch_authority(self, reactor: object, hub: HostPort, *, pin: str) -> bytes:
        self.asked.append(pin)
        return self.authority

    async def publicly_trusted_pin(self, reactor: object, hub: HostPort) -> str | None:
        self.asked.append("public")
        return self.public_pin

    async def presented_authority(self, reactor: object, hub: HostPort) -> PresentedAuthority:
        self.asked.append("presented")
        pin = pin_of(x509.load_pem_x509_certificate(self.authority))
        return PresentedAuthority(self.authority, pin, CLUSTER)


class LogInTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster(NOW)
        self.authority = self.cluster.x509_authority.certificate_pem
        self.pin = self.cluster.x509_authority.pin
        self.profiles = Profiles(Path(self.mktemp()))
        self.service = OneUser(self.cluster)
        self.person = Person()
        self.trust = Trust(self.authority)
        self.channels: list[AnsweringChannel] = []
        self.dialed: list[bytes] = []
        self.request = LoginRequest(HUB, UserName("ada"), pin=self.pin)
        self.patch(login, "trust", self.trust)
        self.patch(login, "dial_unauthenticated", self.dial)
        verifyObject(IConversation, self.person)

    async def dial(self, reactor: object, hub: HostPort, authority: bytes) -> Any:
        self.dialed.append(authority)
        self.channels.append(self.service.channel())
        return login.AuthClient(self.channels[-1])  # type: ignore[arg-type]

    def begin(self, **changes: Any) -> Deferred[Profile]:
        request = evolve(self.request, **changes)
        return Deferred.fromCoroutine(log_in(object(), request, self.person, self.profiles))

    def test_all_is_kept(self) -> None:
        """After a login the profile and its files are those of the certificates."""
        profile = self.successResultOf(self.begin(ttl=1800.0))
        self.assertEqual(self.profiles.load(), profile)
        self.assertEqual(profile.user, UserName("ada"))
        self.assertEqual(profile.logins, (LoginName("ada"), LoginName("root")))
        self.assertEqual(profile.valid_before, NOW + 1800)
        self.assertEqual(self.service.ttl_seconds, 1800)
        self.assertEqual(profile.read(places.CLUSTER_CA), self.authority)
        certificate = x509.load_pem_x509_certificate(profile.read(places.TLS_CERTIFICATE))
        certificate.verify_directly_issued_by(self.cluster.x509_authority.certificate)
        load_ssh_private_key(profile.read(places.SSH_KEY), None)
        self.assertTrue(all(channel.is_closed for channel in self.channels))

    def test_defaults(self) -> None:
        """Without a lifetime the hub's default is asked for."""
        self.successResultOf(self.begin())
        self.assertEqual(self.service.ttl_seconds, 0)

    def test_wrong_password(self) -> None:
        """A wrong password is the hub's sentence, and leaves nothing behind."""
        self.person.says = ["wrong"]
        failure = self.failureResultOf(self.begin(), NotAuthenticated)
        self.assertEqual(str(failure.value), "the user name or the password is wrong")
        self.assertIsNone(self.profiles.remembered())
        self.assertTrue(all(channel.is_closed for channel in self.channels))

    def test_one_time_password(self) -> None:
        """A one-time password is replaced before certificates are asked for."""
        self.service.must_change_password = True
        self.person.says.append("my own")
        self.successResultOf(self.begin())
        self.assertEqual(self.person.asked, ["password", "new password"])
        self.assertEqual(self.service.password, "my own")

    def test_second_factor(self) -> None:
        """A code is asked for after the password, if the hub wants one, and not otherwise."""
        self.service.code = "123456"
        self.person.says.append("123456")
        self.successResultOf(self.begin())
        self.assertEqual(self.person.asked, ["password", "code"])

    def test_code_given_beforehand(self) -> None:
        """With a code given beforehand nothing but the password is asked for."""
        self.service.code = "123456"
        self.successResultOf(self.begin(code="123456"))
        self.assertEqual(self.person.asked, ["password"])
        self.assertNotIn("123456", repr(evolve(self.request, code="123456", invite="mzi_x")))

    def test_wrong_code(self) -> None:
        """A wrong code is the hub's sentence about all that is wrong."""
        self.service.code = "123456"
        self.person.says.append("000000")
        failure = self.failureResultOf(self.begin(), NotAuthenticated)
        self.assertEqual(str(failure.value), "the user name or the password is wrong")
        self.assertIsNone(self.profiles.remembered())

    def test_security_key_only(self) -> None:
        """Who has nothing that can be typed is told where to go."""
        self.service.code, self.service.factors = "x", ["webauthn"]
        failure = self.failureResultOf(self.begin(), Denied)
        self.assertIn("browser", str(failure.value))
        self.assertEqual(self.person.asked, ["password"])

    def test_invite(self) -> None:
        """An invite is accepted with a password of one's choice, and one is logged in."""
        self.service.invite = "mzi_x"
        self.person.says = ["my own"]
        self.successResultOf(self.begin(invite="mzi_x"))
        self.assertEqual(self.person.asked, ["chosen password"])
        self.assertEqual(self.service.password, "my own")
        self.person.says = ["other"]
        self.failureResultOf(self.begin(invite="mzi_x"), Denied)
        self.assertEqual(self.person.asked, ["chosen password"])

    def test_invite_with_app(self) -> None:
        """An app is enrolled with the invite, and recovery codes are shown."""
        self.service.invite, self.service.code = "mzi_x", "123456"
        self.service.offers = self.service.must_enrol = True
        self.person.says = ["my own", "123456"]
        self.successResultOf(self.begin(invite="mzi_x"))
        self.assertEqual(self.person.asked, ["chosen password", "enrol ABCD True"])
        self.assertEqual(self.person.shown, ["aaaa-bbbb"])

    def test_invite_of_who_has_a_factor(self) -> None:
        """After a reset the second factor that one has is shown."""
        self.service.invite, self.service.code = "mzi_x", "123456"
        self.person.says = ["my own", "123456"]
        self.successResultOf(self.begin(invite="mzi_x"))
        self.assertEqual(self.person.asked, ["chosen password", "code"])

    def test_invite_of_another(self) -> None:
        """An invite for somebody else is told before any password is chosen."""
        self.service.invite = "mzi_x"
        failure = self.failureResultOf(self.begin(invite="mzi_x", user=UserName("eve")), BadInput)
        self.assertIn("--user=ada", str(failure.value))
        self.assertEqual(self.person.asked, [])

    def test_pin(self) -> None:
        """A pin is all that is needed; one that is none is refused before any connection."""
        self.successResultOf(self.begin())
        self.assertEqual(self.trust.asked, [self.pin])
        self.failureResultOf(self.begin(pin="sha256:00"), BadInput)
        self.assertEqual(self.trust.asked, [self.pin])

    def test_ca_file(self) -> None:
        """A file with the authority needs no question at all."""
        path = Path(self.mktemp())
        path.write_bytes(self.authority)
        self.successResultOf(self.begin(pin=None, ca_file=path))
        self.assertEqual(self.trust.asked, [])
        self.assertEqual(set(self.dialed), {self.authority})

    def test_ca_file_refused(self) -> None:
        """A file that is not there, or holds no certificate, is one sentence."""
        path = Path(self.mktemp())
        self.failureResultOf(self.begin(pin=None, ca_file=path), BadInput)
        path.write_bytes(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        failure = self.failureResultOf(self.begin(pin=None, ca_file=path), BadInput)
        self.assertIn(str(path), str(failure.value))

    def test_public_certificate(self) -> None:
        """A hub with a publicly trusted certificate needs no question."""
        self.trust.public_pin = self.pin
        self.successResultOf(self.begin(pin=None))
        self.assertEqual(self.trust.asked, ["public", self.pin])
        self.assertEqual(self.person.asked, ["password"])

    def test_confirmed(self) -> None:
        """A private hub's fingerprint is shown first, and the password asked for after."""
        self.successResultOf(self.begin(pin=None))
        self.assertEqual(self.trust.asked, ["public", "presented"])
        self.assertEqual(self.person.asked, [self.pin, "password"])

    def test_not_confirmed(self) -> None:
        """Who does not confirm it sends no password."""
        self.person.confirms = False
        self.failureResultOf(self.begin(pin=None), UntrustedHub)
        self.assertEqual(self.person.asked, [self.pin])
        self.assertEqual(self.dialed, [])

    def test_known_from_before(self) -> None:
        """The authority of an earlier login is trusted again, even after a logout."""
        self.profiles.log_out(self.successResultOf(self.begin()))
        self.trust.asked.clear()
        self.person.says = ["correct horse"]
        self.successResultOf(self.begin(pin=None))
        self.assertEqual(self.trust.asked, [])

    def test_known_and_changed(self) -> None:
        """A hub that is another one now is refused, with what to do about it."""
        self.successResultOf(self.begin())

        async def refuse(reactor: object, hub: HostPort, authority: bytes) -> Any:
            raise RemoteError("not signed by it")

        self.patch(login, "dial_unauthenticated", refuse)
        failure = self.failureResultOf(self.begin(pin=None), UntrustedHub)
        self.assertIn("--ca-pin", str(failure.value))
        self.assertEqual(self.person.asked, ["password"])

    def test_answer_that_makes_no_sense(self) -> None:
        """A hub cannot write names of its choice into our files."""
        for change in ({"hub_name": "../x"}, {"logins": ["a b"]}):
            service = OneUser(self.cluster)
            for name, value in change.items():
                if name != "logins":
                    setattr(service, name, value)
            self.service = service
            self.person.says = ["correct horse"]
            if "logins" in change:
                channel = service.channel
                self.patch(login, "dial_unauthenticated", self._odd_logins(channel))
            self.failureResultOf(self.begin(), RemoteError)
            self.assertIsNone(self.profiles.remembered())

    def _odd_logins(self, channel: Any) -> Any:
        async def dial(reactor: object, hub: HostPort, authority: bytes) -> Any:
            made = channel()
            issue = made.methods["IssueUserCerts"]

            def odd(request: Any, metadata: dict[str, str]) -> Any:
                answer = issue(request, metadata)
                answer.logins[:] = ["a b\nProxyCommand x"]
                return answer

            made.methods["IssueUserCerts"] = odd
            return login.AuthClient(made)

        return dial

    def test_lines_cannot_be_added(self) -> None:
        """An authority with a line break in it stays one line of known_hosts."""
        line = self.cluster.host_authority.public_line()
        service = self.service

        async def dial(reactor: object, hub: HostPort, authority: bytes) -> Any:
            made = service.channel()
            issue = made.methods["IssueUserCerts"]

            def odd(request: Any, metadata: dict[str, str]) -> Any:
                answer: Any = issue(request, metadata)
                answer.host_ca[:] = [line + "\n* ssh-ed25519 AAAA"]
                return answer

            made.methods["IssueUserCerts"] = odd
            return login.AuthClient(made)  # type: ignore[arg-type]

        self.patch(login, "dial_unauthenticated", dial)
        profile = self.successResultOf(self.begin())
        self.assertEqual(profile.read(places.KNOWN_HOSTS).count(b"\n"), 1)


class WriteIdentityTests(SynchronousTestCase):
    def test_files(self) -> None:
        """Key, public key and certificate stand where ssh -i looks for them."""
        profile = Cluster(NOW).log_in(Path(self.mktemp()), "hub.example.com:3080")
        path = Path(self.mktemp())
        write_identity(profile, path)
        self.assertEqual(path.read_bytes(), profile.read(places.SSH_KEY))
        certificate = path.with_name(path.name + "-cert.pub")
        self.assertEqual(certificate.read_bytes(), profile.read(places.SSH_CERTIFICATE))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_nowhere(self) -> None:
        """A directory that is not there is one sentence."""
        profile = Cluster(NOW).log_in(Path(self.mktemp()), "hub.example.com:3080")
        self.assertRaises(BadInput, write_identity, profile, Path(self.mktemp()) / "x" / "id")
