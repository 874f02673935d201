"""Tests of what an agent keeps on disk."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.error import BrokenState, StateInUse
from mezite.agent.membership import Membership, NodeKeys
from mezite.agent.state import StateDirectory
from tests.doubles.agenthub import AGENT_ID, CLUSTER, HUB, NODE, OTHER_ID, AgentHub


class StateDirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = AgentHub()
        self.path = Path(self.mktemp()) / "below" / "mezite-agent"
        self.state = StateDirectory(self.path)
        lock = self.state.prepare()
        self.addCleanup(os.close, lock)

    def join(self) -> Membership:
        membership = self.hub.membership(self.state.keys())
        self.state.save(membership)
        return membership

    def broken(self) -> str:
        with self.assertRaises(BrokenState) as caught:
            self.state.load()
        sentence = str(caught.exception)
        self.assertIn(str(self.path), sentence)
        self.assertNotIn("\n", sentence)
        return sentence

    def test_put_aside(self) -> None:
        """What cannot be used is kept under another name, and what is new takes its place."""
        old = self.join()
        (self.path / "tls.key").write_bytes(b"damaged")
        self.broken()
        keys = NodeKeys.generate()
        new = self.hub.membership(keys)
        aside = self.state.replace(keys, new, 1_800_000_000.0)
        self.assertEqual(aside, self.path / "aside-20270115T080000Z")
        loaded = self.state.load()
        assert loaded is not None
        self.assertEqual(loaded.keys.tls_public_pem, keys.tls_public_pem)
        self.assertEqual((aside / "tls.key").read_bytes(), b"damaged")
        self.assertIn(
            old.certificates.ssh_certificate, (aside / "ssh_host_key-cert.pub").read_text()
        )
        self.assertEqual(stat.S_IMODE(aside.stat().st_mode), 0o700)
        again = self.state.replace(keys, new, 1_800_000_000.0)
        self.assertEqual(again, self.path / "aside-20270115T080000Z-1")
        self.assertTrue((aside / "tls.key").exists())

    def test_put_aside_in_part(self) -> None:
        """Files that are not there need not be moved."""
        self.join()
        (self.path / "ca.pem").unlink()
        keys = NodeKeys.generate()
        self.state.replace(keys, self.hub.membership(keys), 0.0)
        self.assertIsNotNone(self.state.load())

    def test_empty(self) -> None:
        """A fresh directory is of a node that has not joined."""
        self.assertIsNone(self.state.load())

    def test_keys_alone(self) -> None:
        """Keys without certificates are those of a node that has not joined, and stay."""
        keys = self.state.keys()
        self.assertIsNone(self.state.load())
        self.assertEqual(self.state.keys().ssh_public_line, keys.ssh_public_line)
        self.assertEqual(self.state.keys().tls_public_pem, keys.tls_public_pem)

    def test_there_and_back(self) -> None:
        """What was saved is loaded."""
        saved = self.join()
        loaded = self.state.load()
        assert loaded is not None
        self.assertEqual(loaded.certificates, saved.certificates)
        self.assertEqual(loaded.identity, saved.identity)
        self.assertEqual((loaded.identity.cluster, loaded.identity.node), (CLUSTER, NODE))
        self.assertEqual(loaded.identity.agent_id, AGENT_ID)
        self.assertEqual(loaded.hub, HUB)
        self.assertEqual((loaded.issued, loaded.expires), (saved.issued, saved.expires))
        self.assertEqual(loaded.user_authorities, {self.hub.user_ca.public_blob})

    def test_modes(self) -> None:
        """Nobody else may read anything."""
        self.join()
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o700)
        for file in self.path.iterdir():
            self.assertEqual(stat.S_IMODE(file.stat().st_mode), 0o600, file)

    def test_interrupted_join(self) -> None:
        """A crash before the last file was written leaves a node that has not joined."""
        self.join()
        (self.path / "identity.json").unlink()
        self.assertIsNone(self.state.load())
        self.join()
        self.assertIsNotNone(self.state.load())

    def test_leftover_draft(self) -> None:
        """A draft from a crash is no obstacle."""
        (self.path / ".tls.crt.new").write_bytes(b"half")
        self.join()
        self.assertIsNotNone(self.state.load())

    def test_missing_files(self) -> None:
        """Each file that is missing is named; nothing is made in its place."""
        self.join()
        for name in sorted(os.listdir(self.path)):
            if name in ("identity.json", "lock"):
                continue
            held = (self.path / name).read_bytes()
            (self.path / name).unlink()
            self.assertIn(name, self.broken())
            self.assertFalse((self.path / name).exists())
            (self.path / name).write_bytes(held)
        self.assertIsNotNone(self.state.load())

    def test_damaged_files(self) -> None:
        """Files with other bytes in them are refused, and left as they are."""
        self.join()
        for name in sorted(os.listdir(self.path)):
            if name == "lock":
                continue
            held = (self.path / name).read_bytes()
            for damage in (b"", b"\xff\xfe\0", held[: len(held) // 2], b"x" * 300_000):
                (self.path / name).write_bytes(damage)
                self.broken()
                self.assertEqual((self.path / name).read_bytes(), damage)
            (self.path / name).write_bytes(held)

    def test_other_json(self) -> None:
        """JSON that says something else is refused, whatever it says."""
        self.join()
        path = self.path / "identity.json"
        said = json.loads(path.read_bytes())
        others = [json.dumps(said | {key: value}) for key in said for value in (7, None, [], {})]
        for text in ("[" * 100_000, "[]", "null", "{}", *others):
            path.write_text(text)
            try:
                self.state.load()
            except BrokenState:
                pass
        path.write_text(json.dumps(said | {"generation": 0}).replace("0}", "1e999}"))
        self.broken()

    def test_half_present_keys(self) -> None:
        """One key without the other is not replaced by a fresh pair."""
        self.state.keys()
        (self.path / "tls.key").unlink()
        with self.assertRaises(BrokenState):
            self.state.keys()

    def test_two_nodes_mixed(self) -> None:
        """Files of two nodes in one directory are found out."""
        self.join()
        identity = (self.path / "identity.json").read_text()
        (self.path / "identity.json").write_text(identity.replace(AGENT_ID.text, OTHER_ID.text))
        self.broken()

    def test_newer_format(self) -> None:
        """State of a later version is not touched."""
        self.join()
        identity = (self.path / "identity.json").read_text()
        (self.path / "identity.json").write_text(identity.replace('"format": 1', '"format": 2'))
        self.assertIn("another version", self.broken())

    def test_one_agent(self) -> None:
        """Two agents cannot share a directory."""
        with self.assertRaises(StateInUse):
            self.state.prepare()

    def test_unusable_directory(self) -> None:
        """A directory that cannot be made is told as such."""
        (self.path / "file").write_text("")
        with self.assertRaises(BrokenState):
            StateDirectory(self.path / "file" / "below").prepare()
