"""
Whether a cluster bears what happens to it: who can be reached, and what the logs say.

:class:`Probe` measures when each node is back. Each :class:`IObserver` looks at one
more thing after each fault, and complains in sentences; a suite with one more
observer looks at one more thing.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from zope.interface import Interface, implementer

from tests.faults.cluster import LOGIN, SpreadCluster
from tests.faults.faults import Fault

# From the network's return to a node that can be reached.
BACK_SECONDS: Final = 35.0
# So long it is looked for at most, to tell how late it was.
_PATIENCE: Final = 90.0
_POLL: Final = 0.1
_AGAIN: Final = 2.0
# What no log has, whatever happens.
_NEVER: Final = re.compile(r"Traceback|Unhandled|\"level\": \"critical\"")


class IObserver(Interface):
    """One thing that is looked at."""

    def before(fault: Fault) -> None:
        """The fault is about to happen."""

    def after(fault: Fault, since: float) -> list[str]:
        """
        Every node is back; what is wrong all the same, in sentences.

        The fault had gone by ``since``, of the monotonic clock.
        """

    def end() -> list[str]:
        """There will be no other fault."""


@define(eq=False)
class Probe:
    """The answers of :mod:`tests.faults.probe`, as they come."""

    cluster: SpreadCluster
    rows: list[dict[str, Any]] = field(init=False, factory=list)
    _process: subprocess.Popen[bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        (profile,) = (p for p in (self.cluster.directory / "msh").iterdir() if p.is_dir())
        command = [self.cluster.executable("python"), "-m", "tests.faults.probe", str(profile)]
        self._process = self.cluster.client.start(
            *command,
            *self.cluster.fleet,
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.rows.append(json.loads(line))

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def back_after(self, node: str, since: float) -> float | None:
        """
        Seconds from then to the first of two answers in a row; None if there are none yet.

        Moments are of the monotonic clock.
        """
        rows = [row for row in self.rows if row["node"] == node and row["ended"] >= since]
        for first, second in itertools.pairwise(rows):
            if not first["why"] and not second["why"]:
                return max(0.0, float(first["ended"]) - since)
        return None

    def wait(self, since: float) -> dict[str, float]:
        """Seconds from then until each node was back; ``inf`` for one that is not."""
        while True:
            found = {node: self.back_after(node, since) for node in self.cluster.fleet}
            if None not in found.values() or time.monotonic() - since > _PATIENCE:
                return {n: float("inf") if s is None else s for n, s in found.items()}
            time.sleep(_POLL)

    def latest(self, node: str) -> str:
        """Why the node could not be reached the last time."""
        whys = [str(row["why"]) for row in self.rows if row["node"] == node and row["why"]]
        return whys[-1] if whys else ""


@implementer(IObserver)
@define(eq=False)
class Logs:
    """Each agent says what to do, and nobody is surprised."""

    cluster: SpreadCluster
    # How much of each log has been read.
    _read: dict[str, int] = field(init=False, factory=dict)
    # What the first agent said about the latest fault.
    sentence: str = field(init=False, default="")

    def before(self, fault: Fault) -> None:
        self._read = {name: len(self._text(name)) for name in ("hub", *self.cluster.fleet)}

    def have_said(self, fault: Fault) -> bool:
        """Whether every agent has said what it is to say about this."""
        return not fault.says or all(self._said(node, fault) for node in self.cluster.fleet)

    def _said(self, node: str, fault: Fault) -> list[str]:
        return [m for m in self._messages(node) if re.search(fault.says, m)]

    def _messages(self, name: str) -> list[str]:
        """What it has said since the fault began."""
        new = self._text(name)[self._read.get(name, 0) :]
        return [m for m in map(_message, new.splitlines()) if m]

    def after(self, fault: Fault, since: float) -> list[str]:
        complaints = []
        self.sentence = ""
        for name in ("hub", *self.cluster.fleet):
            new = self._text(name)[self._read.get(name, 0) :]
            if (found := _NEVER.search(new)) is not None:
                line = new[: found.end()].count("\n")
                complaints.append(f"{name} says {new.splitlines()[line][:2000]}")
            if name != "hub" and fault.says:
                said = self._said(name, fault)
                if not said:
                    heard = self._messages(name)[:8]
                    complaints.append(f"{name} does not say {fault.says!r}, but {heard}")
                elif not self.sentence:
                    self.sentence = said[0]
        return complaints

    def end(self) -> list[str]:
        return []

    def _text(self, name: str) -> str:
        path = self.cluster.directory / f"{name}.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""


def _message(line: str) -> str:
    try:
        return str(json.loads(line)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


@implementer(IObserver)
@define(eq=False)
class NewSessions:
    """
    A session on each node does what it is for.

    It may have to be tried again until a node is to be back: after its clock was a day
    ahead it has certificates of tomorrow, which it first renews.
    """

    cluster: SpreadCluster

    def before(self, fault: Fault) -> None:
        pass

    def after(self, fault: Fault, since: float) -> list[str]:
        complaints = []
        for node in self.cluster.fleet:
            why = self._try(node)
            while why and time.monotonic() < since + BACK_SECONDS:
                time.sleep(_AGAIN)
                why = self._try(node)
            if why:
                complaints.append(f"a session on {node}: {why}")
        return complaints

    def _try(self, node: str) -> str:
        """Why there is no session; empty if there was one."""
        done = self.cluster.run("msh", "ssh", f"{LOGIN}@{node}", f"echo {node} is back")
        if done.stdout == f"{node} is back\n".encode():
            return ""
        return done.stderr.decode("utf-8", "replace")[:300].strip() or "no answer"

    def end(self) -> list[str]:
        return []
