from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.end_to_end.test_node_sshd import (
    IS_ROOT,
    SECONDS,
    NodeSshd,
    NodeSshdTestCase,
    _connects,
    _wait_for,
)

QUESTION = os.urandom(1_000_000) * 8


@contextmanager
def reversing(family: socket.AddressFamily, address: object) -> Iterator[socket.socket]:
    """A server that reads each connection to its end, and answers with the bytes reversed."""

    def answer(connected: socket.socket) -> None:
        with connected:
            heard = bytearray()
            while more := connected.recv(65536):
                heard += more
            connected.sendall(heard[::-1])

    def serve() -> None:
        while True:
            try:
                connected, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connected,), daemon=True).start()

    with socket.socket(family) as server:
        server.bind(address)
        server.listen()
        threading.Thread(target=serve, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown(socket.SHUT_RDWR)


def ask(family: socket.AddressFamily, address: object, question: bytes) -> bytes:
    """What :func:`reversing` answers."""
    with socket.socket(family) as client:
        client.settimeout(SECONDS)
        client.connect(address)
        writing = threading.Thread(
            target=lambda: (client.sendall(question), client.shutdown(socket.SHUT_WR))
        )
        writing.start()
        heard = b"".join(iter(lambda: client.recv(65536), b""))
        writing.join()
        return heard


class ForwardingTestCase(NodeSshdTestCase):
    @contextmanager
    def holding(self, *options: str) -> Iterator[subprocess.Popen[bytes]]:
        """``ssh -N`` with these options, ended on every way out."""
        client = subprocess.Popen(
            self.node.ssh("-N", "-oExitOnForwardFailure=yes", *options, "127.0.0.1"),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        try:
            yield client
        finally:
            client.terminate()
            client.communicate(timeout=SECONDS)


class RemotePortTests(ForwardingTestCase):
    """``ssh -R`` with ports."""

    @contextmanager
    def listening(self, *options: str) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
        """The port that a client has had opened on the node, leading to one of its own."""
        with (
            reversing(socket.AF_INET, ("127.0.0.1", 0)) as server,
            self.holding(f"-R0:127.0.0.1:{server.getsockname()[1]}", *options) as client,
        ):
            assert client.stderr is not None
            said = client.stderr.readline().split()
            self.assertEqual(said[:2], [b"Allocated", b"port"])
            yield int(said[2]), client

    def test_port(self) -> None:
        """A free port of the node leads to the client, and is gone with it."""
        with self.listening() as (port, _):
            for _ in range(3):
                self.assertEqual(ask(socket.AF_INET, ("127.0.0.1", port), QUESTION), QUESTION[::-1])
        _wait_for(lambda: not _connects(port))

    def test_loopback(self) -> None:
        """It is on the loopback's both addresses, and on no other."""
        with self.listening() as (port, _):
            self.assertEqual(ask(socket.AF_INET6, ("::1", port), b"abc"), b"cba")
            with open("/proc/net/tcp") as lines:
                listening = [line.split()[1] for line in lines if line.split()[3] == "0A"]
            self.assertIn(f"0100007F:{port:04X}", listening)
            self.assertNotIn(f"00000000:{port:04X}", listening)

    def test_killed(self) -> None:
        """A client that is killed leaves no port behind."""
        with self.listening() as (port, client):
            client.kill()
            _wait_for(lambda: not _connects(port))

    def test_many_at_once(self) -> None:
        """Many connections through one port are kept apart."""
        with self.listening() as (port, _):
            answers: dict[int, bytes] = {}

            def one(number: int) -> None:
                question = b"%d" % number * 50_000
                answers[number] = ask(socket.AF_INET, ("127.0.0.1", port), question)

            threads = [threading.Thread(target=one, args=(n,)) for n in range(10, 40)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        for number in range(10, 40):
            self.assertEqual(answers[number], (b"%d" % number * 50_000)[::-1])

    def test_taken(self) -> None:
        """A port that is in use is refused, and -v shows why."""
        with reversing(socket.AF_INET, ("127.0.0.1", 0)) as server:
            option = f"-R{server.getsockname()[1]}:127.0.0.1:1"
            done = self.node.run("true", "-v", "-oExitOnForwardFailure=yes", option)
        self.assertEqual(done.returncode, 255)
        self.assertIn(b"remote port forwarding failed", done.stderr)
        self.assertIn(b"address already in use", done.stderr)


class Agent:
    """A client's ssh-agent, which holds one key."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mz"))
        address = self.directory / "agent"
        self.process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(address)], stdout=subprocess.DEVNULL
        )
        _wait_for(address.exists)
        self.environment = {**os.environ, "SSH_AUTH_SOCK": str(address)}
        key = self.directory / "key"
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada's key", "-f", key],
            check=True,
        )
        subprocess.run(["ssh-add", "-q", str(key)], env=self.environment, check=True)

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory)


class AgentForwardingTests(ForwardingTestCase):
    """``ssh -A``."""

    def setUp(self) -> None:
        self.agent = Agent()
        self.addCleanup(self.agent.stop)

    def test_keys(self) -> None:
        """The node's programs see the person's keys, through a socket that is theirs only."""
        command = "ssh-add -l && stat -c %a $SSH_AUTH_SOCK $(dirname $SSH_AUTH_SOCK)"
        done = self.node.run(command, "-A", env=self.agent.environment)
        self.assertIn(b"ada's key (ED25519)", done.stdout, done.stderr)
        self.assertEqual(done.stdout.split()[-2:], [b"600", b"700"])

    def test_at_once(self) -> None:
        """Many may ask at the same time."""
        command = "for n in $(seq 20); do ssh-add -l & done; wait"
        done = self.node.run(command, "-A", env=self.agent.environment)
        self.assertEqual(done.stdout.count(b"ada's key"), 20, done.stderr)

    def test_gone(self) -> None:
        """Socket and directory go with the connection, also if the client is killed."""
        mark = self.node.directory / "address"
        self.addCleanup(mark.unlink)
        client = subprocess.Popen(
            self.node.ssh("-A", "127.0.0.1", f"echo $SSH_AUTH_SOCK > {mark}; sleep 300"),
            stdin=subprocess.DEVNULL,
            env=self.agent.environment,
        )
        _wait_for(lambda: mark.exists() and mark.read_text().strip())
        address = Path(mark.read_text().strip())
        self.assertTrue(address.exists())
        client.kill()
        client.wait()
        _wait_for(lambda: not address.parent.exists())

    def test_not_asked_for(self) -> None:
        """Without -A there is none."""
        done = self.node.run("echo x${SSH_AUTH_SOCK}x", "-a", env=self.agent.environment)
        self.assertEqual(done.stdout, b"xx\n")


class OtherAccountTests(SynchronousTestCase):
    """What is forwarded for another account, when the agent is root."""

    account = "mzt-mallory"

    def setUp(self) -> None:
        if not IS_ROOT or shutil.which("useradd") is None:
            raise SkipTest("only root can make another account")
        subprocess.run(["useradd", "-m", "-s", "/bin/bash", self.account], check=True)
        self.addCleanup(
            subprocess.run, ["userdel", "-r", "-f", self.account], check=True, capture_output=True
        )
        self.uid = pwd.getpwnam(self.account).pw_uid
        self.node = NodeSshd(self.account)
        self.addCleanup(self.node.stop)

    def test_agent(self) -> None:
        """The agent's socket is the account's, and works for it."""
        agent = Agent()
        self.addCleanup(agent.stop)
        command = "ssh-add -l; stat -c %U $SSH_AUTH_SOCK $(dirname $SSH_AUTH_SOCK)"
        done = self.node.run(command, "-A", login=self.account, env=agent.environment)
        self.assertIn(b"ada's key", done.stdout, done.stderr)
        self.assertEqual(done.stdout.split()[-2:], [self.account.encode()] * 2)

    def test_privileged_port(self) -> None:
        """Ports below 1024 are root's."""
        done = self.node.run(
            "true", "-v", "-oExitOnForwardFailure=yes", "-R81:127.0.0.1:1", login=self.account
        )
        self.assertEqual(done.returncode, 255)
        self.assertIn(b"port 81 is for root only", done.stderr)
