"""
What goes wrong, as a table: each fault by name, how it comes and goes, how long it lasts.

A fault is a context: it happens when it is entered and has gone when it is left,
which is the moment from which agents are to be back. What it does to a cluster
is here; whether the cluster bears it is judged in :mod:`tests.faults.watching`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mezite.identity import x509
from mezite.identity.authority import X509Authority
from mezite.names import ClusterName
from mezite.store.keyfiles import load_or_create
from tests.faults.cluster import NAME, PORT, SpreadCluster

DAY: Final = 86400
# Where the router leads what it does not lead to the hub.
_ELSEWHERE: Final = 7000
Happening = Callable[[SpreadCluster], AbstractContextManager[None]]


@frozen
class Fault:
    """
    One thing that goes wrong for ``seconds``.

    ``says`` is what each agent's log is to say about it meanwhile, or soon after; a
    fault that no agent can notice, or need not, has nothing. ``is_borne`` says that
    nodes can be reached while it lasts. Sessions that can be resumed outlast it
    unless ``ends_sessions``. ``sets_clocks`` needs libfaketime.
    """

    name: str
    happening: Happening
    seconds: float
    says: str = ""
    is_borne: bool = False
    ends_sessions: bool = False
    sets_clocks: bool = False


@contextmanager
def _rules(cluster: SpreadCluster, rules: Sequence[Sequence[str]]) -> Iterator[None]:
    """The router does this meanwhile."""
    net = cluster.network
    with ExitStack() as stack:
        for rule in rules:
            stack.callback(net.remove, net.rule(*rule))
        yield


def _of_agents(cluster: SpreadCluster, *target: str) -> list[list[str]]:
    """What happens to every packet of TCP between an agent and anybody."""
    return [
        [direction, node, "-p", "tcp", *target]
        for node in cluster.fleet
        for direction in ("-i", "-o")
    ]


def lost_packets(cluster: SpreadCluster) -> AbstractContextManager[None]:
    """One packet in twenty is lost, wherever it goes."""
    lottery = ["-m", "statistic", "--mode", "random", "--probability", "0.05"]
    return _rules(cluster, [[*lottery, "-j", "DROP"]])


def dropped(cluster: SpreadCluster) -> AbstractContextManager[None]:
    """A firewall swallows what agents and hub say, and nobody is told."""
    return _rules(cluster, _of_agents(cluster, "-j", "DROP"))


def reset(cluster: SpreadCluster) -> AbstractContextManager[None]:
    """Every connection of an agent is reset, and so is every new one."""
    return _rules(cluster, _of_agents(cluster, "-j", "REJECT", "--reject-with", "tcp-reset"))


@contextmanager
def unplugged(cluster: SpreadCluster) -> Iterator[None]:
    """The agents' wires are out."""
    hosts = [cluster.network.hosts[node] for node in cluster.fleet]
    for host in hosts:
        host.unplug()
    try:
        yield
    finally:
        for host in hosts:
            host.plug()


@contextmanager
def renumbered(cluster: SpreadCluster) -> Iterator[None]:
    """The agents' machines get new addresses, which stay."""
    for node in cluster.fleet:
        cluster.network.hosts[node].renumber()
    yield


