"""
A whole cluster on this machine: hub, agents and a user, in one directory.

The demo and the end-to-end tests run the real programs with it, as processes
of their own on loopback. It owns those processes and nothing else; whoever
makes the directory removes it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from mezite.error import MeziteError, TimedOut

# A hub on a slow and busy machine opens its database, makes three keys and listens.
START_SECONDS: Final = 60.0
# Long enough for a program to say goodbye; then it is killed.
STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.05
# What an agent writes when the hub has taken it.
_TUNNEL_UP: Final = "tunnel up: "
# Then the hub is asked whatever the agents write.
_UNASKED_SECONDS: Final = 5.0


class ProgramFailed(MeziteError):
    """A program ended with a status that says it failed; ``output`` is what it wrote."""

    def __init__(self, what: str, output: str) -> None:
        super().__init__(f"{what} failed:\n{output.strip()}")
        self.output = output


@define(eq=False)
class Program:
    """A program that runs until it is stopped; what it writes goes to ``log``."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def text(self) -> str:
        """What it has written so far."""
        return self.log.read_text("utf-8", "replace")

    def wait_for(self, wanted: str, seconds: float = START_SECONDS) -> None:
        """
        Until it has written this.

        :raises ProgramFailed: when it ended first.
        :raises TimedOut:
        """
        deadline = time.monotonic() + seconds
        while wanted not in self.text():
            if not self.is_running:
                raise ProgramFailed(self.name, self.text())
            if time.monotonic() > deadline:
                raise TimedOut(f"{self.name} did not say {wanted!r} within {seconds:g} s")
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """End it as a service manager would: ask, wait, then kill."""
        if self.is_running:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it at once, without a chance to say goodbye."""
        if self.is_running:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def free_port() -> int:
    """A TCP port of loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _programs() -> Path:
    return Path(sys.executable).parent


