"""
SSH certificates for users and hosts: read and checked.

It owns what an SSH certificate of ours says (``docs/protocols/identity.rst``)
and every reason to refuse one; :mod:`mezite.identity.sshissuing` makes them. Key
exchange and the proof that the peer holds the certified key belong to :mod:`mezite.ssh`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Final

from attrs import frozen

from mezite.identity.authority import CLOCK_SKEW
from mezite.identity.error import BadPublicKey, CertificateRefused
from mezite.identity.networks import plain_address
from mezite.identity.sshblob import CertificateFields, CertificateKind, load_certificate, unreadable
from mezite.identity.sshfields import BlobFields
from mezite.identity.sshkeys import LINE_LIMIT, TOKEN_KEY_FIELDS, decode_base64
from mezite.names import AgentId, InvalidName, LoginName, UserName

# The limit of OpenSSH (SSHKEY_CERT_MAX_PRINCIPALS).
PRINCIPALS_LIMIT: Final = 256
SOURCE_ADDRESS: Final = "source-address"
FORCE_COMMAND: Final = "force-command"
VERIFY_REQUIRED: Final = "verify-required"
NO_TOUCH: Final = "no-touch-required"
# The key id of a hub's own host certificate, where a node's has its agent id.
HUB_KEY_ID: Final = "hub"
# The access requests whose rights stand in the certificate, and count only with it.
REQUESTS: Final = "access-requests@mezite"
_REQUESTS: Final = re.compile(r"[0-9a-f]{1,32}(?:,[0-9a-f]{1,32}){0,31}")


@frozen
class UserCertificate:
    """What a user's certificate says, once it has been checked."""

    user: UserName
    key_id: str
    serial: int
    principals: frozenset[str]
    valid_after: int
    valid_before: int
    critical_options: Mapping[str, bytes]
    extensions: frozenset[str]
    public_blob: bytes
    # The ids of access requests that the certificate carries.
    requests: tuple[str, ...] = ()

    @property
    def issued(self) -> float:
        """When it was issued; certificates are good from a little before."""
        return self.valid_after + CLOCK_SKEW

    @property
    def forced_command(self) -> str | None:
        """The one command that a session may run, whatever was asked for."""
        command = self.critical_options.get(FORCE_COMMAND)
        return None if command is None else command.decode("utf-8", "surrogateescape")

    @property
    def demands_touch(self) -> bool:
        """Whether a security token must have been touched for a signature."""
        return NO_TOUCH not in self.extensions

    @property
    def demands_verification(self) -> bool:
        """Whether a security token must have verified the person."""
        return VERIFY_REQUIRED in self.critical_options


@frozen
class HostCertificate:
    """What a host's certificate says, once checked; ``agent_id`` is None for a hub."""

    agent_id: AgentId | None
    key_id: str
    serial: int
    principals: frozenset[str]
    valid_after: int
    valid_before: int
    public_blob: bytes


def blob_of(line: str) -> bytes:
    """
    The certificate in ``type base64 [comment]``, as in an ``id_ed25519-cert.pub``.

    :raises CertificateRefused: this is no line of that form.
    """
    words = line.split(maxsplit=2) if len(line) <= LINE_LIMIT else []
    try:
        return decode_base64(words[1])
    except (IndexError, BadPublicKey):
        raise unreadable("not a line of type and base64") from None


def check_user(
    blob: bytes,
    *,
    trusted: Collection[bytes],
    now: float,
    login: LoginName | None,
    source_address: str | None,
    enforces: Collection[str] = (),
) -> UserCertificate:
    """
    What a user's certificate says, if it is good here and now.

    ``source-address`` is judged here, and ``verify-required`` by
    :mod:`mezite.ssh.userauth`, when the key is proved.

    :param trusted: the blobs of the user authorities' keys.
    :param login: if given, it must be among the principals.
    :param enforces: what other critical options the caller obeys, out of
        ``force-command``; any other option refuses.
    :raises CertificateRefused: for any other certificate.
    """
    certificate = _check(blob, CertificateKind.USER, trusted, now)
    key_id = _text(certificate.key_id, "key id")
    try:
        user = UserName.parse(key_id)
    except InvalidName:
        raise unreadable(f"the key id {key_id[:80]!r} is not a user name") from None
    _check_options(certificate, source_address, enforces)
    principals = _principals(certificate)
    if login is not None and login.text not in principals:
        raise CertificateRefused(
            f"your certificate is not good for the login {login}",
            reason=f"{login} is not among {', '.join(sorted(principals))[:200]}",
        )
    return UserCertificate(
        user=user,
        key_id=key_id,
        serial=certificate.serial,
        principals=principals,
        valid_after=certificate.valid_after,
        valid_before=certificate.valid_before,
        critical_options={
            _text(name, "option"): value for name, value in certificate.critical_options.items()
        },
        extensions=frozenset(_text(name, "extension") for name in certificate.extensions),
        public_blob=certificate.public_blob,
        requests=_requests(certificate),
    )


def check_host(
    blob: bytes, *, trusted: Collection[bytes], now: float, principals: Collection[str]
) -> HostCertificate:
    """
    What a host's certificate says, if it is good for any of these names.

    :param trusted: the blobs of the host authorities' keys.
    :raises CertificateRefused: for any other certificate.
    """
    certificate = _check(blob, CertificateKind.HOST, trusted, now)
    key_id = _text(certificate.key_id, "key id")
    try:
        agent_id = None if key_id == HUB_KEY_ID else AgentId.parse(key_id)
    except InvalidName:
        raise unreadable(f"the key id {key_id[:80]!r} is not an agent id") from None
    if certificate.critical_options:
        raise _unknown_options(certificate.critical_options)
    names = _principals(certificate)
    if names.isdisjoint(principals):
        wanted = ", ".join(sorted(principals)) or "nothing"
        raise CertificateRefused(
            f"the host certificate is not one for {wanted}",
            reason=f"it is for {', '.join(sorted(names))[:200]}",
        )
    return HostCertificate(
        agent_id=agent_id,
        key_id=key_id,
        serial=certificate.serial,
        principals=names,
        valid_after=certificate.valid_after,
        valid_before=certificate.valid_before,
        public_blob=certificate.public_blob,
    )


