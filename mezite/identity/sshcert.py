"""
SSH certificates for users and hosts: issued, read and checked.

It owns what an SSH certificate of ours says (``docs/protocols/identity.rst``)
and every reason to refuse one. Key exchange and the proof that the peer holds
the certified key belong to :mod:`mezite.ssh`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from typing import Final

from attrs import frozen
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    SSHCertificate,
    SSHCertificateBuilder,
    SSHCertificateType,
)

from mezite.identity.authority import CLOCK_SKEW, SshAuthority
from mezite.identity.error import BadPublicKey, CertificateRefused
from mezite.identity.sshblob import load_certificate, unreadable
from mezite.identity.sshkeys import (
    LINE_LIMIT,
    blob_of_key,
    check_strength,
    decode_base64,
    load_public_line,
)
from mezite.names import AgentId, InvalidName, LoginName, UserName

# What a session needs; agent and X11 forwarding let the node reach back to the
# person's own machine, and nobody asked for them.
DEFAULT_EXTENSIONS: Final = frozenset({"permit-port-forwarding", "permit-pty"})
# The limit of OpenSSH (SSHKEY_CERT_MAX_PRINCIPALS).
PRINCIPALS_LIMIT: Final = 256
SOURCE_ADDRESS: Final = "source-address"
# The key id of a hub's own host certificate, where a node's has its agent id.
HUB_KEY_ID: Final = "hub"


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


def issue_user(
    authority: SshAuthority,
    public_line: str,
    *,
    user: UserName,
    logins: Iterable[LoginName],
    serial: int,
    now: float,
    lifetime: float,
    extensions: Collection[str] = DEFAULT_EXTENSIONS,
) -> str:
    """
    A certificate line for this person's key; the logins are its principals.

    A certificate without principals is good for every login, so at least one
    login must be given.

    :raises BadPublicKey: the key cannot be read or gets no certificate.
    """
    return _issue(
        authority,
        public_line,
        SSHCertificateType.USER,
        user.text,
        sorted({login.text for login in logins}),
        serial,
        now,
        lifetime,
        extensions,
    )


def issue_host(
    authority: SshAuthority,
    public_line: str,
    *,
    agent_id: AgentId | None,
    principals: Iterable[str],
    serial: int,
    now: float,
    lifetime: float,
) -> str:
    """
    A certificate line for the host key of this agent, or of a hub (``None``).

    :raises BadPublicKey: the key cannot be read or gets no certificate.
    """
    return _issue(
        authority,
        public_line,
        SSHCertificateType.HOST,
        HUB_KEY_ID if agent_id is None else agent_id.text,
        sorted(set(principals)),
        serial,
        now,
        lifetime,
        (),
    )


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
) -> UserCertificate:
    """
    What a user's certificate says, if it is good here and now.

    :param trusted: the blobs of the user authorities' keys.
    :param login: if given, it must be among the principals.
    :raises CertificateRefused: for any other certificate.
    """
    certificate = _check(blob, SSHCertificateType.USER, trusted, now)
    key_id = _text(certificate.key_id, "key id")
    try:
        user = UserName.parse(key_id)
    except InvalidName:
        raise unreadable(f"the key id {key_id[:80]!r} is not a user name") from None
    _check_options(certificate.critical_options, source_address)
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
        public_blob=_subject_blob(certificate),
    )


def check_host(
    blob: bytes, *, trusted: Collection[bytes], now: float, principals: Collection[str]
) -> HostCertificate:
    """
    What a host's certificate says, if it is good for any of these names.

    :param trusted: the blobs of the host authorities' keys.
    :raises CertificateRefused: for any other certificate.
    """
    certificate = _check(blob, SSHCertificateType.HOST, trusted, now)
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
        public_blob=_subject_blob(certificate),
    )


def _issue(
    authority: SshAuthority,
    public_line: str,
    kind: SSHCertificateType,
    key_id: str,
    principals: list[str],
    serial: int,
    now: float,
    lifetime: float,
    extensions: Collection[str],
) -> str:
    assert principals, "a certificate without principals is good for every name"
    assert len(principals) <= PRINCIPALS_LIMIT
    builder = (
        SSHCertificateBuilder()
        .public_key(load_public_line(public_line))
        .type(kind)
        .serial(serial)
        .key_id(key_id.encode())
        .valid_principals([principal.encode() for principal in principals])
        .valid_after(max(0, int(now - CLOCK_SKEW)))
        .valid_before(int(now + lifetime))
    )
    for extension in sorted(extensions):
        builder = builder.add_extension(extension.encode(), b"")
    certificate = builder.sign(authority.private_key)
    return f"{certificate.public_bytes().decode()} {key_id}"


def _check(
    blob: bytes, kind: SSHCertificateType, trusted: Collection[bytes], now: float
) -> SSHCertificate:
    certificate = load_certificate(blob)
    try:
        subject, signer = certificate.public_key(), certificate.signature_key()
        check_strength(subject)
        check_strength(signer)
        signer_blob = blob_of_key(signer)
    except BadPublicKey as error:
        raise CertificateRefused(str(error), reason=str(error)) from None
    except (ValueError, UnsupportedAlgorithm):
        raise unreadable("its signature key cannot be read") from None
    if signer_blob not in trusted:
        raise CertificateRefused(
            "the certificate is not signed by an authority that is trusted here",
            reason="signed by an unknown key",
        )
    # Trust comes before arithmetic: strangers cannot make us check signatures.
    try:
        certificate.verify_cert_signature()
    except (InvalidSignature, ValueError):
        raise CertificateRefused(
            "the signature on the certificate is wrong", reason="bad signature by a trusted key"
        ) from None
    if certificate.type is not kind:
        raise CertificateRefused(
            f"this is not a {kind.name.lower()} certificate",
            reason=f"a {certificate.type.name.lower()} certificate",
        )
    detail = f"valid from {certificate.valid_after} to {certificate.valid_before}, now {now:.0f}"
    if now >= certificate.valid_before:
        ended = datetime.fromtimestamp(certificate.valid_before, UTC)
        raise CertificateRefused(
            f"the certificate expired at {ended:%Y-%m-%d %H:%M:%S} UTC", reason=detail
        )
    if now + CLOCK_SKEW < certificate.valid_after:
        raise CertificateRefused(
            "the certificate is not valid yet: compare the clocks", reason=detail
        )
    return certificate


def _check_options(options: Mapping[bytes, bytes], source_address: str | None) -> None:
    # A critical option means: who does not understand it must refuse.
    if unknown := {name: value for name, value in options.items() if name != b"source-address"}:
        raise _unknown_options(unknown)
    if (allowed := options.get(SOURCE_ADDRESS.encode())) is None:
        return
    try:
        networks = [
            ipaddress.ip_network(part, strict=False) for part in allowed.decode("ascii").split(",")
        ]
        address = None if source_address is None else ipaddress.ip_address(source_address)
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


def _principals(certificate: SSHCertificate) -> frozenset[str]:
    if len(certificate.valid_principals) > PRINCIPALS_LIMIT:
        raise unreadable(f"more than {PRINCIPALS_LIMIT} principals")
    principals = frozenset(_text(name, "principal") for name in certificate.valid_principals)
    # To OpenSSH no principals means all of them; nobody here is given that.
    if not principals or "" in principals:
        raise CertificateRefused(
            "the certificate names no login and no host", reason="an empty principal"
        )
    return principals


def _subject_blob(certificate: SSHCertificate) -> bytes:
    return blob_of_key(certificate.public_key())


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise unreadable(f"the {what} is not UTF-8") from None
