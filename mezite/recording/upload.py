"""
How a recording comes to the hub whole, whatever is cut in between.

An :class:`UploadClient` is the agent's half of one stream, an
:class:`UploadServer` the hub's. They decide who may say what when; the chunks
come from the agent's spool, and go to the hub's store, by whoever owns them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from mezite.recording.chunks import Chunk, ChunkReader, Position
from mezite.recording.error import BadChunk, LocalRecordingError, RemoteUploadError
from mezite.recording.uploadwire import (
    FROM_AGENT,
    FROM_HUB,
    VERSION,
    Abandon,
    Acked,
    ChunkSent,
    Finish,
    Hello,
    Inventory,
    Message,
    MessageReader,
    RefusalCode,
    Refused,
    Resume,
    Verified,
    encode,
)

# Chunks that are sent and not yet acknowledged: 2 MiB fill a line of 100 ms at 160 Mbit/s.
UNACKED: Final = 8


class ClientState(enum.Enum):
    """What the agent's half is doing."""

    GREETING = enum.auto()
    SENDING = enum.auto()
    # All is sent, or what the hub has is all there will be.
    ENDING = enum.auto()
    OVER = enum.auto()


_CLIENT: Final[Mapping[tuple[ClientState, type], ClientState]] = {
    (ClientState.GREETING, Resume): ClientState.SENDING,
    # The hub had it whole before: its answer was lost.
    (ClientState.GREETING, Verified): ClientState.OVER,
    (ClientState.GREETING, Refused): ClientState.OVER,
    (ClientState.SENDING, Acked): ClientState.SENDING,
    (ClientState.SENDING, Refused): ClientState.OVER,
    (ClientState.ENDING, Acked): ClientState.ENDING,
    (ClientState.ENDING, Verified): ClientState.OVER,
    (ClientState.ENDING, Refused): ClientState.OVER,
}


class UploadClient:
    """The agent's half of one upload."""

    def __init__(self, recording: str) -> None:
        self.state = ClientState.GREETING
        # The chunk to send next, and the first that is not acknowledged.
        self.next_number = 0
        self.acked = 0
        # Where the recording ends, if it was finished and not abandoned.
        self._end_position: Position | None = None
        self._reader = MessageReader(FROM_HUB)
        self._outgoing = bytearray(encode(Hello(recording)))

    def data_to_send(self) -> bytes:
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    @property
    def may_send(self) -> bool:
        """Whether :attr:`next_number` can be sent now."""
        return self.state is ClientState.SENDING and self.next_number - self.acked < UNACKED

    @property
    def is_all_acked(self) -> bool:
        return self.state is ClientState.SENDING and self.acked == self.next_number

    def receive(self, data: bytes) -> list[Message]:
        """
        What the hub said.

        :raises RemoteUploadError:
        """
        messages = self._reader.receive(data)
        for message in messages:
            state = _CLIENT.get((self.state, type(message)))
            if state is None:
                raise RemoteUploadError(f"the hub said {type(message).__name__} out of turn")
            self.state = state
            match message:
                case Resume(position=position):
                    self.next_number = self.acked = position.number
                case Acked(number=number):
                    if not self.acked < number <= self.next_number:
                        raise RemoteUploadError("the hub acknowledged what was not sent")
                    self.acked = number
                case Verified(position=position) if self._end_position is not None:
                    if position != self._end_position:
                        raise RemoteUploadError("the hub verified something else than was sent")
        return messages

    def send_chunk(self, number: int, data: bytes) -> None:
        """The chunk of :attr:`next_number`."""
        if not self.may_send or number != self.next_number:
            raise LocalRecordingError(f"chunk {number} cannot be sent now")
        self._outgoing += encode(ChunkSent(data))
        self.next_number += 1

    def finish(self, position: Position) -> None:
        """The last chunk has been sent before, now or another time."""
        if position.number != self.next_number:
            raise LocalRecordingError("a recording is finished behind its last chunk")
        self._end(Finish(position))
        self._end_position = position

    def abandon(self, reason: str) -> None:
        """The recording was cut off, and all that is left of it has been sent."""
        self._end(Abandon(reason))

    def _end(self, message: Message) -> None:
        if self.state is not ClientState.SENDING:
            raise LocalRecordingError("an upload ends once, and not before the hub has answered")
        self.state = ClientState.ENDING
        self._outgoing += encode(message)


class ServerState(enum.Enum):
    """What the hub's half is doing."""

    GREETING = enum.auto()
    # The hub looks up what it has.
    ANSWERING = enum.auto()
    LISTED = enum.auto()
    RECEIVING = enum.auto()
    ENDING = enum.auto()
    OVER = enum.auto()


