"""
All authorities of a cluster, as they are at one moment.

A value: each step of a rotation makes another one, with a higher generation,
and whoever holds the newest is told by that number that theirs is old.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from typing import Any, Final

from attrs import evolve, field, frozen
from cryptography.hazmat.primitives.serialization import Encoding

from mezite.identity.authority import SshAuthority, X509Authority
from mezite.identity.error import AuthorityExpired
from mezite.identity.succession import Kind, Phase, Succession, succession_of
from mezite.names import ClusterName

_FIELDS: Final = {Kind.USER: "users", Kind.HOST: "hosts", Kind.TLS: "tls"}


@frozen
class Authorities:
    """
    Who signs for a cluster, and who is trusted in it.

    A lone authority may be given in the place of a succession.
    """

    cluster: ClusterName
    users: Succession[SshAuthority] = field(converter=succession_of)
    hosts: Succession[SshAuthority] = field(converter=succession_of)
    tls: Succession[X509Authority] = field(converter=succession_of)
    generation: int = 1

    @property
    def user_ca(self) -> SshAuthority:
        """The one that signs users' SSH keys."""
        return self.users.signing

    @property
    def host_ca(self) -> SshAuthority:
        """The one that signs SSH host keys."""
        return self.hosts.signing

    @property
    def cluster_ca(self) -> X509Authority:
        """The one that signs X.509 certificates."""
        return self.tls.signing

    def of(self, kind: Kind) -> Succession[Any]:
        succession: Succession[Any] = getattr(self, _FIELDS[kind])
        return succession

    def replaced(self, kind: Kind, succession: Succession[Any]) -> Authorities:
        """With this in the place of what was there, one generation later."""
        if succession.phase is not Phase.STANDBY:
            # What is forgotten at the end needs to be learned by nobody.
            succession = evolve(succession, generation=self.generation + 1)
        changed: dict[str, Any] = {_FIELDS[kind]: succession, "generation": self.generation + 1}
        return evolve(self, **changed)

    @property
    def user_blobs(self) -> tuple[bytes, ...]:
        """What users' SSH certificates may be signed with."""
        return tuple(authority.public_blob for authority in self.users.trusted)

    @property
    def user_lines(self) -> tuple[str, ...]:
        """The same, one public key line each, the one that signs first."""
        return tuple(a.public_line(f"{self.cluster}-user-ca") for a in self.users.trusted)

    @property
    def host_lines(self) -> tuple[str, ...]:
        """What SSH host certificates may be signed with, one public key line each."""
        return tuple(a.public_line(f"{self.cluster}-host-ca") for a in self.hosts.trusted)

    @property
    def tls_pem(self) -> bytes:
        """What X.509 certificates may be signed with, PEM, the one that signs first."""
        return b"".join(authority.certificate_pem for authority in self.tls.trusted)

    @property
    def links_pem(self) -> bytes:
        """
        Each X.509 authority's word for the other, PEM; nothing where there is one.

        Who knows one of the two only, by its pin or from before, learns by them
        that the other is the same cluster's.
        """
        links = []
        for one in self.tls.trusted:
            for other in self.tls.trusted:
                # The pin of one that has ended is of no use any more.
                with contextlib.suppress(AuthorityExpired):
                    if one is not other:
                        links.append(one.vouch_for(other).public_bytes(Encoding.PEM))
        return b"".join(links)


def fingerprint_of(authority: SshAuthority | X509Authority) -> str:
    """
    An authority's name for people.

    As ``ssh-keygen -l`` writes it, ``SHA256:`` and base64; of an X.509 authority, its pin.
    """
    if isinstance(authority, X509Authority):
        return authority.pin
    digest = hashlib.sha256(authority.public_blob).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"
