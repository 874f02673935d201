"""
Sessions that are open all the time, and must not lose a byte or see one twice.

An :class:`Exchange` is one of them: bytes go to a node, and come back. Two on each
node, one slow as typing and one as fast as a small copy, make an observer.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Final

from attrs import define, field
from zope.interface import implementer

from tests.faults.cluster import LOGIN, SpreadCluster
from tests.faults.faults import Fault
from tests.faults.watching import IObserver

# A session that was resumed has caught up by then.
CATCH_UP_SECONDS: Final = 60.0
# A session whose time is over says so; the client looks for it for up to five minutes.
_LAST_WORDS_SECONDS: Final = 60.0
_PAUSE: Final = 0.1
_TYPED: Final = 20
_COPIED: Final = 16 << 10
_POLL: Final = 0.2


@define(eq=False)
class Exchange:
    """
    A session that gives back what it is sent: ``size`` bytes ten times a second.

    The bytes are drawn from a seed, and drawn again to be compared with.
    """

    cluster: SpreadCluster
    node: str
    size: int
    sent: int = field(init=False, default=0)
    received: int = field(init=False, default=0)
    wrong: str = field(init=False, default="")
    _process: subprocess.Popen[bytes] = field(init=False)
    _is_stopping: bool = field(init=False, default=False)
    _threads: list[threading.Thread] = field(init=False, factory=list)
    _last_words: bytes = field(init=False, default=b"")

    def __attrs_post_init__(self) -> None:
        self._process = subprocess.Popen(
            self.cluster.on_client("msh", "ssh", f"{LOGIN}@{self.node}", "exec cat"),
            cwd="/",
            env=dict(self.cluster.variables()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for part in (self._send, self._receive, self._hear):
            thread = threading.Thread(target=part, daemon=True)
            self._threads.append(thread)
            thread.start()

    def __str__(self) -> str:
        return f"the session on {self.node} with {self.size} bytes at a time"

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def last_words(self) -> str:
        return self._last_words.decode("utf-8", "replace").strip()

    def has_caught_up(self, sent: int) -> bool:
        return self.received >= sent or bool(self.wrong)

    def stop(self) -> None:
        self._is_stopping = True
        self._process.kill()
        self._process.wait()
        for thread in self._threads:
            thread.join(5)

    def _send(self) -> None:
        assert self._process.stdin is not None
        draw = random.Random(self.size)
        with contextlib.suppress(OSError):
            while not self._is_stopping:
                piece = draw.randbytes(self.size)
                self._process.stdin.write(piece)
                self._process.stdin.flush()
                self.sent += len(piece)
                time.sleep(_PAUSE)

    def _receive(self) -> None:
        assert self._process.stdout is not None
        draw, expected = random.Random(self.size), b""
        while data := os.read(self._process.stdout.fileno(), 1 << 16):
            while len(expected) < len(data):
                expected += draw.randbytes(self.size)
            if data != expected[: len(data)]:
                self.wrong = f"other bytes came back than were sent, after {self.received}"
                return
            self.received += len(data)
            expected = expected[len(data) :]

    def _hear(self) -> None:
        assert self._process.stderr is not None
        self._last_words = self._process.stderr.read()


@implementer(IObserver)
@define(eq=False)
class OpenSessions:
    """Sessions that go on through every fault that sessions outlast."""

    cluster: SpreadCluster
    exchanged: int = field(init=False, default=0)
    _exchanges: list[Exchange] = field(init=False, factory=list)

    def before(self, fault: Fault) -> None:
        self._exchanges = [e for e in self._exchanges if e.is_running and not e.wrong]
        there = {(e.node, e.size) for e in self._exchanges}
        for node in self.cluster.fleet:
            for size in (_TYPED, _COPIED):
                if (node, size) not in there:
                    self._exchanges.append(Exchange(self.cluster, node, size))
        self._wait(lambda e: e.received > 0, CATCH_UP_SECONDS)

    def after(self, fault: Fault, since: float) -> list[str]:
        if fault.ends_sessions:
            return self._ended()
        sent = {id(e): e.sent for e in self._exchanges}
        self._wait(lambda e: e.has_caught_up(sent[id(e)]) or not e.is_running, CATCH_UP_SECONDS)
        complaints = []
        for each in self._exchanges:
            if each.wrong:
                complaints.append(f"{each}: {each.wrong}")
            elif not each.is_running:
                complaints.append(f"{each} ended: {each.last_words[-300:]}")
            elif each.received < sent[id(each)]:
                lag = sent[id(each)] - each.received
                complaints.append(f"{each} hangs, {lag} bytes behind")
        self.exchanged = sum(each.received for each in self._exchanges)
        return complaints

    def _ended(self) -> list[str]:
        """A session that nothing can save ends with a sentence."""
        self._wait(lambda each: not each.is_running, _LAST_WORDS_SECONDS)
        complaints = []
        for each in self._exchanges:
            if each.is_running:
                complaints.append(f"{each} goes on after all that time")
            elif not each.last_words:
                complaints.append(f"{each} ended without a word")
            each.stop()
        return complaints

    def end(self) -> list[str]:
        for each in self._exchanges:
            each.stop()
        return []

    def _wait(self, is_done: Callable[[Exchange], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not all(map(is_done, self._exchanges)):
            time.sleep(_POLL)
