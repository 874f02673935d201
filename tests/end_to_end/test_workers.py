"""A hub whose port is shared by two workers, with real processes."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import define

from mezite.cli.local import LocalCluster, Program, local_cluster
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.slow import slow

# From where a balancer reaches the hub.
BALANCER = "127.0.0.2"
# Agents whose worker was killed dial within a second; the machine may be busy.
BACK_SECONDS = 10.0
# Silence is noticed after 25 s, and after 3 more it is killed.
HANG_SECONDS = 32.0
# As promised of locks.
LOCK_SECONDS = 2.0


@define
class Shared:
    """The cluster, its hub, and what stock ssh needs."""

    cluster: LocalCluster
    hub: Program
    config: Path

    def workers(self) -> dict[int, int]:
        """The pid of each worker, by its number."""
        (status,) = self.cluster.admin("status")
        return {row["number"]: row["pid"] for row in status["workers"]}

    def holders(self) -> dict[str, int]:
        """Which process holds the connection from this address."""
        listed = subprocess.run(
            ["ss", "-Htnp", f"sport = :{self.cluster.port}"], capture_output=True, check=True
        ).stdout.decode()
        found = re.findall(r"^ESTAB.* (\S+:\d+) +users:\(\(.*?pid=(\d+)", listed, re.MULTILINE)
        return {address: int(pid) for address, pid in found}

    def tunnels(self) -> dict[str, int]:
        """Which process holds the tunnel of each node."""
        holders = self.holders()
        return {
            row["hostname"]: holders[row["address"]] for row in self.cluster.admin("nodes", "ls")
        }

    def sessions(self) -> list[dict[str, Any]]:
        return self.cluster.admin("sessions", "ls")


@define
class Talk:
    """A session of stock ssh that says back what it is told."""

    process: subprocess.Popen[bytes]

    def says(self, text: bytes) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(text + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return False
        return self.process.stdout.readline() == text + b"\n"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    with local_cluster(tmp_path_factory.mktemp("workers")) as cluster:
        cluster.environment["MEZITE_MEZHUB_WORKERS"] = "2"
        cluster.environment["MEZITE_PROXY_PROXY_PROTOCOL_SOURCES"] = BALANCER
        hub = cluster.start_hub()
        cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
        cluster.log_in(USER, PASSWORD)
        for node in ("db1", "web1"):
            cluster.start_agent(node)
        cluster.wait_online("db1", "web1")
        config = cluster.directory / "ssh_config"
        config.write_bytes(cluster.succeed("msh", "config"))
        yield Shared(cluster, hub, config)


@pytest.fixture(scope="module")
def talks(shared: Shared) -> Iterator[dict[tuple[str, int], Talk]]:
    """A session to each node by each worker, as the pids are."""
    wanted = [(node, pid) for node in ("db1", "web1") for pid in shared.workers().values()]
    found: dict[tuple[str, int], Talk] = {}
    known: set[str] = set()
    with ExitStack() as stack:
        # Who has fewer connections takes the next one, more or less.
        for _ in range(16):
            missing = [place for place in wanted if place not in found]
            if not missing:
                break
            talk = begin(shared, missing[0][0], stack)
            (new,) = [row for row in shared.sessions() if row["session_id"] not in known]
            known.add(new["session_id"])
            found.setdefault((new["node"], shared.holders()[new["client_address"]]), talk)
        assert set(found) == set(wanted)
        yield found


def is_running(pid: int) -> bool:
    """Whether there is such a process, and not only its remains that nobody has asked for."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def begin(shared: Shared, node: str, stack: ExitStack) -> Talk:
    process = subprocess.Popen(
        ["ssh", "-F", str(shared.config), f"{LOGIN}@{node}", "cat"],
        env=dict(shared.cluster.variables()),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait)
    stack.callback(process.kill)
    talk = Talk(process)
    assert talk.says(b"hello")
    return talk


