"""What an editor such as VS Code does over one connection: commands, and a forwarded port."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mezite.cli.local import free_port
from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.stock import StockSsh, ask, reversing, wait_for_port

NODE = f"{LOGIN}@db1"
COMMANDS = 40
QUESTION = os.urandom(1_000_000) * 4


class EditorTests:
    """One connection through the hub, many channels on it."""

    def test_commands_and_port(self, ssh_config: Path) -> None:
        """Forty overlapping commands answer while a forwarded port and a server carry traffic."""
        stock = StockSsh(ssh_config)
        here = free_port()
        with (
            tempfile.TemporaryDirectory(prefix="mz") as place,
            reversing(socket.AF_INET, ("127.0.0.1", 0)) as server,
        ):
            shared = ("-o", f"ControlPath={place}/c")
            forward = f"{here}:127.0.0.1:{server.getsockname()[1]}"
            with (
                stock.holding(*shared, "-M", "-L", forward, NODE) as master,
                ThreadPoolExecutor(COMMANDS + 3) as threads,
            ):
                wait_for_port(here, master)

                def command(number: int) -> tuple[int, bytes]:
                    line = f"sleep 0.{number % 10}; echo {number}; sha1sum"
                    done = stock.run(*shared, NODE, line, given=b"%d" % number)
                    return done.returncode, done.stdout

                def traffic(_: int) -> bool:
                    answers = [ask(socket.AF_INET, ("127.0.0.1", here), QUESTION) for _ in "abc"]
                    return answers == [QUESTION[::-1]] * 3

                # The editor's server, which speaks over its own standard input and output.
                talking = threads.submit(stock.succeed, *shared, "-T", NODE, "sh", given=b"cat\n")
                carried = [threads.submit(traffic, n) for n in range(2)]
                answers = list(threads.map(command, range(COMMANDS)))
                assert answers == [
                    (0, b"%d\n%s  -\n" % (n, hashlib.sha1(b"%d" % n).hexdigest().encode()))
                    for n in range(COMMANDS)
                ]
                assert all(each.result() for each in carried)
                assert talking.result() == b""
