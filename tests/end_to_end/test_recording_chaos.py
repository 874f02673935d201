"""
Recorded sessions, and everything that can break meanwhile.

In each round six or ten sessions run: commands, terminals and transfers, recorded strictly or
at best effort, on a node with an agent and on one without. At random moments the hub
or the agent is killed, the tunnel is cut, or the disk of the spool is full. Afterwards
the hub has each recording byte for byte as it was written, and says where it ends.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from mezite.cli.local import LocalCluster, Program, local_cluster
from mezite.recording.chunks import JournalReader
from mezite.recording.events import Exited, Header, Kind, Note, Output
from mezite.recording.format import Decoder
from tests.end_to_end.chaos import (
    BreakableLine,
    Schedule,
    SmallDisk,
    SpoolObserver,
    chosen_seed,
)
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.slow import IS_SLOW_WANTED
from tests.end_to_end.stock import wait_until
from tests.end_to_end.test_openssh_nodes import plain_node

# Fifty where there is time (tox -e slow).
ROUNDS = 50 if IS_SLOW_WANTED else 2
SESSIONS = 10 if IS_SLOW_WANTED else 6
BREAKAGES = 3 if IS_SLOW_WANTED else 2
LENIENT = "bea"
BURSTS, LINES = (20, 150) if IS_SLOW_WANTED else (8, 150)
PAUSE = 0.1
FILES, FILE_BYTES = (8, 60_000) if IS_SLOW_WANTED else (4, 30_000)
# What scp and sftp take as their limit, in Kbit/s: a transfer takes two seconds.
SLOWLY = 2000
# When it breaks, in seconds after so many go on; and how long is waited for them.
LATEST = 2.5 if IS_SLOW_WANTED else 0.8
BEGIN_SECONDS = 8.0
# A client that has not ended by then waits for somebody who is gone.
CLIENT_SECONDS = 30.0
# "Within a minute of the agent's return", and what a busy machine takes.
SETTLE_SECONDS = 75.0
KINDS = ("command", "terminal", "sftp")
# What a person's bash does when it is not the first begins at once: their .bashrc, which it
# reads for ssh, may do much, and must not be killed ten times a second.
QUICKLY = ("-o", "SetEnv=SHLVL=1")
ROLE = f"""kind: role
version: v1
metadata: {{name: lenient}}
spec:
  options: {{record_session: best_effort}}
  allow: {{node_labels: {{"*": "*"}}, logins: [{LOGIN}]}}
"""


def script(mark: str) -> str:
    """Lines that all differ, in bursts."""
    return (
        f"n=0; while [ $n -lt {BURSTS} ]; do"
        f" seq -f '{mark} %.0f' $((n*{LINES})) $((n*{LINES}+{LINES - 1}));"
        f" n=$((n+1)); sleep {PAUSE}; done; exit 7"
    )


def said(mark: str, newline: bytes) -> bytes:
    """All that the script writes."""
    return b"".join(f"{mark} {n}".encode() + newline for n in range(BURSTS * LINES))


@define(eq=False)
class Work:
    """A session of somebody, and what there is to be of it."""

    kind: str
    user: str
    node: str
    mark: str
    process: subprocess.Popen[bytes]
    shown: Path
    files: Sequence[bytes] = ()

    @property
    def has_begun(self) -> bool:
        """Whether anything came of it."""
        if self.kind == "sftp":
            return any(place.stat().st_size for place in self.shown.parent.glob(f"{self.mark}/to*"))
        return self.shown.stat().st_size > 0

    def is_in(self, content: bytes, header: Header) -> bool:
        """Whether this is its recording; a transfer that was cut early may be anybody's."""
        if self.kind != "sftp":
            return f"'{self.mark} ".encode() in (header.command or b"")
        if header.kind is not Kind.SFTP:
            return False
        return f"/{self.mark}/".encode() in content or b"/mark" not in content

    @property
    def newline(self) -> bytes:
        return b"\r\n" if self.kind == "terminal" else b"\n"

    def compare(self, events: Sequence[Any], *, is_complete: bool) -> None:
        """What is recorded is what was done, up to where the recording ends."""
        if self.kind == "sftp":
            self._compare_files(events, is_complete=is_complete)
            return
        assert not any(isinstance(e, Note) and e.kind == "gap" for e in events), "a gap"
        recorded = b"".join(event.data for event in events if isinstance(event, Output))
        all_of_it = said(self.mark, self.newline)
        assert all_of_it.startswith(recorded), f"{self.mark}: not what was written"
        if any(isinstance(event, Exited) and event.status == 7 for event in events):
            assert recorded == all_of_it, f"{self.mark}: it ended well, and something is missing"
        if is_complete:
            shown = self.shown.read_bytes()
            assert recorded.startswith(shown), f"{self.mark}: they saw more than is recorded"

    def _compare_files(self, events: Sequence[Any], *, is_complete: bool) -> None:
        notes = [e.fields for e in events if isinstance(e, Note) and e.kind == "sftp.write"]
        whole = [fields for fields in notes if fields["bytes"] == FILE_BYTES]
        # A transfer that was cut has closed what it had open.
        assert len(notes) - len(whole) <= 1, notes
        hashes = [hashlib.sha256(data).hexdigest() for data in self.files]
        assert [fields["sha256"] for fields in whole] == hashes[: len(whole)]
        if is_complete and self.process.returncode == 0:
            assert len(whole) == len(self.files)


