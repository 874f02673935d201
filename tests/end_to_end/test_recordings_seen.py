"""Recordings and live sessions, seen by msh from the hub."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mezite.cli.local import LocalCluster
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.screen import Screen, screen_with
from tests.end_to_end.test_openssh_nodes import plain_node

PATIENCE = 15


@pytest.fixture(scope="module")
def cluster(own_cluster: LocalCluster) -> LocalCluster:
    """Its recordings are counted here."""
    return own_cluster


def recordings(cluster: LocalCluster, *options: str) -> list[dict[str, Any]]:
    rows = json.loads(cluster.succeed("msh", "recordings", "ls", "--format=json", *options))
    assert isinstance(rows, list)
    return rows


def complete(cluster: LocalCluster, kind: str, node: str = "db1") -> dict[str, Any]:
    """The recording of this kind on this node, once it is whole."""
    deadline = time.monotonic() + PATIENCE
    while True:
        for row in recordings(cluster, "--state=complete"):
            if (row["kind"], row["node"]) == (kind, node):
                return row
        assert time.monotonic() < deadline, recordings(cluster)
        time.sleep(0.1)


def shell(cluster: LocalCluster, node: str) -> Any:
    command = [cluster.executable("msh"), "ssh", "-tt", f"{LOGIN}@{node}"]
    return screen_with(command, cluster.variables())


def prompt(screen: Screen) -> None:
    screen.type("exec env PS1='read''y> ' sh\n")
    screen.wait_for("ready> ")


@pytest.fixture(scope="module")
def plain(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server without an agent."""
    with plain_node(cluster, tmp_path_factory.mktemp("plain") / "sshd") as name:
        yield name


class SeenTests:
    """What was done on a node, as it is seen afterwards and meanwhile."""

    def test_command(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """A command's recording is listed, played exactly, exported, and found."""
        script = "printf 'a\\r\\nb \\377\\n'; echo wrong >&2; exit 3"
        done = cluster.run("msh", "ssh", f"{LOGIN}@db1", script)
        assert done.returncode == 3
        row = complete(cluster, "command")
        assert (row["user"], row["node"], row["kind"], row["command"]) == (
            USER,
            "db1",
            "command",
            script,
        )
        played = cluster.run("msh", "play", row["id"], "--format=text")
        assert (played.stdout, played.stderr) == (done.stdout, done.stderr)
        events = cluster.succeed("msh", "play", row["session_id"], "--format=json").splitlines()
        end = json.loads(events[-1])
        assert (end["type"], end["status"]) == ("exit", 3)

        target = tmp_path / "session.cast"
        cluster.succeed("msh", "recordings", "export", row["id"], f"--to={target}")
        assert target.stat().st_mode & 0o777 == 0o600
        again = cluster.run("msh", "recordings", "export", row["id"], f"--to={target}")
        assert again.returncode == 6
        cluster.succeed("msh", "recordings", "export", row["id"], f"--to={target}", "--force")
        piped = cluster.succeed("msh", "recordings", "export", row["id"], "--to=-")
        assert piped == target.read_bytes()
        chunks = tmp_path / "session.chunks"
        options = (f"--to={chunks}", "--format=chunks")
        cluster.succeed("msh", "recordings", "export", row["id"], *options)
        assert cluster.succeed("msh", "play", str(chunks), "--format=asciicast") == piped
        if (asciinema := shutil.which("asciinema")) is not None:
            shown = subprocess.run([asciinema, "cat", str(target)], capture_output=True, check=True)
            assert b"wrong" in shown.stdout
        assert sorted(os.listdir(tmp_path)) == ["session.cast", "session.chunks"]

        found = cluster.run("msh", "recordings", "grep", "WRONG", "-i")
        assert found.returncode == 0
        assert re.fullmatch(rf"{row['id']}:0:\d\d:wrong\n", found.stdout.decode())
        assert cluster.run("msh", "recordings", "grep", "never there").returncode == 1
        assert cluster.run("msh", "play", "nothing.1").returncode == 5

    def test_reviewer(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """Who has a role for it, and no login anywhere, sees the others' that it names."""
        role = tmp_path / "role.yaml"
        role.write_text(
            "kind: role\nversion: v1\nmetadata: {name: reviews}\nspec:\n"
            "  allow: {review_recordings: {node_labels: {env: prod}, users: ['*']}}\n"
        )
        cluster.admin("roles", "create", f"--from-file={role}")
        cluster.add_user("rita", PASSWORD, "--roles=reviews")
        for node, word in (("db1", "seen"), ("web1", "unseen")):
            cluster.succeed("msh", "ssh", f"{LOGIN}@{node}", f"echo {word}")
        wanted: dict[str, str] = {}
        deadline = time.monotonic() + PATIENCE
        while len(wanted) < 2:
            assert time.monotonic() < deadline, wanted
            for row in recordings(cluster, "--state=complete"):
                if row["command"] in ("echo seen", "echo unseen"):
                    wanted[row["node"]] = row["id"]
        cluster.log_in("rita", PASSWORD)
        try:
            mine = {row["id"] for row in recordings(cluster)}
            assert wanted["db1"] in mine
            assert wanted["web1"] not in mine
            assert cluster.succeed("msh", "play", wanted["db1"], "--format=text") == b"seen\n"
            assert cluster.run("msh", "play", wanted["web1"]).returncode == 5
            assert cluster.run("msh", "ssh", f"{LOGIN}@db1", "true").returncode != 0
        finally:
            cluster.log_in(USER, PASSWORD)
        data_dir = f"--data-dir={cluster.hub_data}"
        listed = ("audit", "ls", "--type=recording.played", "--format=json")
        (event,) = cluster.succeed("mezctl", data_dir, *listed, "--user=rita").splitlines()
        assert json.loads(event)["target"] == wanted["db1"]

    @pytest.mark.parametrize("node", ["db1", "plain1"])
    def test_watched(self, cluster: LocalCluster, plain: str, node: str) -> None:
        """Who watches a session sees what is written within a second, and its end."""
        with shell(cluster, node) as screen:
            prompt(screen)
            screen.type("echo before-$((40 + 2))\n")
            screen.wait_for("before-42")
            deadline = time.monotonic() + PATIENCE
            while not recordings(cluster, "--state=live"):
                assert time.monotonic() < deadline
                time.sleep(0.1)
            listed = json.loads(cluster.succeed("msh", "sessions", "ls", "--format=json"))
            (session,) = [row for row in listed if row["recordings"]]
            watch = [cluster.executable("msh"), "sessions", "watch", session["session_id"]]
            with (
                screen_with(watch, cluster.variables()) as now,
                screen_with([*watch, "--from-start"], cluster.variables()) as from_start,
            ):
                now.wait_for("before-42")
                from_start.wait_for("before-42")
                screen.type("echo after-$((40 + 3))\n")
                screen.wait_for("after-43")
                began = time.monotonic()
                now.wait_for("after-43")
                assert time.monotonic() - began < 1
                now.type("echo typed by a watcher\n")
                now.type("q")
                assert now.ends() == 0
                screen.type("exit\n")
                assert screen.ends() == 0
                from_start.wait_for("has ended")
                assert from_start.ends() == 0
        row = complete(cluster, "shell", node)
        text = cluster.succeed("msh", "play", row["id"], "--format=text")
        assert b"before-42\n" in text
        assert b"after-43\n" in text
        assert b"typed by" not in text
        again = cluster.run("msh", "sessions", "watch", row["id"])
        assert again.returncode == 5
        assert b"is over" in again.stderr
