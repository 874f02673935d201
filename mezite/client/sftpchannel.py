"""
The SFTP subsystem of a node, on a channel of an SSH connection.

:func:`begin_sftp` opens it; :meth:`SftpChannel.ask` sends a request and fires
with its answer. What is asked while the line has no room waits here, and is
bounded by the number of requests that may wait for answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.conch.error import ConchError
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import Attribute, Interface, implementer

from mezite.client.sftpconversation import SftpConversation
from mezite.error import Denied, MeziteError, RemoteError, Unavailable
from mezite.ssh import sftpwire as wire
from mezite.ssh.channel import STDERR, FlowChannel
from mezite.ssh.connection import FlowConnection
from mezite.ssh.error import ConnectionEnded
from mezite.ssh.fields import printable, string

# One line of what the server's process complained of explains its end.
_COMPLAINT: Final = 512


class NoSftp(Denied):
    """The node has no SFTP for us."""


class SftpEnded(Unavailable):
    """The node's SFTP server is gone."""


class ISftp(Interface):
    """A session of SFTP that has been greeted."""

    extensions = Attribute("What the node can do beyond version 3, name to version.")

    def ask(request: wire.Request) -> Deferred[wire.Reply]:
        """
        Fires with the answer, which may be a status that says no.

        Fails with why the session is gone, if it goes before.
        """


@implementer(ISftp)
class SftpChannel(FlowChannel):
    """A channel of type "session" with the subsystem ``sftp`` on it."""

    name = b"session"

    def __init__(self, lost_because: Callable[[], Exception | None]) -> None:
        super().__init__()
        self.greeted: Deferred[None] = Deferred()
        self._lost_because = lost_because
        self._conversation = SftpConversation()
        self._answers: dict[int, Deferred[wire.Reply]] = {}
        self._unsent: deque[bytes] = deque()
        self._is_held = False
        self._complaint = b""
        self._end: Exception | None = None

    @property
    def extensions(self) -> Mapping[bytes, bytes]:
        return self._conversation.extensions or {}

    def ask(self, request: wire.Request) -> Deferred[wire.Reply]:
        answer: Deferred[wire.Reply] = Deferred()
        if self._end is not None:
            answer.errback(self._end)
            return answer
        try:
            number, data = self._conversation.ask(request)
        except MeziteError as error:
            answer.errback(error)
            return answer
        self._answers[number] = answer
        self._send(data)
        return answer

    def _send(self, data: bytes) -> None:
        if self._is_held or self._unsent:
            self._unsent.append(data)
        else:
            self.write(data)

    def hold(self) -> None:
        """The channel has no room now."""
        self._is_held = True

    def go_on(self) -> None:
        self._is_held = False
        while self._unsent and not self._is_held:
            self.write(self._unsent.popleft())

    # What the connection calls.

    def channelOpen(self, specificData: bytes) -> None:
        self.registerProducer(_Outflow(self), True)
        # The greeting follows at once, so that it costs no turn of its own.
        started = self.conn.sendRequest(self, b"subsystem", string(b"sftp"), wantReply=True)
        started.addErrback(self._not_started)
        self._send(self._conversation.greeting())

    def _not_started(self, failure: Failure) -> None:
        if failure.check(ConchError) is None:
            return
        self._fail(NoSftp(self._explained("the node has no SFTP")))

    def openFailed(self, reason: Any) -> None:
        error = reason.value if isinstance(reason, Failure) else reason
        sentence = str(error) if isinstance(error, MeziteError) else "the node opened no session"
        self._fail(self._lost_because() or NoSftp(sentence))

    def dataReceived(self, data: bytes) -> None:
        if self._end is not None:
            return
        try:
            for answer in self._conversation.receive(data):
                self._answers.pop(answer.request_id).callback(answer.reply)
        except RemoteError as error:
            self._fail(error)
            return
        if self._conversation.extensions is not None and not self.greeted.called:
            self.greeted.callback(None)

    def extReceived(self, dataType: int, data: bytes) -> None:
        if dataType == STDERR:
            self._complaint = (self._complaint + data)[:_COMPLAINT]

    def eofReceived(self) -> None:
        # Nothing can be answered any more, even if the channel stays open.
        self.loseConnection()

    def closed(self) -> None:
        self._fail(
            self._lost_because() or SftpEnded(self._explained("the node's SFTP server ended"))
        )

    def _explained(self, sentence: str) -> str:
        complaint = printable(self._complaint).strip()
        return f"{sentence}: {complaint}" if complaint else sentence

    def _fail(self, error: Exception) -> None:
        if self._end is not None:
            return
        self._end = error
        self._unsent.clear()
        if self.id in getattr(self.conn, "localToRemoteChannel", {}):
            self.abortConnection()
        if not self.greeted.called:
            self.greeted.errback(error)
        answers, self._answers = self._answers, {}
        for answer in answers.values():
            answer.errback(error)


@implementer(IPushProducer)
class _Outflow:
    """The requests of a channel, as a producer of what it sends."""

    def __init__(self, channel: SftpChannel) -> None:
        self._channel = channel

    def pauseProducing(self) -> None:
        self._channel.hold()

    def resumeProducing(self) -> None:
        self._channel.go_on()

    def stopProducing(self) -> None:
        self._channel.hold()


async def begin_sftp(
    connection: FlowConnection, lost_because: Callable[[], Exception | None]
) -> SftpChannel:
    """
    Start the node's SFTP server on a channel of this connection.

    :param lost_because: why the SSH connection is gone, once it is.
    :raises NoSftp: if the node says no.
    :raises MeziteError: if the connection ends before.
    """
    channel = SftpChannel(lambda: lost_because() or _ended(connection))
    connection.openChannel(channel)
    try:
        await channel.greeted
    except CancelledError:
        channel.loseConnection()
        raise
    return channel


def _ended(connection: FlowConnection) -> Exception | None:
    if connection.transport is None or getattr(connection.transport, "disconnecting", False):
        return ConnectionEnded("the SSH connection ended")
    return None
