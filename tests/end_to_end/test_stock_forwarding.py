"""Stock OpenSSH through ``msh config``: unix sockets, either way."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mezite.cli.local import free_port
from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.stock import StockSsh, ask, reversing, wait_for_port, wait_until

NODE = f"{LOGIN}@db1"
QUESTION = os.urandom(1_000_000) * 8


@pytest.fixture(scope="module")
def stock(ssh_config: Path) -> StockSsh:
    return StockSsh(ssh_config)


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose paths fit the 108 bytes of a unix socket's address."""
    with tempfile.TemporaryDirectory(prefix="mz") as place:
        yield Path(place)


class UnixSocketTests:
    """Unix sockets, forwarded either way."""

    def test_local(self, stock: StockSsh, short_directory: Path) -> None:
        """-L leads from a socket here to a socket there."""
        here, there = str(short_directory / "here"), str(short_directory / "there")
        with reversing(socket.AF_UNIX, there), stock.holding("-L", f"{here}:{there}", NODE):
            wait_until(lambda: os.path.exists(here), "the client does not listen")
            assert ask(socket.AF_UNIX, here, QUESTION) == QUESTION[::-1]

    def test_local_port_to_socket(self, stock: StockSsh, short_directory: Path) -> None:
        """-L leads from a port here to a socket there, as for Docker's."""
        here, there = free_port(), str(short_directory / "there")
        with (
            reversing(socket.AF_UNIX, there),
            stock.holding("-L", f"{here}:{there}", NODE) as process,
        ):
            wait_for_port(here, process)
            assert ask(socket.AF_INET, ("127.0.0.1", here), QUESTION) == QUESTION[::-1]

    def test_remote(self, stock: StockSsh, short_directory: Path) -> None:
        """-R leads from a socket there, which only its owner may use, to a socket here."""
        here, there = str(short_directory / "here"), str(short_directory / "there")
        with reversing(socket.AF_UNIX, here), stock.holding("-R", f"{there}:{here}", NODE):
            wait_until(lambda: os.path.exists(there), "the node does not listen")
            assert os.stat(there).st_mode & 0o077 == 0
            assert ask(socket.AF_UNIX, there, QUESTION) == QUESTION[::-1]
        wait_until(lambda: not os.path.exists(there), "the socket stays")
