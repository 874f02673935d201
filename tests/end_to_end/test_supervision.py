"""What hub and agent tell whoever keeps them running."""

from __future__ import annotations

import json
import os
import stat
import time
from pathlib import Path

from mezite.cli.local import LocalCluster
from tests.doubles.servicemanager import NotifySocket


def told_by(cluster: LocalCluster, address: str) -> NotifySocket:
    """A socket which the programs that start next are to tell."""
    cluster.environment.update(NOTIFY_SOCKET=address, WATCHDOG_USEC="1000000")
    return NotifySocket(address)


def test_notify_socket(tmp_path: Path) -> None:
    """A service manager hears from both when they are ready, alive, in trouble and stopping."""
    cluster = LocalCluster(tmp_path)
    of_hub = told_by(cluster, str(tmp_path / "notify"))
    try:
        hub = cluster.start_hub()
        of_hub.wait_for("READY=1")
        assert "0 tunnels" in of_hub.wait_for("STATUS=listens on")
        of_hub.wait_for("WATCHDOG=1")
        of_agent = told_by(cluster, f"@mezite-test-{os.getpid()}")
        agent = cluster.start_agent("db1")
        of_agent.wait_for("STATUS=joining through")
        of_agent.wait_for("READY=1")
        of_agent.wait_for(f"STATUS=connected to {cluster.address} since ")
        of_agent.wait_for("WATCHDOG=1")
        assert "1 tunnel," in of_hub.wait_for("STATUS=listens on")
        hub.stop()
        of_hub.wait_for("STOPPING=1")
        of_agent.wait_for(f"STATUS=dialing {cluster.address} again at ")
        agent.stop()
        of_agent.wait_for("STOPPING=1")
        of_agent.close()
    finally:
        cluster.stop()
        of_hub.close()


def test_agent_status(tmp_path: Path) -> None:
    """The agent tells what it does while the hub is there, while it is away, and after."""
    cluster = LocalCluster(tmp_path)
    asking = ["mezctl", "agent", "status", f"--data-dir={tmp_path / 'db1'}", "--format=json"]
    try:
        hub = cluster.start_hub()
        agent = cluster.start_agent("db1")
        agent.wait_for("tunnel up")
        answer = cluster.run(*asking)
        (told,) = json.loads(answer.stdout)
        assert (answer.returncode, told["state"], told["node"]) == (0, "connected", "db1")
        assert stat.S_IMODE((tmp_path / "db1" / "status.sock").stat().st_mode) == 0o600
        hub.kill()
        agent.wait_for("tunnel down")
        answer = cluster.run(*asking)
        (told,) = json.loads(answer.stdout)
        assert answer.returncode == 1
        assert told["state"] in ("waiting", "connecting")
        assert cluster.address in told["error"]
        agent.kill()
        answer = cluster.run(*asking)
        assert answer.returncode == 1
        assert b"no agent runs with the data directory" in answer.stderr
    finally:
        cluster.stop()


def test_draining(tmp_path: Path) -> None:
    """An agent that was sent away comes back to the next hub when it was told to."""
    cluster = LocalCluster(tmp_path)
    try:
        hub = cluster.start_hub()
        agent = cluster.start_agent("db1")
        agent.wait_for("tunnel up")
        hub.stop()
        agent.wait_for("the hub is being stopped")
        agent.wait_for("dialing again in 2.0 s")
        cluster.start_hub()
        deadline = time.monotonic() + 30
        while agent.text().count("tunnel up") < 2:
            assert time.monotonic() < deadline, agent.text()
            time.sleep(0.1)
    finally:
        cluster.stop()
