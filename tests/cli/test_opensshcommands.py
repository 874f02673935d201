"""Tests of mezctl's commands about servers without an agent."""

from __future__ import annotations

from pathlib import Path

from tests.cli.test_mezctl import MezctlTestCase

PRINT = "SHA256:" + "A" * 43


class OpenSshCommandTests(MezctlTestCase):
    def add(self, *words: str) -> list[str]:
        return ["nodes", "add", "--openssh", "db9", "--addr", "10.0.0.9:22", *words]

    def test_add(self) -> None:
        """A server is added with its labels, and listed as one without an agent."""
        words = self.add("--host-key", PRINT, "--labels", "env=prod,team=db", "--labels", "x=1")
        self.assertEqual(self.mezctl(*words).out, "Server db9 at 10.0.0.9:22 was added.\n")
        self.assertEqual(
            dict(self.hub.nodes["db9"].labels), {"env": "prod", "team": "db", "x": "1"}
        )
        (row,) = self.mezctl("nodes", "ls", "--format=json").json
        self.assertEqual((row["status"], row["kind"]), ("agentless", "openssh"))
        self.assertIn(PRINT, self.mezctl("nodes", "show", "db9").out)

    def test_authorities(self) -> None:
        """An authority is a line, or the lines of a file."""
        path = Path(self.mktemp())
        path.write_text("# ours\nssh-ed25519 AAAA one\n\n@cert-authority * ssh-ed25519 BBBB\n")
        words = self.add("--host-ca", str(path), "--host-ca", "ssh-ed25519 CCCC", "--format=json")
        (row,) = self.mezctl(*words).json
        self.assertEqual(
            row["host_authorities"],
            ["ssh-ed25519 AAAA one", "@cert-authority * ssh-ed25519 BBBB", "ssh-ed25519 CCCC"],
        )
        path.write_text("\n")
        self.refused(2, *self.add("--host-ca", str(path)))
        self.refused(2, *self.add("--host-ca", "/nowhere"))

    def test_refused(self) -> None:
        """What is no name or no label, or leaves open what the server is known by."""
        self.refused(2, *self.add())
        self.refused(2, *self.add("--host-key", PRINT, "--labels", "env"))
        self.refused(2, "nodes", "add", "--openssh", "a b", "--addr", "h", "--host-key", PRINT)

    def test_setup(self) -> None:
        """What an sshd needs is printed with the lines of the authority, or these alone."""
        self.assertEqual(self.mezctl("openssh", "setup", "--user-ca").out, "ssh-ed25519 AAAA one\n")
        shown = self.mezctl("openssh", "setup").out
        self.assertIn("TrustedUserCAKeys /etc/ssh/mezite_user_ca.pub", shown)
        self.assertIn("\nssh-ed25519 AAAA one\n", shown)
        (row,) = self.mezctl("openssh", "setup", "--format=json").json
        self.assertEqual(row["user_ca_lines"], ["ssh-ed25519 AAAA one"])
