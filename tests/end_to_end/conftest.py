"""A running cluster for the tests of the whole: one hub, two agents, one user."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from pathlib import Path

import pytest

from mezite.cli.local import LocalCluster, local_cluster

USER = "ada"
PASSWORD = "correct horse battery staple"
LOGIN = getpass.getuser()


def _hub_alone(directory: Path) -> Iterator[LocalCluster]:
    with local_cluster(directory) as cluster:
        cluster.start_hub()
        cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
        cluster.log_in(USER, PASSWORD)
        yield cluster


def _with_nodes(cluster: LocalCluster) -> LocalCluster:
    cluster.start_agent("db1", "env=prod", "role=db")
    cluster.start_agent("web1", "env=dev")
    cluster.wait_online("db1", "web1")
    return cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """The hub with two nodes online, for all who leave it as they found it."""
    for cluster in _hub_alone(tmp_path_factory.mktemp("cluster")):
        yield _with_nodes(cluster)


@pytest.fixture(scope="module")
def empty_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A hub alone, with a user who may use this account on every node; a module's own."""
    yield from _hub_alone(tmp_path_factory.mktemp("empty"))


@pytest.fixture(scope="module")
def own_cluster(empty_cluster: LocalCluster) -> LocalCluster:
    """The hub with two nodes online, for a module that changes what others count on."""
    return _with_nodes(empty_cluster)


@pytest.fixture(scope="module")
def ssh_config(cluster: LocalCluster) -> Path:
    """What ``msh config`` prints, in a file for stock OpenSSH."""
    config = cluster.directory / "ssh_config"
    config.write_bytes(cluster.succeed("msh", "config"))
    return config
