from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.end_to_end.test_node_sshd import SECONDS, NodeSshdTestCase, _connects, _wait_for

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
