from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


class UnixSocketTests(ForwardingTestCase):
    """Unix sockets, forwarded either way."""

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp(prefix="mz")
        self.addCleanup(shutil.rmtree, self.directory)
        self.here, self.there = f"{self.directory}/here", f"{self.directory}/there"

    def test_local(self) -> None:
        """-L leads from a socket here to one there."""
        with (
            reversing(socket.AF_UNIX, self.there),
            self.holding(f"-L{self.here}:{self.there}"),
        ):
            _wait_for(lambda: os.path.exists(self.here))
            for _ in range(3):
                self.assertEqual(ask(socket.AF_UNIX, self.here, QUESTION), QUESTION[::-1])

    def test_local_many(self) -> None:
        """Many connections at once are kept apart."""
        with (
            reversing(socket.AF_UNIX, self.there),
            self.holding(f"-L{self.here}:{self.there}"),
        ):
            _wait_for(lambda: os.path.exists(self.here))
            with ThreadPoolExecutor(30) as threads:
                questions = [b"%d" % n * 50_000 for n in range(10, 40)]
                answers = threads.map(lambda q: ask(socket.AF_UNIX, self.here, q), questions)
                self.assertEqual(list(answers), [each[::-1] for each in questions])

    def test_local_nobody(self) -> None:
        """A socket where nobody listens is a refusal with the reason."""
        with self.holding(f"-L{self.here}:{self.there}") as client:
            _wait_for(lambda: os.path.exists(self.here))
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(ask(socket.AF_UNIX, self.here, b""), b"")
            client.terminate()
            assert client.stderr is not None
            said = client.stderr.read()
        self.assertIn(b"there on the node: no such file or directory", said)

    def test_remote(self) -> None:
        """-R leads from a socket there, which is for its owner only, to one here."""
        with (
            reversing(socket.AF_UNIX, self.here),
            self.holding(f"-R{self.there}:{self.here}"),
        ):
            _wait_for(lambda: os.path.exists(self.there))
            self.assertEqual(os.stat(self.there).st_mode & 0o777, 0o600)
            self.assertEqual(ask(socket.AF_UNIX, self.there, QUESTION), QUESTION[::-1])
        _wait_for(lambda: not os.path.exists(self.there))

    def test_remote_taken(self) -> None:
        """What is there already is left as it is."""
        Path(self.there).write_text("precious")
        option = f"-R{self.there}:{self.here}"
        done = self.node.run("true", "-v", "-oExitOnForwardFailure=yes", option)
        self.assertEqual(done.returncode, 255)
        self.assertIn(b"there on the node: address already in use", done.stderr)
        self.assertEqual(Path(self.there).read_text(), "precious")

    def test_cancelled(self) -> None:
        """A shared connection can take back what it asked for."""
        control = f"-S{self.directory}/control"
        forward = f"-R{self.there}:{self.here}"
        subprocess.run(
            self.node.ssh("-MNf", control, forward, "127.0.0.1"), timeout=SECONDS, check=True
        )
        _wait_for(lambda: os.path.exists(self.there))
        self.tell(control, "-Ocancel", forward)
        _wait_for(lambda: not os.path.exists(self.there))
        self.tell(control, "-Oforward", forward)
        _wait_for(lambda: os.path.exists(self.there))
        self.tell(control, "-Oexit")
        _wait_for(lambda: not os.path.exists(self.there))

    def tell(self, *words: str) -> None:
        """Something to the client that holds a shared connection."""
        subprocess.run(
            self.node.ssh(*words, "127.0.0.1"), capture_output=True, timeout=SECONDS, check=True
        )

    def test_killed(self) -> None:
        """A server that is killed leaves neither file nor process behind."""
        node = NodeSshd(self.logins)
        self.addCleanup(node.stop)
        client = subprocess.Popen(
            node.ssh("-N", f"-R{self.there}:{self.here}", "127.0.0.1"),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _wait_for(lambda: os.path.exists(self.there))
        node.process.kill()
        client.wait(SECONDS)
        _wait_for(lambda: not os.path.exists(self.there))


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

    def holding(self, *options: str) -> subprocess.Popen[bytes]:
        client = subprocess.Popen(
            self.node.ssh(
                "-N", "-oExitOnForwardFailure=yes", *options, "127.0.0.1", login=self.account
            ),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.addCleanup(client.communicate, timeout=SECONDS)
        self.addCleanup(client.terminate)
        return client

    def test_files(self) -> None:
        """A socket is made as the account, where it may make one."""
        there, here = f"/home/{self.account}/there", f"{self.node.directory}/here"
        with reversing(socket.AF_UNIX, here):
            self.holding(f"-R{there}:{here}")
            _wait_for(lambda: os.path.exists(there))
            self.assertEqual(
                (os.stat(there).st_uid, os.stat(there).st_mode & 0o777), (self.uid, 0o600)
            )
            self.assertEqual(ask(socket.AF_UNIX, there, b"abc"), b"cba")
        for forbidden in ("/root/mezite-was-here", "/etc/mezite-was-here"):
            done = self.node.run(
                "true",
                "-v",
                "-oExitOnForwardFailure=yes",
                f"-R{forbidden}:{here}",
                login=self.account,
            )
            self.assertEqual(done.returncode, 255)
            self.assertIn(b"permission denied", done.stderr)
            self.assertFalse(os.path.exists(forbidden))

    def test_others_removed(self) -> None:
        """Nothing is removed on the account's behalf that it could not remove itself."""
        directory = Path(f"/home/{self.account}/d")
        there = directory / "s"
        self.node.run("mkdir d", login=self.account)
        client = self.holding(f"-R{there}:/nowhere")
        _wait_for(there.exists)
        target = Path(tempfile.mkdtemp(prefix="mz"))
        self.addCleanup(shutil.rmtree, target)
        (target / "s").write_text("precious")
        self.node.run(f"mv d e; ln -s {target} d", login=self.account)
        client.terminate()
        client.wait(SECONDS)
        _wait_for(lambda: not _processes(self.uid))
        self.assertEqual((target / "s").read_text(), "precious")

    def test_roots_socket(self) -> None:
        """A socket that is root's cannot be connected to by others."""
        directory = tempfile.mkdtemp(prefix="mz")
        self.addCleanup(shutil.rmtree, directory)
        here, there = f"{self.node.directory}/here", f"{directory}/there"
        with reversing(socket.AF_UNIX, there):
            client = self.holding(f"-L{here}:{there}")
            _wait_for(lambda: os.path.exists(here))
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(ask(socket.AF_UNIX, here, b"abc"), b"")
            client.terminate()
            assert client.stderr is not None
            self.assertIn(b"permission denied", client.stderr.read())

    def test_privileged_port(self) -> None:
        """Ports below 1024 are root's."""
        done = self.node.run(
            "true", "-v", "-oExitOnForwardFailure=yes", "-R81:127.0.0.1:1", login=self.account
        )
        self.assertEqual(done.returncode, 255)
        self.assertIn(b"port 81 is for root only", done.stderr)


def _processes(uid: int) -> list[str]:
    """The processes of this account."""
    found = []
    for path in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if f"\nUid:\t{uid}\t" in path.read_text():
                found.append(path.parent.name)
    return found
