"""An access request from the refusal to its end, with the real programs."""

from __future__ import annotations

import hashlib
import hmac
import json
import queue
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from mezite.cli.local import LocalCluster, local_cluster
from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.stock import PATIENCE, StockSsh

SECRET = b"a secret of many octets"
PASSWORD = "correct horse battery staple"
ROLES = {
    "ssh-production": f"""\
kind: role
version: v1
metadata: {{name: ssh-production}}
spec:
  allow: {{node_labels: {{env: prod}}, logins: [{LOGIN}]}}
""",
    "developer": """\
kind: role
version: v1
metadata: {name: developer}
spec:
  allow: {request_roles: ["^ssh-.*$"]}
""",
    "lead": """\
kind: role
version: v1
metadata: {name: lead}
spec:
  allow: {request_roles: [ssh-production], review_roles: [ssh-production]}
""",
}


@define(eq=False)
class Receiver:
    """A webhook on loopback, and what it was told."""

    server: ThreadingHTTPServer
    told: queue.Queue[tuple[dict[str, str], bytes]] = field(factory=queue.Queue)

    def next(self) -> dict[str, Any]:
        """The next message, once its signature was found right."""
        headers, body = self.told.get(timeout=PATIENCE)
        at, proof = headers["Mezite-Signature"].split(",")
        signed = at.removeprefix("t=").encode() + b"." + body
        expected = hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
        assert hmac.compare_digest(proof, f"v1={expected}")
        assert abs(int(at.removeprefix("t=")) - time.time()) < 300
        message: dict[str, Any] = json.loads(body)
        assert headers["Mezite-Event"] == message["event"]
        return message


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.told.put((dict(self.headers), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        receiver = Receiver(server)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield receiver
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[LocalCluster]:
    """A hub that tells the receiver, two nodes, and who asks and who decides."""
    directory = tmp_path_factory.mktemp("cluster")
    (directory / "webhook.secret").write_bytes(SECRET + b"\n")
    (directory / "mezite.yaml").write_text(
        "requests:\n  webhooks:\n"
        f"    - url: http://127.0.0.1:{receiver.server.server_port}/hook\n"
        "      secret_file: webhook.secret\n"
    )
    with local_cluster(directory) as cluster:
        cluster.start_hub(f"--config={directory / 'mezite.yaml'}")
        for name, document in ROLES.items():
            path = directory / f"{name}.yaml"
            path.write_text(document)
            cluster.admin("roles", "create", f"--from-file={path}")
        cluster.add_user("ada", PASSWORD, "--roles=developer")
        cluster.add_user("rex", PASSWORD, "--roles=lead")
        cluster.add_user("root", PASSWORD, "--roles=admin,access")
        cluster.start_agent("db1", "env=prod")
        cluster.start_agent("db2", "env=prod")
        root = person(cluster, "root")
        root.wait_online("db1", "db2")
        yield cluster


def person(cluster: LocalCluster, name: str) -> LocalCluster:
    """The same cluster, from the machine of somebody who has logged in."""
    at_home = LocalCluster(
        cluster.directory,
        port=cluster.port,
        environment={"MSH_HOME": str(cluster.directory / f"msh-{name}")},
    )
    at_home.log_in(name, PASSWORD)
    return at_home


def ssh(who: LocalCluster, node: str) -> subprocess.CompletedProcess[bytes]:
    """Stock ssh, with the configuration that msh wrote."""
    config = who.succeed("msh", "config", "--save").decode().strip()
    return StockSsh(Path(config)).run(f"{LOGIN}@{node}", "echo", "in")


def rows(who: LocalCluster, *words: str) -> list[dict[str, Any]]:
    answer: list[dict[str, Any]] = json.loads(who.succeed("msh", *words, "--format=json"))
    return answer


class AccessRequestTests:
    """ada asks, rex decides."""

    def test_from_refusal_to_end(self, cluster: LocalCluster, receiver: Receiver) -> None:
        """Refused, asked, approved, reached by stock ssh, and refused again at the end."""
        ada, rex = person(cluster, "ada"), person(cluster, "rex")
        refused = ssh(ada, "db1")
        assert refused.returncode == 255
        assert b"msh request create --roles ssh-production --nodes db1" in refused.stderr

        (asked,) = rows(
            ada,
            *("request", "create", "--roles=ssh-production", "--reason=disk full"),
            *("--nodes=db1", "--ttl=1h"),
        )
        told = receiver.next()
        assert (told["event"], told["request"]["user"]) == ("access_request.created", "ada")
        own = ada.run("msh", "request", "approve", asked["id"])
        assert own.returncode == 4
        assert b"their own request" in own.stderr
        early = ada.run(
            "msh", "login", "--request", asked["id"], "--password-stdin", given=PASSWORD + "\n"
        )
        assert early.returncode == 4

        (seen,) = rows(rex, "request", "ls", "--state=pending")
        assert (seen["id"], seen["reason"]) == (asked["id"], "disk full")
        (approved,) = rows(rex, "request", "approve", asked["id"], "--reason=go")
        assert approved["state"] == "approved"
        assert receiver.next()["request"]["changes"][-1]["by"] == "rex"

        # The login of before does not have it.
        older = ssh(ada, "db1")
        assert older.returncode == 255
        assert f"not good for the login {LOGIN}".encode() in older.stderr
        ada.succeed(
            "msh", "login", "--request", asked["id"], "--password-stdin", given=PASSWORD + "\n"
        )
        (status,) = rows(ada, "status")
        assert status["logins"] == [LOGIN]
        assert 3000 < status["time_left"] <= 3600
        reached = ssh(ada, "db1")
        assert reached.stdout == b"in\n", reached.stderr
        assert ssh(ada, "db2").returncode == 255
        (explained,) = cluster.admin(
            "access", "explain", "--user=ada", f"--login={LOGIN}", "--node=db1"
        )
        assert explained["role"].startswith(f"ssh-production by request {asked['id']}, until ")

        # An hour is long: the hub is told that the window ends now. The certificate lives on.
        with closing(sqlite3.connect(cluster.hub_data / "mezite.sqlite")) as database, database:
            database.execute("UPDATE access_requests SET expires = ?", (time.time() + 0.5,))
        assert receiver.next()["event"] == "access_request.expired"
        ended = ssh(ada, "db1")
        assert ended.returncode == 255
        assert b"msh request create" in ended.stderr
        (shown,) = rows(ada, "request", "show", asked["id"])
        assert [each["by"] for each in shown["changes"]] == ["ada", "rex", "hub"]

    def test_waiting(self, cluster: LocalCluster, receiver: Receiver) -> None:
        """--wait logs in once it is approved; mezctl approves and revokes as well."""
        ada = person(cluster, "ada")
        outcome: list[subprocess.CompletedProcess[bytes]] = []

        def create() -> None:
            outcome.append(
                ada.run(
                    *("msh", "request", "create", "--roles=ssh-production", "--reason=release"),
                    *("--wait", "--password-stdin"),
                    given=PASSWORD + "\n",
                    seconds=PATIENCE,
                )
            )

        waiting = threading.Thread(target=create)
        waiting.start()
        told = receiver.next()
        cluster.admin("requests", "approve", told["request"]["id"])
        waiting.join()
        assert outcome[0].returncode == 0, outcome[0].stderr
        assert b"was approved by local" in outcome[0].stderr
        assert receiver.next()["event"] == "access_request.approved"
        assert ssh(ada, "db2").stdout == b"in\n"
        (revoked,) = cluster.admin("requests", "revoke", told["request"]["id"])
        assert revoked["state"] == "revoked"
        assert receiver.next()["event"] == "access_request.revoked"
        assert ssh(ada, "db2").returncode == 255

    def test_denied(self, cluster: LocalCluster, receiver: Receiver) -> None:
        """Who waits and is denied reads why, and keeps the login they had."""
        ada = person(cluster, "ada")
        failed: list[subprocess.CompletedProcess[bytes]] = []
        words = ("msh", "request", "create", "--roles=ssh-production", "--reason=x", "--wait")
        waiting = threading.Thread(target=lambda: failed.append(ada.run(*words)))
        waiting.start()
        told = receiver.next()
        cluster.admin("requests", "deny", told["request"]["id"], "--reason=not today")
        waiting.join()
        assert failed[0].returncode == 4
        assert b"is denied by local: not today" in failed[0].stderr
        assert receiver.next()["event"] == "access_request.denied"
        assert ada.run("msh", "status").returncode == 0

    def test_on_record(self, cluster: LocalCluster) -> None:
        """Every step is in the audit, with who and for whom."""
        mezctl = ("mezctl", f"--data-dir={cluster.hub_data}", "audit")
        lines = cluster.succeed(*mezctl, "ls", "--type=access_request.*", "--format=json")
        events = [json.loads(line) for line in lines.splitlines()]
        types = [each["event_type"].removeprefix("access_request.") for each in events]
        assert types == [
            *("created", "approved", "expired"),
            *("created", "approved", "revoked"),
            *("created", "denied"),
        ]
        assert [each["user"] for each in events[:3]] == ["ada", "rex", "hub"]
        cluster.succeed(*mezctl, "verify")
