"""
An administrator's day: roles, users, a second factor, a request, a lock, the audit.

One walk through the real programs, whose commands and answers are printed
(``pytest -s``). ``MEZITE_WALK_WINDOW=60`` waits for the real end of the access
window, which is a minute at least; without it, the hub is told that it is over.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pyotp
import pytest

from mezite.cli.local import LocalCluster, local_cluster
from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.screen import screen_with
from tests.end_to_end.slow import slow

PASSWORD = "correct horse battery staple"
WINDOW = float(os.environ.get("MEZITE_WALK_WINDOW", "0"))
DEVELOPER = f"""\
kind: role
version: v1
metadata: {{name: developer, description: the machines of development}}
spec:
  options: {{max_session_ttl: 8h}}
  allow:
    node_labels: {{env: dev}}
    logins: [{LOGIN}]
    request_roles: [ssh-production]
  deny:
    logins: [daemon]
"""
PRODUCTION = f"""\
kind: role
version: v1
metadata: {{name: ssh-production}}
spec:
  allow: {{node_labels: {{env: prod}}, logins: [{LOGIN}]}}
"""
# What must be on record at the end, in this order.
EVENTS = (
    "role.created",
    "role.created",
    "user.created",
    "user.created",
    "token.created",
    "node.joined",
    "user.invite.accepted",
    "user.login.failed",
    "user.login",
    "user.cert.issued",
    "session.start",
    "session.end",
    "authz.denied",
    "access_request.created",
    "access_request.approved",
    "user.cert.issued",
    "session.start",
    "session.end",
    "access_request.expired",
    "authz.denied",
    "session.start",
    "lock.created",
    "session.end",
    "lock.deleted",
    "session.start",
)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path) as cluster:
        cluster.start_hub()
        yield cluster


def at_home(cluster: LocalCluster, name: str) -> LocalCluster:
    """The machine of a person."""
    return LocalCluster(
        cluster.directory,
        port=cluster.port,
        environment={"MSH_HOME": str(cluster.directory / f"msh-{name}")},
    )


def show(command: tuple[str, ...], output: str) -> None:
    print(f"$ {shlex.join(each for each in command if not each.startswith('--data-dir'))}")
    print(output.rstrip() + "\n")


def said(who: LocalCluster, *command: str, given: str | None = None, status: int = 0) -> str:
    """What a program says, on the record of this walk."""
    if command[0] == "mezctl":
        command = (command[0], f"--data-dir={who.hub_data}", *command[1:])
    done = who.run(*command, given=given)
    output = (done.stdout + done.stderr).decode()
    show(command, output)
    assert done.returncode == status, (done.returncode, output)
    return output


def events(cluster: LocalCluster) -> list[dict[str, Any]]:
    lines = cluster.succeed(
        "mezctl",
        f"--data-dir={cluster.hub_data}",
        *("audit", "ls", "--limit=0", "--format=json"),
    )
    return [json.loads(line) for line in lines.splitlines()]


def is_in_order(wanted: Sequence[str], types: list[str]) -> str | None:
    """The first of these that does not follow those before it; None if all do."""
    rest = iter(types)
    return next((each for each in wanted if each not in rest), None)


@slow
class AccessWalkTests:
    """Everything that this release says about who may do what."""

    def test_walk(self, cluster: LocalCluster) -> None:
        """From two roles to an audit that finds one changed byte."""
        self.make_roles_and_users(cluster)
        ada, kim = at_home(cluster, "ada"), at_home(cluster, "kim")
        secret, codes = self.enrol(cluster, ada)
        self.log_in(cluster, ada, kim, secret)
        self.reach(ada)
        self.ask(cluster, ada, kim, codes)
        self.lock(cluster, ada)
        self.read_the_audit(cluster)

    def make_roles_and_users(self, cluster: LocalCluster) -> None:
        for name, text in (("developer", DEVELOPER), ("ssh-production", PRODUCTION)):
            path = cluster.directory / f"{name}.yaml"
            path.write_text(text)
            said(cluster, "mezctl", "roles", "create", f"--from-file={path}")
        for name, roles in (("ada", "developer"), ("kim", "admin,access")):
            (made,) = cluster.admin("users", "create", name, f"--roles={roles}")
            (cluster.directory / f"{name}.invite").write_text(made["invite_token"])
        cluster.start_agent("dev1", "env=dev")
        cluster.start_agent("db1", "env=prod")

    def invite(self, cluster: LocalCluster, name: str) -> str:
        return (cluster.directory / f"{name}.invite").read_text()

    def enrol(self, cluster: LocalCluster, ada: LocalCluster) -> tuple[str, list[str]]:
        """Accept the invite on a terminal, with an authenticator app: its secret, and codes."""
        (hub,) = cluster.admin("status")
        login = (
            *("msh", "login", f"--proxy={ada.address}", "--user=ada"),
            *(f"--invite={self.invite(cluster, 'ada')}", f"--ca-pin={hub['ca_pin']}"),
        )
        with screen_with([ada.executable("msh"), *login[1:]], ada.variables()) as screen:
            for prompt in ("assword: ", "again: "):
                screen.wait_for(prompt)
                screen.type(f"{PASSWORD}\n")
            screen.wait_for("as a second factor? [y/N]: ")
            screen.type("y\n")
            screen.wait_for("The code that it shows: ")
            secret = secret_in(screen.transcript.decode())
            screen.type(f"{pyotp.TOTP(secret).now()}\n")
            screen.wait_for("ada is logged in")
            assert screen.ends() == 0
            shown = screen.transcript.decode()
            show(login, shown)
        said(ada, "msh", "mfa", "ls")
        return secret, re.findall(r"^\w{4}(?:-\w{4}){3}\r?$", shown, re.MULTILINE)

    def log_in(
        self, cluster: LocalCluster, ada: LocalCluster, kim: LocalCluster, secret: str
    ) -> None:
        (hub,) = cluster.admin("status")
        wrong = ("msh", "login", "--password-stdin", "--otp=000000")
        said(ada, *wrong, given=f"{PASSWORD}\n", status=3)
        # The step of the enrolment is spent.
        log_in_with(ada, pyotp.TOTP(secret).at(int(time.time()) + 30))
        said(ada, "msh", "status")
        kim.succeed(
            *("msh", "login", f"--proxy={kim.address}", "--user=kim", "--password-stdin"),
            *(f"--invite={self.invite(cluster, 'kim')}", f"--ca-pin={hub['ca_pin']}"),
            given=f"{PASSWORD}\n",
        )

    def reach(self, ada: LocalCluster) -> None:
        ada.wait_online("dev1")
        listed = said(ada, "msh", "ls")
        assert "dev1" in listed
        assert "db1" not in listed
        assert "through" in said(ada, "msh", "ssh", f"{LOGIN}@dev1", "echo through")
        refused = said(ada, "msh", "ssh", "daemon@dev1", "true", status=255)
        assert "daemon" in refused
        refused = said(ada, "msh", "ssh", f"{LOGIN}@db1", "true", status=255)
        assert "there is no node db1 that you may reach" in refused

    def ask(
        self, cluster: LocalCluster, ada: LocalCluster, kim: LocalCluster, codes: list[str]
    ) -> None:
        asked = json.loads(
            said(
                ada,
                *("msh", "request", "create", "--roles=ssh-production", "--nodes=db1"),
                *("--reason=disk full", f"--ttl={WINDOW or 600:.0f}s", "--format=json"),
            )
        )[0]
        said(ada, "msh", "request", "approve", asked["id"], status=4)
        said(kim, "msh", "request", "approve", asked["id"], "--reason=go ahead")
        log_in_with(ada, codes.pop().strip(), "--request", asked["id"])
        approved = time.monotonic()
        said(ada, "msh", "status")
        assert "through" in said(ada, "msh", "ssh", f"{LOGIN}@db1", "echo through")
        if WINDOW:
            time.sleep(max(0.0, approved + WINDOW + 8 - time.monotonic()))
        else:
            with closing(sqlite3.connect(cluster.hub_data / "mezite.sqlite")) as database, database:
                database.execute("UPDATE access_requests SET expires = ?", (time.time(),))
            deadline = time.monotonic() + 30
            while "access_request.expired" not in [each["event_type"] for each in events(cluster)]:
                assert time.monotonic() < deadline
                time.sleep(0.5)
        said(ada, "msh", "ssh", f"{LOGIN}@db1", "true", status=255)
        log_in_with(ada, codes.pop().strip())
        refused = said(ada, "msh", "ssh", f"{LOGIN}@db1", "true", status=255)
        assert "msh request create --roles ssh-production" in refused

    def lock(self, cluster: LocalCluster, ada: LocalCluster) -> None:
        command = ("msh", "ssh", f"{LOGIN}@dev1")
        with screen_with([ada.executable("msh"), *command[1:]], ada.variables()) as screen:
            screen.type("exec env PS1='read''y> ' sh\n")
            screen.wait_for("ready> ")
            said(cluster, "mezctl", "sessions", "ls")
            said(cluster, "mezctl", "lock", "--user=ada", "--message=lost laptop", "--ttl=1h")
            locked = time.monotonic()
            screen.wait_for("ada is locked: lost laptop")
            assert screen.ends() != 0
            assert time.monotonic() - locked < 2
            show(command, screen.transcript.decode())
        said(ada, "msh", "ssh", f"{LOGIN}@dev1", "true", status=255)
        (lock,) = cluster.admin("locks", "ls")
        said(cluster, "mezctl", "locks", "rm", lock["lock_id"])
        assert "through" in said(ada, "msh", "ssh", f"{LOGIN}@dev1", "echo through")

    def read_the_audit(self, cluster: LocalCluster) -> None:
        said(cluster, "mezctl", "audit", "ls", "--limit=0")
        types = [each["event_type"] for each in events(cluster)]
        missing = is_in_order(EVENTS, types)
        assert missing is None, (missing, types)
        said(cluster, "mezctl", "audit", "verify")
        with closing(sqlite3.connect(cluster.hub_data / "mezite.sqlite")) as database, database:
            changed = database.execute(
                "UPDATE audit_events SET line = replace(line, 'lost laptop', 'lost laptoq')"
                " WHERE event_type = 'lock.created'"
            )
            assert changed.rowcount == 1
        broken = said(cluster, "mezctl", "audit", "verify", status=1)
        assert "changed" in broken


def secret_in(shown: str) -> str:
    """The secret that is shown for apps that see no QR code."""
    words = shown.split("type the secret into it: ", 1)[1].split("\n", 1)[0]
    return "".join(words.split())


def log_in_with(who: LocalCluster, code: str, *options: str) -> None:
    """Log in with the password and this code of the second factor."""
    said(
        who,
        *("msh", "login", "--password-stdin", f"--otp={code}", *options),
        given=f"{PASSWORD}\n",
    )
