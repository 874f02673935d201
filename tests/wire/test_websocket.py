"""
The client's half of a WebSocket, against vectors and in any chunks.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.wire.websocket import (
    BINARY,
    MESSAGE_LENGTH,
    TOO_BIG,
    BrokenFrames,
    ClientFrames,
    NoHubBehind,
    Opening,
    UpgradeRefused,
    is_key,
    masked,
)

VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "websocket.json").read_text())
OPENING = VECTORS["opening"]
CUTS = st.lists(st.integers(0, 400), max_size=8)


def chunks(octets: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    return [octets[begin:end] for begin, end in itertools.pairwise(places)]


def opened(answer: str, cuts: list[int], behind: bytes = b"") -> Opening:
    opening = Opening(OPENING["host"], bytes.fromhex(OPENING["key"]))
    for chunk in chunks(answer.encode() + behind, cuts):
        if opening.is_open:
            opening.rest += chunk
        else:
            opening.receive(chunk)
    return opening


def frames(octets: bytes, cuts: list[int]) -> list[tuple[int, bytes]]:
    """All frames; data that came in pieces is put together again."""
    reader, found = ClientFrames(), []
    for chunk in chunks(octets, cuts):
        reader.receive(chunk)
        while (frame := reader.next_frame()) is not None:
            found.append(frame)
    return found


def whole(found: list[tuple[int, bytes]]) -> tuple[bytes, list[tuple[int, bytes]]]:
    data = b"".join(payload for opcode, payload in found if opcode == BINARY)
    return data, [frame for frame in found if frame[0] != BINARY]


class OpeningTests(SynchronousTestCase):
    def test_request(self) -> None:
        """The request is, octet for octet, the specification's."""
        opening = Opening(OPENING["host"], bytes.fromhex(OPENING["key"]))
        self.assertEqual(opening.request().decode(), OPENING["request"])

    @settings(max_examples=50, deadline=None)
    @given(answer=st.sampled_from(OPENING["answers"]), cuts=CUTS)
    def test_answer(self, answer: str, cuts: list[int]) -> None:
        """A hub's answer opens it, in any chunks, and what follows is kept."""
        opening = opened(answer, cuts, b"\x82\x05Hello")
        self.assertTrue(opening.is_open)
        self.assertEqual(opening.rest, b"\x82\x05Hello")

    @settings(max_examples=100, deadline=None)
    @given(vector=st.sampled_from(OPENING["refused"]), cuts=CUTS)
    def test_refused(self, vector: dict[str, str], cuts: list[int]) -> None:
        """Every other answer is refused, in any chunks."""
        with self.assertRaises(UpgradeRefused, msg=vector["name"]):
            opened(vector["answer"], cuts)

    @settings(max_examples=100, deadline=None)
    @given(octets=st.binary(max_size=200))
    def test_anything(self, octets: bytes) -> None:
        """Any bytes are refused, or the beginning of an answer."""
        for begin in (b"", b"HTTP/1.1 101 x\r\n", b"HTTP/1.1 "):
            opening = Opening("hub:443")
            try:
                opening.receive(begin + octets)
            except UpgradeRefused:
                continue
            self.assertFalse(opening.is_open)

    def test_no_end(self) -> None:
        """An answer that does not come to an end is not collected."""
        opening = Opening("hub:443")
        with self.assertRaises(UpgradeRefused):
            for _ in range(100):
                opening.receive(b"HTTP/1.1 101 x\r\n" + b"X: y\r\n" * 100)

    def test_says_status(self) -> None:
        """What it says instead is told, and no terminal obeys it."""
        with self.assertRaises(UpgradeRefused) as caught:
            Opening("lb:443").receive(b"HTTP/1.1 404 Not \x1b[2J\r\n\r\n")
        self.assertIn("404 Not ?[2J", str(caught.exception))

    def test_no_hub(self) -> None:
        """What a balancer says of a hub that does not answer is told apart."""
        for status in (502, 503, 504):
            with self.assertRaises(NoHubBehind):
                Opening("lb:443").receive(b"HTTP/1.1 %d x\r\n\r\n" % status)
        # As haproxy says it with the pages that Debian gives it.
        with self.assertRaises(NoHubBehind) as caught:
            Opening("lb:443").receive(
                b"HTTP/1.0 503 Service Unavailable\r\ncache-control: no-cache\r\n\r\n"
            )
        self.assertIn("it says 503 Service Unavailable", str(caught.exception))

    def test_endless_interim(self) -> None:
        """Who says for ever that it is coming is not waited for."""
        with self.assertRaises(UpgradeRefused):
            Opening("hub:443").receive(b"HTTP/1.1 100 Continue\r\n\r\n" * 9)

    def test_fresh_keys(self) -> None:
        """No two requests have one key."""
        self.assertNotEqual(Opening("h").request(), Opening("h").request())

    def test_key(self) -> None:
        """A key is 16 octets in base 64."""
        self.assertTrue(is_key(b"dGhlIHNhbXBsZSBub25jZQ=="))
        for wrong in (b"", b"dGhl", b"dGhlIHNhbXBsZSBub25jZQ", b"\xff" * 24, b"AA==" * 6):
            self.assertFalse(is_key(wrong), wrong)


