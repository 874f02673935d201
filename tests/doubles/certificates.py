"""
A cluster's authority and what it has signed, made once for all tests.
"""

from __future__ import annotations

import time
from functools import cache

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mezite.identity.authority import X509Authority
from mezite.identity.x509 import (
    HubIdentity,
    NodeIdentity,
    UserIdentity,
    hub_dns_names,
    issue_hub,
    issue_node,
    issue_user,
)
from mezite.names import AgentId, ClusterName, NodeName, UserName
from mezite.wire.credentials import Credentials

HUB_NAME = "hub.example.com"
CLUSTER = ClusterName("example.com")
AGENT_ID = AgentId("8a4c6f0e-29c5-4d3b-9d0c-3a1f0f5a7b11")
NODE = NodeName("db1")
USER = UserName("ada")
_DAY = 86400.0


@frozen
class CertificateSet:
    """One authority, and credentials of each kind from it."""

    authority: X509Authority
    hub: Credentials
    node: Credentials
    user: Credentials
    expired_node: Credentials

    @property
    def ca_pem(self) -> bytes:
        return self.authority.certificate_pem


@cache
def certificate_set(name: str = "ours") -> CertificateSet:
    """The same one for the same name; sets of two names do not trust each other."""
    now = time.time()
    authority = X509Authority.generate(CLUSTER, now - 10 * _DAY, 3650 * _DAY)
    node = NodeIdentity(CLUSTER, AGENT_ID, NODE)
    return CertificateSet(
        authority,
        hub_credentials(authority),
        _credentials(lambda key: issue_node(authority, key, node, now=now, lifetime=_DAY)),
        _credentials(
            lambda key: issue_user(
                authority, key, UserIdentity(CLUSTER, USER), now=now, lifetime=_DAY
            )
        ),
        _credentials(
            lambda key: issue_node(authority, key, node, now=now - 5 * _DAY, lifetime=_DAY)
        ),
    )


def hub_credentials(authority: X509Authority, cluster: ClusterName = CLUSTER) -> Credentials:
    """A new key and certificate for a hub."""
    return _credentials(
        lambda key: issue_hub(
            authority,
            key,
            HubIdentity(cluster),
            names=hub_dns_names([HUB_NAME]),
            addresses=["127.0.0.1"],
            now=time.time(),
            lifetime=_DAY,
        )
    )


def leaf_of(credentials: Credentials) -> x509.Certificate:
    return x509.load_pem_x509_certificate(credentials.certificate_pem)


def _credentials(issue) -> Credentials:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = issue(key.public_key())
    return Credentials(
        certificate.public_bytes(Encoding.PEM),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )
