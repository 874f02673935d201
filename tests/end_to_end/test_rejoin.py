"""A node that lost its data comes back as itself, and what it had before does not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from mezite.cli.local import LocalCluster, local_cluster
from mezite.rpc.proto import auth_pb2 as pb
from tests.doubles.hubworld import ssh_public_line, tls_public_pem
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER

CALLERS = 50


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[LocalCluster]:
    """A cluster of its own, since these tests break it."""
    with local_cluster(tmp_path) as cluster:
        cluster.start_hub()
        cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
        cluster.log_in(USER, PASSWORD)
        yield cluster


def id_of(cluster: LocalCluster, node: str) -> str:
    agent_id: str = cluster.nodes()[node]["agent_id"]
    return agent_id


class RejoinTests:
    """One command on the hub, one on the node."""

    def test_lost_data(self, fresh: LocalCluster, tmp_path: Path) -> None:
        """A node whose data is gone joins once more under its id; a copy of the old is refused."""
        token = fresh.new_token("--labels=env=prod")
        agent = fresh.start_agent("db1", "env=dev", "rack=7", token=token)
        fresh.wait_online("db1")
        agent_id = id_of(fresh, "db1")
        assert fresh.nodes()["db1"]["labels"] == {"env": "prod", "rack": "7"}
        agent.stop()
        (tmp_path / "db1").rename(tmp_path / "copy")

        # An ordinary token does not bring it back, and says what does.
        stranger = fresh.start_agent("db1", "rack=8")
        assert stranger.process.wait(30) != 0
        assert agent_id in stranger.text()
        assert "mezctl nodes allow-rejoin db1" in stranger.text()
        assert "Traceback" not in stranger.text()

        (allowed,) = fresh.admin("nodes", "allow-rejoin", "db1")
        assert allowed["agent_id"] == agent_id
        assert "--hostname=db1" in allowed["join_command"]
        fresh.start_agent("db1", "rack=8", token=allowed)
        fresh.wait_online("db1")
        assert id_of(fresh, "db1") == agent_id
        assert fresh.nodes()["db1"]["labels"] == {"env": "prod", "rack": "8"}
        for name in ("db1", agent_id):
            done = fresh.run("msh", "ssh", f"{LOGIN}@{name}", "echo back")
            assert done.stdout == b"back\n", done.stderr

        old = fresh.start("old", ["twist", "mezd", f"--data-dir={tmp_path / 'copy'}"])
        old.wait_for("joined again with another key")
        (node,) = fresh.admin("nodes", "show", "db1")
        assert (node["status"], node["label_sources"]["env"]) == ("online", "the hub")
        done = fresh.run("msh", "ssh", f"{LOGIN}@db1", "echo still")
        assert done.stdout == b"still\n", done.stderr

    def test_unusable_state(self, fresh: LocalCluster, tmp_path: Path) -> None:
        """Damaged files are put aside, not deleted, once the hub has let the node in again."""
        agent = fresh.start_agent("db1")
        fresh.wait_online("db1")
        agent_id = id_of(fresh, "db1")
        agent.stop()
        damaged = tmp_path / "db1" / "tls.key"
        damaged.write_text("damaged")
        # A token that is for other machines does no harm.
        other = fresh.start_agent("db1")
        assert other.process.wait(30) != 0
        assert damaged.read_text() == "damaged"

        (allowed,) = fresh.admin("nodes", "allow-rejoin", agent_id[:8])
        fresh.start_agent("db1", token=allowed)
        fresh.wait_online("db1")
        assert id_of(fresh, "db1") == agent_id
        (aside,) = (tmp_path / "db1").glob("aside-*")
        assert (aside / "tls.key").read_text() == "damaged"

    def test_online(self, fresh: LocalCluster) -> None:
        """A node that is connected needs no token, and gets none."""
        fresh.start_agent("db1")
        fresh.wait_online("db1")
        done = fresh.run("mezctl", f"--data-dir={fresh.hub_data}", "nodes", "allow-rejoin", "db1")
        assert done.returncode != 0
        assert b"db1 is connected" in done.stderr


class CandidatesTests:
    """Names that are nearly right."""

    def test_candidates(self, fresh: LocalCluster) -> None:
        """A short name is answered with the nodes that may be meant, and their ids."""
        fresh.start_agent("db1.eu")
        fresh.start_agent("db1.us")
        fresh.wait_online("db1.eu", "db1.us")
        done = fresh.run("msh", "ssh", f"{LOGIN}@db1", "true")
        assert done.returncode == 255
        for node in ("db1.eu", "db1.us"):
            assert f"{node} ({id_of(fresh, node)})".encode() in done.stderr


class RaceTests:
    """Many machines with one token."""

    def test_one_use(self, fresh: LocalCluster, tmp_path: Path) -> None:
        """Of 50 callers who redeem a one-use token at once, one is admitted."""
        fresh.start_agent("first")
        fresh.wait_online("first")
        authority = (tmp_path / "first" / "ca.pem").read_bytes()
        token = fresh.new_token()["token"]
        gate = threading.Barrier(CALLERS)
        answers: list[str] = []

        def join(number: int) -> None:
            request = pb.GenerateHostCertsRequest(
                token=token,
                hostname=f"db{number}",
                version="1",
                ssh_public_key=ssh_public_line(),
                tls_public_key=tls_public_pem(),
            )
            with grpc.secure_channel(
                fresh.address,
                grpc.ssl_channel_credentials(authority),
                [("grpc.ssl_target_name_override", f"auth.{fresh.name}")],
            ) as channel:
                call = channel.unary_unary(
                    "/mezite.v1.AuthService/GenerateHostCerts",
                    request_serializer=pb.GenerateHostCertsRequest.SerializeToString,
                    response_deserializer=pb.GenerateHostCertsResponse.FromString,
                )
                grpc.channel_ready_future(channel).result(30)
                gate.wait(60)
                try:
                    answers.append(call(request, timeout=30).agent_id)
                except grpc.RpcError as error:
                    answers.append(error.code().name)  # type: ignore[attr-defined]

        threads = [threading.Thread(target=join, args=(number,)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        assert len(answers) == CALLERS
        assert answers.count("PERMISSION_DENIED") == CALLERS - 1
        assert len(fresh.nodes()) == 2
