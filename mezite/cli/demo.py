"""
The main job on one machine: ``make demo``, or ``python -m mezite.cli.demo``.

Starts a hub and an agent on loopback in a temporary directory, logs a user in
and opens a shell on the node through the tunnel; without a terminal it runs
one command there and prints what it says. Leaves nothing behind.
"""

from __future__ import annotations

import getpass
import os
import secrets
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FrameType

from mezite.cli.local import LocalCluster, local_cluster
from mezite.error import MeziteError

_NODE = "demo-node"
_USER = "ada"


def _say(text: str) -> None:
    sys.stderr.write(f"demo: {text}\n")
    sys.stderr.flush()


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _walk(cluster: LocalCluster) -> int:
    login = getpass.getuser()
    _say(f"starting the hub: one TLS port, {cluster.address}")
    cluster.start_hub()
    _say(f"creating the user {_USER}, who may log in to machines as {login}")
    password = secrets.token_urlsafe(12)
    cluster.add_user(_USER, password, f"--logins={login}")
    _say(f"joining the node {_NODE}: its agent dials the hub and listens on nothing")
    cluster.start_agent(_NODE, "env=demo")
    _say(f"msh login --proxy={cluster.address} --user={_USER}")
    cluster.log_in(_USER, password)
    cluster.wait_online(_NODE)
    sys.stdout.write(cluster.succeed("msh", "ls").decode())
    sys.stdout.flush()
    command = ["msh", "ssh", f"{login}@{_NODE}"]
    if sys.stdin.isatty() and sys.stdout.isatty():
        _say(f"{' '.join(command)}: this is a shell on the node; leave it with exit")
        program = cluster.executable("msh")
        shell = subprocess.run(  # noqa: S603 - our own program, by absolute path
            [program, *command[1:]], env=dict(cluster.variables()), check=False
        )
        _say(f"the shell ended with {shell.returncode}")
        # The shell's last command decides its status; that it ran is what counts here.
        return 0 if shell.returncode != 255 else 1
    _say(f"{' '.join(command)} uname -a")
    sys.stdout.write(cluster.succeed(*command, "uname", "-a").decode())
    sys.stdout.flush()
    return 0


def main() -> int:
    """Run the demo; the exit status is 0 only if every step worked."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGHUP, _end)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="mezite-demo-") as directory,
            local_cluster(Path(directory)) as cluster,
        ):
            status = _walk(cluster)
            _say("stopping hub and agent")
    except MeziteError as error:
        _say(f"{error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
