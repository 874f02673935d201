"""Tests of recordings encrypted at rest: who reads them, and what is noticed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import BadInput
from mezite.recording.error import BadRecording
from mezite.recording.sealing import (
    RECIPIENTS,
    SEGMENT,
    Unsealer,
    WrongIdentity,
    parse_identity,
    parse_recipients,
    seal,
)

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "recording-sealed.json").read_text("utf-8")
)
ADA = X25519PrivateKey.from_private_bytes(b"\x01" * 32)
BOB = X25519PrivateKey.from_private_bytes(b"\x02" * 32)


def sealed(data: bytes, *keys: X25519PrivateKey, recording: str = "s1.1") -> bytes:
    return b"".join(seal(recording, [data], [key.public_key() for key in keys or (ADA,)]))


def unsealed(
    data: bytes, key: X25519PrivateKey = ADA, recording: str = "s1.1", step: int = 1 << 20
) -> bytes:
    unsealer = Unsealer(recording, key)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    return b"".join([*map(unsealer.receive, pieces), unsealer.finish()])


def pem(keys: Sequence[X25519PrivateKey]) -> bytes:
    return b"# who reads\n".join(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        for key in keys
    )


def private_pem(key: object) -> bytes:
    return key.private_bytes(  # type: ignore[attr-defined,no-any-return]
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


class SealingTests(SynchronousTestCase):
    def test_vectors(self) -> None:
        """Recordings are sealed and read as the specification's vectors say."""
        for vector in VECTORS["sealed"]:
            keys = [
                X25519PrivateKey.from_private_bytes(bytes.fromhex(each))
                for each in vector["identities"]
            ]
            made = seal(
                vector["recording"],
                [vector["text"].encode()],
                [key.public_key() for key in keys],
                ephemeral=X25519PrivateKey.from_private_bytes(bytes.fromhex(vector["ephemeral"])),
                file_key=bytes.fromhex(vector["file_key"]),
            )
            self.assertEqual(b"".join(made).hex(), vector["hex"])
            for key in keys:
                found = unsealed(bytes.fromhex(vector["hex"]), key, vector["recording"])
                self.assertEqual(found.decode(), vector["text"])

    def test_lengths(self) -> None:
        """Every length around the segments' comes back, and is noticed when it is cut."""
        for length in (0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 3 * SEGMENT):
            data = bytes(length)
            whole = sealed(data)
            self.assertEqual(unsealed(whole), data)
            # At the end of a segment, too.
            for cut in (len(whole) - 1, len(whole) - 17, SEGMENT + 16 + 96, 96, 50, 0):
                if cut < len(whole):
                    self.assertRaises(BadRecording, unsealed, whole[:cut])

    @given(st.binary(max_size=300), st.integers(1, 400))
    @settings(max_examples=50, deadline=None)
    def test_any_chunking(self, data: bytes, step: int) -> None:
        """Bytes in any pieces are read the same."""
        self.assertEqual(unsealed(sealed(data, ADA, BOB), BOB, step=step), data)

    @given(st.integers(0, 10_000), st.integers(1, 255))
    @settings(max_examples=50, deadline=None)
    def test_changed(self, at: int, bit: int) -> None:
        """A byte that was changed anywhere is noticed, before anything of it is believed."""
        data = bytearray(sealed(b"some text"))
        data[at % len(data)] ^= bit
        with self.assertRaises((BadRecording, WrongIdentity)):
            unsealed(bytes(data))

    def test_other_key(self) -> None:
        """A key that it was not sealed to reads nothing, nor another recording's."""
        self.assertRaises(WrongIdentity, unsealed, sealed(b"text"), BOB)
        self.assertRaises(BadRecording, unsealed, sealed(b"text"), recording="s1.2")

    def test_order(self) -> None:
        """Segments that changed places, or come twice, are noticed."""
        whole = sealed(bytes(SEGMENT) + b"\1" * SEGMENT + b"end")
        size = SEGMENT + 16
        head, one, two = whole[:96], whole[96 : 96 + size], whole[96 + size : 96 + 2 * size]
        end = whole[96 + 2 * size :]
        for changed in (head + two + one + end, head + one + one + end, head + one + end):
            self.assertRaises(BadRecording, unsealed, changed)

    @given(st.binary(max_size=300))
    @settings(max_examples=50, deadline=None)
    def test_any_bytes(self, data: bytes) -> None:
        """What is no sealed recording is refused as that."""
        for begin in (b"", b"MZE1\x01\0\0\0"):
            with self.assertRaises((BadRecording, WrongIdentity)):
                unsealed(begin + data)


class KeyTests(SynchronousTestCase):
    def test_recipients(self) -> None:
        """Public keys stand one behind the other in a file."""
        found = parse_recipients(pem([ADA, BOB]))
        self.assertEqual(
            [key.public_bytes_raw() for key in found],
            [key.public_key().public_bytes_raw() for key in (ADA, BOB)],
        )

    def test_not_recipients(self) -> None:
        """No keys, too many, damaged ones and those of another kind are refused."""
        other = generate_private_key(SECP256R1()).public_key()
        for data in (
            b"",
            pem([ADA] * (RECIPIENTS + 1)),
            pem([ADA]).replace(b"M", b"!"),
            other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            private_pem(ADA),
        ):
            self.assertRaises(BadInput, parse_recipients, data)

    def test_identity(self) -> None:
        """A private key is read, and nothing else."""
        self.assertEqual(parse_identity(private_pem(ADA)).private_bytes_raw(), b"\x01" * 32)
        for data in (b"", b"x", pem([ADA]), private_pem(generate_private_key(SECP256R1()))):
            self.assertRaises(BadInput, parse_identity, data)
