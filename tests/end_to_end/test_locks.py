"""Tests of locks that end live sessions, through stock ssh and mezctl."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mezite.cli.local import LocalCluster
from tests.end_to_end.conftest import LOGIN, USER
from tests.end_to_end.screen import Screen, screen_with

# Every change must have had its effect by then.
SECONDS = 2.0


@pytest.fixture(scope="module")
def cluster(own_cluster: LocalCluster) -> LocalCluster:
    """What is locked here would miss elsewhere."""
    return own_cluster


@pytest.fixture
def stock(cluster: LocalCluster, ssh_config: Path) -> list[str]:
    """Stock ssh to db1, with what msh config prints."""
    return ["ssh", "-F", str(ssh_config), "-tt", f"{LOGIN}@db1"]


@pytest.fixture
def shell(cluster: LocalCluster, stock: list[str]) -> Iterator[Screen]:
    """An interactive session that has begun."""
    with screen_with(stock, cluster.variables()) as screen:
        screen.type("exec env PS1='read''y> ' sh\n")
        screen.wait_for("ready> ")
        yield screen


def try_it(cluster: LocalCluster, stock: list[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*stock, "true"],
        env=dict(cluster.variables()),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
    )


def sessions(cluster: LocalCluster) -> list[dict[str, Any]]:
    return cluster.admin("sessions", "ls")


class LockTests:
    """A session that is open while somebody is locked."""

    def test_user(self, cluster: LocalCluster, shell: Screen, stock: list[str]) -> None:
        """It ends within two seconds with the message; none begins until the lock is gone."""
        (session,) = sessions(cluster)
        assert (session["user"], session["node"], session["login"]) == (USER, "db1", LOGIN)
        own = json.loads(cluster.succeed("msh", "sessions", "ls", "--format=json"))
        assert [row["session_id"] for row in own] == [session["session_id"]]
        (lock,) = cluster.admin("lock", f"--user={USER}", "--message=lost laptop, call 4711")
        began = time.monotonic()
        try:
            shell.wait_for(f"{USER} is locked: lost laptop, call 4711")
            assert shell.ends() != 0
            assert time.monotonic() - began < SECONDS
            assert sessions(cluster) == []
            refused = try_it(cluster, stock)
            assert refused.returncode == 255
            assert b"ada is locked: lost laptop, call 4711" in refused.stderr + refused.stdout
            listing = cluster.run("msh", "ls")
            assert listing.returncode != 0
            assert b"is locked: lost laptop" in listing.stderr
        finally:
            cluster.admin("locks", "rm", lock["lock_id"])
        assert try_it(cluster, stock).returncode == 0
        lines = cluster.succeed(
            "mezctl", f"--data-dir={cluster.hub_data}", "audit", "ls", "--format=json"
        )
        kinds = [json.loads(line)["event_type"] for line in lines.splitlines()]
        for kind in ("session.start", "lock.created", "session.end", "lock.deleted"):
            assert kind in kinds, kind

    def test_ended(self, cluster: LocalCluster, shell: Screen) -> None:
        """An administrator ends one session, and the person reads why."""
        (session,) = sessions(cluster)
        cluster.admin("sessions", "end", session["session_id"], "--message=the node restarts")
        shell.wait_for("an administrator ended this session: the node restarts")
        assert shell.ends() != 0

    def test_node(self, cluster: LocalCluster, shell: Screen, stock: list[str]) -> None:
        """The tunnel of a locked node is closed, and comes back by itself."""
        (lock,) = cluster.admin("lock", "--node=db1", "--message=compromised")
        try:
            shell.wait_for("the node db1 is locked: compromised")
            assert shell.ends() != 0
            refused = try_it(cluster, stock)
            assert b"the node db1 is locked: compromised" in refused.stderr + refused.stdout
        finally:
            cluster.admin("locks", "rm", lock["lock_id"])
        cluster.wait_online("db1")
        assert try_it(cluster, stock).returncode == 0

    def test_idle(self, cluster: LocalCluster, ssh_config: Path, stock: list[str]) -> None:
        """Roles end silent sessions, and bound how many there are."""
        role = cluster.directory / "strict.yaml"
        role.write_text(
            "{kind: role, version: v1, metadata: {name: strict},"
            " spec: {options: {idle_timeout: 5s, max_sessions: 1, record_session: off}}}\n"
        )
        cluster.admin("roles", "create", f"--from-file={role}")
        cluster.admin("users", "update", USER, "--roles=strict")
        try:
            with screen_with(stock, cluster.variables()) as screen:
                screen.type("exec env PS1='read''y> ' sh\n")
                screen.wait_for("ready> ")
                refused = try_it(cluster, stock)
                assert b"your roles allow one session at once" in refused.stderr + refused.stdout
                screen.wait_for("nothing moved for 5 s")
                assert screen.ends() != 0
        finally:
            cluster.admin("users", "update", USER, "--roles=")

    def test_disabled(self, cluster: LocalCluster, shell: Screen, stock: list[str]) -> None:
        """A user who is disabled loses the session within two seconds."""
        cluster.admin("users", "update", USER, "--disable")
        began = time.monotonic()
        try:
            shell.wait_for("your access has ended")
            assert shell.ends() != 0
            assert time.monotonic() - began < SECONDS
        finally:
            cluster.admin("users", "update", USER, "--enable")
        assert try_it(cluster, stock).returncode == 0