@define(eq=False)
class World:
    """A hub, an agent whose tunnel and disk can break, a server without one, two people."""

    cluster: LocalCluster
    line: BreakableLine
    disk: SmallDisk | None
    observer: SpoolObserver
    choice: random.Random
    homes: Mapping[str, Path]
    hub: Program
    joining: Mapping[str, Any]
    agent: Program = field(init=False)
    number: int = 0

    def start_agent(self) -> None:
        """With much room or little for what it records."""
        quota = self.choice.choice(["1GiB", "1GiB", "100KiB"])
        self.cluster.environment["MEZITE_AGENT_RECORDING_QUOTA"] = quota
        self.cluster.environment["MEZITE_AGENT_RECORDING_MIN_FREE"] = "0"
        self.cluster.environment["MEZITE_AGENT_ACCEPT_ENV"] = "SHLVL"
        self.agent = self.cluster.start(
            "db1",
            [
                "twist",
                "mezd",
                f"--data-dir={self.cluster.directory / 'db1'}",
                f"--hub=127.0.0.1:{self.line.port}",
                f"--token={self.joining['token']}",
                f"--ca-pin={self.joining['ca_pin']}",
                "--hostname=db1",
            ],
        )

    def environment(self, user: str) -> dict[str, str]:
        return {**self.cluster.variables(), "MSH_HOME": str(self.homes[user])}

    def begin(self) -> Work:
        """A session of a kind that is chosen."""
        self.number += 1
        mark = f"mark{self.number}"
        kind = self.choice.choice(KINDS)
        user = self.choice.choice([USER, LENIENT])
        node = self.choice.choice(["db1", "db1", "db1", "plain1"])
        config = self.homes[user] / "config"
        place = self.cluster.directory / mark
        given, files = b"", []
        if kind == "sftp":
            place.mkdir()
            for number in range(FILES):
                files.append(self.choice.randbytes(FILE_BYTES))
                (place / str(number)).write_bytes(files[-1])
            given = b"".join(f"put {place}/{n} {place}/to{n}\n".encode() for n in range(FILES))
            words = ["sftp", "-q", "-l", str(SLOWLY), "-b", "-", "-F", str(config)]
            words.append(f"{LOGIN}@{node}")
        elif kind == "terminal":
            words = ["ssh", "-tt", "-F", str(config), *QUICKLY, f"{LOGIN}@{node}", script(mark)]
        else:
            msh = self.cluster.executable("msh")
            words = [msh, "ssh", *QUICKLY, f"{LOGIN}@{node}", script(mark)]
        shown = self.cluster.directory / f"{mark}.shown"
        with shown.open("wb") as output, Path(f"{shown}.errors").open("wb") as errors:
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                env=self.environment(user),
                start_new_session=True,
            )
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(given)
            process.stdin.close()
        return Work(kind, user, node, mark, process, shown, files)

    # What breaks, and is mended after a while.

    def kill_hub(self) -> None:
        self.hub.kill()
        time.sleep(self.choice.uniform(0, 0.5))
        self.hub = self.cluster.start_hub()

    def kill_agent(self) -> None:
        self.agent.kill()
        time.sleep(self.choice.uniform(0, 0.5))
        self.start_agent()

    def cut_tunnel(self) -> None:
        self.line.cut()
        time.sleep(self.choice.uniform(0, 1))
        self.line.mend()

    def fill_disk(self) -> None:
        assert self.disk is not None
        self.disk.fill()
        time.sleep(self.choice.uniform(0.2, 1.5))
        self.disk.free()

    @property
    def breakages(self) -> dict[str, Callable[[], None]]:
        found = {"hub": self.kill_hub, "agent": self.kill_agent, "tunnel": self.cut_tunnel}
        return found if self.disk is None else {**found, "disk": self.fill_disk}

    def rows(self) -> dict[str, dict[str, Any]]:
        """What the hub says of all recordings."""
        return {row["id"]: row for row in self.cluster.admin("recordings", "ls")}

    def kept(self, recording: str) -> bytes:
        """What the hub has of it."""
        while True:
            for path in (self.cluster.hub_data / "recordings").glob(f"*/{recording}.mzr"):
                # It may be put away just now.
                with suppress(FileNotFoundError):
                    return path.read_bytes()

    def settled(self) -> dict[str, dict[str, Any]]:
        """What the hub says once nothing is live and nothing is left on a node."""
        written = whole_of(self.observer.written())
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            rows = self.rows()
            live = [name for name, row in rows.items() if row["state"] == "live"]
            missing = [name for name in written if name not in rows]
            left = [*self.spooled("chunks"), *self.spooled("refused")]
            if not (live or missing or left):
                return rows
            assert time.monotonic() < deadline, (
                f"live: {live}\nmissing: {missing}\nleft: {left}\n"
                f"{self.agent.text()[-3000:]}\n{self.hub.text()[-3000:]}"
            )
            time.sleep(0.25)

    def without_end(self) -> set[str]:
        """The sessions whose beginning is in the audit, and whose end is not."""
        data_dir = f"--data-dir={self.cluster.hub_data}"
        listed = {
            kind: self.cluster.succeed(
                "mezctl", data_dir, "audit", "ls", f"--type=session.{kind}",
                "--limit=0", "--format=json",
            )
            for kind in ("start", "end")
        }  # fmt: skip
        ids = {
            kind: [json.loads(line)["session_id"] for line in lines.splitlines()]
            for kind, lines in listed.items()
        }
        assert len(ids["end"]) == len(set(ids["end"])), "a session has ended twice"
        return set(ids["start"]) - set(ids["end"])

    def spooled(self, suffix: str) -> list[Path]:
        return [path for place in self.spools() for path in place.glob(f"*/*.{suffix}")]

    def spools(self) -> Sequence[Path]:
        return spools(self.cluster)


