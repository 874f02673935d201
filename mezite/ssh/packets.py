"""
The binary packet protocol of RFC 4253, section 6: bytes in, payloads out.

A :class:`PacketReader` owns the bytes not yet read, a :class:`PacketWriter`
the count of what was sent. What protects a packet is an :class:`ISealer` and
an :class:`IOpener`; before the first key exchange, :class:`Unprotected`.
"""

from __future__ import annotations

import os
from typing import Final

from zope.interface import Interface, implementer

from mezite.ssh.error import MAC_ERROR, SshProtocolError

# RFC 4253, section 6.1 demands 35000; OpenSSH sends up to 256 KiB and takes no more.
PACKET_LENGTH: Final = 256 * 1024
# RFC 4253, section 4.2: 255 for the version; a server may send lines before it.
VERSION_LINE_LENGTH: Final = 255
LINES_BEFORE_VERSION: Final = 32
_SEQUENCE_NUMBERS: Final = 1 << 32

# Pieces that follow each other. Each time that 64 KiB are put together costs as
# much as AES does, so it is done once for the cipher and once for the transport.
Parts = tuple[bytes | memoryview, ...]


class ISealer(Interface):
    """One direction of a cipher, for sending."""

    def seal(sequence: int, payload: Parts) -> Parts:
        """The whole packet as it goes on the wire."""


class IOpener(Interface):
    """One direction of a cipher, for receiving."""

    def head_length() -> int:
        """How many bytes :meth:`measure` needs."""

    def measure(sequence: int, head: bytes) -> int:
        """
        How long the whole packet is on the wire; called once for each packet.

        :raises SshProtocolError: if it cannot be right.
        """

    def open(sequence: int, packet: memoryview) -> memoryview:
        """
        The payload, in memory of its own.

        :raises SshProtocolError: if anything about the packet was changed.
        """


def checked_length(length: int, block: int, *, apart: int) -> int:
    """
    A packet length that may be believed.

    :param apart: how many bytes of the packet are not padded to the block.
    """
    if not 5 <= length <= PACKET_LENGTH or (length + 4 - apart) % block:
        raise SshProtocolError(f"a packet claims {length} bytes")
    return length


def padded(payload: Parts, block: int, *, apart: int) -> bytes:
    """Length, padding length, payload and padding (RFC 4253, section 6)."""
    length = sum(map(len, payload))
    padding = block - (5 - apart + length) % block
    if padding < 4:
        padding += block
    head = (1 + length + padding).to_bytes(4, "big") + padding.to_bytes(1, "big")
    return b"".join((head, *payload, os.urandom(padding)))


def unpadded(plain: bytes) -> memoryview:
    """The payload in ``padding length || payload || padding``."""
    padding = plain[0]
    end = len(plain) - padding
    if padding < 4 or end < 2:
        raise SshProtocolError("a packet is nothing but padding")
    return memoryview(plain)[1:end]


def forged() -> SshProtocolError:
    """A packet whose check failed; which check is nobody's business."""
    return SshProtocolError("a packet was changed on its way", MAC_ERROR)


@implementer(ISealer, IOpener)
class Unprotected:
    """No cipher and no check, until the first keys."""

    _BLOCK: Final = 8

    def seal(self, sequence: int, payload: Parts) -> Parts:
        return (padded(payload, self._BLOCK, apart=0),)

    def head_length(self) -> int:
        return 4

    def measure(self, sequence: int, head: bytes) -> int:
        return 4 + checked_length(int.from_bytes(head[:4], "big"), self._BLOCK, apart=0)

    def open(self, sequence: int, packet: memoryview) -> memoryview:
        return unpadded(bytes(packet[4:]))


class PacketWriter:
    """Seals payloads in order."""

    def __init__(self) -> None:
        self._sealer: ISealer = Unprotected()
        self._sequence = 0

    def seal(self, payload: bytes) -> bytes:
        return b"".join(self.seal_parts(payload))

    def seal_parts(self, *payload: bytes | memoryview) -> Parts:
        """The same, with a payload in pieces and a packet in pieces."""
        packet: Parts = self._sealer.seal(self._sequence, payload)
        self._sequence = (self._sequence + 1) % _SEQUENCE_NUMBERS
        return packet

    def switch(self, sealer: ISealer, *, restart: bool) -> None:
        """Use new keys from the next packet on, counting from 0 again if ``restart``."""
        self._sealer = sealer
        if restart:
            self._sequence = 0


class PacketReader:
    """Cuts received bytes into lines, then packets, and opens them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._opener: IOpener = Unprotected()
        self._measured: int | None = None
        self._lines = 0
        self.sequence = 0

    def receive(self, data: bytes) -> None:
        self._buffer += data

    def next_version(self, *, lines_before: bool) -> bytes | None:
        """
        The peer's version without its line end, or None if it is not all here.

        :param lines_before: whether other lines may come first, which only a
            server may send.
        """
        while True:
            end = self._buffer.find(b"\n", 0, VERSION_LINE_LENGTH + 1)
            if end < 0:
                if len(self._buffer) > VERSION_LINE_LENGTH:
                    raise SshProtocolError("this is not an SSH version")
                return None
            line = bytes(self._buffer[:end]).rstrip(b"\r")
            del self._buffer[: end + 1]
            if line.startswith((b"SSH-2.0-", b"SSH-1.99-")):
                return line
            self._lines += 1
            if line.startswith(b"SSH-"):
                raise SshProtocolError("this is not version 2 of SSH")
            if not lines_before or self._lines > LINES_BEFORE_VERSION:
                raise SshProtocolError("this is not an SSH version")

    def next_payload(self) -> bytes | None:
        """As :meth:`next_view`, in memory of its own."""
        view = self.next_view()
        return None if view is None else bytes(view)

    def next_view(self) -> memoryview | None:
        """
        The next packet's payload, or None if it is not all here.

        :raises SshProtocolError: then nothing more can be read.
        """
        if self._measured is None:
            head = self._opener.head_length()
            if len(self._buffer) < head:
                return None
            self._measured = self._opener.measure(self.sequence, bytes(self._buffer[:head]))
        if len(self._buffer) < self._measured:
            return None
        # No view of the buffer may be left when it is cut.
        payload: memoryview = self._opener.open(
            self.sequence, memoryview(self._buffer)[: self._measured]
        )
        del self._buffer[: self._measured]
        self._measured = None
        self.sequence = (self.sequence + 1) % _SEQUENCE_NUMBERS
        return payload

    def switch(self, opener: IOpener, *, restart: bool) -> None:
        """Use new keys from the next packet on, counting from 0 again if ``restart``."""
        self._opener = opener
        if restart:
            self.sequence = 0
