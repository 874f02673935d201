"""Tests of the authorities' keys on disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.authorities import Authorities
from mezite.names import ClusterName
from mezite.store import keyfiles
from mezite.store.error import DataUnusable
from mezite.store.keyfiles import DIRECTORY, FILES, known_cluster, load_or_create

PROD = ClusterName("prod")
NOW = 1_700_000_000.0
KEYS = (keyfiles.USER_CA, keyfiles.HOST_CA, keyfiles.CLUSTER_CA)


class Killed(BaseException):
    """The process ends here: nothing catches this."""


class KeyFilesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.data_dir = Path(self.mktemp()).resolve()
        self.keys = self.data_dir / DIRECTORY

    def load(self, passphrase: str | None = None, cluster: ClusterName = PROD) -> Authorities:
        return load_or_create(self.data_dir, cluster, NOW, passphrase)

    def refused(self, *expected: str, **arguments: object) -> None:
        before = self.contents()
        with self.assertRaises(DataUnusable) as caught:
            self.load(**arguments)  # type: ignore[arg-type]
        for part in expected:
            self.assertIn(part, str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
        self.assertEqual(self.contents(), before)

    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.keys.glob("*")}

    def assert_same(self, one: Authorities, other: Authorities) -> None:
        self.assertEqual(one.user_ca.public_blob, other.user_ca.public_blob)
        self.assertEqual(one.host_ca.public_blob, other.host_ca.public_blob)
        self.assertEqual(one.cluster_ca.certificate_pem, other.cluster_ca.certificate_pem)
        self.assertEqual(one.cluster, other.cluster)


class CreateTests(KeyFilesTestCase):
    def test_made_once(self) -> None:
        """The first start makes the keys, and every later one finds them."""
        made = self.load()
        self.assertNotEqual(made.user_ca.public_blob, made.host_ca.public_blob)
        self.assert_same(self.load(), made)
        self.assertEqual(sorted(self.contents()), sorted(FILES))
        self.assertEqual([path.name for path in self.data_dir.iterdir()], [DIRECTORY])

    def test_modes(self) -> None:
        """Every file is 0600 in directories of 0700, whatever the umask."""
        old = os.umask(0)
        self.addCleanup(os.umask, old)
        self.load()
        for path in (self.data_dir, self.keys):
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o700)
        for path in self.keys.iterdir():
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    def test_killed_anywhere(self) -> None:
        """Killed at any step of making them, no keys are there, or all; the next start works."""
        for name in ("mkdir", "write", "fsync", "rename", "replace"):
            for occurrence in range(12):
                self.data_dir = Path(self.mktemp()).resolve()
                self.keys = self.data_dir / DIRECTORY
                remaining = [occurrence]
                real = getattr(os, name)

                def dying(*arguments: object, **named: object) -> object:
                    if remaining[0] == 0:  # noqa: B023
                        raise Killed
                    remaining[0] -= 1  # noqa: B023
                    return real(*arguments, **named)  # noqa: B023

                patched = self.patch(os, name, dying)
                made = None
                try:
                    made = self.load()
                except Killed:
                    pass
                finally:
                    patched.restore()
                self.assertIn(len(self.contents()), (0, len(FILES)))
                again = self.load()
                if made is not None:
                    self.assert_same(again, made)

    def test_empty_directory(self) -> None:
        """An empty directory in the place of the keys is no obstacle."""
        self.keys.mkdir(parents=True, mode=0o700)
        self.data_dir.chmod(0o700)
        self.assert_same(self.load(), self.load())

    def test_something_else_there(self) -> None:
        """Files that are not ours are neither removed nor joined by keys."""
        self.keys.mkdir(parents=True, mode=0o700)
        self.data_dir.chmod(0o700)
        (self.keys / "notes").write_bytes(b"precious")
        self.refused(str(self.keys), "cannot be written: Directory not empty")

    def test_keys_gone(self) -> None:
        """Where a database remains, lost keys are not replaced in silence."""
        self.data_dir.mkdir(mode=0o700)
        database = self.data_dir / "mezite.sqlite"
        database.write_bytes(b"")
        load_or_create(self.data_dir, PROD, NOW, None, database=database)
        database.write_bytes(b"SQLite")
        load_or_create(self.data_dir, PROD, NOW, None, database=database)
        self.keys.rename(self.data_dir / "elsewhere")
        with self.assertRaises(DataUnusable) as caught:
            load_or_create(self.data_dir, PROD, NOW, None, database=database)
        self.assertIn("backup", str(caught.exception))
        self.assertFalse(self.keys.exists())


class LoadTests(KeyFilesTestCase):
    def test_missing(self) -> None:
        """A set that is not whole names what is missing, and is never made whole with new keys."""
        self.load()
        for name in FILES:
            path = self.keys / name
            data = path.read_bytes()
            path.unlink()
            self.refused(f"{path} is missing")
            path.write_bytes(data)
            path.chmod(0o600)
        self.load()

    def test_broken(self) -> None:
        """A file that is cut short, empty or of something else names itself."""
        self.load()
        for name in (*KEYS, keyfiles.CLUSTER_CA_CERTIFICATE, keyfiles.CLUSTER_NAME):
            path = self.keys / name
            data = path.read_bytes()
            for broken in (b"", b"\xff" * 100, data[: len(data) // 3], b"-----BEGIN X-----\n"):
                path.write_bytes(broken)
                if name is keyfiles.CLUSTER_NAME and broken == data[: len(data) // 3]:
                    continue  # still a name, of another cluster
                self.refused(str(self.keys))
            path.write_bytes(data)
        self.load()

    def test_mixed_up(self) -> None:
        """The certificate of another authority is noticed."""
        self.load()
        certificate = (self.keys / keyfiles.CLUSTER_CA_CERTIFICATE).read_bytes()
        self.data_dir = Path(self.mktemp()).resolve()
        self.keys = self.data_dir / DIRECTORY
        self.load()
        (self.keys / keyfiles.CLUSTER_CA_CERTIFICATE).write_bytes(certificate)
        self.refused("does not belong to its key")

    def test_other_cluster(self) -> None:
        """Keys of another cluster are refused, with the name that would fit."""
        self.assertIsNone(known_cluster(self.data_dir))
        self.load()
        self.refused("set cluster_name to prod", cluster=ClusterName("test"))
        self.assertEqual(known_cluster(self.data_dir), PROD)

    def test_looser_modes(self) -> None:
        """Keys that were open to others are closed to them."""
        self.load()
        self.keys.chmod(0o755)
        for path in self.keys.iterdir():
            path.chmod(0o644)
        self.load()
        self.assertEqual(stat.S_IMODE(self.keys.stat().st_mode), 0o700)
        self.assertEqual({stat.S_IMODE(p.stat().st_mode) for p in self.keys.iterdir()}, {0o600})


class PassphraseTests(KeyFilesTestCase):
    def encrypted(self) -> list[bool]:
        """Whether each key file needs a passphrase."""
        return [
            b"ENCRYPTED" in data or b"YmNyeXB0" in data  # PKCS#8; "bcrypt" in OpenSSH's base64
            for data in ((self.keys / name).read_bytes() for name in KEYS)
        ]

    def test_encrypted(self) -> None:
        """With a passphrase no key lies open, and only it opens them."""
        made = self.load("correct horse")
        self.assertEqual(self.encrypted(), [True, True, True])
        self.assert_same(self.load("correct horse"), made)
        self.refused("ca_key_passphrase", passphrase="battery staple")
        self.refused("ca_key_passphrase", passphrase=None)

    def test_added_later(self) -> None:
        """Keys made without a passphrase are encrypted once there is one."""
        made = self.load()
        self.assertEqual(self.encrypted(), [False, False, False])
        self.assert_same(self.load("correct horse"), made)
        self.assertEqual(self.encrypted(), [True, True, True])
        self.assert_same(self.load("correct horse"), made)

    def test_killed_while_encrypting(self) -> None:
        """Killed between two files, the next start encrypts the rest."""
        made = self.load()
        real = keyfiles.write_private
        written = []

        def dying(path: Path, data: bytes) -> None:
            if written:
                raise Killed
            real(path, data)
            written.append(path)

        patched = self.patch(keyfiles, "write_private", dying)
        self.assertRaises(Killed, self.load, "correct horse")
        patched.restore()
        self.assertEqual(self.encrypted(), [True, False, False])
        self.assert_same(self.load("correct horse"), made)
        self.assertEqual(self.encrypted(), [True, True, True])

    def test_not_shown(self) -> None:
        """The repr of authorities holds no key."""
        self.assertNotIn("PRIVATE", repr(self.load()))
