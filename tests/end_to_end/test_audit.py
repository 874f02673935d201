"""What was done is in the audit of a real hub, and whoever changes it is found out."""

from __future__ import annotations

import json
import resource
import signal
import socket
import sqlite3
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mezite.cli.local import LocalCluster, Program, ProgramFailed, local_cluster
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.slow import slow


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[LocalCluster]:
    """A hub with a copy of its audit in a file, of several parts."""
    with local_cluster(tmp_path) as cluster:
        cluster.environment["MEZITE_AUDIT_FILE"] = str(tmp_path / "audit.jsonl")
        cluster.environment["MEZITE_AUDIT_FILE_MAX_SIZE"] = "16KiB"
        cluster.start_hub()
        cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
        cluster.log_in(USER, PASSWORD)
        yield cluster


def mezctl(cluster: LocalCluster, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    return cluster.run("mezctl", f"--data-dir={cluster.hub_data}", *arguments)


def verify(cluster: LocalCluster, *options: str) -> tuple[int, dict[str, object]]:
    done = mezctl(cluster, "audit", "verify", "--format=json", *options)
    return done.returncode, json.loads(done.stdout)


def types(cluster: LocalCluster, *options: str) -> list[str]:
    done = mezctl(cluster, "audit", "ls", "--format=json", *options)
    assert done.returncode == 0, done.stderr
    return [json.loads(line)["event_type"] for line in done.stdout.splitlines()]


def change(cluster: LocalCluster, statement: str) -> None:
    with sqlite3.connect(cluster.hub_data / "mezite.sqlite") as database:
        database.execute(statement)
    database.close()


def eventually(is_so: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.2)


class ShownTests:
    """Actions, as they appear."""

    def test_actions(self, audited: LocalCluster) -> None:
        """What people, nodes and administrators did is there, with who did it."""
        audited.start_agent("db1")
        audited.wait_online("db1")
        assert audited.run("msh", "ssh", f"{LOGIN}@db1", "true").returncode == 0
        assert audited.run("mezctl", f"--proxy={audited.address}", "users", "ls").returncode == 4
        seen = types(audited)
        for wanted in (
            "hub.started",
            "user.created",
            "user.login",
            "user.cert.issued",
            "token.created",
            "node.joined",
            "authz.denied",
        ):
            assert wanted in seen, seen
        assert set(types(audited, f"--user={USER}", "--type=user.*", "--from=1h")) >= {
            "user.created",
            "user.login",
        }
        assert types(audited, "--to=1h") == []
        text = mezctl(audited, "audit", "ls", "--type=authz.denied").stdout.decode()
        assert USER in text
        assert "FAILED: this is for administrators and auditors" in text

    def test_follow(self, audited: LocalCluster) -> None:
        """Following shows what comes, and ends quietly with 130 at Ctrl-C."""
        following = subprocess.Popen(
            [
                audited.executable("mezctl"),
                f"--data-dir={audited.hub_data}",
                *("audit", "ls", "--follow", "--limit=1", "--type=token.*"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(audited.variables()),
        )
        try:
            time.sleep(3)
            audited.new_token()
            assert following.stdout is not None
            assert b"token.created" in following.stdout.readline()
        finally:
            following.send_signal(signal.SIGINT)
            _, errors = following.communicate(timeout=15)
        # A line end, so that the prompt stands below the terminal's ^C.
        assert (following.returncode, errors.strip()) == (130, b"")

    def test_ends(self, audited: LocalCluster) -> None:
        """A hub that was stopped says so; one that was killed is known by its silence."""
        audited._running[0].stop()
        audited.start_hub().kill()
        audited.start_hub()
        done = mezctl(audited, "audit", "ls", "--type=hub.*", "--format=json")
        events = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(each["event_type"], "unclean_end" in each["details"]) for each in events] == [
            ("hub.started", False),
            ("hub.stopped", False),
            ("hub.started", False),
            ("hub.started", True),
        ]


class VerifiedTests:
    """Changes by hand."""

    def test_changed(self, audited: LocalCluster) -> None:
        """One changed byte is found, while the hub runs and after it was stopped meanwhile."""
        assert verify(audited)[1]["whole"] is True
        line = "UPDATE audit_events SET line = replace(line, '\"{}\"', '\"{}\"') WHERE seq = 2"
        change(audited, line.format(USER, "adb"))
        code, answer = verify(audited)
        assert (code, answer["broken_seq"]) == (1, 2)
        assert b"event 2 was changed" in mezctl(audited, "audit", "verify").stdout
        change(audited, line.format("adb", USER))
        assert verify(audited)[0] == 0
        audited._running[0].stop()
        change(audited, "UPDATE audit_events SET user = 'eve' WHERE seq = 3")
        audited.start_hub()
        assert verify(audited)[1]["broken_seq"] == 3

    def test_removed(self, audited: LocalCluster) -> None:
        """A removed event is named, in the middle and at the end."""
        head = str(verify(audited)[1]["head"])
        for _ in range(3):
            audited.new_token()
        assert verify(audited, f"--head={head}")[0] == 0
        last = verify(audited)[1]["last_seq"]
        change(audited, f"DELETE FROM audit_events WHERE seq = {last}")
        assert verify(audited)[1]["broken_seq"] == last
        change(audited, "DELETE FROM audit_events WHERE seq = 2")
        code, answer = verify(audited)
        assert (code, answer["broken_seq"]) == (1, 2)
        assert "event 2 is missing" in str(answer["broken"])

    @slow
    def test_copy(self, audited: LocalCluster, tmp_path: Path) -> None:
        """The copy in a file verifies by itself, over rotations and kill -9, without a gap."""
        path = tmp_path / "audit.jsonl"
        for _ in range(3):
            for _ in range(4):
                audited.new_token()
            audited._running[-1].kill()
            with path.open("ab") as half:
                half.write(b'{"hash":"00')
            audited.start_hub()
        last = verify(audited)[1]["last_seq"]
        eventually(lambda: verify(audited, f"--file={path}")[1]["last_seq"] == last)
        code, answer = verify(audited, f"--file={path}")
        assert (code, answer["first_seq"], answer["count"]) == (0, 1, last)
        data = path.read_bytes()
        path.write_bytes(data.replace(b'"login":""', b'"login":"x"', 1))
        assert verify(audited, f"--file={path}")[0] == 1

    def test_syslog(self, audited: LocalCluster, tmp_path: Path) -> None:
        """A syslog server that comes late gets all there was, once."""
        audited._running[0].stop()
        audited.environment["MEZITE_AUDIT_SYSLOG"] = f"unix:{tmp_path / 'log'}"
        audited.start_hub()
        status = mezctl(audited, "status").stdout.decode()
        assert "audit syslog" in status
        assert "FAILING" in status
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(tmp_path / "log"))
            server.settimeout(40)
            number = int(str(verify(audited)[1]["last_seq"]))
            messages = [server.recv(65536).decode() for _ in range(number)]
        assert all(message.startswith("<110>1 2") for message in messages)
        seqs = [json.loads(message[message.index("{") :])["seq"] for message in messages]
        assert seqs == list(range(1, number + 1))


class FullDiskTests:
    """A hub that cannot write."""

    def hub_pid(self, cluster: LocalCluster) -> int:
        hub: Program = cluster._running[0]
        return hub.process.pid

    def readyz(self, cluster: LocalCluster) -> tuple[int, str]:
        context = ssl._create_unverified_context()
        try:
            with urllib.request.urlopen(
                f"https://{cluster.address}/readyz", context=context, timeout=10
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def test_nothing_is_done(self, audited: LocalCluster) -> None:
        """Without room nothing is done, in a sentence; with room all goes on by itself."""
        assert self.readyz(audited) == (200, "ready\n")
        soft, hard = resource.prlimit(self.hub_pid(audited), resource.RLIMIT_FSIZE)
        # What the hub writes fails from here on; its files are larger already.
        resource.prlimit(self.hub_pid(audited), resource.RLIMIT_FSIZE, (4096, hard))
        try:
            time.sleep(1.1)
            code, text = self.readyz(audited)
            assert (code, "the audit cannot be written" in text) == (503, True), text
            done = mezctl(audited, "users", "create", "bob", "--logins=bob")
            assert done.returncode == 7
            assert b"the hub's database" in done.stderr
            assert b"Traceback" not in done.stderr
            with pytest.raises(ProgramFailed, match=r"the hub's database|the audit cannot"):
                audited.log_in(USER, PASSWORD)
        finally:
            resource.prlimit(self.hub_pid(audited), resource.RLIMIT_FSIZE, (soft, hard))
        time.sleep(1.1)
        assert self.readyz(audited) == (200, "ready\n")
        assert mezctl(audited, "users", "create", "bob", "--logins=bob").returncode == 0
        assert verify(audited)[0] == 0
