"""
One fault after the other, each borne and looked at before the next.
"""

from __future__ import annotations

import time
from typing import Final

from attrs import define, field

from tests.faults.cluster import SpreadCluster
from tests.faults.faults import Fault
from tests.faults.sessions import OpenSessions
from tests.faults.watching import BACK_SECONDS, IObserver, Logs, NewSessions, Probe

# A tunnel's end is noticed, and the hub is dialed.
NOTICED_SECONDS: Final = 60.0
_POLL: Final = 0.5
# Of one line of the table.
_SENTENCE: Final = 110


@define(eq=False)
class Rounds:
    """
    What happened to a cluster so far; ``failed`` is how many faults it did not bear.

    ``with_sessions`` has sessions go on through all of it.
    """

    cluster: SpreadCluster
    with_sessions: bool = True
    failed: int = field(init=False, default=0)
    probe: Probe = field(init=False)
    logs: Logs = field(init=False)
    observers: list[IObserver] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.logs = Logs(self.cluster)
        self.observers = [NewSessions(self.cluster), self.logs]
        if self.with_sessions:
            self.observers.append(OpenSessions(self.cluster))
        self.probe = Probe(self.cluster)
        self.probe.wait(time.monotonic())

    def play(self, fault: Fault) -> list[str]:
        """Let it happen, print a line about it, and return what was wrong."""
        for observer in self.observers:
            observer.before(fault)
        complaints: list[str] = []
        begun = time.monotonic()
        with fault.happening(self.cluster):
            if fault.is_borne:
                complaints += self._late(self.probe.wait(begun), "while it lasts")
            time.sleep(max(0.0, begun + fault.seconds - time.monotonic()))
            # An agent may still be waiting for its next dial.
            while fault.seconds and not self._is_noticed(fault, begun):
                time.sleep(_POLL)
        # What is not taken back has its return in its beginning.
        returned = time.monotonic() if fault.seconds else begun
        back = self.probe.wait(returned)
        complaints += self._late(back, "after it")
        for observer in self.observers:
            complaints += observer.after(fault, returned)
        times = "  ".join(f"{back[node]:5.1f}" for node in self.cluster.fleet)
        print(f"{fault.name:32} {times}  {self.logs.sentence[:_SENTENCE]}", flush=True)
        for complaint in complaints:
            print(f"    WRONG: {complaint}", flush=True)
        self.failed += bool(complaints)
        return complaints

    def _is_noticed(self, fault: Fault, begun: float) -> bool:
        return self.logs.have_said(fault) or time.monotonic() > begun + NOTICED_SECONDS

    def end(self) -> None:
        self.probe.stop()
        for observer in self.observers:
            complaints = observer.end()
            self.failed += bool(complaints)
            for complaint in complaints:
                print(f"    WRONG in the end: {complaint}", flush=True)

    def _late(self, back: dict[str, float], when: str) -> list[str]:
        return [
            f"{node} was back {seconds:.1f} s {when} (at first {self.probe.latest(node)})"
            for node, seconds in back.items()
            if seconds > BACK_SECONDS
        ]
