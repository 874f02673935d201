"""Tests of the screen in front of h2."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.rpc.error import RemoteRpcError
from mezite.rpc.limits import GrpcLimits
from mezite.rpc.screening import PREFACE, CalmDown, FrameScreen, GoAway, goaway_frame

LIMITS = GrpcLimits(frame_burst=10, frames_per_second=2)
PING = b"\0\0\x08\x06\0\0\0\0\0" + b"p" * 8


def data_frame(length: int) -> bytes:
    return length.to_bytes(3, "big") + b"\0\0\0\0\0\1" + b"d" * length


class FrameScreenTests(SynchronousTestCase):
    @given(
        st.lists(st.sampled_from([PING, data_frame(0), data_frame(50), goaway_frame(7, 2)])),
        st.integers(1, 30),
    )
    @settings(max_examples=80, deadline=None)
    def test_any_chunking(self, frames: list[bytes], chunk: int) -> None:
        """Any chunking lets the same bytes through, and finds the same GOAWAYs."""
        screen = FrameScreen(GrpcLimits(), preface=True, now=0)
        data = PREFACE + b"".join(frames)
        passed = b""
        goaways: list[GoAway] = []
        for at in range(0, len(data), chunk):
            more, found = screen.receive(data[at : at + chunk], 0)
            passed += more
            goaways += found
        honest = [frame for frame in frames if frame != goaway_frame(7, 2)]
        self.assertEqual(passed, PREFACE + b"".join(honest))
        self.assertEqual(goaways, [GoAway(7, 2)] * (len(frames) - len(honest)))

    def test_time_gives_points(self) -> None:
        """Time earns frames, up to the burst."""
        screen = FrameScreen(LIMITS, preface=False, now=0)
        screen.receive(PING * 10, 0)
        screen.receive(PING * 2, 1)
        with self.assertRaises(CalmDown):
            screen.receive(PING, 1)
        screen = FrameScreen(LIMITS, preface=False, now=0)
        with self.assertRaises(CalmDown):
            screen.receive(PING * 11, 1000)

    def test_calls_give_points(self) -> None:
        """A served call pays for its frames."""
        screen = FrameScreen(LIMITS, preface=False, now=0)
        for _ in range(100):
            screen.receive(PING * 10, 0)
            screen.credit_call()

    def test_clock_that_goes_back(self) -> None:
        """A clock that goes back takes nothing away."""
        screen = FrameScreen(LIMITS, preface=False, now=100)
        screen.receive(PING * 10, 0)

    def test_data_is_free(self) -> None:
        """Flow control pays for large DATA frames."""
        screen = FrameScreen(LIMITS, preface=False, now=0)
        screen.receive(data_frame(16384) * 100, 0)

    def test_long_frames(self) -> None:
        """A frame over the limit is refused by its header alone."""
        with self.assertRaises(RemoteRpcError):
            FrameScreen(LIMITS, preface=False, now=0).receive(data_frame(16385)[:9], 0)

    def test_header_block(self) -> None:
        """A header block has a bound over all its frames; the next one starts anew."""
        screen = FrameScreen(GrpcLimits(), preface=False, now=0)
        half = b"\0\x10\0"
        for _ in range(3):
            screen.receive(half + b"\x01\0\0\0\0\1" + b"x" * 4096, 0)
            screen.receive(half + b"\x09\0\0\0\0\1" + b"x" * 4096, 0)
        with self.assertRaises(RemoteRpcError):
            screen.receive(b"\0\0\1\x09\0\0\0\0\1", 0)

    def test_short_goaway(self) -> None:
        """A GOAWAY without its fields is refused."""
        with self.assertRaises(RemoteRpcError):
            FrameScreen(LIMITS, preface=False, now=0).receive(b"\0\0\1\x07\0\0\0\0\0x", 0)

    def test_goaway_with_words(self) -> None:
        """A GOAWAY may carry words, which are not kept."""
        frame = b"\0\0\x0a\x07\0\0\0\0\0" + b"\x80\0\0\5" + b"\0\0\0\x0b" + b"hi"
        _, goaways = FrameScreen(LIMITS, preface=False, now=0).receive(frame, 0)
        self.assertEqual(goaways, [GoAway(5, 11)])
