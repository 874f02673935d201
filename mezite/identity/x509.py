"""
X.509 certificates for nodes, users and hubs, and the names that they prove.

It owns the certificate profiles of ``docs/protocols/identity.rst``. That a
certificate chains to the cluster CA and is in time is checked by TLS; what it
says is read here, and nowhere else.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, unquote

from attrs import frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mezite.error import BadInput
from mezite.identity.authority import CLOCK_ERROR, CLOCK_SKEW, X509Authority
from mezite.identity.error import (
    AuthorityExpired,
    BadCertificate,
    BadPublicKey,
    CertificateRefused,
)
from mezite.identity.networks import Networks, lies_in, parse_network
from mezite.names import AgentId, ClusterName, InvalidName, NodeName, UserName

TlsPublicKey = ec.EllipticCurvePublicKey | Ed25519PublicKey
_SCHEME: Final = "mezite://"
_OCTET_STRING: Final = 0x04
# What "source-address" is in SSH certificates: the networks from which this one is good, in
# the same words. Below the arc that is everybody's own (X.667): 2.25 and a random UUID.
SOURCE_ADDRESS: Final = x509.ObjectIdentifier("2.25.143277894230151473203547163518902650817")
# A P-256 key takes 178 octets in PEM; no key that is accepted needs more.
_PUBLIC_KEY_PEM_LIMIT: Final = 1024


@frozen
class NodeIdentity:
    """An agent, and the node name that was bound to its id."""

    cluster: ClusterName
    agent_id: AgentId
    node: NodeName

    @property
    def uri(self) -> str:
        return f"{_SCHEME}{self.cluster}/node/{self.agent_id}"


@frozen
class UserIdentity:
    """A person."""

    cluster: ClusterName
    user: UserName

    @property
    def uri(self) -> str:
        return f"{_SCHEME}{self.cluster}/user/{quote(self.user.text, safe='')}"


@frozen
class HubIdentity:
    """A hub of the cluster."""

    cluster: ClusterName

    @property
    def uri(self) -> str:
        return f"{_SCHEME}{self.cluster}/hub"


Identity = NodeIdentity | UserIdentity | HubIdentity


def issue_node(
    authority: X509Authority,
    public_key: TlsPublicKey,
    identity: NodeIdentity,
    *,
    now: float,
    lifetime: float,
) -> x509.Certificate:
    """
    A client certificate that says which agent this is, and its node's name.

    It is good from a week before on, as a hub's is.
    """
    names = [x509.UniformResourceIdentifier(identity.uri), x509.DNSName(identity.node.text)]
    return _issue(
        authority, public_key, "Mezite node", names, _CLIENT, now, lifetime, early=CLOCK_ERROR
    )


def issue_user(
    authority: X509Authority,
    public_key: TlsPublicKey,
    identity: UserIdentity,
    *,
    now: float,
    lifetime: float,
    sources: Networks | None = None,
) -> x509.Certificate:
    """
    A client certificate that says which person this is.

    :param sources: from where it is good; None is everywhere.
    """
    names = [x509.UniformResourceIdentifier(identity.uri)]
    source = None if sources is None else _octets(",".join(map(str, sources)).encode())
    return _issue(
        authority, public_key, "Mezite user", names, _CLIENT, now, lifetime, source=source
    )


def issue_hub(
    authority: X509Authority,
    public_key: TlsPublicKey,
    identity: HubIdentity,
    *,
    names: Iterable[str],
    addresses: Iterable[str],
    now: float,
    lifetime: float,
) -> x509.Certificate:
    """A server certificate for these DNS names and IP addresses, as given."""
    subject_names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
    subject_names += [x509.DNSName(name) for name in dict.fromkeys(names)]
    subject_names += [
        x509.IPAddress(ipaddress.ip_address(address)) for address in dict.fromkeys(addresses)
    ]
    return _issue(
        authority,
        public_key,
        "Mezite hub",
        subject_names,
        _SERVER,
        now,
        lifetime,
        early=CLOCK_ERROR,
    )


def hub_dns_names(hub_names: Iterable[str]) -> tuple[str, ...]:
    """The DNS names of a hub that answers to these: its nodes', its services', and its own."""
    expanded = [form for name in hub_names for form in (name, f"*.{name}", f"auth.{name}")]
    return tuple(dict.fromkeys([*expanded, "localhost"]))


def identity_of(certificate: x509.Certificate) -> Identity:
    """
    Whom a certificate names.

    The chain and the times are not looked at: TLS has done that.

    :raises BadCertificate: it has not exactly one ``mezite:`` name, or is not a
        certificate for what that name stands for.
    """
    try:
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        usages = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        hosts = names.get_values_for_type(x509.DNSName)
    except (
        ValueError,
        x509.ExtensionNotFound,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ):
        raise BadCertificate("the certificate is not one of Mezite's") from None
    if constraints.ca:
        raise BadCertificate("the certificate of an authority names nobody")
    ours = [uri for uri in uris if uri.lower().startswith(_SCHEME)]
    if len(ours) != 1:
        raise BadCertificate("the certificate has not exactly one Mezite name")
    identity = _parse_uri(ours[0], hosts)
    if list(usages) != [_SERVER if isinstance(identity, HubIdentity) else _CLIENT]:
        raise BadCertificate("the certificate is not for this use")
    return identity


def issued_at(certificate: x509.Certificate) -> float:
    """When a user's was issued, in POSIX seconds; they are good from a little before."""
    return certificate.not_valid_before_utc.timestamp() + CLOCK_SKEW


