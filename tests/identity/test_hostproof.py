"""Tests of what a server without an agent is known by."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.identity.authorities import fingerprint_of
from mezite.identity.authority import SshAuthority
from mezite.identity.error import BadPublicKey
from mezite.identity.hostproof import HOST_KEYS, parse_authority, parse_facts, parse_host_key
from mezite.names import HostPort, InvalidName

KEY = SshAuthority.generate()
LINE = KEY.public_line("a comment")
PRINT = fingerprint_of(KEY)


class HostProofTests(SynchronousTestCase):
    def test_host_key(self) -> None:
        """A fingerprint is one, and so is the key itself."""
        self.assertEqual(parse_host_key(f" {PRINT} "), PRINT)
        self.assertEqual(parse_host_key(LINE), PRINT)

    def test_no_host_key(self) -> None:
        """Anything else is refused, MD5 and what is cut short among it."""
        for text in (
            "",
            "MD5:00:11",
            PRINT[:-1],
            PRINT + "A",
            "SHA256:" + "!" * 43,
            "a b",
            "a" * 99,
        ):
            self.assertRaises(BadPublicKey, parse_host_key, text)

    def test_authority(self) -> None:
        """An authority is kept as type and key, whatever stands around."""
        bare = " ".join(LINE.split()[:2])
        for text in (LINE, bare, f"@cert-authority *.lan {LINE}"):
            self.assertEqual(parse_authority(text), bare)
        for text in ("", "@cert-authority", "ssh-ed25519 AAAA", "x" * 100_000):
            self.assertRaises(BadPublicKey, parse_authority, text)

    def test_facts(self) -> None:
        """The port is SSH's if none is given; the same key twice is one."""
        facts = parse_facts("10.0.0.9", [PRINT, LINE], [LINE])
        self.assertEqual(facts.address, HostPort("10.0.0.9", 22))
        self.assertEqual(facts.host_keys, (PRINT,))
        self.assertEqual(facts.authority_blobs, (KEY.public_blob,))

    def test_bad_facts(self) -> None:
        """A server that nothing proves, one with endless keys, and one that is nowhere."""
        self.assertRaises(BadPublicKey, parse_facts, "h", [], [])
        many = [f"SHA256:{number:043}" for number in range(HOST_KEYS + 1)]
        self.assertRaises(BadPublicKey, parse_facts, "h", many, [])
        self.assertRaises(InvalidName, parse_facts, "h:x", [PRINT], [])
