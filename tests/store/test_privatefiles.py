"""Tests of files for their owner only."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.store import privatefiles
from mezite.store.error import DataUnusable
from mezite.store.lockfile import hold
from mezite.store.privatefiles import (
    FILE_SIZE,
    make_private_directory,
    read_private,
    write_private,
)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


class Killed(BaseException):
    """The process ends here: nothing catches this."""


class PrivateFilesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True, mode=0o700)
        self.path = self.directory / "secret"

    def refused(self, expected: str, call: object, *arguments: object) -> None:
        with self.assertRaises(DataUnusable) as caught:
            call(*arguments)  # type: ignore[operator]
        self.assertIn(expected, str(caught.exception))


class WritePrivateTests(PrivateFilesTestCase):
    def test_mode(self) -> None:
        """The mode is 0600 under a lax umask and under a harsh one."""
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        for umask in (0, 0o022, 0o777):
            os.umask(umask)
            write_private(self.path, b"x")
            self.assertEqual(mode_of(self.path), 0o600)

    @given(st.binary(max_size=300))
    @settings(max_examples=20, deadline=None)
    def test_round_trip(self, data: bytes) -> None:
        """What was written is read, and nothing else is left in the directory."""
        write_private(self.path, data)
        self.assertEqual(read_private(self.path), data)
        self.assertEqual(list(self.directory.iterdir()), [self.path])

    def test_killed_anywhere(self) -> None:
        """Killed before any system call, the file is the old one or the new one, and can be
        written again."""
        calls = ("unlink", "open", "fchmod", "write", "fsync", "close", "replace", "rename")
        for name in calls:
            for occurrence in range(3):
                write_private(self.path, b"old")
                remaining = [occurrence]
                real = getattr(os, name)

                def dying(*arguments: object, **named: object) -> object:
                    if remaining[0] == 0:  # noqa: B023
                        raise Killed
                    remaining[0] -= 1  # noqa: B023
                    return real(*arguments, **named)  # noqa: B023

                patched = self.patch(os, name, dying)
                try:
                    write_private(self.path, b"new")
                except Killed:
                    pass
                finally:
                    patched.restore()
                self.assertIn(read_private(self.path), (b"old", b"new"))
                self.assertEqual(mode_of(self.path), 0o600)
                write_private(self.path, b"newer")
                self.assertEqual(read_private(self.path), b"newer")

    def test_short_writes(self) -> None:
        """A disk that takes a byte at a time gets all of them."""
        real = os.write
        self.patch(os, "write", lambda descriptor, data: real(descriptor, data[:1]))
        write_private(self.path, b"secret")
        self.assertEqual(self.path.read_bytes(), b"secret")

    def test_disk_full(self) -> None:
        """What cannot be written is told, and the old file stays."""
        write_private(self.path, b"old")

        def full(*arguments: object) -> int:
            raise OSError(28, "No space left on device")

        self.patch(os, "write", full)
        self.refused("cannot be written: No space", write_private, self.path, b"new")
        self.assertEqual(self.path.read_bytes(), b"old")
        self.assertEqual(list(self.directory.iterdir()), [self.path])

    def test_link_in_the_way(self) -> None:
        """A link put where the new file is made does not lead the secret elsewhere."""
        elsewhere = self.directory / "elsewhere"
        elsewhere.write_bytes(b"")
        (self.directory / ".secret.new").symlink_to(elsewhere)
        write_private(self.path, b"secret")
        self.assertEqual(elsewhere.read_bytes(), b"")
        self.assertEqual(self.path.read_bytes(), b"secret")

    def test_no_directory(self) -> None:
        """A directory that is missing is told."""
        self.refused("No such file", write_private, self.directory / "a" / "b", b"")


class ReadPrivateTests(PrivateFilesTestCase):
    def test_looser_mode(self) -> None:
        """A file that others could read is closed to them."""
        self.path.write_bytes(b"x")
        self.path.chmod(0o644)
        self.assertEqual(read_private(self.path), b"x")
        self.assertEqual(mode_of(self.path), 0o600)

    def test_stricter_mode(self) -> None:
        """A file that its owner cannot write stays so."""
        self.path.write_bytes(b"x")
        self.path.chmod(0o400)
        read_private(self.path)
        self.assertEqual(mode_of(self.path), 0o400)

    def test_refused(self) -> None:
        """What is missing, no file, or far too large is told."""
        self.refused("No such file", read_private, self.path)
        self.refused("not a regular file", read_private, self.directory)
        os.mkfifo(self.directory / "pipe")
        self.refused("not a regular file", read_private, self.directory / "pipe")
        self.path.write_bytes(b"x" * (FILE_SIZE + 1))
        self.refused("longer than", read_private, self.path)


class MakePrivateDirectoryTests(PrivateFilesTestCase):
    def test_made(self) -> None:
        """A directory that is missing is made, with those above it."""
        path = self.directory / "a" / "b"
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        make_private_directory(path)
        self.assertEqual(mode_of(path), 0o700)

    def test_empty_and_loose(self) -> None:
        """An empty directory is taken, and closed to others."""
        self.directory.chmod(0o755)
        make_private_directory(self.directory)
        self.assertEqual(mode_of(self.directory), 0o700)

    def test_loose_and_in_use(self) -> None:
        """A directory that others use is not taken from them."""
        self.path.write_bytes(b"")
        self.directory.chmod(0o755)
        self.refused("chmod 700", make_private_directory, self.directory)
        self.assertEqual(mode_of(self.directory), 0o755)

    def test_loose_and_ours(self) -> None:
        """A directory that a hub has used is closed to others again."""
        hold(self.directory).release()
        self.directory.chmod(0o755)
        make_private_directory(self.directory)
        self.assertEqual(mode_of(self.directory), 0o700)

    def test_private_and_in_use(self) -> None:
        """A private directory may hold other things."""
        self.path.write_bytes(b"")
        make_private_directory(self.directory)

    def test_refused(self) -> None:
        """A file, a name below a file and an impossible name are no directories."""
        self.path.write_bytes(b"")
        self.refused("is not a directory", make_private_directory, self.path)
        self.refused("Not a directory", make_private_directory, self.path / "a")
        self.refused("cannot be used", make_private_directory, Path("a\x00b"))


class IsThereTests(PrivateFilesTestCase):
    def test_links(self) -> None:
        """A link that leads nowhere is something too."""
        self.assertFalse(privatefiles.is_there(self.path))
        self.path.symlink_to("nowhere")
        self.assertTrue(privatefiles.is_there(self.path))
