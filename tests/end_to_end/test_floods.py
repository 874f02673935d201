"""Strangers who flood the port, all kinds of them at once, and people at work meanwhile."""

from __future__ import annotations

import re
import ssl
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from mezite.cli.local import LocalCluster, local_cluster
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.floods import BALANCER, Flooding, flooding
from tests.end_to_end.slow import IS_SLOW_WANTED
from tests.end_to_end.stock import StockSsh, wait_until

# More of those who finish a handshake than one address may have, which is 256.
IDLE = 300
# So many begin and do not go on, for which they have 10 s: looked at with MEZITE_SLOW=1 only.
SLOW = {"slow_hello": 30, "silent": 30, "slow_headers": 20, "slow_header": 20}
# What these send is refused at once.
REFUSED = {"junk": 5, "large_hello": 5}
OTHERS = {"http2": 10, "upgrades": 10, "grpc": 10, "ssh": 10, "handshakes": 5}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A hub with a node, which takes one address of the floods for a balancer's."""
    with local_cluster(tmp_path_factory.mktemp("hub")) as cluster:
        cluster.environment["MEZITE_PROXY_PROXY_PROTOCOL_SOURCES"] = BALANCER
        cluster.start_hub()
        cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
        cluster.log_in(USER, PASSWORD)
        cluster.start_agent("db1")
        cluster.wait_online("db1")
        yield cluster


def metrics(hub: LocalCluster) -> dict[str, float]:
    """The hub's own numbers that have no labels."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with urllib.request.urlopen(f"https://{hub.address}/metrics", context=context) as answer:
        text: str = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^(\w+) (\S+)$", text, re.M)}


def has_dropped(flood: Flooding) -> bool:
    """Whether as many were ended by the hub as were there at first, of each kind that it ends."""
    seen = flood.seen()
    wanted = {**REFUSED, "idle": IDLE - 256 + 1, **(SLOW if IS_SLOW_WANTED else {})}
    return all(seen[kind].ended >= count for kind, count in wanted.items())


class FloodTests:
    """What is left of a flood, and of those who work beside it."""

    def test_all_at_once(self, hub: LocalCluster, tmp_path: Path) -> None:
        """Sessions begin and go on, each table keeps its bound, and who does nothing is dropped."""
        config = tmp_path / "ssh_config"
        config.write_bytes(hub.succeed("msh", "config"))
        stock = StockSsh(config)
        with (
            stock.holding(f"{LOGIN}@db1") as working,
            flooding(hub.port, idle=IDLE, **SLOW, **REFUSED, **OTHERS) as flood,
        ):
            wait_until(lambda: metrics(hub)["mezite_strangers_dropped_total"] > 10, "no bound")
            for _ in range(2):
                assert hub.succeed("msh", "ssh", f"{LOGIN}@db1", "echo here") == b"here\n"
                seen = metrics(hub)
                # Those of the flood's address, and of ours the one that asks.
                assert seen["mezite_strangers"] <= 256 + 8
                assert seen["mezite_handshakes"] <= 1024
            assert stock.succeed(f"{LOGIN}@db1", "echo here") == b"here\n"
            wait_until(lambda: has_dropped(flood), "they are still there")
            assert working.poll() is None
        wait_until(lambda: metrics(hub)["mezite_strangers"] < 8, "strangers that have gone")
        wait_until(lambda: metrics(hub)["mezite_handshakes"] < 2, "handshakes that have ended")