def check_server(
    blob: bytes, *, trusted: Collection[bytes], now: float, principals: Collection[str]
) -> bytes:
    """
    The key in a host certificate of others' making, if it is good for any of these names.

    :param trusted: the blobs of the keys that may have signed it.
    :raises CertificateRefused: for any other certificate.
    """
    certificate = _check(blob, CertificateKind.HOST, trusted, now)
    if certificate.critical_options:
        raise _unknown_options(certificate.critical_options)
    names = _principals(certificate)
    if names.isdisjoint(principals):
        raise CertificateRefused(
            f"the host certificate is for {', '.join(sorted(names))[:200]}",
            reason=f"it is not for {', '.join(sorted(principals))}",
        )
    return certificate.public_blob


_FOREIGN: Final = {
    CertificateKind.HOST: "the certificate is not signed by an authority that is trusted here",
    CertificateKind.USER: (
        "the certificate is not signed by an authority that is trusted here; if the cluster's"
        " authority was rotated, run msh login"
    ),
}


def _check(
    blob: bytes, kind: CertificateKind, trusted: Collection[bytes], now: float
) -> CertificateFields:
    certificate = load_certificate(blob)
    if certificate.signer_blob not in trusted:
        raise CertificateRefused(_FOREIGN[kind], reason="signed by an unknown key")
    # Trust comes before arithmetic: strangers cannot make us check signatures.
    if not certificate.is_signed:
        raise CertificateRefused(
            "the signature on the certificate is wrong", reason="bad signature by a trusted key"
        )
    fields = certificate.fields
    if fields.kind is not kind:
        raise CertificateRefused(
            f"this is not a {kind.name.lower()} certificate",
            reason=f"a {fields.kind.name.lower()} certificate",
        )
    detail = f"valid from {fields.valid_after} to {fields.valid_before}, now {now:.0f}"
    if now >= fields.valid_before:
        ended = datetime.fromtimestamp(fields.valid_before, UTC)
        raise CertificateRefused(
            f"the certificate expired at {ended:%Y-%m-%d %H:%M:%S} UTC", reason=detail
        )
    if now + CLOCK_SKEW < fields.valid_after:
        raise CertificateRefused(
            "the certificate is not valid yet: compare the clocks", reason=detail
        )
    return fields


def _check_options(
    certificate: CertificateFields, source_address: str | None, enforces: Collection[str]
) -> None:
    # A critical option means: who does not understand it must refuse.
    options = certificate.critical_options
    known = {name.encode() for name in (SOURCE_ADDRESS, VERIFY_REQUIRED, *enforces)}
    if unknown := {name: value for name, value in options.items() if name not in known}:
        raise _unknown_options(unknown)
    if VERIFY_REQUIRED.encode() in options:
        key_type = BlobFields(certificate.public_blob).string().decode()
        if options[VERIFY_REQUIRED.encode()] or key_type not in TOKEN_KEY_FIELDS:
            raise CertificateRefused(
                "the certificate demands a security token, and is not over the key of one",
                reason=f"{VERIFY_REQUIRED} over a key of type {key_type}",
            )
    command = options.get(FORCE_COMMAND.encode())
    if command is not None and (not command or b"\0" in command):
        raise unreadable("the command it forces is none")
    if (allowed := options.get(SOURCE_ADDRESS.encode())) is None:
        return
    try:
        networks = [
            ipaddress.ip_network(part, strict=False) for part in allowed.decode("ascii").split(",")
        ]
        address = None if source_address is None else plain_address(source_address)
    except ValueError:
        raise unreadable(f"source-address {allowed[:80]!r} from {source_address}") from None
    if address is None or not any(address in network for network in networks):
        raise CertificateRefused(
            "the certificate is not good from where you are",
            reason=f"{source_address} is not in {allowed.decode('ascii')[:200]}",
        )


def _unknown_options(options: Mapping[bytes, bytes]) -> CertificateRefused:
    names = ", ".join(name[:40].decode("ascii", "replace") for name in sorted(options)[:8])
    return CertificateRefused(
        "the certificate carries a restriction that is not understood here",
        reason=f"critical options {names}",
    )


def _principals(certificate: CertificateFields) -> frozenset[str]:
    if len(certificate.principals) > PRINCIPALS_LIMIT:
        raise unreadable(f"more than {PRINCIPALS_LIMIT} principals")
    principals = frozenset(_text(name, "principal") for name in certificate.principals)
    # To OpenSSH no principals means all of them; nobody here is given that.
    if not principals or "" in principals:
        raise CertificateRefused(
            "the certificate names no login and no host", reason="an empty principal"
        )
    return principals


def _requests(certificate: CertificateFields) -> tuple[str, ...]:
    """What is written otherwise than we do carries nothing, as an unknown extension."""
    value = certificate.extensions.get(REQUESTS.encode(), b"")
    text = value.decode("ascii", "replace")
    return tuple(text.split(",")) if _REQUESTS.fullmatch(text) else ()


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise unreadable(f"the {what} is not UTF-8") from None
