"""Tests of a server without an agent: Debian's sshd, reached and recorded through the hub."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mezite.cli.local import LocalCluster, free_port
from mezite.recording.chunks import JournalReader
from mezite.recording.events import Exited, Header, Note, Output
from mezite.recording.format import Decoder
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER
from tests.end_to_end.screen import screen_with
from tests.end_to_end.stock import PATIENCE, StockSsh, ask, reversing, wait_for_port, wait_until
from tests.end_to_end.test_jumphost import through, write_jump_config

NODE = f"{LOGIN}@plain1"
LIMITED = "eve"
SECONDS = 2.0
SIZE = 20 * 1024 * 1024


@contextmanager
def trusting_sshd(directory: Path, user_ca: bytes) -> Iterator[int]:
    """Debian's sshd on a free port, as mezctl openssh setup wants it."""
    directory.mkdir()
    for kind in ("ed25519", "ecdsa"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(directory / kind)], check=True
        )
    (directory / "user_ca.pub").write_bytes(user_ca)
    port = free_port()
    (directory / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\n"
        f"HostKey {directory}/ed25519\nHostKey {directory}/ecdsa\n"
        f"TrustedUserCAKeys {directory}/user_ca.pub\nAuthorizedKeysFile none\n"
        "StrictModes no\nUsePAM no\nPidFile none\nPermitRootLogin yes\n"
        "Subsystem sftp internal-sftp\nAcceptEnv LANG LC_* SHLVL\n"
    )
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    program = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    assert program is not None
    log = directory / "log"
    with log.open("wb") as errors:
        daemon = subprocess.Popen(
            [program, "-D", "-e", "-f", str(directory / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        wait_for_port(port, daemon)
        yield port
    finally:
        daemon.terminate()
        daemon.wait(timeout=PATIENCE)


@contextmanager
def plain_node(cluster: LocalCluster, directory: Path) -> Iterator[str]:
    """The name of a server without an agent, registered by the key that its sshd has."""
    ca = ("openssh", "setup", "--user-ca")
    user_ca = cluster.succeed("mezctl", f"--data-dir={cluster.hub_data}", *ca)
    with trusting_sshd(directory, user_ca) as port:
        key = f"--host-key={fingerprint(directory)}"
        address = f"--addr=127.0.0.1:{port}"
        cluster.admin("nodes", "add", address, "--labels=kind=plain", "--openssh=plain1", key)
        yield "plain1"


def fingerprint(directory: Path, kind: str = "ed25519") -> str:
    shown = subprocess.check_output(["ssh-keygen", "-lf", str(directory / f"{kind}.pub")])
    return shown.split()[1].decode()


@pytest.fixture(scope="module")
def plain(empty_cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The directory of the sshd that is registered as plain1, by the rarer of its keys."""
    cluster = empty_cluster
    directory = tmp_path_factory.mktemp("plain") / "sshd"
    user_ca = cluster.succeed(
        "mezctl", f"--data-dir={cluster.hub_data}", "openssh", "setup", "--user-ca"
    )
    with trusting_sshd(directory, user_ca) as port:
        address = f"--addr=127.0.0.1:{port}"
        add = ("nodes", "add", "--labels=env=prod", address)
        cluster.admin(*add, "--openssh=plain1", f"--host-key={fingerprint(directory, 'ecdsa')}")
        cluster.admin(*add, "--openssh=wrong1", "--host-key=SHA256:" + "A" * 43)
        yield directory


@pytest.fixture(scope="module")
def stock(empty_cluster: LocalCluster, plain: Path) -> StockSsh:
    config = empty_cluster.directory / "plain_config"
    config.write_bytes(empty_cluster.succeed("msh", "config"))
    return StockSsh(config)


@pytest.fixture(scope="module")
def jump_config(empty_cluster: LocalCluster) -> Path:
    return write_jump_config(empty_cluster)


def recordings(cluster: LocalCluster, text: bytes) -> list[list[object]]:
    """The header and the events of each recording in which this stands."""
    found = {}
    for path in (cluster.hub_data / "recordings").rglob("*.mzr"):
        journal = JournalReader(path.stem)
        # One that is being put away is in two places, and then in one.
        with suppress(FileNotFoundError):
            content = b"".join(chunk.content() for chunk in journal.receive(path.read_bytes()))
            if text in content:
                found[path.stem] = Decoder().receive(content)
    return list(found.values())


class PlainServerTests:
    def test_command(self, empty_cluster: LocalCluster, stock: StockSsh) -> None:
        """A command's output, errors and status come through ssh and msh ssh, and are kept."""
        done = stock.run(NODE, "echo out; echo mark-17 >&2; exit 3")
        assert (done.returncode, done.stdout) == (3, b"out\n"), done.stderr
        assert b"mark-17" in done.stderr
        told = empty_cluster.run("msh", "ssh", NODE, "cat; exit 4", given="hello")
        assert (told.returncode, told.stdout) == (4, b"hello"), told.stderr
        wait_until(lambda: bool(recordings(empty_cluster, b"mark-17")), "nothing is recorded")

        def is_over() -> bool:
            (events,) = recordings(empty_cluster, b"mark-17")
            return any(isinstance(event, Exited) and event.status == 3 for event in events)

        wait_until(is_over, "the recording does not end")
        (events,) = recordings(empty_cluster, b"mark-17")
        header = events[0]
        assert isinstance(header, Header)
        assert (header.user, header.login, header.node) == (USER, LOGIN, "plain1")
        assert b"".join(e.data for e in events if isinstance(e, Output)).count(b"mark-17") == 1

    def test_listing(self, empty_cluster: LocalCluster, plain: Path) -> None:
        """It is listed as one without an agent."""
        row = empty_cluster.nodes()["plain1"]
        assert (row["status"], row["labels"]) == ("agentless", {"env": "prod"})

    def test_terminal(self, empty_cluster: LocalCluster, stock: StockSsh) -> None:
        """A shell on a terminal: its size, another size, Ctrl-C, and how it ends."""
        words = stock.words("ssh", "-tt", NODE)
        with screen_with(words, empty_cluster.variables()) as screen:
            screen.type("exec env PS1='read''y> ' sh\n")
            screen.wait_for("ready> ")
            screen.resize(97, 31)
            screen.type("stty size; echo do''ne\n")
            screen.wait_for("31 97")
            screen.wait_for("done")
            screen.type("sleep 100 || echo inter''rupted\n")
            time.sleep(0.3)
            screen.type("\x03")
            screen.wait_for("ready> ")
            screen.type("exit 5\n")
            assert screen.ends() == 5

    def test_jump_host(self, jump_config: Path, plain: Path) -> None:
        """Through the jump host it is reached as any node is."""
        done = through(jump_config, "-J", "demo", "plain1", "head -c 300000 /dev/zero; exit 7")
        assert (done.returncode, len(done.stdout)) == (7, 300_000), done.stderr

    def test_signal(self, stock: StockSsh) -> None:
        """Who is killed is told as killed."""
        assert stock.run(NODE, "kill -9 $$").returncode == 255

    def test_bulk(self, stock: StockSsh) -> None:
        """20 MiB of random bytes come and go intact."""
        data = os.urandom(SIZE)
        assert stock.succeed(NODE, "cat", given=data) == data

    def test_copies(self, empty_cluster: LocalCluster, stock: StockSsh, tmp_path: Path) -> None:
        """sftp, scp in both its ways, and rsync; what sftp did is recorded."""
        source = tmp_path / "source"
        source.mkdir()
        for number in range(5):
            (source / f"f{number}").write_bytes(os.urandom(number * 100_000))
        batch = f"put {source}/f4 {tmp_path}/by-sftp-17\nls {tmp_path}\n".encode()
        stock.succeed("-b", "-", NODE, program="sftp", given=batch)
        assert (tmp_path / "by-sftp-17").read_bytes() == (source / "f4").read_bytes()
        for number, option in enumerate(["-s", "-O"]):
            target = tmp_path / f"scp{number}"
            stock.succeed(option, "-r", str(source), f"{NODE}:{target}", program="scp")
            assert sorted(os.listdir(target)) == sorted(os.listdir(source))
            assert (target / "f3").read_bytes() == (source / "f3").read_bytes()
        subprocess.run(
            ["rsync", "-a", "-e", f"ssh -F {stock.config}", f"{source}/", f"{NODE}:{tmp_path}/r"],
            check=True,
            timeout=PATIENCE,
        )
        assert (tmp_path / "r" / "f4").read_bytes() == (source / "f4").read_bytes()
        wait_until(lambda: bool(recordings(empty_cluster, b"by-sftp-17")), "nothing is recorded")
        (events,) = recordings(empty_cluster, b"by-sftp-17")
        digest = hashlib.sha256((source / "f4").read_bytes()).hexdigest()
        writes = [e for e in events if isinstance(e, Note) and e.kind == "sftp.write"]
        assert [(e.fields["bytes"], e.fields["sha256"]) for e in writes] == [(400_000, digest)]

    def test_forwarding(self, empty_cluster: LocalCluster, stock: StockSsh) -> None:
        """-L and -R carry bytes both ways with half-closes, and are recorded."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            theirs = free.getsockname()[1]
        local = free_port()
        with reversing(socket.AF_INET, ("127.0.0.1", 0)) as far:
            port = far.getsockname()[1]
            with stock.holding(
                "-L", f"127.0.0.1:{local}:127.0.0.1:{port}",
                "-R", f"127.0.0.1:{theirs}:127.0.0.1:{port}", NODE,
            ) as ssh:  # fmt: skip
                wait_for_port(local, ssh)
                wait_for_port(theirs, ssh)
                question = os.urandom(500_000)
                for way in (local, theirs):
                    assert ask(socket.AF_INET, ("127.0.0.1", way), question) == question[::-1]
        mark = f"127.0.0.1:{theirs}".encode()
        wait_until(lambda: bool(recordings(empty_cluster, mark)), "nothing is recorded")

    def test_agent_forwarding(
        self, empty_cluster: LocalCluster, stock: StockSsh, tmp_path: Path
    ) -> None:
        """An agent reaches through."""
        key = tmp_path / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        sock = str(tmp_path / "agent")
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", sock], stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: Path(sock).exists(), "no agent")
            env = {**os.environ, "SSH_AUTH_SOCK": sock}
            subprocess.run(["ssh-add", "-q", str(key)], env=env, check=True)
            done = stock.run("-A", NODE, "ssh-add -l", env=env)
            assert b"ED25519" in done.stdout, done
        finally:
            agent.terminate()
            agent.wait(timeout=PATIENCE)

    def test_wrong_host_key(
        self, empty_cluster: LocalCluster, plain: Path, stock: StockSsh
    ) -> None:
        """A server that shows another key is refused, with both fingerprints, and audited."""
        done = stock.run(f"{LOGIN}@wrong1", "true")
        assert done.returncode == 255
        assert fingerprint(plain).encode() in done.stderr
        assert b"SHA256:" + b"A" * 43 in done.stderr
        lines = empty_cluster.succeed(
            "mezctl", f"--data-dir={empty_cluster.hub_data}", "audit", "ls", "--format=json"
        ).splitlines()
        kinds = [json.loads(line)["event_type"] for line in lines]
        assert "node.host_key.refused" in kinds

    def test_lock(self, empty_cluster: LocalCluster, stock: StockSsh) -> None:
        """A lock ends the session within two seconds, with its message."""
        with screen_with(stock.words("ssh", "-tt", NODE), empty_cluster.variables()) as screen:
            screen.type("exec env PS1='read''y> ' sh\n")
            screen.wait_for("ready> ")
            (lock,) = empty_cluster.admin("lock", "--node=plain1", "--message=moved, call 4711")
            began = time.monotonic()
            try:
                screen.wait_for("moved, call 4711")
                assert screen.ends() != 0
                assert time.monotonic() - began < SECONDS
            finally:
                empty_cluster.admin("locks", "rm", lock["lock_id"])

    def test_options(self, empty_cluster: LocalCluster, stock: StockSsh, tmp_path: Path) -> None:
        """Who may neither forward nor copy does neither."""
        role = tmp_path / "role.yaml"
        role.write_text(
            "kind: role\nversion: v1\nmetadata: {name: narrow}\nspec:\n"
            "  options: {port_forwarding: false, file_copy: false}\n"
            f"  allow: {{node_labels: {{env: [prod]}}, logins: [{LOGIN}]}}\n"
        )
        cluster = empty_cluster
        cluster.admin("roles", "create", f"--from-file={role}")
        cluster.add_user(LIMITED, PASSWORD, "--roles=narrow")
        cluster.log_in(LIMITED, PASSWORD)
        try:
            local = free_port()
            with stock.holding("-L", f"127.0.0.1:{local}:127.0.0.1:22", NODE) as ssh:
                wait_for_port(local, ssh)
                assert ask(socket.AF_INET, ("127.0.0.1", local), b"") == b""
            assert stock.run("-R", "127.0.0.1:0:127.0.0.1:22", "-o", "ExitOnForwardFailure=yes",
                             NODE, "true").returncode == 255  # fmt: skip
            copied = stock.run("-b", "-", NODE, program="sftp", given=b"ls\n")
            assert copied.returncode == 255
            legacy = stock.run("-O", str(role), f"{NODE}:{tmp_path}/copied", program="scp")
            assert legacy.returncode != 0
            assert not (tmp_path / "copied").exists()
            assert stock.succeed(NODE, "echo yes") == b"yes\n"
        finally:
            cluster.log_in(USER, PASSWORD)
