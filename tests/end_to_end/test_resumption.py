"""
Sessions outlive the hub that carries them.

The hub is killed under a person at a terminal, a copy by stock ssh and a transfer by
stock sftp, all at once, and started again: each goes on where it was. So do copies and
a forward when the line between agent and hub is cut, and neither of these has noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import define, field

from mezite.cli.local import LocalCluster, Program, free_port, local_cluster
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.line import Line, line_to
from tests.end_to_end.screen import PATIENCE, screen_with
from tests.end_to_end.slow import IS_SLOW_WANTED, slow

MEGABYTES = 200 if IS_SLOW_WANTED else 24
_CHUNK = 1024 * 1024
# Of scp, in kbit/s: so a copy of what is there takes two seconds, or ten.
_SLOWLY = "100000"
# An agent as it was before there was resumption: it resets a stream for a service that it
# does not have.
_OLDER_AGENT = """
import sys
from mezite.agent import resumption
from mezite.agent.tunnelservice import TunnelService
choose = TunnelService._choose
def older(self, header):
    return None if header.service == resumption.SERVICE else choose(self, header)
TunnelService._choose = older
from twisted.application.twist._twist import Twist
Twist.main(sys.argv)
"""


@define(eq=False)
class World:
    """A hub and a node, and what is copied between them and this machine."""

    cluster: LocalCluster
    hub: Program
    agent: Program
    data: bytes = field(repr=False)

    @property
    def file(self) -> Path:
        return self.cluster.directory / "data"

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def ssh(self, program: str = "ssh") -> list[str]:
        return [program, "-q", "-F", str(self.cluster.directory / "ssh_config")]

    def audited(self, kind: str) -> list[str]:
        """The ids of the sessions in events of this type, sorted."""
        command = ("mezctl", f"--data-dir={self.cluster.hub_data}", "audit", "ls")
        lines = self.cluster.succeed(*command, f"--type={kind}", "--format=json").splitlines()
        return sorted(json.loads(line)["session_id"] for line in lines)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with local_cluster(tmp_path_factory.mktemp("resumption")) as cluster:
        hub = cluster.start_hub()
        cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
        cluster.log_in(USER, PASSWORD)
        agent = cluster.start_agent("db1")
        cluster.wait_online("db1")
        (cluster.directory / "ssh_config").write_bytes(cluster.succeed("msh", "config"))
        world = World(cluster, hub, agent, random.Random(42).randbytes(_CHUNK) * MEGABYTES)
        world.file.write_bytes(world.data)
        yield world


@pytest.fixture(scope="module")
def line(world: World) -> Iterator[Line]:
    """The agent of db2 reaches the hub over this."""
    with line_to(world.cluster.address) as line:
        world.cluster.start_agent("db2", hub=line.address)
        world.cluster.wait_online("db2")
        yield line


class Copy(threading.Thread):
    """What a command writes, read to its end; ``half`` is set in the middle."""

    def __init__(self, command: list[str], variables: dict[str, str], expected: int) -> None:
        super().__init__(daemon=True)
        self.process = subprocess.Popen(
            command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        self.expected = expected
        self.half = threading.Event()
        self.digest = hashlib.sha256()
        self.received = 0

    def run(self) -> None:
        assert self.process.stdout is not None
        while data := self.process.stdout.read(_CHUNK):
            self.digest.update(data)
            self.received += len(data)
            if self.received > self.expected // 2:
                self.half.set()
        self.process.wait()
        self.half.set()


class KilledHubTests:
    """A hub that is killed, with ``kill -9``, and started again."""

    def test_everybody_goes_on(self, world: World) -> None:
        """A shell, a copy and a transfer lose nothing, and get nothing twice."""
        variables = dict(world.cluster.variables())
        fetched = world.cluster.directory / "fetched"
        command = [world.cluster.executable("msh"), "ssh", f"{LOGIN}@db1"]
        with screen_with(command, variables) as screen:
            screen.type("exec env PS1='read''y> ' sh\n")
            screen.wait_for("ready> ")
            screen.type("kept=some''thing; i=0\n")
            screen.wait_for("ready> ")
            copy = Copy([*world.ssh(), "db1", f"cat {world.file}"], variables, len(world.data))
            sftp = subprocess.Popen(
                [*world.ssh("sftp"), "-b", "-", "db1"],
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
            )
            assert sftp.stdin is not None
            sftp.stdin.write(f"get {world.file} {fetched}\n".encode())
            sftp.stdin.close()
            copy.start()
            assert copy.half.wait(PATIENCE)
            world.hub.kill()
            # Typed while nothing leads there.
            screen.type("echo $kept-and-$((i+1)); kept=again\n")
            screen.wait_for("connection lost; trying again, ~. gives up")
            world.hub = world.cluster.start_hub()
            screen.wait_for("msh: back")
            screen.wait_for("something-and-1")
            screen.type("echo $kept; exit 7\n")
            screen.wait_for("again")
            assert screen.ends() == 7
        copy.join(4 * PATIENCE)
        assert copy.process.returncode == 0
        assert copy.received == len(world.data)
        assert copy.digest.hexdigest() == world.digest
        assert sftp.wait(4 * PATIENCE) == 0
        assert hashlib.sha256(fetched.read_bytes()).hexdigest() == world.digest
        assert len(set(world.audited("session.resumed"))) >= 2
        self.check_all_ended(world)

    def check_all_ended(self, world: World) -> None:
        """Each session has begun once and ended once, and none is left over."""
        deadline = time.monotonic() + PATIENCE
        while world.cluster.admin("sessions", "ls") and time.monotonic() < deadline:
            time.sleep(0.1)
        assert world.cluster.admin("sessions", "ls") == []
        begun = world.audited("session.start")
        assert len(begun) == 3
        while world.audited("session.end") != begun and time.monotonic() < deadline:
            time.sleep(0.1)
        assert world.audited("session.end") == begun


class KilledAgentTests:
    """An agent that is killed, and with it what its sessions ran."""

    def test_sentence(self, world: World) -> None:
        """The session ends with a sentence and 255, as soon as the agent is back."""
        variables = dict(world.cluster.variables())
        session = subprocess.Popen(
            [world.cluster.executable("msh"), "ssh", "db1", "echo begun; exec sleep 20"],
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert session.stdout is not None
        assert session.stdout.readline() == b"begun\n"
        world.agent.kill()
        world.agent = world.cluster.start_agent("db1")
        _, said = session.communicate(timeout=2 * PATIENCE)
        assert session.returncode == 255
        assert b"the node does not know this session any more" in said


class Well(threading.Thread):
    """Where a forward leads: says half of it, and the rest once it may."""

    def __init__(self, data: bytes) -> None:
        super().__init__(daemon=True)
        self.data = data
        self.rest = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))

    @property
    def address(self) -> str:
        return "{}:{}".format(*self.listener.getsockname())

    def run(self) -> None:
        with self.listener, self.listener.accept()[0] as connected:
            half = len(self.data) // 2
            connected.sendall(self.data[:half])
            assert self.rest.wait(PATIENCE)
            connected.sendall(self.data[half:])


@contextmanager
def forward(world: World, there: str) -> Iterator[socket.socket]:
    """A connection through ``msh ssh -L``."""
    port = free_port()
    holding = subprocess.Popen(
        [world.cluster.executable("msh"), "ssh", "-N", "-L", f"{port}:{there}", "db2"],
        env=dict(world.cluster.variables()),
        stdin=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                connected = socket.create_connection(("127.0.0.1", port), PATIENCE)
                break
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        with connected:
            yield connected
    finally:
        holding.terminate()
        holding.wait(PATIENCE)


class CutLineTests:
    """A tunnel that is cut, while the hub, the agent and the clients live."""

    def carry_on(self, world: World, happens: Callable[[], None]) -> None:
        """Copies both ways and a forward outlast this."""
        well = Well(world.data)
        well.start()
        there, back = (world.cluster.directory / name for name in ("there", "back"))
        copies = [
            subprocess.Popen(
                [*world.ssh("scp"), "-l", _SLOWLY, *places], env=dict(world.cluster.variables())
            )
            for places in ((str(world.file), f"db2:{there}"), (f"db2:{world.file}", str(back)))
        ]
        with forward(world, well.address) as connected:
            digest, received = hashlib.sha256(), 0
            while data := connected.recv(_CHUNK):
                digest.update(data)
                received += len(data)
                if received >= len(world.data) // 2 and not well.rest.is_set():
                    assert [copy.poll() for copy in copies] == [None, None]
                    happens()
                    well.rest.set()
        assert (received, digest.hexdigest()) == (len(world.data), world.digest)
        for copy, path in zip(copies, (there, back), strict=True):
            assert copy.wait(4 * PATIENCE) == 0
            assert hashlib.sha256(path.read_bytes()).hexdigest() == world.digest
            path.unlink()

    def test_cut(self, world: World, line: Line) -> None:
        """Copies by scp both ways, and a forward, arrive as they are; each was resumed."""
        before = len(world.audited("session.resumed"))
        self.carry_on(world, lambda: line.tell("cut"))
        assert len(world.audited("session.resumed")) == before + 3

    @slow
    def test_silence(self, world: World, line: Line) -> None:
        """So they do where nothing comes through for a while, and nobody is told."""

        def happens() -> None:
            line.tell("deaf")
            time.sleep(22)
            line.tell("well")

        self.carry_on(world, happens)


class OlderTests:
    """One end that knows nothing of all this."""

    def test_agent(self, world: World) -> None:
        """An agent without resumption is reached plainly, by msh and by stock ssh."""
        cluster, token = world.cluster, world.cluster.new_token()
        options = [f"--data-dir={cluster.directory / 'old'}", f"--hub={cluster.address}"]
        options += [f"--token={token['token']}", f"--ca-pin={token['ca_pin']}", "--hostname=old"]
        agent = cluster.start("old", ["python", "-c", _OLDER_AGENT, "mezd", *options])
        cluster.wait_online("old")
        assert cluster.succeed("msh", "ssh", "old", "echo there") == b"there\n"
        done = subprocess.run(
            [*world.ssh(), "old", "cat"],
            env=dict(cluster.variables()),
            input=world.data[:_CHUNK],
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
        assert done.stdout == world.data[:_CHUNK]
        agent.stop()

    def test_client(self, world: World, line: Line) -> None:
        """A client that does not want it speaks SSH at once, and ends when it is cut."""
        session = subprocess.Popen(
            [world.cluster.executable("msh"), "ssh", "--no-resume", "db2", "echo there; sleep 20"],
            env=dict(world.cluster.variables()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert session.stdout is not None
        assert session.stdout.readline() == b"there\n"
        line.tell("cut")
        assert session.wait(PATIENCE) == 255


class InterruptedTests:
    """A person who does not want to wait."""

    def test_stock_client_is_killed(self, world: World) -> None:
        """When ssh is interrupted the node's command ends at once, and is not kept."""
        marker = world.cluster.directory / f"marker-{os.getpid()}"
        session = subprocess.Popen(
            [*world.ssh(), "db1", f"trap 'touch {marker}; exit' HUP; echo begun; sleep 20 & wait"],
            env=dict(world.cluster.variables()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert session.stdout is not None
        assert session.stdout.readline() == b"begun\n"
        session.terminate()
        session.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while not marker.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert marker.exists()
