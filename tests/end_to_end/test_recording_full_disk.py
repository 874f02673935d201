"""Sessions where recordings find no room, on a real small disk."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from attrs import frozen

from mezite.cli.local import LocalCluster, local_cluster
from tests.end_to_end.chaos import SmallDisk
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.test_openssh_nodes import plain_node

LENIENT = "bea"
ROLE = f"""kind: role
version: v1
metadata: {{name: lenient}}
spec:
  options: {{record_session: best_effort}}
  allow: {{node_labels: {{"*": "*"}}, logins: [{LOGIN}]}}
"""
# It says so much and no more, whoever is still there to hear it.
TALKS = "n=0; while [ $n -lt 40 ]; do seq 1 200; n=$((n+1)); sleep 0.1; done; echo to the end"

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can mount a small disk")


@frozen
class World:
    """One node of each kind, the disk that its recordings wait on, and two people."""

    cluster: LocalCluster
    disks: dict[str, SmallDisk]

    def msh(self, user: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        self.cluster.environment["MSH_HOME"] = str(self.cluster.directory / f"home-{user}")
        return self.cluster.run("msh", *words)

    def begin(self, user: str, node: str) -> subprocess.Popen[bytes]:
        home = str(self.cluster.directory / f"home-{user}")
        return subprocess.Popen(
            [self.cluster.executable("msh"), "ssh", f"{LOGIN}@{node}", TALKS],
            env={**self.cluster.variables(), "MSH_HOME": home},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    directory = tmp_path_factory.mktemp("full")
    spools = {"db1": directory / "db1" / "recordings", "plain1": directory / "hub"}
    spools["plain1"] /= "openssh-recordings"
    with ExitStack() as stack:
        cluster = stack.enter_context(local_cluster(directory))
        # The bounds are not what is tested here.
        cluster.environment["MEZITE_AGENT_RECORDING_MIN_FREE"] = "0"
        cluster.environment["MEZITE_RECORDINGS_OPENSSH_MIN_FREE"] = "0"
        for spool in spools.values():
            spool.parent.mkdir(mode=0o700)
        disks = {
            name: stack.enter_context(SmallDisk.mounted(spool, "4m"))
            for name, spool in spools.items()
        }
        stack.callback(cluster.stop)
        cluster.start_hub()
        cluster.start_agent("db1")
        role = directory / "role.yaml"
        role.write_text(ROLE)
        cluster.admin("roles", "create", f"--from-file={role}")
        cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
        cluster.add_user(LENIENT, PASSWORD, "--roles=lenient")
        for user in (LENIENT, USER):
            cluster.environment["MSH_HOME"] = str(directory / f"home-{user}")
            cluster.log_in(user, PASSWORD)
        stack.enter_context(plain_node(cluster, directory / "sshd"))
        cluster.wait_online("db1")
        yield World(cluster, disks)


@pytest.mark.parametrize("node", ["db1", "plain1"])
class FullDiskTests:
    """A disk without a byte left."""

    def test_begins(self, world: World, node: str) -> None:
        """Who has to be recorded is refused with a sentence; who need not be comes in."""
        world.disks[node].fill()
        try:
            strict = world.msh(USER, "ssh", f"{LOGIN}@{node}", "echo there")
            assert strict.returncode != 0
            assert strict.stdout == b""
            assert b"this session has to be recorded, and cannot be" in strict.stderr
            assert b"Traceback" not in strict.stderr
            lenient = world.msh(LENIENT, "ssh", f"{LOGIN}@{node}", "echo there")
            assert (lenient.returncode, lenient.stdout) == (0, b"there\n"), lenient.stderr
        finally:
            world.disks[node].free()
        again = world.msh(USER, "ssh", f"{LOGIN}@{node}", "echo there")
        assert (again.returncode, again.stdout) == (0, b"there\n"), again.stderr

    def test_goes_on(self, world: World, node: str) -> None:
        """When it fills up, the one ends with a sentence, and the other goes on."""
        with world.begin(USER, node) as strict, world.begin(LENIENT, node) as lenient:
            try:
                for each in (strict, lenient):
                    assert each.stdout is not None
                    assert each.stdout.readline() == b"1\n"
                world.disks[node].fill()
                said = strict.communicate(timeout=60)
                assert strict.returncode != 0
                assert b"this session ends, because its recording cannot go on" in said[1]
                assert b"to the end" not in said[0]
                assert lenient.poll() is None
                heard = lenient.communicate(timeout=60)
                assert lenient.returncode == 0, heard[1]
                assert heard[0].endswith(b"to the end\n")
            finally:
                world.disks[node].free()
                strict.kill()
                lenient.kill()
        deadline = time.monotonic() + 30
        while rows := world.cluster.admin("recordings", "ls", "--state=live"):
            assert time.monotonic() < deadline, rows
            time.sleep(0.2)
        closed = world.cluster.admin("recordings", "ls", f"--node={node}", "--state=interrupted")
        assert {row["user"] for row in closed} == {USER, LENIENT}
        assert all("No space left" in row["reason"] or "full" in row["reason"] for row in closed)
