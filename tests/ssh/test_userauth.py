from __future__ import annotations

from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.error import Denied
from mezite.ssh import signatures
from mezite.ssh.error import NO_MORE_AUTH_METHODS, SshProtocolError
from mezite.ssh.fields import FieldReader, string
from mezite.ssh.userauth import (
    BANNER,
    FAILURE,
    OFFERS,
    PK_OK,
    REQUEST,
    SUCCESS,
    TRIES,
    IAvatar,
    IUserCertificates,
    UserAuthServer,
)
from tests.identity import forge
from tests.ssh.pair import USER_CA, FixedCertificates, RecordingAvatar, user_key

ED25519 = b"ssh-ed25519-cert-v01@openssh.com"


class RecordingTransport:
    """The transport below an authentication, which only notes what is sent."""

    sessionID = b"session"

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.ended: tuple[int, str] | None = None
        self.services: list[Any] = []
        self.factory = self
        self.deadline_stopped = False

    def batched(self) -> Any:
        from contextlib import nullcontext

        return nullcontext()

    def sendPacket(self, message: int, payload: bytes) -> None:
        self.sent.append((message, payload))

    def disconnect(self, code: int, sentence: str) -> None:
        self.ended = (code, sentence)

    def stop_login_deadline(self) -> None:
        self.deadline_stopped = True

    def getService(self, transport: Any, name: bytes) -> Any:
        return lambda: name

    def setService(self, service: Any) -> None:
        self.services.append(service)


