"""
The client's side of SFTP: requests become bytes, and bytes become answers.

An :class:`SftpConversation` numbers the requests, pairs each with its answer in
whatever order these come, and refuses an answer that the request cannot have.
It has no I/O; :mod:`mezite.client.sftpchannel` puts it on a channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from attrs import frozen

from mezite.error import LimitReached, RemoteError
from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpwire import StatusCode

# A copy has 64 requests in flight, and eight files of a directory are copied at once.
MAX_WAITING: Final = 1024
# draft-ietf-secsh-filexfer-02, section 6.3.
MAX_HANDLE: Final = 256

_VALUES: Final[Mapping[type[Any], tuple[type[Any], ...]]] = {
    wire.Open: (wire.Handle,),
    wire.Opendir: (wire.Handle,),
    wire.Read: (wire.Data,),
    wire.Readdir: (wire.Name,),
    wire.Realpath: (wire.Name,),
    wire.Readlink: (wire.Name,),
    wire.Stat: (wire.Attrs,),
    wire.Lstat: (wire.Attrs,),
    wire.Fstat: (wire.Attrs,),
    # What an extension answers is the extension's affair; it may be a status.
    wire.Extended: (wire.ExtendedReply, wire.Name, wire.Handle, wire.Attrs),
}


class AnswerRefused(RemoteError):
    """The node answered something that the request cannot have as its answer."""


@frozen
class Answer:
    """What the node said to the request with this number."""

    request_id: int
    reply: wire.Reply


@frozen
class _Waiting:
    kind: type[Any]
    # Of data, for a read.
    most: int = 0


class SftpConversation:
    """One SFTP session, from its greeting on."""

    def __init__(self) -> None:
        self._packets = wire.PacketReader()
        self._waiting: dict[int, _Waiting] = {}
        self._last_id = 0
        # What the node can do beyond version 3; None before its greeting.
        self.extensions: Mapping[bytes, bytes] | None = None

    def greeting(self) -> bytes:
        """What is sent first."""
        return wire.encode(wire.Init(wire.VERSION))

    def ask(self, request: wire.Request) -> tuple[int, bytes]:
        """
        A number for this request, whose own is ignored, and the bytes to send.

        :raises LimitReached: if too many wait for answers already.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise LimitReached("too many requests wait for the node's answers")
        self._last_id = (self._last_id + 1) % (1 << 32)
        most = request.length if isinstance(request, wire.Read) else 0
        self._waiting[self._last_id] = _Waiting(type(request), most)
        return self._last_id, wire.encode(request._replace(request_id=self._last_id))

    def receive(self, data: bytes) -> Iterator[Answer]:
        """
        The answers that these bytes complete; to be iterated to its end.

        :raises RemoteError: for bytes that no server may send; the session is over then.
        """
        for packet in self._packets.receive(data):
            message = wire.decode(packet)
            if self.extensions is None:
                self.extensions = _greeted(message)
            else:
                yield self._answered(message)

    def _answered(self, message: wire.Message) -> Answer:
        if isinstance(message, wire.Init | wire.Version):
            raise AnswerRefused("the node greeted twice")
        waiting = self._waiting.pop(message.request_id, None)
        if waiting is None:
            raise AnswerRefused("the node answered what nobody asked")
        _check(waiting, message)
        return Answer(message.request_id, message)  # type: ignore[arg-type]

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits and no packet is half read."""
        return not self._waiting and self._packets.is_idle


def _greeted(message: wire.Message) -> Mapping[bytes, bytes]:
    if not isinstance(message, wire.Version):
        raise AnswerRefused("the node did not begin with SFTP's greeting")
    if message.version != wire.VERSION:
        raise AnswerRefused(
            f"the node speaks version {message.version} of SFTP, not {wire.VERSION}"
        )
    return dict(message.extensions)


def _check(waiting: _Waiting, message: wire.Message) -> None:
    values = _VALUES.get(waiting.kind, ())
    if isinstance(message, wire.Status):
        if message.code == StatusCode.OK and values and waiting.kind is not wire.Extended:
            raise AnswerRefused(f"the node had no answer for {_name(waiting)}")
        return
    if not isinstance(message, values):
        kind = type(message).__name__.lower()
        raise AnswerRefused(f"the node answered {kind} to {_name(waiting)}")
    if isinstance(message, wire.Data) and not 0 < len(message.data) <= waiting.most:
        raise AnswerRefused(f"{len(message.data)} bytes came where {waiting.most} were wanted")
    if isinstance(message, wire.Handle) and len(message.handle) > MAX_HANDLE:
        raise AnswerRefused("the node's handle is too long")


def _name(waiting: _Waiting) -> str:
    return waiting.kind.__name__.lower()