def check_source(certificate: x509.Certificate, address: str | None) -> None:
    """
    Let somebody come from this address with this certificate.

    :raises CertificateRefused: it is good from elsewhere only, or cannot be read.
    """
    try:
        extension = certificate.extensions.get_extension_for_oid(SOURCE_ADDRESS).value
    except x509.ExtensionNotFound:
        return
    written = extension.public_bytes()
    try:
        text = _content(written).decode("ascii")
        sources = tuple(map(parse_network, text.split(",")))
    except (ValueError, BadInput):
        raise CertificateRefused(
            "from where the certificate is good cannot be read", reason=repr(written[:80])
        ) from None
    if not lies_in(sources, address or ""):
        raise CertificateRefused(
            "the certificate is not good from where you are",
            reason=f"{address} is not in {text[:200]}",
        )


def load_public_key(pem: bytes) -> TlsPublicKey:
    """
    Read a public key that is to get a certificate.

    :raises BadPublicKey: unreadable, or neither P-256 nor Ed25519.
    """
    if len(pem) > _PUBLIC_KEY_PEM_LIMIT:
        raise BadPublicKey("this TLS public key is too long: use P-256 or Ed25519")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise BadPublicKey("this TLS public key cannot be read: it is to be PEM") from None
    return _check_kind(key)


def key_hash(key: object) -> bytes:
    """By what a public key is remembered: SHA-256 of its SubjectPublicKeyInfo in DER."""
    der = _check_kind(key).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).digest()


def is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether this authority made it; nothing is said of times."""
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


_CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH
_SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH


def _issue(
    authority: X509Authority,
    public_key: TlsPublicKey,
    common_name: str,
    names: Sequence[x509.GeneralName],
    usage: x509.ObjectIdentifier,
    now: float,
    lifetime: float,
    *,
    source: bytes | None = None,
    early: float = CLOCK_SKEW,
) -> x509.Certificate:
    authority_ends = authority.certificate.not_valid_after_utc
    if authority_ends.timestamp() <= now:
        raise AuthorityExpired()
    # A certificate that outlives its authority would fail without a warning.
    ends = min(datetime.fromtimestamp(int(now + lifetime), UTC), authority_ends)
    soonest = datetime.fromtimestamp(int(now - CLOCK_SKEW), UTC)
    # Not before the authority itself, as far as that is any earlier.
    begins = min(soonest, authority.certificate.not_valid_before_utc)
    begins = max(begins, datetime.fromtimestamp(int(now - early), UTC))
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    key_usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)]))
        .issuer_name(authority.certificate.subject)
        .public_key(_check_kind(public_key))
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer.value),
            critical=False,
        )
    )
    if source is not None:
        # Not critical, since OpenSSL would refuse what it does not know.
        extension = x509.UnrecognizedExtension(SOURCE_ADDRESS, source)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(authority.private_key, SHA256())


def _octets(data: bytes) -> bytes:
    """An OCTET STRING in DER (X.690, section 8.1.3)."""
    length = len(data)
    if length < 0x80:
        return bytes([_OCTET_STRING, length]) + data
    size = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([_OCTET_STRING, 0x80 | len(size)]) + size + data


def _content(written: bytes) -> bytes:
    """
    What is in an OCTET STRING that is all there is.

    :raises ValueError: this is none.
    """
    if len(written) < 2 or written[0] != _OCTET_STRING:
        raise ValueError("no OCTET STRING")
    start = 2 + (written[1] & 0x7F if written[1] & 0x80 else 0)
    data = written[start:]
    if _octets(data) != written:
        raise ValueError("not in DER")
    return data


def _check_kind(key: object) -> TlsPublicKey:
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise BadPublicKey("TLS keys of this kind get no certificate: use P-256 or Ed25519")


def _parse_uri(uri: str, hosts: list[str]) -> Identity:
    identity: Identity | None = None
    try:
        match uri.removeprefix(_SCHEME).split("/"):
            case [cluster, "node", agent_id] if len(hosts) == 1:
                identity = NodeIdentity(
                    ClusterName.parse(cluster), AgentId.parse(agent_id), NodeName.parse(hosts[0])
                )
            case [cluster, "user", user]:
                identity = UserIdentity(ClusterName.parse(cluster), UserName.parse(unquote(user)))
            case [cluster, "hub"]:
                identity = HubIdentity(ClusterName.parse(cluster))
    except InvalidName:
        pass
    # One identity has one spelling, so that no two texts are taken for two people.
    if identity is None or identity.uri != uri:
        raise BadCertificate("the Mezite name in the certificate cannot be read")
    return identity
