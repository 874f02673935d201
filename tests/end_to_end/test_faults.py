"""
A sample of the fault suite (``tox -e faults``): one node, one fault, and the clearing up.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from attrs import evolve

from tests.faults.cluster import SOURCE, spread_cluster
from tests.faults.faults import FAULTS, Fault
from tests.faults.namespaces import NAMED, names_of, why_not
from tests.faults.rounds import Rounds

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
# Makes a network, says its prefix, and is killed.
_DOOMED = """
import time
from tests.faults.namespaces import network
with network() as net:
    net.add("db1").start("sleep", "600")
    print(net.prefix, flush=True)
    time.sleep(600)
"""


def fault(name: str, seconds: float) -> Fault:
    """One of the table, shortened."""
    (found,) = (each for each in FAULTS if each.name == name)
    return evolve(found, seconds=seconds)


class FaultsTests:
    """A cluster in namespaces."""

    def test_reset(self, tmp_path: Path) -> None:
        """Connections are reset and refused: the agent says so, and is back soon after."""
        with spread_cluster(tmp_path, fleet=("db1",)) as cluster:
            rounds = Rounds(cluster, with_sessions=False)
            try:
                assert rounds.play(fault("connections reset", 1)) == []
            finally:
                rounds.end()

    def test_killed(self) -> None:
        """A suite that is killed leaves no namespace, no program and no file behind."""
        doomed = subprocess.Popen(
            [sys.executable, "-c", _DOOMED], cwd=SOURCE, stdout=subprocess.PIPE
        )
        assert doomed.stdout is not None
        prefix = doomed.stdout.readline().decode().strip()
        assert names_of(prefix)
        doomed.send_signal(signal.SIGKILL)
        doomed.wait()
        deadline = time.monotonic() + 20
        while names_of(prefix) or any(NAMED.glob(f"{prefix}*")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
