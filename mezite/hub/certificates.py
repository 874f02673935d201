"""
The hub's own keys and certificates, made at its start.

The keys live in memory only: the hub holds the authorities, so it makes
itself new ones whenever it starts, and before they end. Nothing needs to be
renewed by hand, and no key of the hub can be copied from its disk.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mezite.identity import sshcert
from mezite.identity.authority import SshAuthority, X509Authority
from mezite.identity.x509 import HubIdentity, hub_dns_names, issue_hub
from mezite.names import ClusterName, is_address

# A hub that could not renew for a month would still serve; renewal is at half of it.
LIFETIME: Final = 60 * 86400.0
_LOOPBACK: Final = ("127.0.0.1", "::1")


@frozen
class HubCredentials:
    """
    What the hub shows: an X.509 certificate for TLS, an SSH host certificate
    as jump host, and their keys. ``expires`` is in POSIX seconds.
    """

    tls_key: ec.EllipticCurvePrivateKey = field(repr=False)
    tls_certificate: x509.Certificate
    ssh_key: ed25519.Ed25519PrivateKey = field(repr=False)
    ssh_certificate: str
    expires: float


def make_credentials(
    *,
    cluster: ClusterName,
    cluster_ca: X509Authority,
    host_ca: SshAuthority,
    hub_names: Iterable[str],
    public_host: str,
    serial: int,
    now: float,
) -> HubCredentials:
    """Fresh keys, certified for every name and address by which the hub is reached."""
    names = tuple(hub_names)
    addresses = [*_LOOPBACK, *([public_host] if is_address(public_host) else [])]
    tls_key = ec.generate_private_key(ec.SECP256R1())
    ssh_key = ed25519.Ed25519PrivateKey.generate()
    ssh_public = ssh_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return HubCredentials(
        tls_key=tls_key,
        tls_certificate=issue_hub(
            cluster_ca,
            tls_key.public_key(),
            HubIdentity(cluster),
            names=hub_dns_names(names),
            addresses=addresses,
            now=now,
            lifetime=LIFETIME,
        ),
        ssh_key=ssh_key,
        ssh_certificate=sshcert.issue_host(
            host_ca,
            ssh_public.decode(),
            agent_id=None,
            principals=[*names, *addresses, "localhost"],
            serial=serial,
            now=now,
            lifetime=LIFETIME,
        ),
        expires=now + LIFETIME,
    )
