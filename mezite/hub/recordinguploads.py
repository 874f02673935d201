"""
Recordings as they come in from agents: a stream of the service "recording".

A :class:`RecordingReceiver` puts an :class:`~mezite.recording.upload.UploadServer`
on one stream, and keeps what comes in an :class:`IRecordingStore`. Which node it
is, the tunnel's certificate has said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import Interface

from mezite.error import Denied, MeziteError
from mezite.identity.x509 import NodeIdentity
from mezite.recording.chunks import Chunk, Position
from mezite.recording.error import RemoteUploadError
from mezite.recording.upload import ServerState, UploadServer
from mezite.recording.uploadwire import (
    IDS_IN_A_MESSAGE,
    Abandon,
    Finish,
    Hello,
    Inventory,
    RefusalCode,
)
from mezite.tasks import background

SERVICE: Final = "recording"
# Until the agent says which recording this is; after that it may be silent, as a shell is.
HELLO_SECONDS: Final = 10.0
# What one node may hold unfinished: far more than its sessions and a bad week.
INVENTORY_LIMIT: Final = 64 * IDS_IN_A_MESSAGE


@frozen
class Stored:
    """
    What there is of a recording.

    ``is_whole`` says that its last chunk is there, ``is_over`` that it is closed:
    verified before, or interrupted.
    """

    position: Position
    is_whole: bool = False
    is_over: bool = False


class IRecordingStore(Interface):
    """
    Where recordings are kept.

    What fires has happened, and survives a crash. :class:`~mezite.error.Denied`
    means that a recording will never be taken, every other
    :class:`~mezite.error.MeziteError` that it is not taken now.
    """

    def open(node: NodeIdentity, recording: str) -> Deferred[Stored]:
        """
        What there is of a recording of this node; for a new one, nothing.

        Whoever opened it before is to be told nothing any more.
        """

    def append(node: NodeIdentity, recording: str, chunk: Chunk) -> Deferred[None]:
        """Keep a chunk behind those that are there."""

    def finish(node: NodeIdentity, recording: str, position: Position) -> Deferred[None]:
        """All is there."""

    def abandon(node: NodeIdentity, recording: str, reason: str) -> Deferred[Position]:
        """There will be no more: it is interrupted where it ends now."""

    def still_held(node: NodeIdentity, recordings: frozenset[str]) -> Deferred[None]:
        """The node has these, and will not go on with any other."""


class RecordingReceiver(Protocol):
    """
    :param store: an :class:`IRecordingStore`.
    """

    transport: Any
    _log = Logger()

    def __init__(self, node: NodeIdentity, store: Any, clock: IReactorTime) -> None:
        self._node = node
        self._store = store
        self._clock = clock
        self._server = UploadServer()
        self._recording = ""
        self._listed: list[str] = []
        # What came, in order; the store is asked for one thing at a time.
        self._waiting: deque[Any] = deque()
        self._is_working = False
        self._is_gone = False
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._deadline = self._clock.callLater(HELLO_SECONDS, self._expire)

    def dataReceived(self, data: bytes) -> None:
        try:
            self._waiting.extend(self._server.receive(data))
        except RemoteUploadError as error:
            self._break(error)
            return
        if self._server.state is not ServerState.GREETING:
            self._stop_waiting()
        self._work()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_gone = True
        self._stop_waiting()
        if self._server.state is not ServerState.LISTED:
            # An agent that has said its list goes; one that uploads will begin again.
            self._waiting.clear()

    def _expire(self) -> None:
        self._deadline = None
        self._break(RemoteUploadError("the agent does not say which recording this is"))

    def _work(self) -> None:
        if not self._is_working and self._waiting:
            self._is_working = True
            background(self._drain(), doing="keeping a recording")

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._keep(self._waiting.popleft())
                self._flush()
        except RemoteUploadError as error:
            self._break(error)
        except MeziteError as error:
            self._refuse(error)
        except BaseException:
            self._break(RemoteUploadError("the recording could not be kept"))
            raise
        finally:
            self._is_working = False

    def _keep(self, message: Any) -> Awaitable[None]:
        match message:
            case Hello():
                return self._open(message.recording)
            case Chunk():
                return self._append(message)
            case Finish():
                return self._finish(message.position)
            case Abandon():
                return self._abandon(message.reason)
        assert isinstance(message, Inventory)
        return self._list(message)

    async def _open(self, recording: str) -> None:
        self._recording = recording
        stored = await self._store.open(self._node, recording)
        if self._is_gone:
            return
        if stored.is_over:
            self._server.verified(stored.position)
        else:
            self._server.resume(stored.position, is_whole=stored.is_whole)

    async def _append(self, chunk: Chunk) -> None:
        await self._store.append(self._node, self._recording, chunk)
        self._server.ack(chunk.number + 1)

    async def _finish(self, position: Position) -> None:
        await self._store.finish(self._node, self._recording, position)
        self._server.verified(position)

    async def _abandon(self, reason: str) -> None:
        position = await self._store.abandon(self._node, self._recording, reason)
        self._server.verified(position)

    async def _list(self, inventory: Inventory) -> None:
        self._listed.extend(inventory.recordings)
        if len(self._listed) > INVENTORY_LIMIT:
            raise RemoteUploadError("a node holds fewer recordings than that")
        if inventory.is_complete:
            await self._store.still_held(self._node, frozenset(self._listed))
            self._listed.clear()

    def _refuse(self, error: MeziteError) -> None:
        if self._is_gone:
            return
        self._log.warn(
            "the recording {id} of {node} is not taken: {error}",
            id=self._recording,
            node=self._node.node,
            error=error,
        )
        if self._server.state in (ServerState.LISTED, ServerState.GREETING):
            self.transport.abortConnection()
            return
        code = RefusalCode.NEVER if isinstance(error, Denied) else RefusalCode.NOT_NOW
        self._server.refuse(code, str(error))
        self._flush()
        self.transport.loseConnection()

    def _break(self, error: Exception) -> None:
        if not self._is_gone:
            self._log.warn("{node}: {error}", node=self._node.node, error=error)
            self._is_gone = True
            self._stop_waiting()
            self.transport.abortConnection()

    def _flush(self) -> None:
        data = self._server.data_to_send()
        if data and not self._is_gone:
            self.transport.write(data)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
