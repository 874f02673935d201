"""A hub behind real load balancers: two that end TLS, and one that passes it on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import define, field

from mezite.cli.local import LocalCluster, local_cluster
from tests.end_to_end.balancers import (
    BALANCER,
    FORWARDER,
    PATIENCE_SECONDS,
    haproxy_ending_tls,
    haproxy_passing,
    nginx_ending_tls,
)
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.slow import slow
from tests.end_to_end.stock import StockSsh

BALANCERS = {
    "haproxy": haproxy_ending_tls,
    "nginx": nginx_ending_tls,
    "haproxy-tcp": haproxy_passing,
}
# Where nodes and users are.
CLIENT = "127.0.0.1"
CONTENT = os.urandom(1024 * 1024) * 20


@define(eq=False)
class Beyond(LocalCluster):
    """A node and a user who know the hub by a balancer's address."""

    hub_directory: Path = field(kw_only=True)
    node: str = field(kw_only=True)

    @property
    def hub_data(self) -> Path:
        return self.hub_directory


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A hub alone, which lets balancers say for whom they speak."""
    with local_cluster(tmp_path_factory.mktemp("hub")) as cluster:
        cluster.environment["MEZITE_PROXY_PROXY_PROTOCOL_SOURCES"] = BALANCER
        cluster.environment["MEZITE_PROXY_FORWARDED_FOR_SOURCES"] = FORWARDER
        cluster.start_hub()
        cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
        yield cluster


@pytest.fixture(scope="module", params=BALANCERS)
def beyond(
    request: pytest.FixtureRequest, hub: LocalCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Beyond]:
    """A node that has come online through this balancer, and a user who logged in through it."""
    directory = tmp_path_factory.mktemp(request.param)
    with ExitStack() as stack:
        port = stack.enter_context(BALANCERS[request.param](directory, hub.port))
        cluster = Beyond(directory, port, hub_directory=hub.hub_data, node=request.param)
        stack.callback(cluster.stop)
        cluster.start_agent(cluster.node)
        cluster.log_in(USER, PASSWORD)
        cluster.wait_online(cluster.node)
        yield cluster


def stock(beyond: Beyond) -> StockSsh:
    """OpenSSH's programs, through the balancer."""
    config = beyond.directory / "ssh_config"
    config.write_bytes(beyond.succeed("msh", "config"))
    return StockSsh(config)


def tunnel_of(beyond: Beyond) -> object:
    """When the node's tunnel was made, as its log has it."""
    (log,) = beyond.directory.glob(f"{beyond.node}.log")
    return [line for line in log.read_text().splitlines() if "tunnel" in line]


class LoadBalancerTests:
    """What people do, through what stands before the hub."""

    def test_command(self, beyond: Beyond) -> None:
        """msh runs a command on the node."""
        assert beyond.succeed("msh", "ssh", f"{LOGIN}@{beyond.node}", "echo here") == b"here\n"

    def test_stock_ssh(self, beyond: Beyond) -> None:
        """Stock ssh sends 20 MB through msh proxy ssh and gets them back, unharmed."""
        answer = stock(beyond).succeed(f"{LOGIN}@{beyond.node}", "cat", given=CONTENT)
        assert hashlib.sha256(answer).digest() == hashlib.sha256(CONTENT).digest()

    def test_copy(self, beyond: Beyond) -> None:
        """msh scp copies a file to the node."""
        source, copy = beyond.directory / "source", beyond.directory / "copy"
        source.write_bytes(CONTENT[:1000])
        beyond.succeed("msh", "scp", str(source), f"{LOGIN}@{beyond.node}:{copy}")
        assert copy.read_bytes() == CONTENT[:1000]

    def test_client_address(self, hub: LocalCluster, beyond: Beyond) -> None:
        """Logins, sessions and tunnels have the client's address, and not a balancer's."""
        beyond.succeed("msh", "ssh", f"{LOGIN}@{beyond.node}", "true")
        listed = hub.succeed(
            "mezctl", f"--data-dir={hub.hub_data}", "audit", "ls", "--limit=500", "--format=json"
        )
        rows = [json.loads(line) for line in listed.splitlines()]
        of_node = [row for row in rows if beyond.node in (row["node"], row["user"])]
        found = {row["event_type"] for row in of_node}
        assert {"node.joined", "session.start"} <= found, found
        logins = [row for row in rows if row["event_type"] == "user.login"]
        places = [row["client_address"] for row in (*of_node, *logins) if row["client_address"]]
        assert {place.partition(":")[0] for place in places} == {CLIENT}, places

    @slow
    def test_idle(self, beyond: Beyond) -> None:
        """A quiet session and its tunnel outlive what would be silence to the balancer."""
        with stock(beyond).holding(f"{LOGIN}@{beyond.node}") as waiting:
            before = tunnel_of(beyond)
            time.sleep(2 * PATIENCE_SECONDS + 5)
            assert waiting.poll() is None
        assert tunnel_of(beyond) == before