@contextmanager
def _led_elsewhere(
    cluster: SpreadCluster, module: str, *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The agents' connections to the hub lead to this program on the router; old ones are reset."""
    program = cluster.aside("elsewhere", module, *arguments)
    redirect = ["-p", "tcp", "--dport", str(PORT), "-j", "REDIRECT", "--to-ports"]
    net = cluster.network
    with ExitStack() as stack:
        stack.callback(program.wait)
        stack.callback(program.kill)
        for node in cluster.fleet:
            rule = net.rule("-i", node, *redirect, str(_ELSEWHERE), table="nat", chain="PREROUTING")
            stack.callback(net.remove, rule)
        # What was redirected is the router's own, and passes none of these.
        with _rules(cluster, _of_agents(cluster, "-j", "REJECT", "--reject-with", "tcp-reset")):
            yield program


@contextmanager
def delayed(cluster: SpreadCluster) -> Iterator[None]:
    """Every way between an agent and the hub takes 200 ms."""
    hub = cluster.host_of("hub").address
    arguments = [f"--listen=0.0.0.0:{_ELSEWHERE}", f"--to={hub}:{PORT}", "--delay=0.2"]
    with _led_elsewhere(cluster, "tests.faults.relay", *arguments):
        yield


def _impostor(*arguments: str) -> Happening:
    @contextmanager
    def happening(cluster: SpreadCluster) -> Iterator[None]:
        port = f"--port={_ELSEWHERE}"
        with _led_elsewhere(cluster, "tests.faults.impostor", *arguments, port):
            yield

    return happening


def _hub_with(certificate: Callable[[SpreadCluster], bytes]) -> Happening:
    """A hub that shows this in the handshake of a tunnel."""

    @contextmanager
    def happening(cluster: SpreadCluster) -> Iterator[None]:
        path = cluster.directory / "impostor.pem"
        path.write_bytes(certificate(cluster))
        shown = [f"--certificate={path}", f"--port={_ELSEWHERE}"]
        names = [f"--alpn={name}" for name in ("mezite-tunnel", "mezite-auth")]
        with _led_elsewhere(cluster, "tests.faults.impostor", "tls", *shown, *names):
            yield

    return happening


def _shown(authority: X509Authority, cluster: str, begins: float, lifetime: float) -> bytes:
    """A hub's certificate and key."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = x509.issue_hub(
        authority,
        key.public_key(),
        x509.HubIdentity(ClusterName(cluster)),
        names=[NAME],
        addresses=[],
        now=begins,
        lifetime=lifetime,
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM) + authority.certificate_pem + secret


def _own_authority(cluster: SpreadCluster) -> X509Authority:
    name = ClusterName(cluster.name)
    return load_or_create(cluster.hub_data, name, time.time(), None).cluster_ca


def foreign_certificate(cluster: SpreadCluster) -> bytes:
    """One of a hub of the same name, by another authority."""
    now = time.time()
    authority = X509Authority.generate(ClusterName(cluster.name), now)
    return _shown(authority, cluster.name, now, DAY)


def expired_certificate(cluster: SpreadCluster) -> bytes:
    return _shown(_own_authority(cluster), cluster.name, time.time() - 2 * DAY, DAY)


def early_certificate(cluster: SpreadCluster) -> bytes:
    """One that is good from tomorrow on, also where a week is allowed for."""
    return _shown(_own_authority(cluster), cluster.name, time.time() + 30 * DAY, DAY)


@contextmanager
def hub_killed(cluster: SpreadCluster) -> Iterator[None]:
    """kill -9 of the hub; it is started again."""
    assert cluster.hub is not None
    cluster.hub.kill()
    yield
    cluster.start_hub()


@contextmanager
def hub_moved(cluster: SpreadCluster) -> Iterator[None]:
    """The hub's machine is gone; with its data it is started on another, and names follow."""
    assert cluster.hub is not None
    cluster.hub.kill()
    old = cluster.host_of("hub")
    old.unplug()
    try:
        yield
        cluster.point_to("hub2" if cluster.home == "hub" else "hub")
        cluster.start_hub()
    finally:
        # Its machine is there again, without a hub.
        old.plug()


def _stopped(programs: Callable[[SpreadCluster], list[Any]]) -> Happening:
    @contextmanager
    def happening(cluster: SpreadCluster) -> Iterator[None]:
        numbers = [program.process.pid for program in programs(cluster)]
        for number in numbers:
            os.kill(number, signal.SIGSTOP)
        try:
            yield
        finally:
            for number in numbers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGCONT)

    return happening


def _clocks_set(seconds: int, *, of_agents: bool = False, of_hub: bool = False) -> Happening:
    @contextmanager
    def happening(cluster: SpreadCluster) -> Iterator[None]:
        programs = [*(cluster.fleet if of_agents else ()), *(["hub"] if of_hub else [])]
        files = [cluster.clock_file(program) for program in programs]
        _write(files, f"{seconds:+d}\n")
        try:
            yield
        finally:
            _write(files, "+0\n")

    return happening


def _write(files: Sequence[Path], text: str) -> None:
    for file in files:
        file.write_text(text)


_SILENT: Final = "does not answer: check the address, the network and firewalls"
# Or there is no route, which the system finds out by asking for the next hop.
_AWAY: Final = "check the address, the network and firewalls"
_GONE: Final = "nothing listens at .*: see that the hub runs"

FAULTS: Final = (
    Fault("5 % of packets lost", lost_packets, 40, is_borne=True),
    Fault("200 ms each way", delayed, 45, is_borne=True),
    Fault("link down 10 s", unplugged, 10),
    Fault("link down 60 s", unplugged, 60, _AWAY),
    Fault("packets dropped", dropped, 45, _SILENT),
    Fault("connections reset", reset, 20, _GONE),
    Fault("hub killed", hub_killed, 10, _GONE),
    Fault("hub moved", hub_moved, 15, f"{_SILENT}|{_GONE}|cannot be reached|was lost"),
    Fault("agents renumbered", renumbered, 0, "no sign of life|was lost|does not answer"),
    Fault("hub accepts and is mute", _impostor("mute"), 30, _SILENT),
    Fault("captive portal", _impostor("html"), 20, "is no hub"),
    Fault("wrong authority", _hub_with(foreign_certificate), 20, "is not the one that this node"),
    Fault("hub's certificate expired", _hub_with(expired_certificate), 20, "set the clock"),
    Fault("hub's certificate not yet valid", _hub_with(early_certificate), 20, "set the clock"),
    Fault("agents suspended", _stopped(lambda c: list(c.agents.values())), 60),
    Fault("hub suspended", _stopped(lambda c: [c.hub]), 40, f"{_SILENT}|no sign of life"),
    Fault("agents' clocks a day ahead", _clocks_set(DAY, of_agents=True), 30, sets_clocks=True),
    Fault("agents' clocks a day behind", _clocks_set(-DAY, of_agents=True), 30, sets_clocks=True),
    Fault("hub's clock a day ahead", _clocks_set(DAY, of_hub=True), 30, sets_clocks=True),
    Fault(
        "all clocks a day ahead",
        _clocks_set(DAY, of_agents=True, of_hub=True),
        75,
        sets_clocks=True,
    ),
    Fault("link down 6 min", unplugged, 360, _AWAY, ends_sessions=True),
)
# Those of which thirty at random fit into half an hour.
SHORT: Final = tuple(fault for fault in FAULTS if fault.seconds <= 60)
