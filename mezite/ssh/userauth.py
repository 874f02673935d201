"""
Who a client is: publickey authentication with certificates, and nothing else.

:class:`UserAuthServer` reads requests (RFC 4252) and checks signatures. What a
certificate is worth, and whether its owner may come in, an
:class:`IUserCertificates` decides.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from twisted.conch.ssh.service import SSHService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface

from mezite.error import BadInput, Denied, MeziteError, Unavailable
from mezite.identity.sshcert import UserCertificate
from mezite.identity.sshsignatures import TOKEN_ECDSA, TOKEN_ED25519, is_signed
from mezite.names import LoginName
from mezite.ssh.error import BY_APPLICATION, NO_MORE_AUTH_METHODS, SshProtocolError
from mezite.ssh.fields import FieldReader, string
from mezite.tasks import background

REQUEST: Final = 50
FAILURE: Final = 51
SUCCESS: Final = 52
BANNER: Final = 53
PK_OK: Final = 60

# As OpenSSH's MaxAuthTries; the offers of keys without certificates cost us nothing,
# so that somebody with a full ssh-agent still comes to the right one.
TRIES: Final = 6
OFFERS: Final = 64

# Certificate algorithm -> type in the blob, signature algorithm.
_CERTIFICATES: Final[Mapping[bytes, tuple[bytes, bytes]]] = {
    b"ssh-ed25519-cert-v01@openssh.com": (b"ssh-ed25519-cert-v01@openssh.com", b"ssh-ed25519"),
    **{
        b"ecdsa-sha2-%s-cert-v01@openssh.com" % curve: (
            b"ecdsa-sha2-%s-cert-v01@openssh.com" % curve,
            b"ecdsa-sha2-%s" % curve,
        )
        for curve in (b"nistp256", b"nistp384", b"nistp521")
    },
    **{
        name + b"-cert-v01@openssh.com": (b"ssh-rsa-cert-v01@openssh.com", name)
        for name in (b"rsa-sha2-256", b"rsa-sha2-512")
    },
    b"sk-ssh-ed25519-cert-v01@openssh.com": (
        b"sk-ssh-ed25519-cert-v01@openssh.com",
        TOKEN_ED25519,
    ),
    b"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com": (
        b"sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
        TOKEN_ECDSA,
    ),
}


class IAvatar(Interface):
    """What a person can do on a connection, once they are in."""

    certificate = Attribute("The :class:`UserCertificate` that they proved.")

    def logout() -> None:
        """The connection is gone."""


class IUserCertificates(Interface):
    """What the certificates of users are worth here."""

    def check(blob: bytes, login: LoginName) -> UserCertificate:
        """
        What the certificate says; nothing is proved yet.

        :raises Denied: with a sentence for its owner.
        """

    def admit(certificate: UserCertificate, login: LoginName) -> Deferred[Any]:
        """
        Let in a person who has proved the certificate.

        Fires with an :class:`IAvatar`; fails with :class:`Denied` or
        :class:`Unavailable` and a sentence for the person.
        """


class State(enum.Enum):
    """What an authentication waits for."""

    REQUEST = enum.auto()
    ADMISSION = enum.auto()
    OVER = enum.auto()


@frozen
class _Offer:
    """A publickey request, read."""

    login: str
    service: bytes
    algorithm: bytes
    blob: bytes
    signature: bytes | None

    def signed_data(self, session_id: bytes) -> bytes:
        """RFC 4252, section 7."""
        return b"".join(
            (
                string(session_id),
                bytes([REQUEST]),
                string(self.login.encode("utf-8")),
                string(self.service),
                string(b"publickey"),
                b"\1",
                string(self.algorithm),
                string(self.blob),
            )
        )


def _wrong_signature(certificate: UserCertificate) -> str:
    sentence = "the signature is not by the key in the certificate"
    if certificate.demands_verification:
        sentence += ", or the token has not asked for a PIN or a finger"
    return sentence


class UserAuthServer(SSHService):
    """The ssh-userauth service of a server, on a :class:`ServerTransport`."""

    _log = Logger()
    name = b"ssh-userauth"
    protocolMessages = {REQUEST: "MSG_USERAUTH_REQUEST"}
    transport: Any

    def __init__(self, certificates: Any) -> None:
        self._certificates = certificates
        self._state = State.REQUEST
        self._tries = 0
        self._offers = 0
        self._told: set[str] = set()
        self._admitting: Deferred[None] | None = None

    def serviceStopped(self) -> None:
        self._state = State.OVER
        if self._admitting is not None:
            self._admitting.cancel()

    def _end(self, sentence: str) -> None:
        self._state = State.OVER
        self.transport.disconnect(NO_MORE_AUTH_METHODS, sentence)

    def ssh_USERAUTH_REQUEST(self, packet: bytes) -> None:
        if self._state is not State.REQUEST:
            raise SshProtocolError("a request came while another was not answered")
        reader = FieldReader(packet)
        login, service, method = reader.text(), reader.string(), reader.string()
        self._offers += 1
        if self._offers > OFFERS:
            self._end("too many keys were offered")
        elif service != b"ssh-connection":
            raise SshProtocolError("there is no such service here")
        elif method != b"publickey":
            self._fail()
        else:
            has_signature = reader.boolean()
            algorithm, blob = reader.string(), reader.string()
            signature = reader.string() if has_signature else None
            reader.end()
            self._offered(_Offer(login, service, algorithm, blob, signature))

    def _offered(self, offer: _Offer) -> None:
        known = _CERTIFICATES.get(offer.algorithm)
        if known is None:
            self._fail()
            return
        kind, signature_algorithm = known
        try:
            if FieldReader(offer.blob).string() != kind:
                raise SshProtocolError("a certificate is not of the kind it is offered as")
            login = LoginName.parse(offer.login)
            certificate = self._certificates.check(offer.blob, login)
        except (Denied, BadInput) as error:
            self._log.info(
                "certificate refused: {error}",
                error=error,
                reason=getattr(error, "reason", str(error)),
            )
            self._fail_try(str(error))
            return
        if offer.signature is None:
            self.transport.sendPacket(PK_OK, string(offer.algorithm) + string(offer.blob))
        elif is_signed(
            certificate.public_blob,
            offer.signature,
            offer.signed_data(self.transport.sessionID),
            algorithm=signature_algorithm,
            touched=certificate.demands_touch,
            verified=certificate.demands_verification,
        ):
            self._state = State.ADMISSION
            self._admitting = background(
                self._admit(certificate, login), doing=f"admitting {certificate.user}"
            )
        else:
            self._fail_try(_wrong_signature(certificate))

    async def _admit(self, certificate: UserCertificate, login: LoginName) -> None:
        # When the connection ends this is cancelled, and CancelledError passes.
        try:
            avatar = await self._certificates.admit(certificate, login)
        except (Denied, Unavailable) as error:
            if self._state is State.ADMISSION:
                self._log.info(
                    "{user} may not come in as {login}: {error}",
                    user=certificate.user,
                    login=login,
                    error=error,
                )
                self._end(str(error))
            return
        except MeziteError:
            self._log.failure("admission failed", failure=Failure())
            if self._state is State.ADMISSION:
                self._state = State.OVER
                self.transport.disconnect(BY_APPLICATION, "internal error")
            return
        if self._state is not State.ADMISSION:
            avatar.logout()
            return
        self._log.info(
            "{user} is in as {login}, by certificate {key_id}, serial {serial},"
            " with {extensions}, bound by {options}",
            user=certificate.user,
            login=login,
            key_id=certificate.key_id,
            serial=certificate.serial,
            extensions=", ".join(sorted(certificate.extensions)) or "no extensions",
            options=", ".join(sorted(certificate.critical_options)) or "no options",
        )
        self._succeed(avatar)

    def _succeed(self, avatar: Any) -> None:
        self._admitting = None
        self.transport.avatar = avatar
        self.transport.logoutFunction = avatar.logout
        with self.transport.batched():
            self.transport.stop_login_deadline()
            self.transport.sendPacket(SUCCESS, b"")
            make = self.transport.factory.getService(self.transport, b"ssh-connection")
            self.transport.setService(make())

    def _fail_try(self, sentence: str) -> None:
        self._tries += 1
        if self._tries >= TRIES:
            self._end(sentence)
            return
        if sentence not in self._told:
            # A client says "Permission denied" and no more; this says why.
            self._told.add(sentence)
            self.transport.sendPacket(BANNER, string(f"{sentence}\r\n".encode()) + string(b"en"))
        self._fail()

    def _fail(self) -> None:
        self.transport.sendPacket(FAILURE, string(b"publickey") + b"\0")
