"""Tests of the configuration for OpenSSH."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.error import DamagedProfile
from mezite.client.openssh import ssh_config
from mezite.error import BadInput
from mezite.names import LoginName
from tests.doubles.logins import Cluster

NOW = 1_800_000_000.0


class SshConfigTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.profile = Cluster(NOW).log_in(self.home, "hub.example.com:3080")

    def test_whole(self) -> None:
        """All that ssh needs is in one block."""
        directory = self.profile.directory
        self.assertEqual(
            ssh_config(self.profile, ["/usr/bin/msh"], login=LoginName("root")),
            f"""\
# ada at hub.example.com:3080, written by msh config.
Host *
    User root
    IdentityFile "{directory}/user.key"
    CertificateFile "{directory}/user-cert.pub"
    IdentitiesOnly yes
    UserKnownHostsFile "{directory}/known_hosts"
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    CheckHostIP no
    UpdateHostKeys no
    Ciphers aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr
    ServerAliveInterval 15
    ServerAliveCountMax 22
    ProxyCommand /usr/bin/msh proxy ssh --profile {directory} %h:%p
""",
        )

    def test_odd_paths(self) -> None:
        """Spaces, quotes for the shell, and percent signs are written so that ssh reads them."""
        odd = evolve(self.profile, directory=Path("/home/a b/100%/it's"))
        text = ssh_config(odd, ["/opt/my tools/msh"])
        self.assertIn('IdentityFile "/home/a b/100%%/it\'s/user.key"\n', text)
        self.assertIn(
            "ProxyCommand '/opt/my tools/msh' proxy ssh"
            " --profile '/home/a b/100%%/it'\"'\"'s' %h:%p\n",
            text,
        )

    def test_impossible_paths(self) -> None:
        """What ssh's syntax cannot carry is refused with a sentence."""
        for path in ('/a"b', "/a\\b", "/a\nProxyCommand evil", "/${HOME}"):
            odd = evolve(self.profile, directory=Path(path))
            self.assertRaises(DamagedProfile, ssh_config, odd, ["/usr/bin/msh"])
        self.assertRaises(DamagedProfile, ssh_config, self.profile, ["/usr/bin\n/msh"])

    def test_narrowed(self) -> None:
        """Patterns take the place of every host."""
        text = ssh_config(self.profile, ["/usr/bin/msh"], hosts=["db*", "!db9"])
        self.assertIn("\nHost db* !db9\n", text)
        self.assertNotIn("    User ", text)

    def test_patterns_refused(self) -> None:
        """A pattern cannot bring lines of its own."""
        for pattern in ("", "a b", "a\nHost *", '"', "#"):
            self.assertRaises(BadInput, ssh_config, self.profile, ["/usr/bin/msh"], hosts=[pattern])