def spools(cluster: LocalCluster) -> tuple[Path, Path]:
    """Where the agent writes, and where the hub does, for the server without one."""
    return cluster.directory / "db1" / "recordings", cluster.hub_data / "openssh-recordings"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    seed = chosen_seed()
    with ExitStack() as stack:
        cluster = stack.enter_context(local_cluster(tmp_path))
        hub = cluster.start_hub()
        line = BreakableLine(cluster.port)
        stack.callback(line.close)
        spool, _ = spools(cluster)
        spool.parent.mkdir(mode=0o700)
        disk = None
        if os.getuid() == 0:
            disk = stack.enter_context(SmallDisk.mounted(spool, "48m"))
        observer = stack.enter_context(SpoolObserver(*spools(cluster)))
        role = tmp_path / "role.yaml"
        role.write_text(ROLE)
        cluster.admin("roles", "create", f"--from-file={role}")
        cluster.add_user(USER, PASSWORD, f"--logins={LOGIN}")
        cluster.add_user(LENIENT, PASSWORD, "--roles=lenient")
        homes = {}
        for user in (USER, LENIENT):
            homes[user] = tmp_path / f"home-{user}"
            cluster.environment["MSH_HOME"] = str(homes[user])
            cluster.log_in(user, PASSWORD)
            (homes[user] / "config").write_bytes(cluster.succeed("msh", "config"))
        made = World(
            cluster, line, disk, observer, random.Random(seed), homes, hub, cluster.new_token()
        )
        made.start_agent()
        stack.enter_context(plain_node(cluster, tmp_path / "sshd"))
        cluster.wait_online("db1")
        # Agents that are killed end before the disk is taken away.
        stack.callback(cluster.stop)
        yield made


