"""The SFTP server's process, spoken to by OpenSSH's own client over pipes."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

SERVER = f"{sys.executable} -P -m mezite.agent.sftp"
HUNDRED_MEGABYTES = 100_000_000


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SftpChildTests(SynchronousTestCase):
    """Each test is one batch of commands to ``sftp -D``."""

    def setUp(self) -> None:
        if shutil.which("sftp") is None:
            raise SkipTest("OpenSSH's sftp is not installed")
        self.here = Path(self.mktemp()).absolute()
        self.here.mkdir(parents=True)

    def batch(self, *commands: str, server: str = SERVER, succeeds: bool = True) -> str:
        """What these commands print; they are run in the test's directory."""
        done = subprocess.run(
            ["sftp", "-q", "-b", "-", "-D", server],
            input="\n".join(commands).encode() + b"\n",
            capture_output=True,
            cwd=self.here,
            timeout=60,
        )
        self.assertEqual(done.returncode == 0, succeeds, done.stderr)
        return (done.stdout + done.stderr).decode()

    def file(self, name: str, size: int) -> Path:
        path = self.here / name
        with path.open("wb") as file:
            while size > 0:
                file.write(os.urandom(min(size, 1 << 20)))
                size -= 1 << 20
            file.truncate()
        return path

    def test_hundred_megabytes(self) -> None:
        """A large file arrives intact, both ways."""
        big = self.file("big", HUNDRED_MEGABYTES)
        self.batch("put big up", "get up down")
        self.assertEqual(digest(self.here / "up"), digest(big))
        self.assertEqual(digest(self.here / "down"), digest(big))

    def test_resumed(self) -> None:
        """A transfer that was cut off goes on where it ended."""
        big = self.file("big", 3_000_000)
        for name in ("up", "down"):
            shutil.copy(big, self.here / name)
            os.truncate(self.here / name, 1_234_567)
        self.batch("reput big up", "reget big down")
        self.assertEqual(digest(self.here / "up"), digest(big))
        self.assertEqual(digest(self.here / "down"), digest(big))

    def test_trees(self) -> None:
        """A tree is copied with its modes and times, both ways."""
        inner = self.here / "tree" / "a directory" / "inner"
        inner.mkdir(parents=True)
        for number in range(200):
            (inner / f"file {number}").write_text(str(number))
        (inner / "file 7").chmod(0o640)
        os.utime(inner / "file 7", (1_000_000_000, 1_000_000_000))
        self.batch("put -r -p tree up", "get -r -p up down")
        copied = self.here / "down" / "a directory" / "inner"
        self.assertEqual(
            sorted((path.name, path.read_text()) for path in copied.iterdir()),
            sorted((f"file {number}", str(number)) for number in range(200)),
        )
        found = (copied / "file 7").stat()
        self.assertEqual((stat.S_IMODE(found.st_mode), found.st_mtime), (0o640, 1_000_000_000))

    def test_names(self) -> None:
        """Listing, renaming, linking, modes and removal work from the prompt."""
        self.file("one", 5)
        printed = self.batch(
            "rename one two",
            "symlink two soft",
            "ln two hard",
            "chmod 600 two",
            "mkdir d",
            "rmdir d",
            "ls -la",
            "rm hard",
            "pwd",
            "df .",
        )
        self.assertRegex(printed, r"-rw-------    2 \w+ +\w+ +5 .* two\n")
        self.assertRegex(printed, r"lrwxrwxrwx    1 .* soft\n")
        self.assertRegex(printed, r"\d+%")
        self.assertIn(f"Remote working directory: {self.here}", printed)
        self.assertEqual(sorted(os.listdir(self.here)), ["soft", "two"])
        self.assertEqual(os.readlink(self.here / "soft"), "two")

    def test_errors(self) -> None:
        """What cannot be done is told in the system's words."""
        printed = self.batch("get nothing", succeeds=False)
        self.assertIn("not found", printed)
        self.file("there", 5)
        printed = self.batch("rmdir there", succeeds=False)
        self.assertIn("No such file", printed)
        printed = self.batch("mkdir there", succeeds=False)
        self.assertIn("Failure", printed)

    def test_becomes_the_login(self) -> None:
        """With ``--become`` the files are touched as that login, in its home."""
        if os.getuid() != 0:
            raise SkipTest("only root can become another login")
        # The test's own directory lies below one that only root may enter.
        self.here = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.here)
        self.here.chmod(0o755)
        secret = self.file("secret", 5)
        secret.chmod(0o600)
        shared = self.here / "shared"
        shared.mkdir()
        shared.chmod(0o1777)
        server = f"{SERVER} --become nobody"
        printed = self.batch(f"get {secret} stolen", server=server, succeeds=False)
        self.assertIn("ermission denied", printed)
        self.file("given", 5)
        self.batch(f"put given {shared}/given", "pwd", server=server)
        found = (shared / "given").stat()
        self.assertEqual((found.st_uid == 0, stat.S_IMODE(found.st_mode) & 0o022), (False, 0))

    def test_hostile_bytes(self) -> None:
        """Bytes that are no SFTP end the process with one sentence."""
        for sent in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\0", b"\0\0\0\5\1\0\0\0\3\0\0"):
            done = subprocess.run(
                SERVER.split(), input=sent, capture_output=True, cwd=self.here, timeout=20
            )
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr.decode(), r"^sftp: [^\n]+\n$")
