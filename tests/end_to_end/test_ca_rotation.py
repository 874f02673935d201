"""Authorities are rotated while people work: nobody notices, and what is old is refused then."""

from __future__ import annotations

import hashlib
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from attrs import define, field

from mezite.cli.local import LocalCluster, local_cluster
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.slow import slow
from tests.end_to_end.stock import PATIENCE, StockSsh, wait_until

# How much is copied while it happens; 1 GB by hand.
SIZE = int(os.environ.get("MEZITE_ROTATION_BYTES", 200_000_000))
CHUNK = 1_000_000
# The shortest that there is: three heartbeats.
GRACE_SECONDS = 30


@pytest.fixture(params=["1", pytest.param("2", marks=slow)], ids=["alone", "workers"])
def working(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalCluster]:
    """A cluster of its own, since the tests change whom it trusts."""
    with local_cluster(tmp_path) as cluster:
        cluster.environment["MEZITE_MEZHUB_WORKERS"] = request.param
        cluster.start_hub()
        cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
        cluster.log_in(USER, PASSWORD)
        cluster.start_agent("db1")
        cluster.wait_online("db1")
        yield cluster


@define(eq=False)
class Shell:
    """An interactive session with a terminal, in stock ssh."""

    process: subprocess.Popen[bytes]
    asked: int = 0

    @classmethod
    def open(cls, stock: StockSsh) -> Shell:
        process = subprocess.Popen(
            stock.words("ssh", "-tt", f"{LOGIN}@db1"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        return cls(process)

    def answers(self) -> bool:
        """Whether a command that is typed now is answered."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.asked += 1
        # Not what the terminal echoes: the sum is made by the shell.
        self.process.stdin.write(b"echo sum=$((%d + 1000000))\n" % self.asked)
        wanted, heard = b"sum=%d" % (self.asked + 1_000_000), b""
        deadline = time.monotonic() + PATIENCE
        while wanted not in heard and time.monotonic() < deadline:
            more = self.process.stdout.read(4096)
            if not more:
                return False
            heard += more
        return wanted in heard

    def close(self) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(b"exit 7\n")
        # Its last words, lest it waits for somebody to take them.
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode


@define(eq=False)
class Copy:
    """A copy to the node, of which the last chunk is held back until it may end."""

    process: subprocess.Popen[bytes]
    seconds: float
    digest: str = ""
    may_end: bool = False
    _sending: Thread = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._sending = Thread(target=self._send, daemon=True)
        self._sending.start()

    @classmethod
    def begin(cls, stock: StockSsh, target: Path, seconds: float) -> Copy:
        process = subprocess.Popen(
            stock.words("ssh", f"{LOGIN}@db1", f"cat > {target} && sha256sum < {target}"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return cls(process, seconds)

    def _send(self) -> None:
        assert self.process.stdin is not None
        digest, began, noise = hashlib.sha256(), time.monotonic(), os.urandom(CHUNK)
        for number in range(SIZE // CHUNK):
            chunk = b"%08d" % number + noise[8:]
            digest.update(chunk)
            # Spread over the rotation, so that each phase sees some of it.
            due = began + self.seconds * number / (SIZE // CHUNK)
            time.sleep(max(0.0, due - time.monotonic()))
            if number == SIZE // CHUNK - 1:
                while not self.may_end:
                    time.sleep(0.1)
            self.process.stdin.write(chunk)
        self.digest = digest.hexdigest()
        self.process.stdin.close()

    def finish(self) -> tuple[str, str]:
        """The sum here, and the sum there."""
        self.may_end = True
        self._sending.join(PATIENCE)
        assert self.process.stdout is not None
        there = self.process.stdout.read().decode().split()
        assert self.process.wait(PATIENCE) == 0
        return self.digest, there[0]


def config_of(cluster: LocalCluster) -> StockSsh:
    path = cluster.directory / "ssh_config"
    path.write_bytes(cluster.succeed("msh", "config"))
    return StockSsh(path)


def phases(cluster: LocalCluster) -> dict[str, str]:
    return {row["type"]: row["phase"] for row in cluster.admin("ca", "status")}


def nodes_behind(cluster: LocalCluster) -> list[str]:
    behind: list[str] = cluster.admin("ca", "status")[2]["behind"]
    return behind


def online_since(cluster: LocalCluster) -> str:
    (row,) = cluster.admin("nodes", "ls")
    assert row["status"] == "online"
    since: str = row["online_since"]
    assert since
    return since


def wait_for_end(cluster: LocalCluster, shell: Shell) -> list[str]:
    """Ask the shell all the time until every rotation is over; the phases that were seen."""
    seen: list[str] = []
    deadline = time.monotonic() + 4 * GRACE_SECONDS
    while time.monotonic() < deadline:
        now = "/".join(phases(cluster).values())
        if now not in seen:
            seen.append(now)
        assert shell.answers(), now
        if set(now.split("/")) == {"standby"}:
            return seen
        time.sleep(1)
    raise AssertionError(f"the rotation did not come to its end: {seen}")


class RotationTests:
    """With a session open and a copy under way."""

    def test_user_and_host(self, working: LocalCluster, tmp_path: Path) -> None:
        """Neither notices; then the old certificate is refused in a sentence, and a login helps."""
        stock = config_of(working)
        shell, since = Shell.open(stock), online_since(working)
        assert shell.answers()
        copy = Copy.begin(stock, tmp_path / "copied", GRACE_SECONDS + 5)
        for kind in ("user", "host"):
            (row,) = working.admin(
                "ca", "rotate", f"--type={kind}", f"--grace-period={GRACE_SECONDS}s"
            )
            assert row["phase"] == "prepare"
        # So does everybody who looks at the nodes once in a while.
        working.succeed("msh", "ls")
        seen = wait_for_end(working, shell)
        assert any("rotate" in each for each in seen)
        here, there = copy.finish()
        assert here == there
        assert (tmp_path / "copied").stat().st_size == SIZE // CHUNK * CHUNK
        assert online_since(working) == since
        # The node hears of it with its next heartbeat, within 10 s.
        wait_until(lambda: stock.run(f"{LOGIN}@db1", "true").returncode == 255, "not refused")
        refused = stock.run(f"{LOGIN}@db1", "true")
        assert b"run msh login" in refused.stderr, refused.stderr
        working.log_in(USER, PASSWORD)
        assert stock.succeed(f"{LOGIN}@db1", "echo fresh") == b"fresh\n"
        # The session is older than both, and is there still.
        assert shell.answers()
        assert shell.close() == 7
        assert online_since(working) == since

    @slow
    def test_tls(self, working: LocalCluster) -> None:
        """The same for TLS: the tunnel is not dropped, and who looked in time needs no pin."""
        stock = config_of(working)
        shell, since = Shell.open(stock), online_since(working)
        for phase in ("prepare", "rotate", "standby"):
            working.admin("ca", "rotate", "--type=tls", f"--phase={phase}")
            if phase == "prepare":
                working.succeed("msh", "ls")
            wait_until(lambda: not nodes_behind(working), "db1 did not learn of it")
            assert shell.answers(), phase
        assert online_since(working) == since
        refused = working.run("msh", "ls")
        assert refused.returncode != 0
        assert b"run msh login" in refused.stderr, refused.stderr
        given = PASSWORD + "\n"
        login = ("login", f"--proxy={working.address}", f"--user={USER}", "--password-stdin")
        done = working.run("msh", *login, given=given)
        assert done.returncode == 0, done.stderr
        assert working.nodes()["db1"]["status"] == "online"
        # A tunnel that is dialed anew is let in: the agent has what it needs.
        working._running[1].kill()
        working.start("db1", ["twist", "mezd", f"--data-dir={working.directory / 'db1'}"])
        working.wait_online("db1")
        assert stock.succeed(f"{LOGIN}@db1", "echo fresh") == b"fresh\n"


class RollbackTests:
    """Back again."""

    @slow
    def test_hub_killed(self, working: LocalCluster) -> None:
        """A hub that is killed in the middle comes back in its phase, and goes back from there."""
        working.admin("ca", "rotate", "--type=all", "--phase=prepare")
        working.admin("ca", "rotate", "--type=all", "--phase=rotate")
        before = working.admin("ca", "status")
        working._running[0].kill()
        working.start_hub()
        after = working.admin("ca", "status")
        for old, new in zip(before, after, strict=True):
            for key in ("type", "phase", "fingerprint", "other_fingerprint", "since"):
                assert old[key] == new[key]
        rows = working.admin("ca", "rollback", "--type=all")
        assert {row["phase"] for row in rows} == {"rollback"}
        assert [row["fingerprint"] for row in rows] == [row["other_fingerprint"] for row in before]
        working.wait_online("db1")
        # Before the authorities are forgotten that it was to have.
        wait_until(lambda: not nodes_behind(working), "db1 did not learn of it")
        working.admin("ca", "rotate", "--type=all", "--phase=standby")
        done = working.run("msh", "ssh", f"{LOGIN}@db1", "echo as before")
        assert done.stdout == b"as before\n", done.stderr

    def test_silly_period(self, working: LocalCluster) -> None:
        """A grace period in which nobody can learn anything is refused in a sentence."""
        done = working.run(
            "mezctl", f"--data-dir={working.hub_data}", "ca", "rotate", "--type=user",
            "--grace-period=1s",
        )  # fmt: skip
        assert done.returncode != 0
        assert b"30 s to 90 days" in done.stderr
        assert set(phases(working).values()) == {"standby"}