class ChaosTests:
    """Rounds in which everything breaks."""

    def test_rounds(self, world: World) -> None:
        """Every recording is at the hub, byte for byte, or ends where it is said to."""
        states: Counter[str] = Counter()
        before: set[str] = set()
        for number in range(ROUNDS):
            began = time.monotonic()
            # In the first there is something to be broken.
            works, broken = a_round(world, world.choice.randint(0 if number else 4, SESSIONS))
            returned = time.monotonic()
            rows = world.settled()
            settled = time.monotonic()
            states.update(compared(world, works, rows, before))
            world.observer.forget()
            before = set(rows)
            print(
                f"round {number}: {', '.join(broken)}; over after {returned - began:.1f} s,"
                f" settled in {settled - returned:.1f} s; {dict(states)}",
                flush=True,
            )
        assert states["complete"], states
        if IS_SLOW_WANTED:
            # Half a minute after the agent's return, and two looks.
            wait_until(lambda: not world.without_end(), "a session has no end in the audit")


def a_round(world: World, going_on: int) -> tuple[list[Work], list[str]]:
    """
    Sessions, and what broke meanwhile; all is mended when this returns.

    :param going_on: how many have begun when it begins to break.
    """
    world.cluster.wait_online("db1")
    choice, schedule = world.choice, Schedule()
    works = [world.begin() for _ in range(SESSIONS)]
    deadline = time.monotonic() + BEGIN_SECONDS
    while sum(work.has_begun for work in works) < going_on and time.monotonic() < deadline:
        time.sleep(0.02)
    for name in choice.choices(list(world.breakages), k=choice.randint(1, BREAKAGES)):
        schedule.add(choice.uniform(0, LATEST), name, world.breakages[name])
    broken = [f"{going_on} go on", *schedule.run()]
    ends = time.monotonic() + CLIENT_SECONDS
    for work in works:
        try:
            work.process.wait(max(0.0, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            work.process.kill()
            work.process.wait()
    return works, broken


def compared(
    world: World, works: Sequence[Work], rows: Mapping[str, Mapping[str, Any]], before: set[str]
) -> list[str]:
    """Compare what was written with what the hub has; how each recording ended."""
    states, told = [], Counter(dict.fromkeys(KINDS, 0))
    written = whole_of(world.observer.written())
    assert set(rows) - before == set(written), "one is known that nobody wrote, or the reverse"
    for name, data in written.items():
        journal, row = JournalReader(name), rows[name]
        content = b"".join(chunk.content() for chunk in journal.receive(data))
        assert world.kept(name) == data, f"{name}: the hub has other bytes"
        position = journal.found.position
        assert (row["chunks"], row["chain"]) == (position.number, position.chain.hex())
        is_complete = journal.found.is_finished
        assert row["state"] == ("complete" if is_complete else "interrupted"), row
        assert bool(row["reason"]) != is_complete, row
        header, *events = Decoder().receive(content)
        assert isinstance(header, Header)
        work = next(each for each in works if each.is_in(content, header))
        work.compare(events, is_complete=is_complete)
        told[work.kind] += 1
        states.append(row["state"])
    for kind in told:
        begun = [each for each in works if each.kind == kind and each.has_begun]
        strict = [each for each in begun if each.user == USER]
        assert len(strict) <= told[kind], f"one of {strict} has no recording"
    return states


def whole_of(written: Mapping[str, bytes]) -> dict[str, bytes]:
    """The recordings of which a chunk was written, without the chunk that a crash has cut."""
    found = {}
    for name, data in written.items():
        journal = JournalReader(name)
        journal.receive(data)
        if journal.found.length:
            found[name] = data[: journal.found.length]
    return found
