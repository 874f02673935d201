"""Ansible through ``msh config``: many hosts at once over the tunnels of two nodes."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.conftest import LOGIN

HOSTS = 6
SECONDS = 180.0


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Ansible's home: its sockets lie below, whose paths have 108 bytes at most."""
    with tempfile.TemporaryDirectory(prefix="mz") as place:
        yield Path(place)


@pytest.fixture(scope="module")
def inventory(home: Path, ssh_config: Path) -> Path:
    """Hosts of several names, half of them on each node."""
    lines = [f"host{n} ansible_host={('db1', 'web1')[n % 2]}" for n in range(HOSTS)]
    lines += [
        "[all:vars]",
        f"ansible_user={LOGIN}",
        f"ansible_ssh_common_args='-F {ssh_config}'",
        "ansible_python_interpreter=/usr/bin/python3",
    ]
    (home / "ansible.cfg").touch()
    path = home / "hosts"
    path.write_text("\n".join(lines) + "\n")
    return path


def ansible(
    home: Path, inventory: Path, module: str, arguments: str = "", **variables: str
) -> dict[str, dict[str, Any]]:
    """Run one module on every host, all at once; what each answers."""
    answers = Path(tempfile.mkdtemp(dir=home))
    done = subprocess.run(
        ["ansible", "all", f"-i{inventory}", f"-f{HOSTS}", f"-t{answers}", "-m", module]
        + (["-a", arguments] if arguments else []),
        env={
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "ANSIBLE_HOME": str(home / "ansible"),
            "ANSIBLE_CONFIG": str(home / "ansible.cfg"),
            "ANSIBLE_LOCAL_TEMP": str(home / "local"),
            "ANSIBLE_REMOTE_TEMP": str(home / "remote"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(home / "cp"),
            **variables,
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return {path.name: json.loads(path.read_text()) for path in answers.iterdir()}


class AnsibleTests:
    """Debian's ansible-core, as it comes."""

    def test_ping(self, home: Path, inventory: Path) -> None:
        """Every host answers, by a module that is copied there."""
        answers = ansible(home, inventory, "ping")
        assert {name: answer["ping"] for name, answer in answers.items()} == {
            f"host{n}": "pong" for n in range(HOSTS)
        }

    @pytest.mark.parametrize("transfer", ["sftp", "piped"])
    def test_copy(self, home: Path, inventory: Path, transfer: str) -> None:
        """A file is copied to every host, by each of the ways that Ansible has."""
        source, target = home / "source", home / transfer
        source.write_bytes(os.urandom(1_000_000))
        target.mkdir()
        answers = ansible(
            home,
            inventory,
            "copy",
            f"src={source} dest={target}/{{{{inventory_hostname}}}} mode=0640",
            ANSIBLE_SSH_TRANSFER_METHOD=transfer,
        )
        assert all(answer["changed"] for answer in answers.values())
        for number in range(HOSTS):
            copied = target / f"host{number}"
            assert copied.read_bytes() == source.read_bytes()
            assert copied.stat().st_mode & 0o777 == 0o640

    def test_pipelining(self, home: Path, inventory: Path) -> None:
        """A module that is piped to its interpreter runs, with its two outputs told apart."""
        answers = ansible(
            home, inventory, "shell", "echo out; echo err >&2", ANSIBLE_PIPELINING="True"
        )
        assert {(a["stdout"], a["stderr"], a["rc"]) for a in answers.values()} == {
            ("out", "err", 0)
        }