class UserAuthServerTests(SynchronousTestCase):
    """Requests to log in, one by one."""

    def setUp(self) -> None:
        self.certificates = FixedCertificates()
        self.service = UserAuthServer(self.certificates)
        self.transport = RecordingTransport()
        self.service.transport = self.transport
        self.service.serviceStarted()
        self.key = user_key()
        self.clock = Clock()

    def request(self, method: bytes, rest: bytes = b"", login: bytes = b"root") -> None:
        packet = string(login) + string(b"ssh-connection") + string(method) + rest
        self.service.packetReceived(REQUEST, packet)

    def offer(
        self, *, signed: bool, algorithm: bytes = ED25519, flip: bool = False, blob: bytes = b""
    ) -> None:
        certificate = blob or self.key.certificate
        head = bytes([signed]) + string(algorithm) + string(certificate)
        if not signed:
            self.request(b"publickey", head)
            return
        data = (
            string(self.transport.sessionID)
            + bytes([REQUEST])
            + b"".join(map(string, (b"root", b"ssh-connection", b"publickey")))
            + head
        )
        signature = signatures.sign(self.key.key, data + b"x" if flip else data)
        self.request(b"publickey", head + string(signature))

    def messages(self) -> list[int]:
        return [message for message, _ in self.transport.sent]

    def test_doubles(self) -> None:
        """The doubles provide what they stand for."""
        verifyObject(IUserCertificates, self.certificates)
        verifyObject(IAvatar, RecordingAvatar(None))  # type: ignore[arg-type]

    def test_what_goes_on(self) -> None:
        """A client that asks what it may do is told: a public key, and nothing else."""
        self.request(b"none")
        self.request(b"password", b"\0" + string(b"secret"))
        self.request(b"keyboard-interactive")
        self.assertEqual(self.transport.sent, [(FAILURE, string(b"publickey") + b"\0")] * 3)

    def test_asks_first(self) -> None:
        """A certificate that would do is said to do, before a signature is made."""
        self.offer(signed=False)
        [(message, payload)] = self.transport.sent
        self.assertEqual(message, PK_OK)
        reader = FieldReader(payload)
        self.assertEqual((reader.string(), reader.string()), (ED25519, self.key.certificate))
        self.assertEqual(self.certificates.avatars, [])

    def test_comes_in(self) -> None:
        """A signature by the certificate's key opens the door."""
        self.offer(signed=True)
        self.assertEqual(self.messages(), [SUCCESS])
        self.assertEqual(self.transport.services, [b"ssh-connection"])
        self.assertTrue(self.transport.deadline_stopped)

    def test_logged(self) -> None:
        """Whoever comes in is logged with their certificate: which it is, and what it allows."""
        seen: list[str] = []

        def observe(event: LogEvent) -> None:
            seen.append(formatEvent(event))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.offer(signed=True)
        self.assertIn(
            "ada is in as root, by certificate ada, serial 7,"
            " with permit-port-forwarding, permit-pty, bound by no options",
            seen,
        )

    def test_wrong_signature(self) -> None:
        """A signature over anything else does not, and the client hears why."""
        self.offer(signed=True, flip=True)
        self.assertEqual(self.messages(), [BANNER, FAILURE])
        self.assertEqual(self.certificates.avatars, [])

    def test_another_session(self) -> None:
        """A signature for another session does not."""
        self.offer(signed=True)
        replayed = self.transport.sent
        self.assertEqual(len(replayed), 1)
        self.setUp()
        self.transport.sessionID = b"another"
        head = b"\1" + string(ED25519) + string(self.key.certificate)
        data = string(b"session") + bytes([REQUEST])
        data += b"".join(map(string, (b"root", b"ssh-connection", b"publickey"))) + head
        signature = signatures.sign(self.key.key, data)
        self.request(b"publickey", head + string(signature))
        self.assertEqual(self.messages(), [BANNER, FAILURE])

    def come_with(self, token: forge.Token, **fields: Any) -> list[int]:
        self.setUp()
        blob = forge.certificate(USER_CA.private_key, token, **fields)
        kind = FieldReader(blob).string()
        head = b"\1" + string(kind) + string(blob)
        data = string(self.transport.sessionID) + bytes([REQUEST])
        data += b"".join(map(string, (b"root", b"ssh-connection", b"publickey"))) + head
        self.request(b"publickey", head + string(forge.signature(token, data)))
        return self.messages()

    def test_tokens(self) -> None:
        """A token that was touched opens the door; one that was not touched does not."""
        verified = [(b"verify-required", b"")]
        untouched = [(b"no-touch-required", b"")]
        for key in (Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
            good, bad = [SUCCESS], [BANNER, FAILURE]
            self.assertEqual(self.come_with(forge.Token(key, flags=1)), good)
            self.assertEqual(self.come_with(forge.Token(key, flags=0)), bad)
            self.assertEqual(self.come_with(forge.Token(key, flags=4)), bad)
            self.assertEqual(self.come_with(forge.Token(key, flags=5), options=verified), good)
            self.assertEqual(self.come_with(forge.Token(key, flags=1), options=verified), bad)
            self.assertIn(b"PIN", self.transport.sent[0][1])
            self.assertEqual(self.come_with(forge.Token(key, flags=0), extensions=untouched), good)

    def test_plain_key(self) -> None:
        """A key without a certificate is no use, and is not counted as a try."""
        for _ in range(TRIES + 5):
            blob = signatures.public_blob(self.key.key)
            self.offer(signed=True, algorithm=b"ssh-ed25519", blob=blob)
        self.assertIsNone(self.transport.ended)
        self.assertEqual(set(self.messages()), {FAILURE})

    def test_offered_as_another(self) -> None:
        """A certificate offered under another kind's name breaks the protocol."""
        algorithm = b"ecdsa-sha2-nistp256-cert-v01@openssh.com"
        with self.assertRaises(SshProtocolError):
            self.offer(signed=False, algorithm=algorithm)

    def test_sha1(self) -> None:
        """An RSA certificate that would sign with SHA-1 is no use."""
        self.offer(signed=False, algorithm=b"ssh-rsa-cert-v01@openssh.com")
        self.assertEqual(self.messages(), [FAILURE])

    def test_tries(self) -> None:
        """After so many wrong tries the connection ends."""
        for _ in range(TRIES):
            self.offer(signed=True, flip=True)
        assert self.transport.ended is not None
        self.assertEqual(self.transport.ended[0], NO_MORE_AUTH_METHODS)
        self.assertEqual(self.messages().count(BANNER), 1)

    def test_offers(self) -> None:
        """Whoever only asks and asks is sent away."""
        for _ in range(OFFERS):
            self.request(b"none")
        self.assertIsNone(self.transport.ended)
        self.request(b"none")
        self.assertIsNotNone(self.transport.ended)

    def test_no_login_name(self) -> None:
        """What cannot be a login is refused."""
        head = b"\0" + string(ED25519) + string(self.key.certificate)
        self.request(b"publickey", head, login=b"../../etc")
        self.assertEqual(self.messages(), [BANNER, FAILURE])

    def test_another_service(self) -> None:
        """There is no service but one."""
        packet = string(b"root") + string(b"ssh-fancy") + string(b"none")
        with self.assertRaises(SshProtocolError):
            self.service.packetReceived(REQUEST, packet)

    def test_cut(self) -> None:
        """A request that ends too early breaks the protocol, wherever it was cut."""
        whole = b"".join(map(string, (b"root", b"ssh-connection", b"publickey")))
        whole += b"\1" + string(ED25519) + string(self.key.certificate) + string(b"x")
        for cut in range(len(whole)):
            self.service = UserAuthServer(self.certificates)
            with self.assertRaises(SshProtocolError):
                self.service.packetReceived(REQUEST, whole[:cut])

    def test_denied(self) -> None:
        """Whoever is denied is told why, and sent away."""
        self.certificates.refuses = Denied("not on a Sunday")
        self.offer(signed=True)
        self.assertEqual(self.transport.ended, (NO_MORE_AUTH_METHODS, "not on a Sunday"))
        self.assertEqual(self.transport.sent, [])

    def test_impatient(self) -> None:
        """Another request while one is being decided breaks the protocol."""
        self.certificates.answer = Deferred()
        self.offer(signed=True)
        with self.assertRaises(SshProtocolError):
            self.request(b"none")

    def test_gone_meanwhile(self) -> None:
        """When the connection ends, the decision is not waited for."""
        cancelled: list[object] = []
        self.certificates.answer = Deferred(cancelled.append)
        self.offer(signed=True)
        self.service.serviceStopped()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.transport.sent, [])
