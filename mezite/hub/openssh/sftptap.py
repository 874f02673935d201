"""
What an SFTP transfer does, read from the packets that pass.

An :class:`SftpTap` pairs each request with its answer, and shows both to an
:class:`~mezite.ssh.sftpwatch.SftpWatch`. It changes nothing of what passes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpfields import BadMessage, SftpWireError
from mezite.ssh.sftpreports import BadReport, Report, ReportReader
from mezite.ssh.sftpwatch import SftpWatch

# OpenSSH's sftp has 64 requests under way, others up to 1,024; a write among them holds
# 256 KiB at most, and all of them together no more than HELD.
REQUESTS: Final = 4096
HELD: Final = 8 * 1024 * 1024
# As sshd's sftp-server.
HANDLES: Final = 1024
# A request that only reads is kept without what it carries.
_SMALL: Final = 64


class Unfollowable(BadReport):
    """What passes cannot be followed, so it cannot be recorded."""


class SftpTap:
    """:param tell: takes what was done."""

    def __init__(self, tell: Callable[[Report], None]) -> None:
        self._tell = tell
        self._lines = ReportReader()
        self._watch = SftpWatch(self._line)
        self._requests = wire.PacketReader()
        self._replies = wire.PacketReader()
        self._asked: dict[int, wire.Request] = {}
        self._held = 0

    def asked(self, data: bytes) -> None:
        """
        This went to the server.

        :raises Unfollowable: it is no SFTP, or more at once than there should be.
        """
        for message in _messages(self._requests, data):
            if not isinstance(message, wire.Request):
                continue
            if message.request_id in self._asked or len(self._asked) >= REQUESTS:
                raise Unfollowable("the transfer asks for more at once than can be recorded")
            self._asked[message.request_id] = message
            self._held += _size(message)
            if self._held > HELD:
                raise Unfollowable("the transfer writes more at once than can be recorded")

    def answered(self, data: bytes) -> None:
        """
        This came from the server.

        :raises Unfollowable: it is no SFTP, or opens more than it should.
        """
        for message in _messages(self._replies, data):
            if not isinstance(message, wire.Reply):
                continue
            request = self._asked.pop(message.request_id, None)
            if request is not None:
                self._held -= _size(request)
                self._watch.saw(request, message)
                if len(self._watch) > HANDLES:
                    raise Unfollowable("the transfer opens more files than can be recorded")

    def close(self) -> None:
        """Also what was left open is told of."""
        self._watch.close()

    def _line(self, line: bytes) -> None:
        for report in self._lines.receive(line):
            self._tell(report)


def _messages(packets: wire.PacketReader, data: bytes) -> list[wire.Message]:
    found = []
    try:
        for packet in packets.receive(data):
            if not wire.is_known(packet):
                # The server refuses it, which says no more.
                continue
            found.append(wire.decode(packet))
    except (SftpWireError, BadMessage) as error:
        raise Unfollowable(f"the transfer cannot be followed: {error}") from None
    return found


def _size(request: wire.Request) -> int:
    return _SMALL + (len(request.data) if isinstance(request, wire.Write) else 0)
