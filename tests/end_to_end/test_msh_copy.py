"""``msh scp`` and ``msh sftp`` through hub and agents."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import random
import select
import signal
import stat
import subprocess
import termios
import time
from pathlib import Path

import pytest

from mezite.cli.local import LocalCluster
from tests.end_to_end.conftest import LOGIN

SIZE = 100 * 1024 * 1024
STRANGE = "-a b\n'\"*é"


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """100 MB."""
    path = tmp_path_factory.mktemp("noise") / "noise"
    path.write_bytes(random.Random(2).randbytes(SIZE))
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with what trees have."""
    root = tmp_path / "tree"
    (root / "a directory" / "deep").mkdir(parents=True)
    (root / "empty").mkdir()
    for number in range(300):
        (root / "a directory" / f"file {number}").write_text(str(number))
    (root / "a directory" / "deep" / STRANGE).write_text("strange")
    (root / "script").write_text("#!/bin/sh\n")
    (root / "script").chmod(0o750)
    (root / "link").symlink_to("script")
    for path in (root / "script", root / "a directory"):
        os.utime(path, (1_000_000_000, 1_100_000_000))
    return root


def contents(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): path.read_text()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


class ScpTests:
    def test_large_both_ways(self, cluster: LocalCluster, noise: Path, tmp_path: Path) -> None:
        """100 MB go to a node and come back the same, and on to another node."""
        there, back, other = (tmp_path / name for name in ("there", "back", "other"))
        cluster.succeed("msh", "scp", str(noise), f"{LOGIN}@db1:{there}")
        cluster.succeed("msh", "scp", f"{LOGIN}@db1:{there}", str(back))
        cluster.succeed("msh", "scp", f"db1:{there}", f"web1:{other}")
        for path in (there, back, other):
            assert digest(path) == digest(noise)

    def test_tree(self, cluster: LocalCluster, tree: Path, tmp_path: Path) -> None:
        """A tree goes there and back, and between nodes, with modes and times."""
        up, down, across = (tmp_path / name for name in ("up", "down", "across"))
        cluster.succeed("msh", "scp", "-r", "-p", str(tree), f"db1:{up}")
        cluster.succeed("msh", "scp", "-rp", f"db1:{up}", str(down))
        cluster.succeed("msh", "scp", "-rp", f"db1:{up}", f"web1:{across}")
        for root in (up, down, across):
            assert contents(root) == contents(tree)
            assert (root / "empty").is_dir()
            assert mode(root / "script") == 0o750
            assert (root / "script").stat().st_mtime == 1_100_000_000
            assert (root / "a directory").stat().st_mtime == 1_100_000_000
            assert not (root / "link").is_symlink()

    def test_patterns(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """The node expands patterns, without a shell."""
        there, here = tmp_path / "there", tmp_path / "here"
        there.mkdir()
        here.mkdir()
        for name in ("a.gz", "b.gz", "c.txt", "$(touch evil)", STRANGE):
            (there / name).write_text(name)
        cluster.succeed("msh", "scp", f"db1:{there}/*.gz", f"db1:{there}/$(*", str(here))
        assert sorted(os.listdir(here)) == ["$(touch evil)", "a.gz", "b.gz"]
        cluster.succeed("msh", "scp", "--", f"{there}/{STRANGE}", f"db1:{here}/")
        assert (here / STRANGE).read_text() == STRANGE
        cluster.succeed("msh", "scp", f"db1:{there}/-a*", f"{here}/back")
        assert (here / "back").read_text() == STRANGE

    def test_home(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """A path on a node begins at home."""
        name = f".mezite-test-{os.getpid()}"
        (tmp_path / "f").write_text("home")
        try:
            cluster.succeed("msh", "scp", str(tmp_path / "f"), f"db1:{name}")
            cluster.succeed("msh", "scp", f"db1:~/{name}", f"{tmp_path}/back")
        finally:
            (Path.home() / name).unlink(missing_ok=True)
        assert (tmp_path / "back").read_text() == "home"

    def test_failures(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """What fails is a sentence and status 1, and the rest is copied."""
        (tmp_path / "f").write_text("f")
        (tmp_path / "d").mkdir()
        done = cluster.run("msh", "scp", f"db1:{tmp_path}/no", f"db1:{tmp_path}/f", f"{tmp_path}/d")
        assert (done.returncode, done.stdout) == (1, b"")
        assert done.stderr.decode() == f"msh: db1:{tmp_path}/no: no such file or directory\n"
        assert (tmp_path / "d" / "f").exists()
        for words, sentence in (
            ([f"db1:{tmp_path}/d", f"{tmp_path}/e"], "is a directory, which only -r copies"),
            ([f"{tmp_path}/f", f"db1:{tmp_path}/no/f"], "no such file or directory"),
            ([f"{tmp_path}/f", "db9:"], "db9"),
            ([f"{tmp_path}/f", "nobody@db1:"], "you may not log in as nobody"),
            ([f"{tmp_path}/f", f"{tmp_path}/f", f"db1:{tmp_path}/f"], "not a directory"),
            ([f"db1:{tmp_path}/f", f"db1:{tmp_path}/f"], "are the same file"),
            (["only-one"], "give SRC and DST"),
        ):
            done = cluster.run("msh", "scp", *words)
            assert done.returncode == 1, words
            assert sentence in done.stderr.decode(), words
            assert done.stderr.count(b"\n") == 1
        assert (tmp_path / "f").read_text() == "f"

    def test_interrupted(self, cluster: LocalCluster, noise: Path, tmp_path: Path) -> None:
        """Ctrl-C ends it with 130, and what is there is the beginning of the file."""
        target = tmp_path / "target"
        copying = subprocess.Popen(
            [cluster.executable("msh"), "scp", str(noise), f"db1:{target}"],
            env=dict(cluster.variables()),
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 30
        while not (target.exists() and target.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.005)
        copying.send_signal(signal.SIGINT)
        _, complaint = copying.communicate(timeout=20)
        assert (copying.returncode, complaint.strip()) == (130, b"")
        content = target.read_bytes()
        assert 0 < len(content) < SIZE
        assert noise.read_bytes().startswith(content)
        done = cluster.run("msh", "sftp", "-b", "-", "db1", given=f"reput {noise} {target}\n")
        assert done.returncode == 0, done.stderr
        assert digest(target) == digest(noise)

    def test_progress(self, cluster: LocalCluster, noise: Path, tmp_path: Path) -> None:
        """On a terminal there is progress with share and rate, and none with -q."""
        for options, is_shown in (((), True), (("-q",), False)):
            master, slave = pty.openpty()
            copying = subprocess.Popen(
                [cluster.executable("msh"), "scp", *options, str(noise), f"db1:{tmp_path}/x"],
                env={**cluster.variables(), "TERM": "xterm", "COLUMNS": "100"},
                stdin=slave,
                stderr=slave,
            )
            os.close(slave)
            seen = b""
            try:
                while data := os.read(master, 65536):
                    seen += data
            except OSError:
                pass  # the terminal's end
            os.close(master)
            assert copying.wait(30) == 0
            assert (b"100%" in seen and b"B/s" in seen and b"noise" in seen) is is_shown, seen


class SftpTests:
    def batch(self, cluster: LocalCluster, *lines: str, place: str = "db1") -> tuple[int, str, str]:
        given = "\n".join(lines) + "\n"
        done = cluster.run("msh", "sftp", "-b", "-", place, given=given)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_commands(self, cluster: LocalCluster, noise: Path, tmp_path: Path) -> None:
        """A batch moves, lists, copies, renames, links, changes and removes."""
        code, said, complained = self.batch(
            cluster,
            "lcd " + str(noise.parent),
            "mkdir 'a b'",
            "cd a\\ b",
            "put noise",
            "rename noise 'x *'",
            "chmod 600 'x *'",
            "ln -s 'x *' soft",
            "ls -la1",
            "ls -l x*",
            "df -h",
            "pwd",
            f"lcd {tmp_path}",
            "get -p x* back",
            "!echo in a shell",
            "rm soft",
            "rm 'x *'",
            "cd ..",
            "rmdir 'a b'",
            "-rm nothing",
            "@version",
            "bye",
            "never",
            place=f"{LOGIN}@db1:{tmp_path}",
        )
        assert code == 0, complained
        assert complained == f"msh: db1:{tmp_path}/nothing: no such file or directory\n"
        assert "-rw-------" in said
        assert f"Remote working directory: {tmp_path}/a b\n" in said
        assert "in a shell" in said
        assert "sftp> version" not in said
        assert "SFTP protocol version 3" in said
        assert os.listdir(tmp_path) == ["back"]
        assert digest(tmp_path / "back") == digest(noise)
        assert mode(tmp_path / "back") == 0o600

    def test_stops(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """A batch ends at the first line that fails, with 1; other input goes on."""
        lines = (f"cd {tmp_path}", "rm nothing", "mkdir later")
        code, _, complained = self.batch(cluster, *lines)
        assert (code, complained.count("\n")) == (1, 1)
        assert os.listdir(tmp_path) == []
        done = cluster.run("msh", "sftp", "db1", given="\n".join(lines))
        assert done.returncode == 0
        assert os.listdir(tmp_path) == ["later"]

    def test_batch_file(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """Commands come from a file; one that is not understood fails."""
        (tmp_path / "batch").write_text("# a remark\n\npwd\nfrob\n")
        done = cluster.run("msh", "sftp", "-b", str(tmp_path / "batch"), f"db1:{tmp_path}")
        assert done.returncode == 1
        assert f"Remote working directory: {tmp_path}".encode() in done.stdout
        assert b"there is no command 'frob'" in done.stderr

    def test_fetch(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """A place that is a file is fetched, and that is all."""
        (tmp_path / "f").write_text("fetched")
        cluster.succeed("msh", "sftp", f"db1:{tmp_path}/f", f"{tmp_path}/g")
        assert (tmp_path / "g").read_text() == "fetched"
        done = cluster.run("msh", "sftp", f"db1:{tmp_path}/no", f"{tmp_path}/h")
        assert done.returncode == 1

    def test_unreachable(self, cluster: LocalCluster) -> None:
        """A node that is not there is 255, as ssh's."""
        code, said, complained = self.batch(cluster, "pwd", place="db9")
        assert (code, said) == (255, "")
        assert "db9" in complained

    def test_prompt(self, cluster: LocalCluster, tmp_path: Path) -> None:
        """At a terminal there is a prompt, names are completed, and Ctrl-C drops the line."""
        (tmp_path / "some file").write_text("x")
        master, slave = pty.openpty()
        talking = subprocess.Popen(
            [cluster.executable("msh"), "sftp", f"db1:{tmp_path}"],
            env={**cluster.variables(), "TERM": "dumb"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        seen = b""

        def expect(wanted: bytes) -> None:
            nonlocal seen
            deadline = time.monotonic() + 30
            while wanted not in seen:
                readable, _, _ = select.select([master], [], [], deadline - time.monotonic())
                assert readable, seen
                seen += os.read(master, 65536)
            seen = seen[seen.index(wanted) + len(wanted) :]

        try:
            expect(b"sftp> ")
            os.write(master, b"get so\t")
            expect(b"some\\ file")
            os.write(master, b"\x03")
            expect(b"sftp> ")
            os.write(master, b"pwd\n")
            expect(f"Remote working directory: {tmp_path}".encode())
            os.write(master, b"rm nothing\n")
            expect(b"no such file or directory")
            expect(b"sftp> ")
            os.write(master, b"\x04")
            assert talking.wait(20) == 0
        finally:
            os.close(master)
            if talking.poll() is None:
                talking.kill()
