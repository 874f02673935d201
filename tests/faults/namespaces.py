"""
A small internet on this machine: hosts in network namespaces around one router.

A :class:`Network` makes the namespaces and the wires between them; a
:class:`Host` is one of them. All are removed at the end, whichever it is: a
program of its own (:mod:`tests.faults.sweeper`) does it when the one that made
them has gone, be it by kill -9. Nothing outside of these namespaces is changed,
but for directories below ``/etc/netns`` with their names.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from attrs import define, field

NAMED: Final = Path("/etc/netns")
# A network of its own for each wire; in namespaces of their own they are in nobody's way.
_PREFIX: Final = "10.77"
_SECONDS: Final = 20.0


class NamespaceTrouble(Exception):
    """A command of iproute2 or iptables failed; the text has what it said."""


def run(*command: str) -> str:
    """
    What a command prints.

    :raises NamespaceTrouble:
    """
    done = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False)
    if done.returncode != 0:
        raise NamespaceTrouble(f"{' '.join(command)}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode()


def names_of(prefix: str) -> list[str]:
    """The namespaces whose names begin so."""
    return [
        name
        for line in run("ip", "netns", "list").splitlines()
        if (name := line.split(" ")[0]).startswith(prefix)
    ]


@cache
def why_not() -> str:
    """Why this machine has no namespaces for us; empty if it has."""
    for program in ("ip", "iptables"):
        if shutil.which(program) is None:
            return f"network namespaces need {program}, which is not installed"
    if os.geteuid() != 0:
        return "network namespaces may be made by root only"
    probe = f"mzf{secrets.token_hex(3)}"
    try:
        run("ip", "netns", "add", probe)
        try:
            run("ip", "netns", "exec", probe, "iptables", "-A", "FORWARD", "-j", "DROP")
        finally:
            run("ip", "netns", "del", probe)
    except NamespaceTrouble as error:
        return f"network namespaces are not permitted here: {str(error).strip()}"
    return ""


@define(eq=False)
class Host:
    """One machine of the network; ``number`` is its wire's."""

    name: str
    number: int
    network: Network = field(repr=False)
    # The last number of its address.
    last: int = 2

    @property
    def namespace(self) -> str:
        return f"{self.network.prefix}-{self.name}"

    @property
    def address(self) -> str:
        return f"{_PREFIX}.{self.number}.{self.last}"

    @property
    def gateway(self) -> str:
        return f"{_PREFIX}.{self.number}.1"

    @property
    def etc(self) -> Path:
        """What its programs see in place of /etc's files of the same names."""
        return NAMED / self.namespace

    def inside(self, *command: str) -> list[str]:
        """The command that runs this one there."""
        return ["ip", "netns", "exec", self.namespace, *command]

    def run(self, *command: str) -> str:
        return run(*self.inside(*command))

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Run a program there in the background."""
        return subprocess.Popen(self.inside(*command), **options)

    def write(self, name: str, text: str) -> None:
        """Say what /etc/NAME is there. Written in place: it is mounted over the other."""
        (self.etc / name).write_text(text, "ascii")

    # What may happen to a wire and to its end.

    def unplug(self) -> None:
        """The wire's other end goes down: no packet arrives, and no route is lost."""
        run("ip", "-n", self.network.router, "link", "set", self.name, "down")

    def plug(self) -> None:
        run("ip", "-n", self.network.router, "link", "set", self.name, "up")

    def renumber(self) -> None:
        """Give it another address in place of its own, as another network would."""
        old, self.last = self.address, 2 + (self.last - 1) % 100
        run("ip", "-n", self.namespace, "addr", "del", f"{old}/24", "dev", "up0")
        run("ip", "-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "up0")
        # The route went with the address that it was made with.
        run("ip", "-n", self.namespace, "route", "replace", "default", "via", self.gateway)


@define(eq=False)
class Network:
    """
    Hosts around a router, which forwards between all of them.

    ``prefix`` is this network's alone, and every namespace's name begins with it.
    """

    prefix: str = field(factory=lambda: f"mzf{os.getpid():x}{secrets.token_hex(2)}")
    hosts: dict[str, Host] = field(factory=dict)

    @property
    def router(self) -> str:
        return f"{self.prefix}-router"

    def begin(self) -> None:
        _make(self.router)
        run("ip", "netns", "exec", self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")

    def add(self, name: str) -> Host:
        """One more host, by a wire of its own."""
        host = Host(name, len(self.hosts) + 1, self)
        self.hosts[name] = host
        _make(host.namespace)
        host.etc.mkdir(parents=True)
        here, there = ["ip", "-n", self.router], ["ip", "-n", host.namespace]
        wire = ["link", "add", name, "type", "veth", "peer", "name", "up0"]
        run(*here, *wire, "netns", host.namespace)
        run(*here, "addr", "add", f"{host.gateway}/24", "dev", name)
        run(*here, "link", "set", name, "up")
        run(*there, "addr", "add", f"{host.address}/24", "dev", "up0")
        run(*there, "link", "set", "up0", "up")
        run(*there, "route", "add", "default", "via", host.gateway)
        return host

    def inside_router(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.router, *command]

    def rule(self, *rule: str, table: str = "filter", chain: str = "FORWARD") -> tuple[str, ...]:
        """Have the router do this; what is returned takes it back with :meth:`remove`."""
        run(*self.inside_router("iptables", "-w", "-t", table, "-I", chain, *rule))
        return ("iptables", "-w", "-t", table, "-D", chain, *rule)

    def remove(self, rule: tuple[str, ...]) -> None:
        run(*self.inside_router(*rule))

    def name_hosts(self, names: Mapping[str, str]) -> None:
        """Have every host know these names: /etc/hosts."""
        text = "127.0.0.1 localhost\n" + "".join(f"{a} {n}\n" for n, a in names.items())
        for host in self.hosts.values():
            host.write("hosts", text)


def _make(namespace: str) -> None:
    run("ip", "netns", "add", namespace)
    run("ip", "-n", namespace, "link", "set", "lo", "up")


@contextmanager
def network() -> Iterator[Network]:
    """
    A network that is removed on every way out, with the programs in it.

    :raises NamespaceTrouble:
    """
    made = Network()
    reading, writing = os.pipe()
    try:
        sweeper = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.sweeper", made.prefix],
            stdin=reading,
            cwd=Path(__file__).parents[2],
            # Ctrl-C is for those whom it clears up after.
            start_new_session=True,
        )
    finally:
        os.close(reading)
    try:
        made.begin()
        yield made
    finally:
        os.close(writing)
        sweeper.wait(_SECONDS)