class FrameTests(SynchronousTestCase):
    def test_to_hub(self) -> None:
        """Frames are made as the vectors have them."""
        for vector in VECTORS["to_hub"]:
            mask = bytes.fromhex(vector["mask"])
            made = ClientFrames(lambda size, mask=mask: mask).frame(
                vector["opcode"], bytes.fromhex(vector["payload"])
            )
            self.assertEqual(made.hex(), vector["octets"], vector["name"])

    @settings(max_examples=50, deadline=None)
    @given(vector=st.sampled_from(VECTORS["to_client"]), cuts=CUTS)
    def test_to_client(self, vector: dict[str, Any], cuts: list[int]) -> None:
        """A hub's frames are read, in any chunks."""
        expected = [(opcode, bytes.fromhex(payload)) for opcode, payload in vector["frames"]]
        octets = bytes.fromhex(vector["octets"])
        self.assertEqual(whole(frames(octets, cuts)), whole(expected))
        self.assertEqual(frames(octets, []), expected)

    @settings(max_examples=100, deadline=None)
    @given(vector=st.sampled_from(VECTORS["to_client_bad"]), cuts=CUTS)
    def test_malformed(self, vector: dict[str, Any], cuts: list[int]) -> None:
        """What breaks the rules is refused with its code, in any chunks."""
        with self.assertRaises(BrokenFrames, msg=vector["name"]) as caught:
            frames(bytes.fromhex(vector["octets"]), cuts)
        self.assertEqual(caught.exception.code, vector["code"], vector["name"])

    @settings(max_examples=100, deadline=None)
    @given(octets=st.binary(max_size=300), cuts=CUTS)
    def test_anything(self, octets: bytes, cuts: list[int]) -> None:
        """Any bytes are frames, the beginning of one, or refused."""
        try:
            frames(octets, cuts)
        except BrokenFrames:
            pass

    def test_large_message(self) -> None:
        """Fragments count together, and the next message from nothing."""
        part = (MESSAGE_LENGTH // 2).to_bytes(8, "big") + bytes(MESSAGE_LENGTH // 2)
        reader = ClientFrames()
        for octets in (b"\x02\x7f" + part, b"\x80\x7f" + part, b"\x02\x7f" + part):
            reader.receive(octets)
            found = reader.next_frame()
            assert found is not None
            self.assertEqual(len(found[1]), MESSAGE_LENGTH // 2)
        reader.receive(b"\x00\x7f" + (MESSAGE_LENGTH // 2 + 1).to_bytes(8, "big"))
        with self.assertRaises(BrokenFrames) as caught:
            reader.next_frame()
        self.assertEqual(caught.exception.code, TOO_BIG)

    @settings(max_examples=100, deadline=None)
    @given(payload=st.binary(max_size=100), key=st.binary(min_size=4, max_size=4))
    def test_masking(self, payload: bytes, key: bytes) -> None:
        """Each octet is masked with its own of the key, and twice is not at all."""
        expected = bytes(octet ^ key[place % 4] for place, octet in enumerate(payload))
        self.assertEqual(masked(payload, key), expected)
        self.assertEqual(masked(bytes(masked(payload, key)), key), payload)

    def test_fresh_masks(self) -> None:
        """Every frame has a key of its own."""
        made = ClientFrames()
        self.assertNotEqual(made.frame(BINARY, b"same"), made.frame(BINARY, b"same"))
