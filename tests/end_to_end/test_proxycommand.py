"""Tests of msh proxy ssh as a process, against a TLS server on the loopback."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.client import places
from tests.doubles.logins import Cluster
from tests.doubles.tlshub import Serve, TlsHub

PROGRAM = [sys.executable, "-c", "import sys; from mezite.cli.main import msh; sys.exit(msh())"]
HEAVY = ("twisted", "zope", "click", "cryptography", "attr", "attrs", "OpenSSL", "rich", "asyncio")
PATIENCE = 30


def send_all(tls: ssl.SSLSocket, data: bytes) -> None:
    tls.sendall(data)
    tls.unwrap()


def read_all(tls: ssl.SSLSocket) -> bytes:
    received = bytearray()
    while data := tls.recv(65536):
        received += data
    return bytes(received)


class ProxyCommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.cluster = Cluster(time.time())
        self.directory = Path(self.mktemp())
        self.home = self.directory / "home with spaces"
        self.environment = {**os.environ, places.HOME_VARIABLE: str(self.home)}

    def hub(self, serve: Serve, *, alpn: tuple[str, ...] = ("mezite-ssh",)) -> TlsHub:
        hub = TlsHub(self.cluster.hub_files(self.directory / "hub"), serve, alpn=alpn)
        self.addCleanup(hub.close)
        self.cluster.log_in(self.home, hub.address)
        return hub

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [*PROGRAM, "proxy", "ssh", *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

        def clean_up() -> None:
            if process.poll() is None:
                process.kill()
            process.communicate()

        self.addCleanup(clean_up)
        return process

    def run_it(self, *arguments: str, standard_input: bytes = b"") -> tuple[int, bytes, str]:
        process = self.start(*arguments)
        output, errors = process.communicate(standard_input, timeout=PATIENCE)
        return process.returncode, output, errors.decode()

    def test_both_ways_with_half_close(self) -> None:
        """The end of standard input reaches the hub, and its answer still arrives."""

        def serve(tls: ssl.SSLSocket) -> None:
            digest = hashlib.sha256(read_all(tls)).hexdigest()
            tls.sendall(digest.encode())

        hub = self.hub(serve)
        data = os.urandom(5_000_003)
        code, output, errors = self.run_it("db1:22", standard_input=data)
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(output.decode(), hashlib.sha256(data).hexdigest())
        self.assertEqual(hub.server_names, ["db1.hub.example.com"])

    def test_bulk_both_ways_at_once(self) -> None:
        """Large data in both directions at the same time arrives whole."""
        downward = os.urandom(20_000_000)
        upward = os.urandom(20_000_000)
        received: list[bytes] = []

        def serve(tls: ssl.SSLSocket) -> None:
            # One thread may use a TLS socket at a time, so the two take turns.
            got = bytearray()
            for start in range(0, len(downward), 50_000):
                tls.sendall(downward[start : start + 50_000])
                while len(got) < min(start, len(upward)):
                    got += tls.recv(65536)
            got += read_all(tls)
            received.append(bytes(got))

        self.hub(serve)
        code, output, errors = self.run_it("db1", standard_input=upward)
        self.assertEqual((code, errors), (0, ""))
        self.assertEqual(output, downward)
        self.assertEqual(received, [upward])

    def test_reader_that_stops(self) -> None:
        """Nothing is read from the hub while standard output is not taken."""
        sent: list[int] = []

        def serve(tls: ssl.SSLSocket) -> None:
            tls.settimeout(1.5)
            total = 0
            try:
                while total < 200_000_000:
                    total += tls.send(bytes(16384))
            except TimeoutError:
                pass
            sent.append(total)

        self.hub(serve)
        process = self.start("db1")
        deadline = time.monotonic() + PATIENCE
        while not sent and time.monotonic() < deadline:
            time.sleep(0.05)
        self.assertLess(sent[0], 30_000_000)
        with open(f"/proc/{process.pid}/status", encoding="ascii") as file:
            resident = next(line for line in file if line.startswith("VmRSS"))
        self.assertLess(int(resident.split()[1]), 60_000)

    def test_idle_costs_nothing(self) -> None:
        """While nothing moves, no processor time is used."""
        done = threading.Event()
        ready = threading.Event()

        def serve(tls: ssl.SSLSocket) -> None:
            tls.sendall(b"hello")
            ready.set()
            done.wait(PATIENCE)

        self.hub(serve)
        self.addCleanup(done.set)
        process = self.start("db1")
        assert process.stdout is not None
        self.assertEqual(os.read(process.stdout.fileno(), 5), b"hello")

        def spent() -> int:
            with open(f"/proc/{process.pid}/stat", encoding="ascii") as file:
                fields = file.read().rsplit(") ", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        before = spent()
        time.sleep(0.6)
        self.assertLessEqual(spent() - before, 2)
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        before = spent()
        time.sleep(0.6)
        self.assertLessEqual(spent() - before, 2)

    def test_ends_with_who_started_it(self) -> None:
        """When nobody reads standard output any more, it ends."""
        done = threading.Event()

        def serve(tls: ssl.SSLSocket) -> None:
            tls.sendall(b"hello")
            done.wait(PATIENCE)

        self.hub(serve)
        self.addCleanup(done.set)
        process = self.start("db1")
        assert process.stdout is not None
        self.assertEqual(os.read(process.stdout.fileno(), 5), b"hello")
        process.stdout.close()
        process.stdout = None
        self.assertEqual(process.wait(PATIENCE), 0)

    def test_goodbye(self) -> None:
        """TLS is ended properly, also when whoever started it is gone at once."""
        ends: list[bytes] = []

        def serve(tls: ssl.SSLSocket) -> None:
            tls.sendall(b"hello")
            ends.append(read_all(tls))

        hub = self.hub(serve)
        process = self.start("db1")
        assert process.stdout is not None
        assert process.stdin is not None
        self.assertEqual(os.read(process.stdout.fileno(), 5), b"hello")
        process.send_signal(signal.SIGSTOP)
        process.stdin.write(b"goodbye")
        process.stdin.close()
        process.stdin = None
        process.stdout.close()
        process.stdout = None
        process.send_signal(signal.SIGCONT)
        self.assertEqual(process.wait(PATIENCE), 0)
        hub.close()
        self.assertEqual(ends, [b"goodbye"])
        self.assertEqual(hub.failures, [])

    def test_interrupt(self) -> None:
        """Ctrl-C ends it at once, without a traceback."""
        done = threading.Event()

        def serve(tls: ssl.SSLSocket) -> None:
            tls.sendall(b"hello")
            done.wait(PATIENCE)

        self.hub(serve)
        self.addCleanup(done.set)
        process = self.start("db1")
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 5)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(errors, b"")
        self.assertEqual(process.returncode, -signal.SIGINT)

    def test_another_authority(self) -> None:
        """A hub whose certificate another authority signed gets no byte."""
        self.hub(lambda tls: send_all(tls, b"never"))
        hub = TlsHub(
            Cluster(time.time()).hub_files(self.directory / "imposter"),
            lambda tls: send_all(tls, b"never"),
            demand=False,
        )
        self.addCleanup(hub.close)
        self.cluster.log_in(self.home, hub.address)
        code, output, errors = self.run_it("db1")
        self.assertEqual((code, output), (255, b""))
        self.assertIn("is not the one you logged in to", errors)
        self.assertEqual(errors.count("\n"), 1)

    def test_a_node_that_plays_the_hub(self) -> None:
        """A certificate of the right authority that is not the hub's is refused."""
        hub = TlsHub(
            self.cluster.node_files(self.directory / "node"),
            lambda tls: send_all(tls, b"never"),
        )
        self.addCleanup(hub.close)
        self.cluster.log_in(self.home, hub.address)
        code, output, errors = self.run_it("db1")
        self.assertEqual((code, output), (255, b""))
        self.assertEqual(errors.count("\n"), 1)

    def test_alpn_lost(self) -> None:
        """Something in front of the hub that ends TLS is named as the cause."""
        self.hub(lambda tls: send_all(tls, b"never"), alpn=("http/1.1",))
        code, _, errors = self.run_it("db1")
        self.assertEqual(code, 255)
        self.assertTrue(errors.startswith("msh: "), errors)
        self.assertEqual(errors.count("\n"), 1)

    def test_certificate_refused(self) -> None:
        """A login that the hub does not accept is told to log in again."""
        hub = TlsHub(
            self.cluster.hub_files(self.directory / "hub"), lambda tls: send_all(tls, b"never")
        )
        self.addCleanup(hub.close)
        stranger = Cluster(time.time()).credentials("eve", ["root"], 60)
        profile = self.cluster.log_in(self.home, hub.address)
        profile.path(places.TLS_KEY).write_bytes(stranger.tls_key)
        profile.path(places.TLS_CERTIFICATE).write_bytes(stranger.tls_certificate)
        code, output, errors = self.run_it("db1")
        self.assertEqual((code, output), (255, b""))
        self.assertEqual(errors, "msh: the hub refused your certificate: run msh login\n")

    def test_nobody_listens(self) -> None:
        """A hub that is not there is one sentence, at once."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = f"127.0.0.1:{listening.getsockname()[1]}"
        self.cluster.log_in(self.home, address)
        code, _, errors = self.run_it("db1")
        self.assertEqual(code, 255)
        self.assertEqual(
            errors, f"msh: the hub at {address} cannot be reached: connection refused\n"
        )

    def test_not_tls(self) -> None:
        """Something that speaks no TLS is one sentence."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.cluster.log_in(self.home, f"127.0.0.1:{listening.getsockname()[1]}")
            process = self.start("db1")
            connection, _ = listening.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                _, errors = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 255)
        self.assertIn(b"wrong version number", errors)
        self.assertEqual(errors.count(b"\n"), 1)

    def test_light_and_quick(self) -> None:
        """Only the standard library is imported on this path."""
        hub = self.hub(lambda tls: send_all(tls, b"hello"))
        script = (
            "import sys; from mezite.cli.main import msh; code = msh();"
            f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
        )
        result = subprocess.run(
            [sys.executable, "-c", script, "proxy", "ssh", "--proxy", hub.address, "db1"],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
        self.assertEqual(result.stderr, b"[]\n")
