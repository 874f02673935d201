"""Trees and repositories through ``msh config``: scp, sftp, rsync and git."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.end_to_end.conftest import LOGIN
from tests.end_to_end.stock import PATIENCE, StockSsh

NODE = f"{LOGIN}@db1"


@pytest.fixture(scope="module")
def stock(ssh_config: Path) -> StockSsh:
    return StockSsh(ssh_config)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of all sizes, an empty directory, names with blanks, modes, times and a link."""
    root = tmp_path / "tree"
    (root / "deep" / "er").mkdir(parents=True)
    (root / "empty").mkdir()
    for size in (0, 1, 32 * 1024, 255 * 1024 + 1, 5_000_000):
        (root / f"of {size} bytes").write_bytes(os.urandom(size))
    for number in range(100):
        (root / "deep" / f"file{number}").write_text(f"{number}\n" * number)
    (root / "deep" / "er" / "grün 'quoted' $HOME").write_text("by name")
    program = root / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o751)
    os.utime(program, (1_000_000_000, 1_000_000_001))
    return root


def described(root: Path) -> dict[str, tuple[object, ...]]:
    """What a copy that keeps times and modes must have in common with the original."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        what: object = None
        if path.is_symlink():
            what = os.readlink(path)
        elif path.is_file():
            what = path.read_bytes()
        mode = status.st_mode if not path.is_symlink() else 0
        times = int(status.st_mtime) if path.is_file() and not path.is_symlink() else 0
        found[str(path.relative_to(root))] = (mode, times, what)
    return found


class ScpTests:
    """``scp -r -p``."""

    @pytest.mark.parametrize("options", [[], ["-O"]], ids=["sftp", "scp"])
    def test_tree(self, stock: StockSsh, tree: Path, tmp_path: Path, options: list[str]) -> None:
        """A tree goes there and back, with its modes and times."""
        there, back = tmp_path / "there", tmp_path / "back"
        words = (*options, "-q", "-r", "-p")
        stock.succeed(*words, str(tree), f"{NODE}:{there}", program="scp")
        stock.succeed(*words, f"{NODE}:{there}", str(back), program="scp")
        assert described(back) == described(tree)

    def test_between_nodes(self, stock: StockSsh, tree: Path, tmp_path: Path) -> None:
        """A tree goes from node to node, through the client."""
        there = tmp_path / "there"
        stock.succeed(
            "-3", "-q", "-r", "-p", f"{NODE}:{tree}", f"{LOGIN}@web1:{there}", program="scp"
        )
        assert described(there) == described(tree)

    def test_globs(self, stock: StockSsh, tree: Path, tmp_path: Path) -> None:
        """A pattern is looked up on the node."""
        stock.succeed("-q", f"{NODE}:{tree}/deep/file1?", f"{tmp_path}/", program="scp")
        assert {path.name for path in tmp_path.glob("file*")} == {
            f"file1{digit}" for digit in range(10)
        }


class SftpTests:
    """``sftp`` in batches."""

    def test_tree(self, stock: StockSsh, tree: Path, tmp_path: Path) -> None:
        """A tree goes there and back, with modes, links, df and a resumed file."""
        there, back = tmp_path / "there", tmp_path / "back"
        whole = (tree / "of 5000000 bytes").read_bytes()
        (tmp_path / "half").write_bytes(whole[:2_000_000])
        batch = (
            f"mkdir {there}\nput -pR {tree}/. {there}\nln -s program {there}/link\n"
            f"chmod 600 {there}/program\ndf {there}\n"
            f'reget "{there}/of 5000000 bytes" {tmp_path}/half\n'
            f"mkdir {there}/gone\nrmdir {there}/gone\nls -la {there}\n"
            f"get -pR {there} {back}\n"
        )
        said = stock.succeed("-b", "-", NODE, program="sftp", given=batch.encode())
        assert b"program" in said
        assert (tmp_path / "half").read_bytes() == whole
        assert (there / "program").stat().st_mode & 0o777 == 0o600
        assert os.readlink(there / "link") == "program"
        (there / "program").chmod(0o751)
        (there / "link").unlink()
        assert described(there) == described(tree)


class RsyncTests:
    """``rsync -a --delete``."""

    def sync(self, stock: StockSsh, source: str, target: str) -> None:
        command = shlex.join(stock.words("ssh"))
        done = subprocess.run(
            ["rsync", "-a", "--delete", "-e", command, source, target],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def test_both_ways(self, stock: StockSsh, tree: Path, tmp_path: Path) -> None:
        """A tree is brought into line there, and back here, whatever differs."""
        there, back = tmp_path / "there", tmp_path / "back"
        (tree / "link").symlink_to("program")
        self.sync(stock, f"{tree}/", f"{NODE}:{there}/")
        assert described(there) == described(tree)
        # Now both sides differ: something new, something changed in its midst, something gone.
        (there / "superfluous").write_text("to be deleted")
        large = tree / "of 5000000 bytes"
        changed = bytearray(large.read_bytes())
        changed[2_500_000:2_500_010] = b"0123456789"
        large.write_bytes(changed)
        os.utime(large, (1_000_000_000, 1_000_000_000))  # rsync looks at size and time only
        (tree / "deep" / "file7").unlink()
        self.sync(stock, f"{tree}/", f"{NODE}:{there}/")
        assert described(there) == described(tree)
        self.sync(stock, f"{NODE}:{there}/", f"{back}/")
        assert described(back) == described(tree)


class GitTests:
    """Repositories on a node."""

    def git(self, stock: StockSsh, *words: str) -> str:
        identity = ("-c", "user.name=ada", "-c", "user.email=ada@example.com")
        done = subprocess.run(
            ["git", *identity, *words],
            env={
                **os.environ,
                "GIT_SSH_COMMAND": shlex.join(stock.words("ssh")),
                "GIT_CONFIG_GLOBAL": os.devnull,
                "GIT_CONFIG_NOSYSTEM": "1",
            },
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    @pytest.mark.parametrize("form", ["{node}:{path}", "ssh://{node}{path}"], ids=["scp", "url"])
    def test_clone_push_fetch(self, stock: StockSsh, tmp_path: Path, form: str) -> None:
        """A repository is cloned, pushed to, and fetched from by another clone."""
        origin, one, two = (tmp_path / name for name in ("origin.git", "one", "two"))
        address = form.format(node=NODE, path=origin)
        self.git(stock, "init", "-q", "--bare", "-b", "main", str(origin))
        self.git(stock, "clone", "-q", address, str(one))
        self.git(stock, "-C", str(one), "checkout", "-q", "-B", "main")
        (one / "large").write_bytes(os.urandom(4_000_000))
        self.git(stock, "-C", str(one), "add", "large")
        self.git(stock, "-C", str(one), "commit", "-q", "-m", "first")
        self.git(stock, "-C", str(one), "push", "-q", "origin", "main")
        self.git(stock, "clone", "-q", address, str(two))
        assert (two / "large").read_bytes() == (one / "large").read_bytes()
        self.git(stock, "-C", str(one), "commit", "-q", "--allow-empty", "-m", "second")
        self.git(stock, "-C", str(one), "push", "-q", "origin", "main")
        self.git(stock, "-C", str(two), "pull", "-q", "--ff-only")
        assert self.git(stock, "-C", str(two), "log", "--format=%s") == "second\nfirst"
