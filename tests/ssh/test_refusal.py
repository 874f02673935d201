from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh.fields import FieldReader
from mezite.ssh.packets import PacketReader
from mezite.ssh.refusal import SENTENCE_BYTES, refusal


def read(sent: bytes) -> tuple[int, int, str]:
    reader = PacketReader()
    reader.receive(sent)
    assert reader.next_version(lines_before=False) == b"SSH-2.0-Mezite"
    payload = reader.next_payload()
    assert payload is not None
    assert reader.next_payload() is None
    fields = FieldReader(payload)
    return fields.byte(), fields.uint32(), fields.text()


class RefusalTests(SynchronousTestCase):
    """A server that only says why."""

    def test_sentence(self) -> None:
        """Any client reads one disconnection with the sentence."""
        self.assertEqual(read(refusal("db9 is not connected")), (1, 1, "db9 is not connected"))

    def test_every_length(self) -> None:
        """The packet is padded as RFC 4253 demands, whatever the sentence's length."""
        for length in range(40):
            self.assertEqual(read(refusal("x" * length))[2], "x" * length)

    def test_long(self) -> None:
        """A long sentence is cut between characters."""
        self.assertEqual(read(refusal("é" * SENTENCE_BYTES))[2], "é" * (SENTENCE_BYTES // 2))
