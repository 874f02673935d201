"""What dies comes back, or is noticed; names cannot be taken."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from mezite.cli.local import LocalCluster
from tests.end_to_end.conftest import LOGIN


@pytest.fixture(scope="module")
def fresh(empty_cluster: LocalCluster) -> LocalCluster:
    """A cluster of their own, since these tests break it; each with its own nodes."""
    return empty_cluster


class RecoveryTests:
    """Processes that are killed."""

    def test_hub_killed(self, fresh: LocalCluster) -> None:
        """After kill -9 of the hub both agents are back within 5 s of the port's opening."""
        fresh.start_agent("db1")
        fresh.start_agent("web1")
        fresh.wait_online("db1", "web1")
        fresh._running[0].kill()
        time.sleep(1)
        fresh.start_hub()
        opened = time.monotonic()
        fresh.wait_online("db1", "web1", seconds=5)
        assert time.monotonic() - opened < 5
        done = fresh.run("msh", "ssh", f"{LOGIN}@db1", "echo back")
        assert done.stdout == b"back\n", done.stderr

    def test_agent_killed(self, fresh: LocalCluster) -> None:
        """After kill -9 of an agent it is offline, and a session fails at once in a sentence."""
        agent = fresh.start_agent("killed1")
        fresh.wait_online("killed1")
        agent.kill()
        deadline = time.monotonic() + 30
        while fresh.nodes()["killed1"]["status"] != "offline":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        begun = time.monotonic()
        done = fresh.run("msh", "ssh", f"{LOGIN}@killed1", "true")
        assert time.monotonic() - begun < 5
        assert done.returncode == 255
        assert b"killed1 is not connected" in done.stderr

    def test_agent_comes_back(self, fresh: LocalCluster) -> None:
        """An agent that is started again needs no new token; a spent one does no harm."""
        token = fresh.new_token()
        agent = fresh.start_agent("back1", token=token)
        fresh.wait_online("back1")
        first = fresh.nodes()["back1"]["agent_id"]
        agent.stop()
        fresh.start_agent("back1", token=token)
        fresh.wait_online("back1")
        assert fresh.nodes()["back1"]["agent_id"] == first


class JoinTests:
    """Names and tokens."""

    def test_name_taken(self, fresh: LocalCluster, tmp_path: Path) -> None:
        """A second machine with the first one's name is refused, naming who holds it."""
        fresh.start_agent("taken1")
        fresh.wait_online("taken1")
        holder = fresh.nodes()["taken1"]["agent_id"]
        token = fresh.new_token()
        second = fresh.start(
            "impostor",
            [
                "twist",
                "mezd",
                f"--data-dir={tmp_path / 'impostor'}",
                f"--hub={fresh.address}",
                f"--token={token['token']}",
                f"--ca-pin={token['ca_pin']}",
                "--hostname=taken1",
            ],
        )
        assert second.process.wait(30) != 0
        assert holder in second.text()
        assert "Traceback" not in second.text()
        assert fresh.nodes()["taken1"]["agent_id"] == holder

    def test_token_spent(self, fresh: LocalCluster) -> None:
        """A token joins one node."""
        token = fresh.new_token()
        fresh.start_agent("spent1", token=token)
        fresh.wait_online("spent1")
        second = fresh.start_agent("spent2", token=token)
        assert second.process.wait(30) != 0
        assert "Traceback" not in second.text()
        assert "spent2" not in fresh.nodes()

    def test_removed_node(self, fresh: LocalCluster) -> None:
        """A node that is removed is gone at once, and its certificate no longer counts."""
        fresh.start_agent("removed1")
        fresh.wait_online("removed1")
        fresh.admin("nodes", "rm", "removed1")
        assert "removed1" not in fresh.nodes()
        done = fresh.run("msh", "ssh", f"{LOGIN}@removed1", "true")
        assert done.returncode == 255
        time.sleep(2)
        assert "removed1" not in fresh.nodes()
