"""
The ways to one node that are compared: hub and agent, OpenSSH's bastion, and
sshd itself. All are on loopback, for one run, with stock ssh as the client.
"""

from __future__ import annotations

import getpass
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from mezite.cli.local import local_cluster
from tests.benchmarks.bastion import Bastion
from tests.benchmarks.slowline import slow_line

OURS: Final = "hub and agent"
BASTION: Final = "OpenSSH bastion"
DIRECT: Final = "direct sshd"
_USER: Final = "ada"
_PASSWORD: Final = "only for this run"


@frozen
class Ways:
    """
    What runs, and how to get there.

    ``pids`` are our two processes by name; ``words`` the configuration and the
    name of the node for each way, in the order of the report.
    """

    pids: Mapping[str, int]
    words: Mapping[str, Sequence[str]]

    def ssh(self, way: str, *command: str, options: Sequence[str] = ()) -> list[str]:
        """A command line of stock ssh."""
        return ["ssh", *options, *self.words[way], *command]


@contextmanager
def ways(megabits: float = 0) -> Iterator[Ways]:
    """
    All three, stopped on every way out.

    :param megabits: how fast the line from the node to the hub and to the bastion is, if it
        is to be slow; the direct way is left out then.
    """
    with (
        tempfile.TemporaryDirectory() as ours,
        tempfile.TemporaryDirectory() as theirs,
        ExitStack() as stack,
        local_cluster(Path(ours)) as cluster,
    ):
        login = getpass.getuser()
        hub = cluster.start_hub()
        peer, line = Bastion(Path(theirs)), None
        if megabits:
            line = f"127.0.0.1:{stack.enter_context(slow_line(cluster.port, megabits))}"
            peer.line_port = stack.enter_context(slow_line(peer.bastion_port, megabits))
        stack.callback(peer.stop)
        peer.start()
        cluster.add_user(_USER, _PASSWORD, f"--logins={login}")
        cluster.log_in(_USER, _PASSWORD)
        agent = cluster.start_agent("db1", hub=line)
        cluster.wait_online("db1")
        config = cluster.directory / "ssh_config"
        config.write_bytes(cluster.succeed("msh", "config"))
        yield Ways(
            {"hub": hub.process.pid, "agent": agent.process.pid},
            {
                OURS: ("-F", str(config), "-o", "BatchMode=yes", f"{login}@db1"),
                BASTION: ("-F", str(peer.config), "node"),
                **({} if megabits else {DIRECT: ("-F", str(peer.config), "direct")}),
            },
        )
