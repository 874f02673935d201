"""
Recordings as they come in from agents: a stream of the service "recording".

A :class:`RecordingReceiver` puts an :class:`~mezite.recording.upload.UploadServer`
on one stream, and hands what comes to an :class:`IRecordingIntake`. Which node it
is, the tunnel's certificate has said.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Final, Protocol

from attrs import define
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.internet.protocol import connectionDone
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
# Chunks that wait for the disk: above the first a stream is not read, and above the second
# no stream that has some is, so that each adds what it holds already, and a message.
HELD_OF_A_STREAM: Final = 1024 * 1024
HELD: Final = 128 * 1024 * 1024

_Said = Hello | Chunk | Finish | Abandon | Inventory


class Brought(Protocol):
    """
    A recording that a stream brings, as far as it has come.

    ``is_whole`` says that its last chunk is there, ``is_over`` that it is closed:
    verified before, or interrupted.
    """

    @property
    def position(self) -> Position: ...

    @property
    def is_whole(self) -> bool: ...

    @property
    def is_over(self) -> bool: ...


class IRecordingIntake(Interface):
    """
    Who takes recordings.

    What fires has happened, and survives a crash. :class:`~mezite.error.Denied`
    means that a recording will never be taken, every other
    :class:`~mezite.error.MeziteError` that it is not taken now. ``brought``
    is what ``begin`` gave.
    """

    def begin(
        node: NodeIdentity, address: str, recording: str, drop: Callable[[], None]
    ) -> Awaitable[Brought]:
        """
        A recording that this node brings from now on; for a new one, nothing is there.

        Whoever brought it before is dropped; so may this one be, unless it is over.
        """

    def append(brought: Any, chunks: Sequence[Chunk]) -> Awaitable[None]:
        """Keep chunks behind those that are there."""

    def finish(brought: Any) -> Awaitable[Position]:
        """All is there; up to where."""

    def abandon(brought: Any, reason: str) -> Awaitable[Position]:
        """There will be no more: it is interrupted where it ends now."""

    def leave(brought: Any) -> Awaitable[None]:
        """The stream has gone; the recording goes on with another."""

    def inventory(
        node: NodeIdentity, address: str, held: Collection[str], since: float
    ) -> Awaitable[None]:
        """The node has these, on the tunnel since then, and will not go on with any other."""


@define(eq=False)
class HeldBytes:
    """How much waits for the disk, of all streams of this hub."""

    total: int = 0


class RecordingReceiver(TwistedProtocol):
    """One stream: what is said waits in order, and is answered one at a time."""

    transport: Any
    _log = Logger()

    def __init__(
        self,
        node: NodeIdentity,
        intake: Any,
        clock: IReactorTime,
        *,
        address: str = "",
        since: float = 0.0,
        held: HeldBytes | None = None,
    ) -> None:
        """
        :param intake: an :class:`IRecordingIntake`.
        :param address: where the tunnel comes from, which is up ``since`` then.
        """
        self._node = node
        self._address = address
        self._since = since
        self._intake = intake
        self._clock = clock
        self._server = UploadServer()
        self._brought: Brought | None = None
        self._listed: list[str] = []
        # What came, in order, and how many bytes of chunks are in it.
        self._waiting: deque[_Said] = deque()
        self._held = 0
        self._all_held = held or HeldBytes()
        self._is_paused = False
        self._is_working = False
        self._is_gone = False
        self._deadline: IDelayedCall | None = None

    def connectionMade(self) -> None:
        self._deadline = self._clock.callLater(HELLO_SECONDS, self._expire)

    def dataReceived(self, data: bytes) -> None:
        if self._is_gone:
            return
        try:
            said = self._server.receive(data)
        except RemoteUploadError as error:
            self._break(error)
            return
        if self._server.state is not ServerState.GREETING:
            self._stop_waiting()
        self._waiting.extend(said)
        self._hold(_size(said))
        if not self._is_working and self._waiting:
            self._is_working = True
            background(self._drain(), doing="keeping a recording")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_gone = True
        self._stop_waiting()
        if self._server.state is not ServerState.LISTED:
            # An agent that has said its list goes; one that uploads will begin again.
            self._clear()
        if not self._is_working:
            self._leave()

    def drop(self) -> None:
        """Another stream brings the recording from now on."""
        self._abort()

    def _expire(self) -> None:
        self._deadline = None
        self._break(RemoteUploadError("the agent does not say which recording this is"))

    async def _drain(self) -> None:
        try:
            while self._waiting:
                await self._keep(self._next())
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
            self._hold(-self._held)
            if self._is_gone:
                self._leave()

    def _next(self) -> list[_Said]:
        """What was said first, with all chunks behind it if it is one."""
        found = [self._waiting.popleft()]
        while isinstance(found[0], Chunk) and self._waiting:
            if not isinstance(self._waiting[0], Chunk):
                break
            found.append(self._waiting.popleft())
        return found

    async def _keep(self, said: Sequence[_Said]) -> None:
        brought = self._brought
        match said[0]:
            case Hello(recording=recording):
                await self._begin(recording)
            case Inventory():
                await self._list(said[0])
            case Chunk() if brought is not None:
                chunks = [each for each in said if isinstance(each, Chunk)]
                await self._intake.append(brought, chunks)
                self._server.ack(chunks[-1].number + 1)
                self._hold(-_size(chunks))
            case Finish() if brought is not None:
                self._server.verified(await self._intake.finish(brought))
            case Abandon(reason=reason) if brought is not None:
                self._server.verified(await self._intake.abandon(brought, reason))

    async def _begin(self, recording: str) -> None:
        brought: Brought = await self._intake.begin(self._node, self._address, recording, self.drop)
        self._brought = brought
        if brought.is_over:
            self._server.verified(brought.position)
        else:
            self._server.resume(brought.position, is_whole=brought.is_whole)

    async def _list(self, inventory: Inventory) -> None:
        self._listed.extend(inventory.recordings)
        if len(self._listed) > INVENTORY_LIMIT:
            raise RemoteUploadError("a node holds fewer recordings than that")
        if inventory.is_complete:
            listed, self._listed = frozenset(self._listed), []
            await self._intake.inventory(self._node, self._address, listed, self._since)

    def _hold(self, number: int) -> None:
        """Stop reading while too much waits for the disk, and go on when it does not."""
        self._held += number
        self._all_held.total += number
        if self._is_gone:
            return
        # Who holds nothing is not stopped: nothing would start it again.
        is_much = self._held > HELD_OF_A_STREAM or (self._held and self._all_held.total > HELD)
        if is_much and not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()
        elif self._is_paused and not is_much:
            self._is_paused = False
            self.transport.resumeProducing()

    def _clear(self) -> None:
        gone = _size(self._waiting)
        self._waiting.clear()
        self._hold(-gone)

    def _refuse(self, error: MeziteError) -> None:
        self._clear()
        if self._is_gone:
            return
        self._log.warn(
            "a recording of {node} is not taken: {error} ({reason})",
            node=self._node.node,
            error=error,
            reason=getattr(error, "reason", ""),
        )
        if self._server.state in (ServerState.LISTED, ServerState.GREETING):
            self._abort()
            return
        code = RefusalCode.NEVER if isinstance(error, Denied) else RefusalCode.NOT_NOW
        self._server.refuse(code, str(error))
        self._flush()
        self.transport.loseConnection()

    def _break(self, error: Exception) -> None:
        if not self._is_gone:
            self._log.warn("{node}: {error}", node=self._node.node, error=error)
            self._abort()

    def _abort(self) -> None:
        if not self._is_gone:
            self._is_gone = True
            self._stop_waiting()
            self._clear()
            self.transport.abortConnection()

    def _leave(self) -> None:
        brought, self._brought = self._brought, None
        if brought is not None:
            background(self._left(brought), doing="noting that a stream has gone")

    async def _left(self, brought: Brought) -> None:
        await self._intake.leave(brought)

    def _flush(self) -> None:
        data = self._server.data_to_send()
        if data and not self._is_gone:
            self.transport.write(data)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _size(said: Collection[_Said]) -> int:
    return sum(each.size for each in said if isinstance(each, Chunk))
