"""
A whole cluster, each of its machines in a namespace of its own.

The hub is to be found as ``hub.test``; there is a second machine for it to move
to. Three agents know it in three ways: by its name, by two addresses, and by SRV
records. Nothing here decides what goes wrong (:mod:`tests.faults.faults`) or
whether it was borne (:mod:`tests.faults.watching`).
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from mezite.cli.local import START_SECONDS, LocalCluster, Program, ProgramFailed
from mezite.error import TimedOut
from tests.faults.namespaces import Host, Network, network

PORT: Final = 3080
NAME: Final = "hub.test"
SECOND: Final = "hub2.test"
SRV: Final = "_mezite._tcp.fleet.test"
NODES: Final = ("db1", "db2", "db3")
USER: Final = "ada"
PASSWORD: Final = "correct horse battery staple"
LOGIN: Final = getpass.getuser()
SOURCE: Final = Path(__file__).parents[2]
# libfaketime, for clocks that are set while programs run.
_FAKETIME: Final = Path("/usr/lib") / f"{os.uname().machine}-linux-gnu" / "faketime"
_POLL: Final = 0.05


@define(eq=False)
class SpreadCluster(LocalCluster):
    """
    A :class:`LocalCluster` whose programs run on several machines.

    ``with_clocks`` has the programs look at a clock that can be set.
    """

    network: Network = field(kw_only=True, repr=False)
    with_clocks: bool = field(kw_only=True, default=False)
    fleet: tuple[str, ...] = field(kw_only=True, default=NODES)
    # Which machine the hub runs on.
    home: str = field(init=False, default="hub")
    hub: Program | None = field(init=False, default=None)
    agents: dict[str, Program] = field(init=False, factory=dict)

    @property
    def address(self) -> str:
        return f"{NAME}:{PORT}"

    @property
    def client(self) -> Host:
        return self.network.hosts["client"]

    def host_of(self, name: str) -> Host:
        """The machine that a program runs on, by the program's name."""
        return self.network.hosts[self.home if name == "hub" else name]

    def build(self) -> None:
        """The machines, their names, and who answers for them."""
        for name in ("hub", "hub2", "client", *self.fleet):
            self.network.add(name)
        self.point_to(self.home)
        self._serve_names()

    def point_to(self, home: str) -> None:
        """Have the hub's name mean this machine, in /etc/hosts and in DNS."""
        self.home = home
        hosts = self.network.hosts
        second = hosts["hub2" if home == "hub" else "hub"].address
        self.network.name_hosts({NAME: hosts[home].address, SECOND: second})
        zone = {SRV: [[0, 10, NAME, PORT], [1, 0, SECOND, PORT]]}
        (self.directory / "zone.json").write_text(json.dumps(zone))

    def _serve_names(self) -> None:
        for host in self.network.hosts.values():
            host.write("resolv.conf", f"nameserver {host.gateway}\noptions timeout:1 attempts:2\n")
        self.aside("names", "tests.faults.nameserver", str(self.directory / "zone.json"))

    def aside(
        self, name: str, module: str, *arguments: str, host: Host | None = None
    ) -> subprocess.Popen[bytes]:
        """Run one of the suite's own programs, on the router or on this host, until it is ready."""
        command = [sys.executable, "-m", module, *arguments]
        command = self.network.inside_router(*command) if host is None else host.inside(*command)
        with (self.directory / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=SOURCE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
            )
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise ProgramFailed(module, (self.directory / f"{name}.log").read_text())
        return process

    # What a LocalCluster does on one machine.

    def clock_file(self, name: str) -> Path:
        """What the clock of this program's machine is ahead: "+86400", or "+0"."""
        path = self.directory / f"{name}.clock"
        if not path.exists():
            path.write_text("+0\n")
        return path

    def _variables_of(self, name: str) -> Mapping[str, str]:
        if not self.with_clocks:
            return self.variables()
        return {
            **self.variables(),
            "LD_PRELOAD": str(_FAKETIME / "libfaketime.so.1"),
            "FAKETIME_TIMESTAMP_FILE": str(self.clock_file(name)),
            "FAKETIME_CACHE_DURATION": "1",
            # As settimeofday(2) leaves it.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def start(self, name: str, command: Sequence[str]) -> Program:
        log = self.directory / f"{name}.log"
        with log.open("ab") as output:
            process = self.host_of(name).start(
                self.executable(command[0]),
                *command[1:],
                cwd="/",
                env=dict(self._variables_of(name)),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        program = Program(name, process, log)
        self._running.append(program)
        return program

    def start_hub(self, *options: str) -> Program:
        said = len(self._hub_text())
        hub = self.hub = self.start(
            "hub",
            [
                "twist",
                "mezhub",
                f"--data-dir={self.hub_data}",
                f"--listen=0.0.0.0:{PORT}",
                f"--public-addr={self.address}",
                f"--cluster-name={self.name}",
                *options,
            ],
        )
        deadline = time.monotonic() + START_SECONDS
        while "log in:" not in self._hub_text()[said:]:
            if not hub.is_running:
                raise ProgramFailed("twist mezhub", hub.text())
            if time.monotonic() > deadline:
                raise TimedOut(f"the hub did not open its port within {START_SECONDS:g} s")
            time.sleep(_POLL)
        return hub

    def _hub_text(self) -> str:
        path = self.directory / "hub.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def start_node(self, node: str) -> Program:
        """Start a node's agent; each knows the hub in its own way."""
        ways = {
            "db1": [f"--hub={self.address}"],
            "db2": [f"--hub={self.address}", f"--hub={SECOND}:{PORT}"],
            "db3": [f"--hub=srv:{SRV}"],
        }
        data = self.directory / node
        joining: list[str] = []
        if not (data / "identity.json").exists():
            token = self.new_token()
            joining = [f"--token={token['token']}", f"--ca-pin={token['ca_pin']}"]
        agent = self.agents[node] = self.start(
            node,
            [
                "twist",
                "mezd",
                f"--data-dir={data}",
                *ways[node],
                *joining,
                f"--hostname={node}",
            ],
        )
        return agent

    def on_client(self, *command: str) -> list[str]:
        """The command that runs one of our programs on the client's machine."""
        return self.client.inside(self.executable(command[0]), *command[1:])

    def run(
        self, *command: str, given: str | bytes | None = None, seconds: float = 60.0
    ) -> subprocess.CompletedProcess[bytes]:
        data = given.encode() if isinstance(given, str) else given
        return subprocess.run(
            self.on_client(*command),
            cwd="/",
            env=dict(self.variables()),
            input=b"" if data is None else data,
            capture_output=True,
            timeout=seconds,
            check=False,
        )

    # What can be asked without a network.

    def condition(self, node: str) -> Mapping[str, Any]:
        """What a node's agent says of itself; empty if it does not answer."""
        try:
            with socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(1.0)
                asking.connect(str(self.directory / node / "status.sock"))
                with asking.makefile("rb") as answer:
                    said: Mapping[str, Any] = json.loads(answer.read())
                    return said
        except (OSError, ValueError):
            return {}


@contextmanager
def spread_cluster(
    directory: Path, *, with_clocks: bool = False, fleet: tuple[str, ...] = NODES
) -> Iterator[SpreadCluster]:
    """The cluster with its nodes online and a user logged in; removed at the end."""
    with network() as net:
        cluster = SpreadCluster(
            directory, port=PORT, network=net, with_clocks=with_clocks, fleet=fleet
        )
        try:
            cluster.build()
            cluster.start_hub()
            cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
            cluster.log_in(USER, PASSWORD, "--ttl=24h")
            for node in fleet:
                cluster.start_node(node)
            cluster.wait_online(*fleet)
            yield cluster
        finally:
            cluster.stop()


def has_clocks() -> bool:
    """Whether libfaketime is installed."""
    return (_FAKETIME / "libfaketime.so.1").exists()