def log_in_as_nobody(shared: Shared, said: str, via: str, stack: ExitStack) -> tuple[str, bytes]:
    """
    A login that is refused, for whoever this PROXY header names.

    Where it comes from as TCP has it, and the answer; the connection stays open.
    """
    port = shared.cluster.port
    line = socket.create_connection(("127.0.0.1", port), 10, source_address=(via, 0))
    stack.callback(line.close)
    place = "{}:{}".format(*line.getsockname())
    line.sendall(f"PROXY TCP4 {said} 127.0.0.1 40000 {port}\r\n".encode())
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    body = json.dumps({"user": f"nobody-{said}", "password": "x"}).encode()
    try:
        secured = stack.enter_context(context.wrap_socket(line))
    except OSError:
        return place, b""
    secured.sendall(
        b"POST /v1/webapi/login HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    return place, secured.recv(4096)


class SharedPortTests:
    """One hub, two workers, and the cluster of every other test."""

    def test_one_port(self, shared: Shared) -> None:
        """One port is open, held by all, and the status tells who holds what."""
        workers = shared.workers()
        assert sorted(workers) == [1, 2]
        pids = {shared.hub.process.pid, *workers.values()}
        listed = subprocess.run(["ss", "-Hltnp"], capture_output=True, check=True).stdout.decode()
        ours = [line for line in listed.splitlines() if any(f"pid={pid}," in line for pid in pids)]
        assert len(ours) == 1
        assert f":{shared.cluster.port} " in ours[0]
        (status,) = shared.cluster.admin("status")
        assert sum(row["tunnels"] for row in status["workers"]) == status["tunnels"] == 2
        assert set(shared.tunnels().values()) <= set(workers.values())

    def test_sessions_and_locks(self, shared: Shared, talks: dict[tuple[str, int], Talk]) -> None:
        """Sessions at every pair of workers work, and a lock ends those it is about in time."""
        assert all(talk.says(b"x" * 300_000) for talk in talks.values())
        (lock,) = shared.cluster.admin("lock", "--node=web1")
        began = time.monotonic()
        for (node, _), talk in talks.items():
            if node == "web1":
                talk.process.wait(LOCK_SECONDS)
        assert time.monotonic() - began < LOCK_SECONDS
        assert {row["node"] for row in shared.sessions()} == {"db1"}
        shared.cluster.admin("locks", "rm", lock["lock_id"])

    def test_record(self, shared: Shared) -> None:
        """What is done through workers is recorded, and its addresses are true."""
        said = shared.cluster.succeed("msh", "ssh", f"{LOGIN}@db1", "echo through workers")
        assert said == b"through workers\n"
        lines = shared.cluster.succeed(
            "mezctl",
            f"--data-dir={shared.cluster.hub_data}",
            "audit",
            "ls",
            "--type=session.end",
            "--format=json",
        )
        events = [json.loads(line) for line in lines.splitlines()]
        newest = max(events, key=lambda event: str(event["time"]))
        assert newest["client_address"].startswith("127.0.0.1:")
        assert newest["details"]["bytes_to_user"] > len(said)
        deadline = time.monotonic() + BACK_SECONDS
        while newest["session_id"] not in self.recordings(shared):
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def recordings(self, shared: Shared) -> set[str]:
        rows = json.loads(shared.cluster.succeed("msh", "recordings", "ls", "--format=json"))
        return {row["session_id"] for row in rows if row["state"] == "complete"}

    def test_balancer(self, shared: Shared) -> None:
        """Whoever a balancer speaks for is in the audit, whichever worker it came to."""
        by: dict[int, str] = {}
        with ExitStack() as stack:
            for number in range(1, 16):
                said = f"203.0.113.{number}"
                place, answer = log_in_as_nobody(shared, said, BALANCER, stack)
                assert b" 401 " in answer.splitlines()[0]
                by[shared.holders()[place]] = said
                if len(by) == 2:
                    break
            assert set(by) == set(shared.workers().values())
            # No balancer, and no TLS either.
            assert log_in_as_nobody(shared, "203.0.113.99", "127.0.0.1", stack)[1] == b""
        lines = shared.cluster.succeed(
            "mezctl", f"--data-dir={shared.cluster.hub_data}", "audit", "ls",
            "--type=user.login.failed", "--format=json",
        )  # fmt: skip
        places = {json.loads(line)["client_address"] for line in lines.splitlines()}
        assert places >= set(by.values())
        assert not any("203.0.113.99" in place for place in places)

    def test_killed_worker(self, shared: Shared, talks: dict[tuple[str, int], Talk]) -> None:
        """It takes only its own with it, is begun again, and who was cut off comes back."""
        shared.cluster.wait_online("web1")
        workers, stays = shared.workers(), shared.tunnels()["db1"]
        (killed,) = set(workers.values()) - {stays}
        os.kill(killed, signal.SIGKILL)
        began = time.monotonic()
        shared.hub.wait_for(f"pid {killed}, signal SIGKILL) and took ")
        assert talks["db1", stays].says(b"still there")
        shared.cluster.wait_online("db1", "web1", seconds=BACK_SECONDS)
        while len(set(shared.workers().values()) - {None, killed}) < 2:
            assert time.monotonic() - began < BACK_SECONDS
        assert shared.cluster.succeed("msh", "ssh", f"{LOGIN}@web1", "echo hi") == b"hi\n"
        # Its connection was lost, and another one carries the session.
        assert talks["db1", killed].says(b"again here")
        assert killed not in shared.holders().values()

    @slow
    def test_hanging_worker(self, shared: Shared) -> None:
        """It is found within half a minute, killed and begun again; the other works meanwhile."""
        workers, stays = shared.workers(), shared.tunnels()["db1"]
        (hanging,) = set(workers.values()) - {stays}
        os.kill(hanging, signal.SIGSTOP)
        began = time.monotonic()
        with ExitStack() as stack:
            begin(shared, "db1", stack)
        shared.hub.wait_for(f"does not end (pid {hanging}) and is killed", HANG_SECONDS)
        shared.hub.wait_for(f"pid {hanging}, signal SIGKILL) and took ")
        assert time.monotonic() - began < HANG_SECONDS
        shared.cluster.wait_online("db1", "web1", seconds=BACK_SECONDS)
        assert len(set(shared.workers().values()) - {None, hanging}) == 2
        assert shared.cluster.succeed("msh", "ssh", f"{LOGIN}@web1", "echo hi") == b"hi\n"

    @slow
    def test_killed_hub(self, shared: Shared) -> None:
        """Workers end with control, even one that hangs, and the port is free."""
        workers = shared.workers()
        os.kill(workers[1], signal.SIGSTOP)
        shared.hub.kill()
        deadline = time.monotonic() + BACK_SECONDS
        while any(is_running(pid) for pid in workers.values()):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        shared.hub = shared.cluster.start_hub()
        shared.cluster.wait_online("db1", "web1")

    def test_stopped(self, shared: Shared) -> None:
        """SIGTERM ends the hub and all of its processes, in good order."""
        pids = [*shared.workers().values()]
        shared.hub.stop()
        assert "hub stopped" in shared.hub.text()
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
        assert "killed" not in shared.hub.text().split("SIGTERM")[-1]
        assert "Traceback" not in shared.hub.text()
