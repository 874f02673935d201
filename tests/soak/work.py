"""
What people do all day, each kind in a thread of its own, and what became of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import define, field

from mezite.cli.local import LocalCluster, free_port
from tests.end_to_end.conftest import LOGIN
from tests.soak.trouble import NODES, Trouble

_COPY_BYTES: Final = 4 << 20
_SECONDS: Final = 60.0
_REMOTE: Final = "exec cat"


class Failed(Exception):
    """It did not do what it is for."""


@define(eq=False)
class Work:
    """Threads that work until they are told to stop."""

    cluster: LocalCluster
    trouble: Trouble
    seed: int
    done: Counter[str] = field(init=False, factory=Counter)
    excused: Counter[str] = field(init=False, factory=Counter)
    errors: list[str] = field(init=False, factory=list)
    _stopping: threading.Event = field(init=False, factory=threading.Event)
    _threads: list[threading.Thread] = field(init=False, factory=list)

    def begin(self) -> None:
        kinds = (self.command, self.keystrokes, self.copy, self.forward)
        for number, kind in enumerate(kinds):
            draw = random.Random(self.seed + number)
            thread = threading.Thread(target=self._repeat, args=(kind, draw), daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * _SECONDS)

    def _repeat(self, kind: Callable[[random.Random], None], draw: random.Random) -> None:
        while not self._stopping.is_set():
            begun = time.time()
            try:
                kind(draw)
            except Exception as error:
                if self.trouble.covers(begun, time.time()):
                    self.excused[kind.__name__] += 1
                else:
                    self.errors.append(f"{kind.__name__}: {type(error).__name__}: {error}")
            else:
                self.done[kind.__name__] += 1
            self._stopping.wait(draw.uniform(1, 6))

    # The kinds.

    def command(self, draw: random.Random) -> None:
        """A command on a node, with its status."""
        node, number = draw.choice(NODES), draw.randrange(1, 120)
        done = self.cluster.run("msh", "ssh", f"{LOGIN}@{node}", f"echo {number}; exit {number}")
        if (done.returncode, done.stdout) != (number, b"%d\n" % number):
            raise Failed(f"{node}: status {done.returncode}, {done.stderr.decode()[:300]}")

    def keystrokes(self, draw: random.Random) -> None:
        """Lines typed into a terminal one by one, each seen before the next."""
        node = draw.choice(NODES)
        process = subprocess.Popen(
            [self.cluster.executable("msh"), "ssh", f"{LOGIN}@{node}", _REMOTE],
            env=dict(self.cluster.variables()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        timer = threading.Timer(_SECONDS, process.kill)
        timer.start()
        try:
            for number in range(draw.randrange(10, 100)):
                line = b"%d %s\n" % (number, draw.randbytes(20).hex().encode())
                process.stdin.write(line)
                process.stdin.flush()
                if (heard := process.stdout.readline()) != line:
                    raise Failed(f"{node}: typed {line!r} and saw {heard!r}")
                time.sleep(0.1)
            process.stdin.close()
            if process.wait(_SECONDS) != 0:
                raise Failed(f"{node}: status {process.returncode}")
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            process.stdout.close()
            with contextlib.suppress(OSError):
                process.stdin.close()

    def copy(self, draw: random.Random) -> None:
        """A file there and back."""
        node = draw.choice(NODES)
        there = self.cluster.directory / f"copied-{draw.randrange(2**32):x}"
        here, back = there.with_suffix(".here"), there.with_suffix(".back")
        here.write_bytes(draw.randbytes(_COPY_BYTES))
        try:
            for source, target in ((here, f"{node}:{there}"), (f"{node}:{there}", back)):
                done = self.cluster.run("msh", "scp", str(source), str(target), seconds=_SECONDS)
                if done.returncode != 0:
                    raise Failed(f"{node}: {done.stderr.decode()[:300]}")
            if _hash(here) != _hash(there) or _hash(here) != _hash(back):
                raise Failed(f"{node}: the copy differs")
        finally:
            for path in (here, there, back):
                path.unlink(missing_ok=True)

    def forward(self, draw: random.Random) -> None:
        """A port that leads to one on the node's side, used a few times."""
        node, here = draw.choice(NODES), free_port()
        with socket.create_server(("127.0.0.1", 0)) as server:
            threading.Thread(target=_echo, args=(server,), daemon=True).start()
            there = f"127.0.0.1:{server.getsockname()[1]}"
            options = ["-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{here}:{there}"]
            process = subprocess.Popen(
                [self.cluster.executable("msh"), "ssh", *options, f"{LOGIN}@{node}"],
                env=dict(self.cluster.variables()),
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            try:
                for _ in range(3):
                    _ask(here, process, draw.randbytes(100_000), node)
            finally:
                process.terminate()
                process.communicate(timeout=_SECONDS)


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else ""


def _echo(server: socket.socket) -> None:
    """Give back what each connection sends."""
    while True:
        try:
            connected, _ = server.accept()
            with connected:
                while data := connected.recv(1 << 16):
                    connected.sendall(data)
        except OSError:
            if server.fileno() < 0:
                return


def _ask(port: int, process: subprocess.Popen[bytes], question: bytes, node: str) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            connected = socket.create_connection(("127.0.0.1", port), 1.0)
            break
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{node}: nothing is forwarded") from None
            time.sleep(0.1)
    with connected:
        connected.settimeout(_SECONDS)
        sending = threading.Thread(target=_send, args=(connected, question), daemon=True)
        sending.start()
        heard = b""
        while data := connected.recv(1 << 16):
            heard += data
        sending.join(_SECONDS)
    if heard != question:
        raise Failed(f"{node}: {len(question)} bytes went, and {len(heard)} came back")


def _send(connected: socket.socket, data: bytes) -> None:
    try:
        connected.sendall(data)
        connected.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # whoever reads sees that it ended early
