"""A node that lost its data comes back as itself, and what it had before does not."""

from __future__ import annotations

import threading

import grpc
import pytest

from mezite.cli.local import LocalCluster
from mezite.rpc.proto import auth_pb2 as pb
from tests.doubles.hubworld import ssh_public_line, tls_public_pem
from tests.end_to_end.conftest import LOGIN

CALLERS = 50


@pytest.fixture(scope="module")
def fresh(empty_cluster: LocalCluster) -> LocalCluster:
    """A cluster of their own; each test has its own nodes."""
    return empty_cluster


def id_of(cluster: LocalCluster, node: str) -> str:
    agent_id: str = cluster.nodes()[node]["agent_id"]
    return agent_id


class RejoinTests:
    """One command on the hub, one on the node."""

    def test_lost_data(self, fresh: LocalCluster) -> None:
        """A node whose data is gone joins once more under its id; a copy of the old is refused."""
        token = fresh.new_token("--labels=env=prod")
        agent = fresh.start_agent("lost1", "env=dev", "rack=7", token=token)
        fresh.wait_online("lost1")
        agent_id = id_of(fresh, "lost1")
        assert fresh.nodes()["lost1"]["labels"] == {"env": "prod", "rack": "7"}
        agent.stop()
        (fresh.directory / "lost1").rename(fresh.directory / "copy")

        # An ordinary token does not bring it back, and says what does.
        stranger = fresh.start_agent("lost1", "rack=8")
        assert stranger.process.wait(30) != 0
        assert agent_id in stranger.text()
        assert "mezctl nodes allow-rejoin lost1" in stranger.text()
        assert "Traceback" not in stranger.text()

        (allowed,) = fresh.admin("nodes", "allow-rejoin", "lost1")
        assert allowed["agent_id"] == agent_id
        assert "--hostname=lost1" in allowed["join_command"]
        fresh.start_agent("lost1", "rack=8", token=allowed)
        fresh.wait_online("lost1")
        assert id_of(fresh, "lost1") == agent_id
        assert fresh.nodes()["lost1"]["labels"] == {"env": "prod", "rack": "8"}
        for name in ("lost1", agent_id):
            done = fresh.run("msh", "ssh", f"{LOGIN}@{name}", "echo back")
            assert done.stdout == b"back\n", done.stderr

        old = fresh.start("old", ["twist", "mezd", f"--data-dir={fresh.directory / 'copy'}"])
        old.wait_for("joined again with another key")
        (node,) = fresh.admin("nodes", "show", "lost1")
        assert (node["status"], node["label_sources"]["env"]) == ("online", "the hub")
        done = fresh.run("msh", "ssh", f"{LOGIN}@lost1", "echo still")
        assert done.stdout == b"still\n", done.stderr

    def test_unusable_state(self, fresh: LocalCluster) -> None:
        """Damaged files are put aside, not deleted, once the hub has let the node in again."""
        agent = fresh.start_agent("damaged1")
        fresh.wait_online("damaged1")
        agent_id = id_of(fresh, "damaged1")
        agent.stop()
        damaged = fresh.directory / "damaged1" / "tls.key"
        damaged.write_text("damaged")
        # A token that is for other machines does no harm.
        other = fresh.start_agent("damaged1")
        assert other.process.wait(30) != 0
        assert damaged.read_text() == "damaged"

        (allowed,) = fresh.admin("nodes", "allow-rejoin", agent_id[:8])
        fresh.start_agent("damaged1", token=allowed)
        fresh.wait_online("damaged1")
        assert id_of(fresh, "damaged1") == agent_id
        (aside,) = (fresh.directory / "damaged1").glob("aside-*")
        assert (aside / "tls.key").read_text() == "damaged"

    def test_online(self, fresh: LocalCluster) -> None:
        """A node that is connected needs no token, and gets none."""
        fresh.start_agent("online1")
        fresh.wait_online("online1")
        done = fresh.run(
            "mezctl", f"--data-dir={fresh.hub_data}", "nodes", "allow-rejoin", "online1"
        )
        assert done.returncode != 0
        assert b"online1 is connected" in done.stderr


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

    def test_one_use(self, fresh: LocalCluster) -> None:
        """Of 50 callers who redeem a one-use token at once, one is admitted."""
        fresh.start_agent("first")
        fresh.wait_online("first")
        before = len(fresh.nodes())
        authority = (fresh.directory / "first" / "ca.pem").read_bytes()
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
        assert len(fresh.nodes()) == before + 1
