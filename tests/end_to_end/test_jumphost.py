"""The hub as a jump host: an SSH certificate and any TLS pipe are enough."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mezite.cli.local import LocalCluster
from tests.end_to_end.conftest import LOGIN


@pytest.fixture(scope="module")
def jump_config(cluster: LocalCluster) -> Path:
    return write_jump_config(cluster)


def write_jump_config(cluster: LocalCluster) -> Path:
    """A configuration without msh: the hub through openssl, the nodes through the hub."""
    (home,) = (path.parent for path in (cluster.directory / "msh").glob("*/profile.json"))
    config = cluster.directory / "jump_config"
    config.write_text(
        "Host *\n"
        f"  User {LOGIN}\n"
        f"  IdentityFile {home}/user.key\n"
        f"  CertificateFile {home}/user-cert.pub\n"
        f"  UserKnownHostsFile {home}/known_hosts\n"
        "  IdentitiesOnly yes\n"
        "  StrictHostKeyChecking yes\n"
        "  BatchMode yes\n"
        "Host demo\n"
        f"  ProxyCommand openssl s_client -quiet -verify_quiet -connect {cluster.address}"
        f" -servername demo -alpn mezite-ssh -CAfile {home}/ca.pem -verify_return_error\n"
    )
    return config


def through(config: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Stock ssh with ``-J`` over the hub."""
    return subprocess.run(
        ["ssh", "-F", str(config), *words],
        input=b"",
        capture_output=True,
        timeout=60,
        check=False,
    )


class JumpHostTests:
    """What ``ssh -J`` reaches, and what not."""

    @pytest.mark.parametrize("name", ["db1", "db1.demo"])
    def test_node(self, jump_config: Path, name: str) -> None:
        """A node is reached by its name, bare or before the hub's."""
        done = through(jump_config, "-J", "demo", name, "echo there; exit 7")
        assert (done.returncode, done.stdout) == (7, b"there\n"), done.stderr

    def test_unknown_node(self, jump_config: Path) -> None:
        """A node that is not there is refused in a sentence."""
        done = through(jump_config, "-J", "demo", "db9", "true")
        assert done.returncode == 255
        assert b"there is no node db9" in done.stderr

    def test_no_other_port(self, jump_config: Path) -> None:
        """The hub leads to nodes' SSH servers and to no other port."""
        done = through(jump_config, "-W", "127.0.0.1:80", "demo")
        assert done.returncode == 255
        assert b"to no other" in done.stderr

    def test_no_shell(self, jump_config: Path) -> None:
        """There is no shell on the hub."""
        done = through(jump_config, "demo", "true")
        assert done.returncode == 255
        assert b"jump host" in done.stderr
