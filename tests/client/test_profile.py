"""Tests of the files in which logins are kept."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.client import places
from mezite.client.error import DamagedProfile, LoginExpired, NotLoggedIn
from mezite.client.profile import Profiles, default_login, host_authorities, write_private
from mezite.error import BadInput
from mezite.names import HostPort, LoginName
from tests.doubles.logins import Cluster

NOW = 1_800_000_000.0


class ProfilesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = Path(self.mktemp())
        self.cluster = Cluster(NOW)
        self.profiles = Profiles(self.home)

    def test_saved_and_loaded(self) -> None:
        """What was saved is loaded again, by its hub or as the latest login."""
        first = self.cluster.log_in(self.home, "hub.example.com:3080")
        second = self.cluster.log_in(self.home, "[::1]:443", user="bob", logins=("bob",))
        self.assertEqual(self.profiles.load(), second)
        self.assertEqual(self.profiles.load(HostPort("hub.example.com", 3080)), first)

    def test_only_for_the_owner(self) -> None:
        """Directories and files may be read by nobody else, whatever the umask."""
        before = os.umask(0)
        try:
            profile = self.cluster.log_in(self.home, "hub.example.com:3080")
        finally:
            os.umask(before)
        for directory in (self.home, profile.directory):
            self.assertEqual(stat.S_IMODE(directory.stat().st_mode), 0o700)
            for path in directory.iterdir():
                if path.is_file():
                    self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600, path)

    def test_nothing_left_over(self) -> None:
        """Saving again replaces every file, and leaves no temporary ones."""
        profile = self.cluster.log_in(self.home, "hub.example.com:3080")
        before = sorted(os.listdir(profile.directory))
        self.cluster.log_in(self.home, "hub.example.com:3080")
        self.assertEqual(sorted(os.listdir(profile.directory)), before)

    def test_known_hosts(self) -> None:
        """The authorities of hosts stand there as OpenSSH reads them, and are read again."""
        profile = self.cluster.log_in(self.home, "hub.example.com:3080")
        line = self.cluster.host_authority.public_line()
        self.assertEqual(profile.read(places.KNOWN_HOSTS), f"@cert-authority * {line}\n".encode())
        self.assertEqual(host_authorities(profile), (line,))

    def test_no_login(self) -> None:
        """Without a login the sentence says what to run."""
        self.assertRaises(NotLoggedIn, self.profiles.load)
        self.assertIsNone(self.profiles.remembered())
        self.assertRaises(NotLoggedIn, self.profiles.load, HostPort("hub.example.com", 3080))

    def test_current_that_leads_elsewhere(self) -> None:
        """The name of the latest login cannot lead out of the directory."""
        self.cluster.log_in(self.home, "hub.example.com:3080")
        for text in ("../elsewhere", "/etc", "..", ".", "", "\xff"):
            (self.home / places.CURRENT).write_bytes(text.encode("latin-1"))
            self.assertRaises(NotLoggedIn, self.profiles.load)

    def test_damaged(self) -> None:
        """Profiles that make no sense are one sentence."""
        profile = self.cluster.log_in(self.home, "hub.example.com:3080")
        path = profile.path(places.PROFILE)
        whole = json.loads(path.read_text())
        for damaged in (
            b"",
            b"\xff\xfe",
            b"null",
            b"[" * 60_000,
            json.dumps({**whole, "hub": 7}).encode(),
            json.dumps({**whole, "user": "a b"}).encode(),
            json.dumps({**whole, "logins": [1]}).encode(),
            json.dumps({**whole, "logins": None}).encode(),
            json.dumps({**whole, "valid_before": None}).encode(),
        ):
            path.write_bytes(damaged)
            self.assertRaises(DamagedProfile, self.profiles.load)

    def test_missing_file(self) -> None:
        """A file that is gone is told by its name."""
        profile = self.cluster.log_in(self.home, "hub.example.com:3080")
        profile.path(places.SSH_KEY).unlink()
        with self.assertRaises(DamagedProfile) as caught:
            profile.read(places.SSH_KEY)
        self.assertIn(str(profile.path(places.SSH_KEY)), str(caught.exception))

    def test_validity(self) -> None:
        """A login is valid until its certificates end."""
        profile = self.cluster.log_in(self.home, "hub.example.com:3080", lifetime=60)
        profile.check_valid(NOW + 59)
        self.assertRaises(LoginExpired, profile.check_valid, NOW + 60)

    def test_logout(self) -> None:
        """A logout removes what proves who the user is, and keeps what was trusted."""
        profile = self.cluster.log_in(self.home, "hub.example.com:3080")
        self.profiles.log_out(profile)
        self.assertEqual(
            sorted(os.listdir(profile.directory)),
            sorted([places.CLUSTER_CA, places.KNOWN_HOSTS, places.PROFILE]),
        )
        remembered = self.profiles.load()
        self.assertEqual(remembered.user, profile.user)
        self.assertRaises(NotLoggedIn, remembered.check_valid, NOW)
        self.assertEqual(
            self.profiles.known_authority(profile.hub),
            self.cluster.x509_authority.certificate_pem,
        )
        self.profiles.log_out(remembered)

    def test_cannot_be_written(self) -> None:
        """A place where nothing can be written is one sentence."""
        self.home.write_text("a file")
        with self.assertRaises(BadInput):
            self.cluster.log_in(self.home, "hub.example.com:3080")
        with self.assertRaises(BadInput):
            write_private(self.home / "x", b"")


class DefaultLoginTests(SynchronousTestCase):
    def test_choice(self) -> None:
        """Oneself if that is allowed, else the first login, else none."""
        ada, root = LoginName("ada"), LoginName("root")
        self.assertEqual(default_login([root, ada], "ada"), ada)
        self.assertEqual(default_login([root, ada], "eve"), root)
        self.assertIsNone(default_login([], "ada"))
