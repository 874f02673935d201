"""Stock OpenSSH through ``msh config``: the person's ssh-agent on a node."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.stock import StockSsh, wait_until

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


class AgentForwardingTests:
    """``ssh -A``."""

    @pytest.fixture
    def variables(self, short_directory: Path) -> Iterator[dict[str, str]]:
        """The environment of a client with an ssh-agent that holds one key."""
        address, key = short_directory / "agent", short_directory / "key"
        daemon = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(address)], stdout=subprocess.DEVNULL
        )
        try:
            wait_until(address.exists, "ssh-agent does not listen")
            variables = {**os.environ, "SSH_AUTH_SOCK": str(address)}
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada@laptop", "-f", key],
                check=True,
            )
            subprocess.run(["ssh-add", "-q", str(key)], env=variables, check=True)
            yield variables
        finally:
            daemon.terminate()
            daemon.wait()

    def test_keys_seen(self, stock: StockSsh, variables: dict[str, str]) -> None:
        """The node's programs see the keys of the person's ssh-agent."""
        done = stock.run("-A", NODE, "ssh-add -l; stat -c %a $SSH_AUTH_SOCK", env=variables)
        assert done.returncode == 0, done.stderr
        assert b"ada@laptop (ED25519)" in done.stdout
        assert done.stdout.endswith(b"00\n")  # nobody else may use it

    def test_keys_used(
        self, stock: StockSsh, variables: dict[str, str], short_directory: Path
    ) -> None:
        """A signature is made on the node with a key that stays with the person."""
        public = (short_directory / "key.pub").read_text().strip()
        command = (
            f"echo '{public}' > {short_directory}/there.pub; echo text > {short_directory}/text;"
            f" ssh-keygen -Y sign -n file -f {short_directory}/there.pub {short_directory}/text"
        )
        done = stock.run("-A", NODE, command, env=variables)
        assert done.returncode == 0, done.stderr
        assert "BEGIN SSH SIGNATURE" in (short_directory / "text.sig").read_text()

    def test_gone_afterwards(self, stock: StockSsh, variables: dict[str, str]) -> None:
        """The socket goes with the connection."""
        done = stock.run("-A", NODE, "echo $SSH_AUTH_SOCK", env=variables)
        address = Path(done.stdout.decode().strip())
        assert address.is_absolute()
        wait_until(lambda: not address.exists(), f"{address} stays")

    def test_not_asked_for(self, stock: StockSsh, variables: dict[str, str]) -> None:
        """Without -A there is none."""
        done = stock.run("-a", NODE, "echo x${SSH_AUTH_SOCK}x", env=variables)
        assert done.stdout == b"xx\n"
