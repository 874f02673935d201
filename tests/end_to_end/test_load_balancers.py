"""A hub behind real load balancers: two that end TLS, and one that passes it on."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import define, field

from mezite.cli.local import LocalCluster, local_cluster
from tests.end_to_end.balancers import haproxy_ending_tls, haproxy_passing, nginx_ending_tls
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.stock import StockSsh

BALANCERS = {
    "haproxy": haproxy_ending_tls,
    "nginx": nginx_ending_tls,
    "haproxy-tcp": haproxy_passing,
}
# haproxy comes from here, and says for whom; nginx comes from 127.0.0.1, and cannot.
BALANCER = "127.0.0.2"
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


class LoadBalancerTests:
    """What people do, through what stands before the hub."""

    def test_command(self, beyond: Beyond) -> None:
        """msh runs a command on the node."""
        assert beyond.succeed("msh", "ssh", f"{LOGIN}@{beyond.node}", "echo here") == b"here\n"

    def test_stock_ssh(self, beyond: Beyond) -> None:
        """Stock ssh sends 20 MB through msh proxy ssh and gets them back, unharmed."""
        config = beyond.directory / "ssh_config"
        config.write_bytes(beyond.succeed("msh", "config"))
        answer = StockSsh(config).succeed(f"{LOGIN}@{beyond.node}", "cat", given=CONTENT)
        assert hashlib.sha256(answer).digest() == hashlib.sha256(CONTENT).digest()


class ClientAddressTests:
    """Who came in, as the audit has it."""

    @pytest.mark.parametrize("beyond", ["haproxy"], indirect=True)
    def test_not_the_balancer(self, hub: LocalCluster, beyond: Beyond) -> None:
        """No login came from the address of a balancer that says for whom it speaks."""
        rows = hub.succeed(
            "mezctl", f"--data-dir={hub.hub_data}", "audit", "ls", "--type=user.login"
        )
        assert USER in rows.decode()
        assert BALANCER not in rows.decode()
