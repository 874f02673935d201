"""Tests of the vectors that docs/protocols/resumption.rst quotes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mezite.agent import resumption
from mezite.client import resumingpump
from mezite.hub import resumptionservice
from mezite.resume import frames, link, redialing, silence, transport
from mezite.resume.error import RemoteResumeError
from mezite.resume.frames import FrameReader, GreetingReader, Hello, Plain, Refusal, Welcome

VECTORS = Path(__file__).parent.parent / "vectors" / "resumption.json"
PAGE = Path(__file__).parents[2] / "docs" / "protocols" / "resumption.rst"


def load() -> Any:
    return json.loads(VECTORS.read_text("utf-8"))


def spoken(vector: dict[str, Any]) -> tuple[bytes, Any]:
    """The greeting of a vector, encoded, and what reading gives."""
    token = bytes.fromhex(vector.get("token", ""))
    received = vector.get("received", 0)
    match vector["kind"]:
        case "hello":
            return frames.hello(token, received), Hello(token, received)
        case "welcome":
            return frames.welcome(token, received), Welcome(token, received)
        case "refused":
            reason = vector["reason"]
            return frames.refused(reason, vector["sentence"]), Refusal(reason, vector["sentence"])
        case _:
            return frames.plain(), Plain()


def told(greeting: Any) -> tuple[Any, ...]:
    return type(greeting), *(getattr(greeting, name) for name in greeting.__slots__)


class ResumptionVectorTests(SynchronousTestCase):
    def test_greetings(self) -> None:
        """Greetings are written and read as the specification says."""
        for vector in load()["greetings"]:
            data = bytes.fromhex(vector["hex"])
            encoded, meant = spoken(vector)
            self.assertEqual(encoded, data, vector["what"])
            for cut in range(len(data)):
                reader = GreetingReader()
                self.assertIsNone(reader.receive(data[:cut]))
                complete = reader.receive(data[cut:] + b"rest")
                assert complete is not None
                self.assertEqual(told(complete[0]), told(meant))
                self.assertEqual(complete[1], b"rest")

    def test_frames(self) -> None:
        """The other frames are read as the specification says."""
        for vector in load()["frames"]:
            kind = getattr(frames, vector["kind"].upper())
            read = FrameReader().receive(bytes.fromhex(vector["hex"]))
            payload = bytes.fromhex(vector.get("payload", ""))
            self.assertEqual([(each, bytes(data)) for each, data in read], [(kind, payload)])

    def test_refused(self) -> None:
        """What the specification refuses is refused."""
        for vector in load()["refused"]:
            reader = GreetingReader() if vector["is_first"] else FrameReader()
            with self.assertRaises(RemoteResumeError, msg=vector["why"]):
                reader.receive(bytes.fromhex(vector["hex"]))

    def test_constants(self) -> None:
        """The numbers in the specification are those in the code."""
        page = PAGE.read_text("utf-8")
        for told_ in (
            f"{link.FULL // 1024 // 1024} MiB",
            f"acknowledges each {link.ACKNOWLEDGED_AT // 1024 // 1024} MiB",
            f"{link.ACKNOWLEDGED_ALONG_AT // 1024} KiB",
            f"{transport.ACKNOWLEDGE_SECONDS:g} s without one",
            f"{silence.ASK_SECONDS:g} s of silence",
            f"{silence.ANSWER_SECONDS:g} s later",
            f"{resumption.PARKED_SECONDS:g} s",
            f"{resumption.HELLO_SECONDS:g} s",
            f"within {redialing.TRY_SECONDS:g} s",
            f"carried for {redialing.STABLE_SECONDS:g} s",
            f"up to {redialing.FIRST_WAIT:g} s",
            f"up to {redialing.LONGEST_WAIT:g} s",
            f"at most {redialing.LATE_WAIT:g} s",
            f"last words that nobody takes for {transport.LINGER_SECONDS:g} s",
            f"{resumptionservice.REPORTED}",
            f"{resumption.PARKED} sessions",
            f"{resumption.PARKED_OF_ONE_USER} of one user",
            f"{resumption.PARKED_BYTES // 1024 // 1024} MiB",
            f"{frames.SENTENCE_LENGTH} octets",
        ):
            self.assertIn(told_, page)

    def test_both_clients(self) -> None:
        """The two clients listen alike, and come back for as long as agents wait."""
        self.assertEqual(transport.ACKNOWLEDGE_SECONDS, resumingpump.ACKNOWLEDGE_SECONDS)
        self.assertEqual(silence.ASK_SECONDS, resumingpump.ASK_SECONDS)
        self.assertEqual(silence.ANSWER_SECONDS, resumingpump.ANSWER_SECONDS)
        self.assertEqual(redialing.LONGEST_SECONDS, resumption.PARKED_SECONDS)