@define(eq=False)
class LocalCluster:
    """One hub, its agents and the profile of one user, below ``directory``."""

    directory: Path
    port: int = field(factory=free_port)
    name: str = "demo"
    environment: dict[str, str] = field(factory=dict, repr=False)
    _running: list[Program] = field(factory=list, repr=False)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def programs(self) -> Sequence[Program]:
        """Those that run now, in the order in which they were started."""
        return [program for program in self._running if program.is_running]

    @property
    def hub_data(self) -> Path:
        return self.directory / "hub"

    def variables(self) -> Mapping[str, str]:
        """The environment of every program: this machine's, with our own places."""
        path = f"{_programs()}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith("MEZITE_")},
            "PATH": path,
            "MSH_HOME": str(self.directory / "msh"),
            "PYTHONUNBUFFERED": "1",
            # Whoever stops a hub of ours does not wait for sessions.
            "MEZITE_PROXY_DRAIN_GRACE": "0",
            **self.environment,
        }

    def executable(self, program: str) -> str:
        """Where one of our programs is installed."""
        return str(_programs() / program)

    def start(self, name: str, command: Sequence[str]) -> Program:
        """Run a program in the background, away from this directory and terminal."""
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(  # noqa: S603 - our own programs, by absolute path
                [self.executable(command[0]), *command[1:]],
                cwd="/",
                env=dict(self.variables()),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        program = Program(name, process, log)
        self._running.append(program)
        return program

    def start_hub(self, *options: str) -> Program:
        """Start the hub, and wait until its port is open."""
        hub = self.start(
            "hub",
            [
                "twist",
                "mezhub",
                f"--data-dir={self.hub_data}",
                f"--listen={self.address}",
                f"--public-addr={self.address}",
                f"--cluster-name={self.name}",
                *options,
            ],
        )
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return hub
            except OSError:
                pass
            if not hub.is_running:
                raise ProgramFailed("twist mezhub", hub.text())
            if time.monotonic() > deadline:
                raise TimedOut(f"the hub did not open its port within {START_SECONDS:g} s")
            time.sleep(_POLL_SECONDS)

    def new_token(self, *options: str) -> Mapping[str, Any]:
        """A fresh join token, as ``mezctl tokens create --format=json`` prints it."""
        (token,) = self.admin("tokens", "create", *options)
        created: Mapping[str, Any] = token
        return created

    def start_agent(
        self,
        node: str,
        *labels: str,
        token: Mapping[str, Any] | None = None,
        hub: str | None = None,
    ) -> Program:
        """
        Start the agent of a node, joining it if it has not joined before.

        :param hub: where it reaches the hub, if that is not the hub's own address.
        """
        joining = token or self.new_token()
        return self.start(
            node,
            [
                "twist",
                "mezd",
                f"--data-dir={self.directory / node}",
                f"--hub={hub or self.address}",
                f"--token={joining['token']}",
                f"--ca-pin={joining['ca_pin']}",
                f"--hostname={node}",
                *(f"--label={label}" for label in labels),
            ],
        )

    def run(
        self, *command: str, given: str | bytes | None = None, seconds: float = 60.0
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, whatever its status."""
        data = given.encode() if isinstance(given, str) else given
        return subprocess.run(  # noqa: S603 - our own programs, by absolute path
            [self.executable(command[0]), *command[1:]],
            cwd="/",
            env=dict(self.variables()),
            input=b"" if data is None else data,
            capture_output=True,
            timeout=seconds,
            check=False,
        )

    def succeed(self, *command: str, given: str | bytes | None = None) -> bytes:
        """
        What a program writes to its standard output.

        :raises ProgramFailed:
        """
        done = self.run(*command, given=given)
        if done.returncode != 0:
            what = f"{' '.join(command[:3])} (status {done.returncode})"
            raise ProgramFailed(what, (done.stdout + done.stderr).decode())
        return done.stdout

    def admin(self, *command: str, given: str | None = None) -> list[dict[str, Any]]:
        """What mezctl answers, as its JSON says it."""
        answer = self.succeed(
            "mezctl", f"--data-dir={self.hub_data}", *command, "--format=json", given=given
        )
        rows: list[dict[str, Any]] = json.loads(answer)
        return rows

    def add_user(self, user: str, password: str, *options: str) -> None:
        """Make a user who may log in with this password."""
        self.admin("users", "create", user, "--password-stdin", *options, given=password + "\n")

    def log_in(self, user: str, password: str, *options: str) -> None:
        """Log the profile in."""
        (status,) = self.admin("status")
        self.succeed(
            "msh",
            "login",
            f"--proxy={self.address}",
            f"--user={user}",
            "--password-stdin",
            f"--ca-pin={status['ca_pin']}",
            *options,
            given=password + "\n",
        )

    def nodes(self) -> dict[str, dict[str, Any]]:
        """What the user sees of the nodes, by host name."""
        rows = json.loads(self.succeed("msh", "ls", "--format=json"))
        return {row["hostname"]: row for row in rows}

    def wait_online(self, *names: str, seconds: float = START_SECONDS) -> None:
        """
        Until the user sees these nodes online.

        :raises TimedOut: the sentence has the end of the nodes' logs.
        """
        deadline = time.monotonic() + seconds
        missing = [*names]
        asked_at = time.monotonic() + _UNASKED_SECONDS
        while True:
            # To ask the hub takes a program of its own, as much as an agent takes to begin.
            if time.monotonic() > asked_at or not any(map(self._is_beginning, names)):
                seen = self.nodes()
                missing = [n for n in names if seen.get(n, {}).get("status") != "online"]
            if not missing:
                return
            if time.monotonic() > deadline:
                logs = [program.text()[-2000:] for program in self._running]
                raise TimedOut(f"{', '.join(missing)} did not come online:\n" + "\n".join(logs))
            time.sleep(_POLL_SECONDS)

    def _is_beginning(self, name: str) -> bool:
        """Whether this is an agent of ours that never had a tunnel."""
        return any(
            each.name == name and _TUNNEL_UP not in each.text()
            for each in self._running
            if each.is_running
        )

    def stop(self) -> None:
        """Stop all that runs, the agents before the hub."""
        while self._running:
            self._running.pop().stop()


@contextmanager
def local_cluster(directory: Path, **settings: Any) -> Iterator[LocalCluster]:
    """A cluster whose programs are stopped on every way out."""
    cluster = LocalCluster(directory, **settings)
    try:
        yield cluster
    finally:
        cluster.stop()
