"""Tests of the vectors that docs/protocols/tunnel.rst quotes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import mezite.mux.frames
from mezite.mux.connection import Connection
from mezite.mux.error import RemoteMuxError
from mezite.mux.frames import FrameReader, FrameType, Header, Role
from mezite.mux.limits import INITIAL_WINDOW, MuxLimits
from mezite.mux.lingering import LINGERING

VECTORS = Path(__file__).parent.parent / "vectors"


def load(name: str) -> Any:
    return json.loads((VECTORS / name).read_text("utf-8"))


class FrameVectorTests(SynchronousTestCase):
    def test_frames(self) -> None:
        """Frames are written and read as the specification says."""
        for vector in load("tunnel-frames.json")["frames"]:
            flags = sum(getattr(mezite.mux.frames, name) for name in vector["flags"])
            frame_type = FrameType[vector["type"].upper().replace(" ", "_")]
            header = Header(frame_type, flags, vector["stream_id"], vector["length"])
            body = vector.get("body", "").encode()
            data = bytes.fromhex(vector["hex"])
            self.assertEqual(header.encode() + body, data)
            self.assertEqual(
                FrameReader(MuxLimits().frame_length).receive(data),
                [header, *([body] if body else [])],
            )

    def test_refused(self) -> None:
        """Headers that the specification refuses are refused."""
        for vector in load("tunnel-frames.json")["refused"]:
            with self.assertRaises(RemoteMuxError, msg=vector["why"]):
                FrameReader(MuxLimits().frame_length).receive(bytes.fromhex(vector["hex"]))

    def test_constants(self) -> None:
        """The numbers in the specification are those in the code."""
        page = (VECTORS.parent.parent / "docs" / "protocols" / "tunnel.rst").read_text("utf-8")
        limits = MuxLimits()
        mib = 1024 * 1024
        for row in (
            f"* - {limits.streams}\n     - streams",
            f"* - {limits.backlog}\n     - streams that were offered",
            f"* - {LINGERING}\n     - streams that we have left",
            f"* - {limits.frame_length // mib} MiB\n     - length of a frame",
            f"* - {limits.window // mib} MiB\n     - window of a stream",
            f"* - {limits.window_growth // mib} MiB\n     - growth",
            f"* - {limits.tunnel_received // mib} MiB\n     - received and not consumed",
            f"* - {limits.stream_unsent // mib} MiB\n     - written and not sent, per stream",
            f"* - {limits.tunnel_unsent // mib} MiB\n     - written and not sent, per tunnel",
            f"* - {limits.nuisances}\n     - frames that serve no stream",
            f"* - {limits.control_frames}\n     - control frames",
            f"{INITIAL_WINDOW // 1024} KiB",
        ):
            self.assertIn(row, page)


class ConversationVectorTests(SynchronousTestCase):
    def test_conversations(self) -> None:
        """Each conversation goes step by step as the specification says."""
        for vector in load("tunnel-conversations.json")["conversations"]:
            with self.subTest(vector["why"]):
                self.converse(vector)

    def converse(self, vector: Any) -> None:
        connection = Connection(Role(vector["role"]))
        for step in vector["steps"]:
            if "do" in step:
                name, *arguments = step["do"]
                getattr(connection, name)(
                    *(part.encode() if isinstance(part, str) else part for part in arguments)
                )
            elif "out" in step:
                self.assertEqual(b"".join(connection.pull()[0]).hex(), step["out"])
            else:
                events = connection.receive(bytes.fromhex(step["in"]))
                self.assertEqual([repr(event) for event in events], step["events"])
        if "broken_by" in vector:
            self.assertRaises(
                RemoteMuxError, connection.receive, bytes.fromhex(vector["broken_by"])
            )