_SERVER: Final[Mapping[tuple[ServerState, type], ServerState]] = {
    (ServerState.GREETING, Hello): ServerState.ANSWERING,
    (ServerState.GREETING, Inventory): ServerState.LISTED,
    (ServerState.LISTED, Inventory): ServerState.LISTED,
    (ServerState.ANSWERING, Resume): ServerState.RECEIVING,
    (ServerState.ANSWERING, Verified): ServerState.OVER,
    (ServerState.ANSWERING, Refused): ServerState.OVER,
    (ServerState.RECEIVING, ChunkSent): ServerState.RECEIVING,
    (ServerState.RECEIVING, Acked): ServerState.RECEIVING,
    (ServerState.RECEIVING, Refused): ServerState.OVER,
    (ServerState.RECEIVING, Finish): ServerState.ENDING,
    (ServerState.RECEIVING, Abandon): ServerState.ENDING,
    (ServerState.ENDING, Acked): ServerState.ENDING,
    (ServerState.ENDING, Verified): ServerState.OVER,
    (ServerState.ENDING, Refused): ServerState.OVER,
}


class UploadServer:
    """
    The hub's half of one upload, or of one inventory.

    What it receives is checked against the chain before it is handed on. The
    store answers by :meth:`resume`, :meth:`ack`, :meth:`verified` and
    :meth:`refuse`.
    """

    def __init__(self) -> None:
        self.state = ServerState.GREETING
        self.acked = 0
        self._reader = MessageReader(FROM_AGENT)
        self._chunks: ChunkReader | None = None
        self._outgoing = bytearray()

    def data_to_send(self) -> bytes:
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    @property
    def position(self) -> Position:
        """Behind the latest chunk that came."""
        if self._chunks is None:
            raise LocalRecordingError("where an upload stands is known once it is resumed")
        return self._chunks.position

    @property
    def is_whole(self) -> bool:
        """Whether the last chunk has come."""
        return self._chunks is not None and self._chunks.is_finished

    def receive(self, data: bytes) -> list[Hello | Chunk | Finish | Abandon | Inventory]:
        """
        What the agent said, each chunk as what is in it.

        :raises RemoteUploadError: also for a chunk that is damaged or not the next.
        """
        return [self._understood(message) for message in self._reader.receive(data)]

    def _understood(self, message: Message) -> Hello | Chunk | Finish | Abandon | Inventory:
        self._move(type(message))
        match message:
            case ChunkSent(data=data):
                return self._chunk(data)
            case Finish(position=position) if position != self.position or not self.is_whole:
                raise RemoteUploadError("the recording does not end where the agent says")
            case Hello(version=version) if version != VERSION:
                raise RemoteUploadError(f"version {version} of uploads is not known here")
            case Hello() | Finish() | Abandon() | Inventory():
                return message
        raise RemoteUploadError(f"the agent said {type(message).__name__}")

    def _move(self, kind: type) -> None:
        state = _SERVER.get((self.state, kind))
        if state is None:
            raise RemoteUploadError(f"the agent said {kind.__name__} out of turn")
        self.state = state

    def _chunk(self, data: bytes) -> Chunk:
        assert self._chunks is not None
        try:
            found = self._chunks.receive(data)
        except BadChunk as error:
            raise RemoteUploadError(str(error)) from None
        if len(found) != 1 or self._chunks.held:
            raise RemoteUploadError("a message holds one whole chunk")
        if found[0].number - self.acked >= UNACKED:
            raise RemoteUploadError(f"more than {UNACKED} chunks wait to be acknowledged")
        return found[0]

    # What the store answers.

    def resume(self, position: Position, *, is_whole: bool = False) -> None:
        """
        This much is here; go on.

        :param is_whole: the last chunk is among it, and only the end is missing.
        """
        self._say(Resume(position))
        self.acked = position.number
        self._chunks = ChunkReader(position)
        self._chunks.is_finished = is_whole

    def ack(self, number: int) -> None:
        """Every chunk below this number is safe; nothing is said if that was known."""
        if number > self.acked:
            self._say(Acked(number))
            self.acked = number

    def verified(self, position: Position) -> None:
        self._say(Verified(position))

    def refuse(self, code: RefusalCode, sentence: str) -> None:
        self._say(Refused(code, sentence))

    def _say(self, message: Message) -> None:
        state = _SERVER.get((self.state, type(message)))
        if state is None:
            raise LocalRecordingError(f"{type(message).__name__} cannot be said now")
        self.state = state
        self._outgoing += encode(message)
