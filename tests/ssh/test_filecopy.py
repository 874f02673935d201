"""Tests of telling a file transfer by its command."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh.filecopy import copies_files


class FileCopyTests(SynchronousTestCase):
    def test_copies(self) -> None:
        """What scp, sftp and rsync run on a node is seen, however it is put."""
        for command in (
            "scp -t /tmp",
            "scp -r -p -f -- '/etc/a b'",
            "/usr/bin/scp -f x",
            "rsync --server --sender -vlogDtpre.iLsfxC . /etc",
            "sudo rsync --server . /",
            "/usr/lib/openssh/sftp-server",
            "env LANG=C /usr/libexec/sftp-server -e",
            "LC_ALL=C exec scp -t .",
        ):
            self.assertTrue(copies_files(command), command)

    def test_other_commands(self) -> None:
        """What only speaks of them is not taken for them."""
        for command in (
            "",
            "ls",
            "which scp",
            "rsync a b",
            "echo rsync --server",
            "man sftp-server",
            "scpx",
            "git-upload-pack x",
            "LANG=C",
            "sudo",
            "'",
            "echo 'unfinished",
        ):
            self.assertFalse(copies_files(command), command)

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=200))
    def test_anything(self, command: str) -> None:
        """Any command has an answer."""
        self.assertIn(copies_files(command), (True, False))
        self.assertTrue(copies_files("scp " + command.replace("'", "").replace('"', "")))
