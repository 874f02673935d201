"""
A node that has joined: its keys, its certificates, and whom it trusts.

A :class:`Membership` is made only of what fits together, and says by when it has to
be renewed. Where it is kept is :mod:`mezite.agent.state`'s.
"""

from __future__ import annotations

from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificate,
    load_ssh_public_identity,
)

from mezite.agent.error import BadIssue
from mezite.error import MeziteError
from mezite.identity.sshkeys import blob_of_key, load_public_line
from mezite.identity.x509 import NodeIdentity, identity_of, is_signed_by
from mezite.names import HostPort
from mezite.ssh.hostkeys import HostKey


@frozen
class NodeKeys:
    """The two private keys of a node."""

    ssh: Ed25519PrivateKey = field(repr=False)
    tls: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def generate(cls) -> NodeKeys:
        return cls(Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1()))

    @property
    def ssh_public_line(self) -> str:
        line = self.ssh.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return line.decode("ascii")

    @property
    def tls_public_pem(self) -> bytes:
        return self.tls.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def tls_pem(self) -> bytes:
        return self.tls.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@frozen
class Issued:
    """
    Certificates as the hub sent them, and whom to trust.

    ``generation`` is that of the cluster's authorities; 0 if it was not said.
    """

    hub_name: str
    ssh_certificate: str
    tls_certificate_pem: bytes
    cluster_ca_pem: bytes
    user_ca: tuple[str, ...]
    generation: int = 0


@frozen
class Membership:
    """
    A node that has joined: who it is, and what proves it.

    Times are POSIX seconds; ``issued`` and ``expires`` are those of the
    certificate that ends first, which is the SSH one.
    """

    identity: NodeIdentity
    hub: HostPort
    keys: NodeKeys
    certificates: Issued
    host_key: HostKey
    user_authorities: frozenset[bytes]
    issued: float
    expires: float
    tls_expires: float

    @classmethod
    def of(cls, hub: HostPort, keys: NodeKeys, issued: Issued) -> Membership:
        """
        What these certificates make of a node.

        :raises BadIssue: they are not for these keys, or not from one authority.
        """
        try:
            certificate = x509.load_pem_x509_certificate(issued.tls_certificate_pem)
            authorities = x509.load_pem_x509_certificates(issued.cluster_ca_pem)
            identity = identity_of(certificate)
            host_key = HostKey.of(keys.ssh, issued.ssh_certificate)
            ssh_begins, ssh_ends = _ssh_validity(issued.ssh_certificate)
            user_authorities = frozenset(
                blob_of_key(load_public_line(line)) for line in issued.user_ca
            )
            # A damaged key shows when it is used, and not before.
            is_for_key = certificate.public_key() == keys.tls.public_key()
            is_signed = any(is_signed_by(certificate, authority) for authority in authorities)
        except MeziteError as error:
            raise BadIssue(f"the node's certificates cannot be read: {error}") from None
        except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
            raise BadIssue("one of the node's certificates is damaged") from None
        if not isinstance(identity, NodeIdentity):
            raise BadIssue("the node's TLS certificate is not one of a node")
        if not is_for_key:
            raise BadIssue("the node's TLS certificate is for another key")
        if not is_signed:
            raise BadIssue("the node's TLS certificate is not signed by the cluster's authority")
        if not user_authorities:
            raise BadIssue("no authority for users came with the node's certificates")
        begins = certificate.not_valid_before_utc.timestamp()
        ends = certificate.not_valid_after_utc.timestamp()
        first_begins, first_ends = min((ssh_begins, ssh_ends), (begins, ends), key=lambda v: v[1])
        return cls(
            identity, hub, keys, issued, host_key, user_authorities, first_begins, first_ends, ends
        )

    @property
    def generation(self) -> int:
        """That of the authorities which signed the certificates, and are trusted."""
        return self.certificates.generation

    def trusting(self, cluster_ca_pem: bytes) -> Membership:
        """The same node, which believes hubs of these authorities."""
        return evolve(self, certificates=evolve(self.certificates, cluster_ca_pem=cluster_ca_pem))

    def renewed(self, issued: Issued) -> Membership:
        """
        The same node with new certificates.

        :raises BadIssue: they are another node's, or of no use.
        """
        new = Membership.of(self.hub, self.keys, issued)
        if new.identity.agent_id != self.identity.agent_id:
            raise BadIssue("the hub renewed the certificates of another node")
        return new


def moved_to(membership: Membership, hub: HostPort) -> Membership:
    """The same node, dialing its hub at another address."""
    return evolve(membership, hub=hub)


def _ssh_validity(line: str) -> tuple[float, float]:
    certificate = load_ssh_public_identity(line.encode())
    if not isinstance(certificate, SSHCertificate):
        raise ValueError("there is no SSH certificate")
    return float(certificate.valid_after), float(certificate.valid_before)
