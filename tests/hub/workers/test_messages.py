"""Tests of the messages between processes, and of the vectors in their specification."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict, ParseDict
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import LocalError
from mezite.hub.workers.error import BadMessage
from mezite.hub.workers.messages import (
    LENGTH_LIMIT,
    MessageReader,
    address_message,
    address_of,
    certificate_of,
    encode,
)
from mezite.rpc.proto import worker_pb2
from mezite.rpc.proto.worker_pb2 import OfTunnel, Report, Settings, StreamPurpose

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "workers.json").read_text("utf-8")
)


class MessageTests(SynchronousTestCase):
    """Messages behind their lengths."""

    def test_vectors(self) -> None:
        """Messages are written as the specification's vectors say, and read from them."""
        for vector in VECTORS["messages"]:
            kind = getattr(worker_pb2, vector["kind"])
            message = ParseDict(vector["fields"], kind(), ignore_unknown_fields=False)
            data = bytes.fromhex(vector["hex"])
            self.assertEqual(encode(message).hex(), vector["hex"], vector["name"])
            (read,) = MessageReader(kind).receive(data)
            fields = MessageToDict(read, preserving_proto_field_name=True)
            self.assertEqual(ParseDict(fields, kind()), message)

    def test_refused(self) -> None:
        """What the vectors call bad is refused."""
        for vector in VECTORS["refused"]:
            reader = MessageReader(StreamPurpose)
            with self.assertRaises(BadMessage):
                list(reader.receive(bytes.fromhex(vector["hex"])))

    @given(st.lists(st.integers(0, 2**64 - 1), max_size=5), st.integers(1, 9))
    def test_any_chunks(self, numbers: list[int], size: int) -> None:
        """However the bytes come, the messages are the same, and what follows is kept."""
        messages = [Report(handshakes=number) for number in numbers]
        data = b"".join(map(encode, messages)) + b"\0\0"
        reader = MessageReader(Report)
        read = [
            message
            for start in range(0, len(data), size)
            for message in reader.receive(data[start : start + size])
        ]
        self.assertEqual(read, messages)
        self.assertEqual(reader.rest, b"\0\0")

    @given(st.binary(max_size=64))
    def test_any_bytes(self, data: bytes) -> None:
        """Whatever comes is a message, is waited for, or is bad."""
        try:
            list(MessageReader(StreamPurpose).receive(data))
        except BadMessage:
            pass

    def test_too_long(self) -> None:
        """What would be refused is not sent."""
        with self.assertRaises(LocalError):
            encode(Settings(authorities_pem=bytes(LENGTH_LIMIT)))

    def test_rest(self) -> None:
        """A reader of one message leaves what follows."""
        reader = MessageReader(OfTunnel)
        next(reader.receive(encode(OfTunnel(tunnel=3)) + b"SSH-2.0-"))
        self.assertEqual(reader.rest, b"SSH-2.0-")


class FieldTests(SynchronousTestCase):
    """Addresses and certificates as they travel."""

    def test_addresses(self) -> None:
        """An address comes out as it went in."""
        for address in (
            IPv4Address("TCP", "192.0.2.7", 4711),
            IPv6Address("TCP", "2001:db8::7", 4711),
        ):
            self.assertEqual(address_of(address_message(address)), address)
        self.assertEqual(address_message(None).host, "")

    def test_certificates(self) -> None:
        """No bytes are no certificate, and others that are none are bad."""
        self.assertIsNone(certificate_of(b""))
        with self.assertRaises(BadMessage):
            certificate_of(b"\x30\x03\x02\x01\x00")
