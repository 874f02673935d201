"""
The hub's own keys and certificates, made at its start, and whom it believes.

The keys live in memory only: the hub holds the authorities, so it makes
itself new ones whenever it starts, and before they end. Nothing needs to be
renewed by hand, and no key of the hub can be copied from its disk.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import Final

from attrs import field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from twisted.logger import Logger

from mezite.config.hub import HubConfig
from mezite.identity import sshissuing
from mezite.identity.authorities import Authorities
from mezite.identity.authority import SshAuthority, X509Authority
from mezite.identity.error import AuthorityExpired
from mezite.identity.x509 import HubIdentity, hub_dns_names, issue_hub
from mezite.names import ClusterName, is_address
from mezite.ssh.hostkeys import HostKey, ReplaceableHostKey
from mezite.wire.contexts import HubContexts
from mezite.wire.credentials import Credentials

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

    @property
    def tls(self) -> Credentials:
        """As TLS contexts take them."""
        return Credentials(
            certificate_pem=self.tls_certificate.public_bytes(Encoding.PEM),
            key_pem=self.tls_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )

    @property
    def host_key(self) -> HostKey:
        """As SSH servers take them."""
        return HostKey.of(self.ssh_key, self.ssh_certificate)


class OwnCertificates:
    """
    What the hub shows to those who come, and whom it believes among them.

    Replaced while it runs, without a connection that drops: ``contexts`` and
    ``ssh_key`` are for those that begin.
    """

    _log = Logger()

    def __init__(
        self,
        config: HubConfig,
        authorities: Authorities,
        wall_clock: Callable[[], float],
        web: Credentials | None,
    ) -> None:
        self._config = config
        self._authorities = authorities
        self._wall_clock = wall_clock
        self._credentials = self._made()
        self.ssh_key = ReplaceableHostKey(self._credentials.host_key)
        self.contexts = HubContexts(
            hub_names=config.hub_names,
            authorities_pem=authorities.tls_pem,
            links_pem=authorities.links_pem,
            hub=self._credentials.tls,
            web=web,
        )

    @property
    def expires(self) -> float:
        """When what the hub shows ends, in POSIX seconds."""
        return self._credentials.expires

    def renew(self) -> None:
        """Make new ones, once half of the life of these is over."""
        if self._wall_clock() > self._credentials.expires - LIFETIME / 2:
            self.rotate(self._authorities)
            self._log.info("the hub's certificates were renewed")

    def rotate(self, authorities: Authorities) -> None:
        """Believe these from now on, and show certificates of those that sign."""
        self._authorities = authorities
        try:
            self._credentials = self._made()
        except AuthorityExpired as error:
            # The next authority is there already, and is what helps.
            self._log.error("the hub's certificates stay as they were: {error}", error=error)
        self.contexts.rotate(
            hub=self._credentials.tls,
            authorities_pem=authorities.tls_pem,
            links_pem=authorities.links_pem,
        )
        self.ssh_key.replace(self._credentials.host_key)

    def _made(self) -> HubCredentials:
        return make_credentials(
            cluster=self._authorities.cluster,
            cluster_ca=self._authorities.cluster_ca,
            host_ca=self._authorities.host_ca,
            hub_names=self._config.hub_names,
            public_host=self._config.public_addr.host,
            serial=secrets.randbits(63),
            now=self._wall_clock(),
        )


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
        ssh_certificate=sshissuing.issue_host(
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
