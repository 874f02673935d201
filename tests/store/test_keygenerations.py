"""Tests of keys on disk while they are rotated."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.identity.authorities import Authorities
from mezite.identity.authority import SshAuthority, X509Authority
from mezite.identity.succession import Kind, Phase, Step
from mezite.names import ClusterName
from mezite.store.error import DataUnusable
from mezite.store.keyfiles import DIRECTORY, FILES, IAuthorityFiles, KeyFiles, load_or_create
from mezite.store.keymanifest import FIRST, MANIFEST, Manifest, number_of
from tests.store.test_keyfiles import Killed

PROD = ClusterName("prod")
NOW = 1_700_000_000.0
# What the kernel is asked for when files are written.
CALLS = ("open", "write", "fsync", "replace", "unlink")


def facts(authorities: Authorities) -> tuple[Any, ...]:
    """What must be the same after a start as before it."""
    return (
        authorities.generation,
        authorities.user_lines,
        authorities.host_lines,
        authorities.tls_pem,
        [
            (each.phase, each.since, each.switched, each.grace, each.number, each.other_number)
            for each in (authorities.users, authorities.hosts, authorities.tls)
        ],
    )


class GenerationsTestCase(SynchronousTestCase):
    passphrase: str | None = None

    def setUp(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        self.data_dir = Path(self.mktemp()).resolve()
        self.keys = self.data_dir / DIRECTORY
        self.files = KeyFiles(self.data_dir, self.passphrase)
        self.current = self.load()

    def load(self) -> Authorities:
        return load_or_create(self.data_dir, PROD, NOW, self.passphrase)

    def begun(self, kind: Kind) -> Authorities:
        new: Any = (
            X509Authority.generate(PROD, NOW) if kind is Kind.TLS else SshAuthority.generate()
        )
        number = self.files.fresh_number(kind)
        succession = self.current.of(kind).begin(new, NOW, 60.0, number)
        return self.current.replaced(kind, succession)

    def stepped(self, kind: Kind, step: Step) -> Authorities:
        if step is Step.BEGIN:
            return self.begun(kind)
        return self.current.replaced(kind, self.current.of(kind).stepped(step, NOW + 1))

    def keep(self, authorities: Authorities) -> None:
        self.files.keep(authorities)
        self.current = authorities

    def names(self) -> set[str]:
        return {path.name for path in self.keys.iterdir()}


class KeptTests(GenerationsTestCase):
    """What is there after a start."""

    def test_interface(self) -> None:
        """The files provide what the service asks for."""
        verifyObject(IAuthorityFiles, self.files)

    def test_every_phase(self) -> None:
        """Every phase of every kind is found again as it was."""
        for kind in Kind:
            for step in (Step.BEGIN, Step.SWITCH, Step.ROLL_BACK, Step.FINISH):
                self.keep(self.stepped(kind, step))
                self.assertEqual(facts(self.load()), facts(self.current))

    def test_old_directory(self) -> None:
        """A directory that was never rotated has the files it always had."""
        self.assertEqual(self.names(), set(FILES))
        self.assertEqual(self.current.generation, 1)

    def test_old_is_removed(self) -> None:
        """A forgotten key is on the disk no more."""
        for kind in Kind:
            for step in (Step.BEGIN, Step.SWITCH, Step.FINISH):
                self.keep(self.stepped(kind, step))
        self.assertEqual(
            self.names(),
            {
                "user_ca.2.key",
                "host_ca.2.key",
                "cluster_ca.2.key",
                "cluster_ca.2.pem",
                "cluster_name",
                MANIFEST,
            },
        )

    def test_forgotten_and_still_there(self) -> None:
        """A key that could not be removed in time is removed at the next start."""
        old = (self.keys / "user_ca.key").read_bytes()
        for step in (Step.BEGIN, Step.SWITCH, Step.FINISH):
            self.keep(self.stepped(Kind.USER, step))
        (self.keys / "user_ca.key").write_bytes(old)
        self.load()
        self.assertNotIn("user_ca.key", self.names())

    def test_left_behind(self) -> None:
        """A key that a crash left behind is never used, and goes with the next rotation."""
        (self.keys / "user_ca.7.key").write_bytes(b"never used")
        self.assertEqual(facts(self.load()), facts(self.current))
        self.keep(self.begun(Kind.USER))
        self.assertEqual(self.current.users.other_number, 8)
        self.assertEqual(facts(self.load()), facts(self.current))
        self.assertNotIn("user_ca.7.key", self.names())

    def test_missing(self) -> None:
        """A key that the manifest names, and that is gone, is named."""
        for step in (Step.BEGIN, Step.SWITCH):
            self.keep(self.stepped(Kind.HOST, step))
        for name in ("host_ca.key", "host_ca.2.key"):
            data = (self.keys / name).read_bytes()
            (self.keys / name).unlink()
            with self.assertRaises(DataUnusable) as caught:
                self.load()
            self.assertIn(f"{self.keys / name} is missing", str(caught.exception))
            (self.keys / name).write_bytes(data)

    def test_manifest_lost(self) -> None:
        """Without its manifest a rotated set is refused, not taken for the first one."""
        for step in (Step.BEGIN, Step.SWITCH, Step.FINISH):
            self.keep(self.stepped(Kind.USER, step))
        (self.keys / MANIFEST).unlink()
        with self.assertRaises(DataUnusable):
            self.load()

    def test_full_disk(self) -> None:
        """What cannot be written is refused, and the old state stays."""
        before = facts(self.current)
        rotated = self.begun(Kind.USER)

        def full(*_: object) -> int:
            raise OSError(28, "No space left on device")

        patched = self.patch(os, "write", full)
        self.assertRaises(DataUnusable, self.files.keep, rotated)
        patched.restore()
        self.assertEqual(facts(self.load()), before)
        self.keep(rotated)


class KilledTests(GenerationsTestCase):
    """A process that ends in the middle."""

    def dying(self, name: str, after: int, work: Callable[[], object]) -> bool:
        """Whether the work came to its end before the call with this number."""
        real = getattr(os, name)
        remaining = [after]

        def call(*arguments: object, **named: object) -> object:
            if remaining[0] == 0:
                raise Killed
            remaining[0] -= 1
            return real(*arguments, **named)

        patched = self.patch(os, name, call)
        try:
            work()
        except Killed:
            return False
        finally:
            patched.restore()
        return True

    def test_anywhere(self) -> None:
        """Killed at any call of any step, the next start finds the state before or after it."""
        steps = (Step.BEGIN, Step.SWITCH, Step.ROLL_BACK, Step.FINISH)
        for name in CALLS:
            for position, step in enumerate(steps):
                for after in range(40):
                    self.begin_anew()
                    for earlier in steps[:position]:
                        self.keep(self.stepped(Kind.TLS, earlier))
                    before = facts(self.current)
                    then = self.stepped(Kind.TLS, step)
                    ended = self.dying(name, after, lambda: self.files.keep(then))  # noqa: B023
                    found = self.load()
                    self.assertIn(facts(found), (before, facts(then)))
                    # And the rotation can go on from there.
                    if facts(found) == before:
                        self.current = found
                        self.keep(self.stepped(Kind.TLS, step))
                        self.assertEqual(self.load().tls.phase, then.tls.phase)
                    if ended:
                        break
                else:
                    self.fail("it never came to its end")


class EncryptedTests(GenerationsTestCase):
    """The same with a passphrase."""

    passphrase = "correct horse"

    def test_new_keys(self) -> None:
        """A new key is encrypted from its first moment."""
        for kind in Kind:
            self.keep(self.begun(kind))
        for name in ("user_ca.2.key", "host_ca.2.key", "cluster_ca.2.key"):
            data = (self.keys / name).read_bytes()
            self.assertTrue(b"ENCRYPTED" in data or b"YmNyeXB0" in data, name)
        self.assertEqual(facts(self.load()), facts(self.current))

    def test_added_later(self) -> None:
        """A passphrase that comes in the middle of a rotation encrypts both."""
        self.passphrase = None
        self.begin_anew()
        self.keep(self.begun(Kind.USER))
        self.passphrase = "correct horse"
        self.assertEqual(facts(self.load()), facts(self.current))
        for name in ("user_ca.key", "user_ca.2.key"):
            self.assertIn(b"YmNyeXB0", (self.keys / name).read_bytes())


class ManifestTests(SynchronousTestCase):
    """The manifest as text."""

    def test_hostile(self) -> None:
        """What cannot be is refused."""
        good = json.loads(FIRST.encode())
        self.assertEqual(Manifest.parse(FIRST.encode()), FIRST)
        for key, value in (
            ("signing", 0),
            ("signing", True),
            ("signing", "1"),
            ("signing", 2),
            ("other", 1),
            ("other", -1),
            ("last", 10**9),
            ("phase", "rotate"),
            ("phase", "dance"),
            ("since", "now"),
            ("since", float("nan")),
            ("grace", -1),
        ):
            bad = json.loads(json.dumps(good))
            bad["authorities"]["user"][key] = value
            with self.assertRaises(ValueError, msg=f"{key}={value}"):
                Manifest.parse(json.dumps(bad).encode())
        for bad in ({**good, "format": 2}, {**good, "generation": 0}, {}, [], "x", None):
            with self.assertRaises(ValueError):
                Manifest.parse(json.dumps(bad).encode())

    @given(st.binary(max_size=300))
    @settings(max_examples=100, deadline=None)
    def test_garbage(self, data: bytes) -> None:
        """Bytes that are no manifest are refused in one way."""
        with self.assertRaises(ValueError):
            Manifest.parse(data)

    def test_truncated(self) -> None:
        """A manifest that was cut short is refused, wherever."""
        whole = FIRST.encode().rstrip()
        for length in range(len(whole)):
            with self.assertRaises(ValueError):
                Manifest.parse(whole[:length])

    def test_numbers(self) -> None:
        """The number of a file is in its name, and other files have none."""
        for name, number in (
            ("user_ca.key", 1),
            ("user_ca.12.key", 12),
            ("user_ca.x.key", 0),
            ("user_ca.99999999999.key", 0),
            (".user_ca.key.new", 0),
            ("host_ca.key", 0),
            ("cluster_name", 0),
        ):
            self.assertEqual(number_of(Kind.USER, name), number, name)
        self.assertEqual(Phase(FIRST.successions[Kind.TLS].phase), Phase.STANDBY)
