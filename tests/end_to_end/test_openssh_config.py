"""What ``msh config`` prints, with stock OpenSSH: shared connections and ciphers."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.stock import StockSsh, wait_until

NODE = f"{LOGIN}@db1"


@pytest.fixture
def stock(ssh_config: Path) -> StockSsh:
    return StockSsh(ssh_config)


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose paths fit the 108 bytes of a unix socket's address."""
    with tempfile.TemporaryDirectory(prefix="mz") as place:
        yield Path(place)


class SharedConnectionTests:
    """``ControlMaster``."""

    def test_one_for_all(self, stock: StockSsh, short_directory: Path) -> None:
        """Several commands share one connection, which outlives them as was asked for."""
        options = [
            "-o", "ControlMaster=auto",
            "-o", f"ControlPath={short_directory}/%C",
            "-o", "ControlPersist=10",
        ]  # fmt: skip
        connections = {
            stock.succeed(*options, NODE, "echo $SSH_CONNECTION; cat >&2", given=b"x" * 100_000)
            for _ in range(3)
        }
        assert len(connections) == 1
        assert b"running" in stock.run(*options, "-O", "check", NODE).stderr
        stock.run(*options, "-O", "exit", NODE)
        wait_until(lambda: not [*short_directory.iterdir()], "the master stays")


class CipherTests:
    """What is spoken with a node."""

    def test_fast_cipher_first(self, stock: StockSsh) -> None:
        """AES-GCM is chosen, which stock ssh by itself would not."""
        done = stock.run("-v", NODE, "true")
        assert done.returncode == 0, done.stderr
        chosen = [line for line in done.stderr.splitlines() if b"cipher:" in line]
        assert len(chosen) == 2
        assert all(b"aes256-gcm@openssh.com" in line for line in chosen)

    def test_others_stay(self, stock: StockSsh) -> None:
        """The others are still offered, for nodes that have no AES-GCM."""
        config = subprocess.run(
            stock.words("ssh", "-G", NODE), capture_output=True, check=True, text=True
        ).stdout
        (ciphers,) = (line for line in config.splitlines() if line.startswith("ciphers "))
        assert ciphers.startswith("ciphers aes256-gcm@openssh.com,aes128-gcm@openssh.com,")
        assert "aes256-ctr" in ciphers
