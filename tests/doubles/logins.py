"""
Logins as a hub would have issued them, without a hub.
"""

from __future__ import annotations

from pathlib import Path

from attrs import field, frozen
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mezite.client.profile import Credentials, Profile, Profiles
from mezite.identity import sshissuing, x509
from mezite.identity.authority import AUTHORITY_LIFETIME, SshAuthority, X509Authority
from mezite.names import AgentId, ClusterName, HostPort, LoginName, NodeName, UserName

CLUSTER = ClusterName.parse("hub.example.com")


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@frozen(eq=False)
class Cluster:
    """The authorities of a cluster, which issue what a test asks for."""

    now: float
    name: ClusterName = CLUSTER
    user_authority: SshAuthority = field(factory=SshAuthority.generate)
    host_authority: SshAuthority = field(factory=SshAuthority.generate)
    x509_authority: X509Authority = field()

    @x509_authority.default
    def _generate(self) -> X509Authority:
        return X509Authority.generate(self.name, self.now - 60, AUTHORITY_LIFETIME)

    def credentials(self, user: str, logins: list[str], lifetime: float) -> Credentials:
        ssh_key = Ed25519PrivateKey.generate()
        public_line = (
            ssh_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
        )
        tls_key = ec.generate_private_key(ec.SECP256R1())
        tls_public_key = tls_key.public_key().public_bytes(
            Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
        )
        ssh_certificate, tls_certificate = self.certify(
            user, logins, lifetime, public_line, tls_public_key
        )
        return Credentials(
            ssh_key=ssh_key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
            ssh_public_line=public_line,
            ssh_certificate=ssh_certificate,
            tls_key=key_pem(tls_key),
            tls_certificate=tls_certificate,
            cluster_ca=self.x509_authority.certificate_pem,
            host_authorities=(self.host_authority.public_line(),),
        )

    def certify(
        self, user: str, logins: list[str], lifetime: float, public_line: str, tls_public_key: bytes
    ) -> tuple[str, bytes]:
        """Certificates for these keys: SSH as a line, X.509 as PEM."""
        name = UserName.parse(user)
        ssh_certificate = sshissuing.issue_user(
            self.user_authority,
            public_line,
            user=name,
            logins=[LoginName.parse(login) for login in logins],
            serial=1,
            now=self.now,
            lifetime=lifetime,
        )
        tls_certificate = x509.issue_user(
            self.x509_authority,
            x509.load_public_key(tls_public_key),
            x509.UserIdentity(self.name, name),
            now=self.now,
            lifetime=lifetime,
        )
        return ssh_certificate, tls_certificate.public_bytes(Encoding.PEM)

    def log_in(
        self,
        home: Path,
        hub: str,
        *,
        user: str = "ada",
        logins: tuple[str, ...] = ("ada", "root"),
        lifetime: float = 3600.0,
    ) -> Profile:
        """A login at this hub, with its files."""
        profiles = Profiles(home)
        address = HostPort.parse(hub)
        profile = Profile(
            directory=profiles.directory_of(address),
            hub=address,
            hub_name=self.name.text,
            cluster=self.name,
            user=UserName.parse(user),
            logins=tuple(LoginName.parse(login) for login in logins),
            valid_before=self.now + lifetime,
        )
        profiles.save(profile, self.credentials(user, list(logins), lifetime))
        return profile

    def hub_files(self, directory: Path) -> tuple[Path, Path, Path]:
        """What a hub's TLS needs: certificate chain, key, and authority, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = x509.issue_hub(
            self.x509_authority,
            key.public_key(),
            x509.HubIdentity(self.name),
            names=[self.name.text],
            addresses=["127.0.0.1"],
            now=self.now,
            lifetime=3600,
        )
        return self._write(directory, certificate.public_bytes(Encoding.PEM), key)

    def node_files(self, directory: Path) -> tuple[Path, Path, Path]:
        """A node's certificate, which somebody might pass off as a hub's."""
        key = ec.generate_private_key(ec.SECP256R1())
        identity = x509.NodeIdentity(self.name, AgentId.new(), NodeName.parse("db1"))
        certificate = x509.issue_node(
            self.x509_authority, key.public_key(), identity, now=self.now, lifetime=3600
        )
        return self._write(directory, certificate.public_bytes(Encoding.PEM), key)

    def _write(
        self, directory: Path, certificate: bytes, key: ec.EllipticCurvePrivateKey
    ) -> tuple[Path, Path, Path]:
        directory.mkdir(parents=True, exist_ok=True)
        paths = (directory / "hub.crt", directory / "hub.key", directory / "ca.crt")
        authority = self.x509_authority.certificate_pem
        for path, content in zip(
            paths, (certificate + authority, key_pem(key), authority), strict=True
        ):
            path.write_bytes(content)
        return paths
