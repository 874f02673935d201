"""OpenSSH and OpenSSL believe the certificates that our authorities sign."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from mezite.identity import sshissuing, x509
from mezite.identity.authority import SshAuthority, X509Authority
from mezite.names import AgentId, ClusterName, LoginName, NodeName, UserName
from tests.identity import forge
from tests.identity.forge import PrivateKey, public_line

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:" + os.environ.get("PATH", ""))
CLUSTER = ClusterName("hub.example.com")
AGENT = AgentId.new()
ADA = UserName("ada")
START = 10.0


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SkipTest(f"{name} is not installed")
    return found


def write_key(path: Path, key: PrivateKey, certificate: str | None = None) -> Path:
    """A private key as OpenSSH wants it, and its certificate where OpenSSH looks for it."""
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    path.write_bytes(pem)
    path.chmod(0o600)
    if certificate is not None:
        path.with_name(f"{path.name}-cert.pub").write_text(certificate + "\n")
    return path


class KeygenTests(SynchronousTestCase):
    def described(self, line: str) -> str:
        path = Path(self.mktemp())
        path.write_text(line + "\n")
        done = subprocess.run(
            [program("ssh-keygen"), "-L", "-f", str(path)],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
            env={"TZ": "UTC", "PATH": os.environ["PATH"]},
        )
        return " ".join(done.stdout.split())

    def test_user(self) -> None:
        """ssh-keygen reads in a user's certificate what was put there."""
        authority = SshAuthority.generate()
        for key in (Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
            text = self.described(
                sshissuing.issue_user(
                    authority,
                    public_line(key),
                    user=ADA,
                    logins=[LoginName("root"), LoginName("ada")],
                    serial=2**63 + 1,
                    now=1_800_000_000,
                    lifetime=43200,
                )
            )
            self.assertIn("user certificate", text)
            self.assertIn('Key ID: "ada"', text)
            self.assertIn(f"Serial: {2**63 + 1}", text)
            self.assertIn("Valid: from 2027-01-15T07:59:00 to 2027-01-15T20:00:00", text)
            self.assertIn("Principals: ada root Critical Options: (none)", text)
            self.assertIn("Extensions: permit-port-forwarding permit-pty", text)

    def test_token(self) -> None:
        """ssh-keygen reads certificates over keys on tokens, and critical options."""
        for key in (Ed25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())):
            text = self.described(
                sshissuing.issue_user(
                    SshAuthority.generate(),
                    forge.public_line(forge.Token(key)),
                    user=ADA,
                    logins=[LoginName("root")],
                    serial=7,
                    now=1_800_000_000,
                    lifetime=43200,
                    critical_options={"verify-required": b"", "force-command": b"/bin/w -h"},
                )
            )
            self.assertIn("Type: sk-", text)
            self.assertIn("Critical Options: force-command /bin/w -h verify-required", text)

    def test_host(self) -> None:
        """ssh-keygen reads in a host's certificate what was put there."""
        text = self.described(
            sshissuing.issue_host(
                SshAuthority.generate(),
                public_line(Ed25519PrivateKey.generate()),
                agent_id=AGENT,
                principals=["db1", "db1.hub.example.com"],
                serial=1,
                now=1_800_000_000,
                lifetime=86400,
            )
        )
        self.assertIn("host certificate", text)
        self.assertIn(f'Key ID: "{AGENT}"', text)
        self.assertIn("Principals: db1 db1.hub.example.com Critical Options: (none)", text)

    def test_authority_key(self) -> None:
        """ssh-keygen opens an authority's key file with its passphrase."""
        authority = SshAuthority.generate()
        path = Path(self.mktemp())
        path.write_bytes(authority.to_pem(b"correct horse"))
        path.chmod(0o600)
        done = subprocess.run(
            [program("ssh-keygen"), "-y", "-P", "correct horse", "-f", str(path)],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        self.assertEqual(done.stdout.strip(), authority.public_line())


class SshdTests(SynchronousTestCase):
    """A stock sshd that trusts our user CA, and stock clients that trust our host CA."""

    def setUp(self) -> None:
        if SSHD is None:
            raise SkipTest("sshd is not installed")
        # sshd wants absolute paths, none of them writable by others.
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True, mode=0o700)
        self.account = LoginName(pwd.getpwuid(os.getuid()).pw_name)
        self.user_ca, self.host_ca = SshAuthority.generate(), SshAuthority.generate()
        self.user_key, host_key = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
        host_certificate = sshissuing.issue_host(
            self.host_ca,
            public_line(host_key),
            agent_id=AGENT,
            principals=["db1"],
            serial=1,
            now=time.time(),
            lifetime=3600,
        )
        write_key(self.directory / "host", host_key, host_certificate)
        (self.directory / "user_ca.pub").write_text(self.user_ca.public_line() + "\n")
        self.trust(self.host_ca)
        self.port = self.start()

    def trust(self, authority: SshAuthority) -> None:
        line = f"@cert-authority * {authority.public_line()}\n"
        (self.directory / "known_hosts").write_text(line)

    def start(self) -> int:
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port: int = free.getsockname()[1]
        configuration = self.directory / "sshd_config"
        configuration.write_text(
            f"""
            ListenAddress 127.0.0.1:{port}
            PidFile none
            HostKey {self.directory}/host
            HostCertificate {self.directory}/host-cert.pub
            TrustedUserCAKeys {self.directory}/user_ca.pub
            AuthorizedKeysFile none
            AuthenticationMethods publickey
            PermitRootLogin yes
            StrictModes no
            UsePAM no
            """
        )
        assert SSHD is not None
        self.log = self.directory / "log"
        server = subprocess.Popen(
            [SSHD, "-D", "-f", str(configuration), "-E", str(self.log)],
            stdin=subprocess.DEVNULL,
        )
        self.addCleanup(server.wait, 10)
        self.addCleanup(server.terminate)
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            if server.poll() is not None:
                raise AssertionError(f"sshd does not start: {self.log.read_text()}")
            with socket.socket() as trial:
                if trial.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            time.sleep(0.05)
        raise AssertionError("sshd does not listen")

    def ssh(
        self,
        logins: Sequence[LoginName],
        *,
        lifetime: float = 600,
        issued: float | None = None,
        alias: str = "db1",
        authority: SshAuthority | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command over ssh, with a certificate of this user."""
        certificate = sshissuing.issue_user(
            authority or self.user_ca,
            public_line(self.user_key),
            user=ADA,
            logins=logins,
            serial=2,
            now=time.time() if issued is None else issued,
            lifetime=lifetime,
        )
        write_key(self.directory / "id", self.user_key, certificate)
        return subprocess.run(
            [
                program("ssh"),
                *("-F", "none", "-i", str(self.directory / "id"), "-p", str(self.port)),
                *("-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none"),
                *("-o", f"UserKnownHostsFile={self.directory}/known_hosts"),
                *("-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes"),
                *("-o", f"HostKeyAlias={alias}", "-o", "ConnectTimeout=10"),
                *(f"{self.account}@127.0.0.1", "echo through; exit 7"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )

    def test_accepted(self) -> None:
        """sshd lets our user in, and ssh believes our host."""
        done = self.ssh([self.account])
        self.assertEqual((done.stdout, done.returncode), ("through\n", 7), done.stderr)
        self.assertIn("ID ada (serial 2)", self.log.read_text())

    def test_other_login(self) -> None:
        """sshd refuses a login that is not among the principals."""
        done = self.ssh([LoginName("somebody-else")])
        self.assertEqual(done.returncode, 255)
        self.assertIn("Permission denied", done.stderr)

    def test_other_authority(self) -> None:
        """sshd refuses the certificate of another authority."""
        done = self.ssh([self.account], authority=SshAuthority.generate())
        self.assertEqual(done.returncode, 255)
        self.assertIn("Permission denied", done.stderr)

    def test_expired(self) -> None:
        """sshd refuses a certificate whose time is over."""
        done = self.ssh([self.account], issued=time.time() - 3600)
        self.assertEqual(done.returncode, 255)

    def test_other_host(self) -> None:
        """ssh refuses a host certificate for another name, or of another authority."""
        done = self.ssh([self.account], alias="db2")
        self.assertEqual(done.returncode, 255)
        self.assertIn("verification failed", done.stderr)
        self.trust(SshAuthority.generate())
        self.assertEqual(self.ssh([self.account]).returncode, 255)


class OpensslTests(SynchronousTestCase):
    def test_verify(self) -> None:
        """openssl verifies every profile, at its strictest and for its purpose only."""
        now = time.time()
        authority = X509Authority.generate(CLUSTER, now)
        key = ec.generate_private_key(ec.SECP256R1()).public_key()
        ca = Path(self.mktemp())
        ca.write_bytes(authority.certificate_pem)
        node = x509.NodeIdentity(CLUSTER, AGENT, NodeName("db1"))
        issued = {
            "node": x509.issue_node(authority, key, node, now=now, lifetime=60),
            "user": x509.issue_user(
                authority, key, x509.UserIdentity(CLUSTER, ADA), now=now, lifetime=60
            ),
            "hub": x509.issue_hub(
                authority,
                key,
                x509.HubIdentity(CLUSTER),
                names=x509.hub_dns_names([CLUSTER.text]),
                addresses=["127.0.0.1", "::1"],
                now=now,
                lifetime=60,
            ),
        }
        for what, certificate in issued.items():
            leaf = Path(self.mktemp())
            leaf.write_bytes(certificate.public_bytes(Encoding.PEM))
            for purpose in ("sslserver", "sslclient"):
                done = subprocess.run(
                    [
                        *(program("openssl"), "verify", "-x509_strict", "-purpose", purpose),
                        *("-CAfile", str(ca), str(leaf)),
                    ],
                    capture_output=True,
                    text=True,
                    timeout=20,
                )
                is_right = (purpose == "sslserver") == (what == "hub")
                self.assertEqual(done.returncode == 0, is_right, f"{what} {purpose} {done}")
