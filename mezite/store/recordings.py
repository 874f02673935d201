"""
What can be asked of a store about recordings: whose each is, and how far it has come.

Beside :mod:`mezite.store.interfaces`, and under its rules. The bytes of a
recording are an :class:`~mezite.store.recordingfiles.IRecordingStore`'s.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Final

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from mezite.audit.events import AuditEvent
from mezite.names import AgentId, LoginName, NodeName, UserName
from mezite.recording.chunks import Position
from mezite.recording.events import Kind
from mezite.store.error import RecordingHeld, RecordingIsLive

# Of a command that was recorded, what lists show.
COMMAND_LENGTH: Final = 1024
# Forgetting sessions without recordings takes some milliseconds for so many.
SESSIONS_PURGED_AT_ONCE: Final = 5000


@frozen
class RecordedSession:
    """
    A session that was let begin, and is to be recorded.

    ``address`` is where the user came from. Only the node whose ``agent_id`` it
    names can bring recordings of it.
    """

    session_id: str
    user: UserName
    login: LoginName
    node: NodeName
    agent_id: AgentId
    address: str
    started: float


class RecordingState(enum.Enum):
    """How far a recording has come."""

    LIVE = "live"
    COMPLETE = "complete"
    # It ends with the last event of its last chunk.
    INTERRUPTED = "interrupted"
    # Nobody sees it any more; its bytes are about to go.
    REMOVING = "removing"


CLOSED: Final = frozenset({RecordingState.COMPLETE, RecordingState.INTERRUPTED})
VISIBLE: Final = CLOSED | {RecordingState.LIVE}


@frozen
class Hold:
    """An administrator's word that a recording is not to be removed."""

    by: str
    since: float
    reason: str


@frozen
class Extent:
    """
    How much of a recording there is: so many chunks, up to this chain, in so many bytes.

    ``seconds`` is the time of the last event.
    """

    position: Position
    size: int
    seconds: float = 0.0


@frozen
class RecordingRecord:
    """
    One recording.

    ``touched`` is when its node last brought something. ``extent`` is None until
    it is first closed. ``is_stored`` tells that its bytes stand in the place for
    closed recordings, in which they have ``stored_size``; until then they are
    among the incoming. ``may_return`` tells that the hub closed it without the
    node's word, so that the node may still have all of it.
    """

    id: str
    session: RecordedSession
    number: int
    created: float
    touched: float
    kind: Kind = Kind.SHELL
    command: str = ""
    state: RecordingState = RecordingState.LIVE
    extent: Extent | None = None
    ended: float | None = None
    is_stored: bool = False
    is_sealed: bool = False
    stored_size: int = 0
    reason: str = ""
    may_return: bool = False
    hold: Hold | None = field(default=None)

    @property
    def is_closed(self) -> bool:
        return self.state in CLOSED

    def removing(self) -> RecordingRecord:
        """
        The same, about to go.

        :raises RecordingHeld:
        :raises RecordingIsLive:
        """
        if self.hold is not None:
            raise RecordingHeld(self.id, self.hold.by)
        if self.state is RecordingState.LIVE:
            raise RecordingIsLive(self.id)
        return evolve(self, state=RecordingState.REMOVING)


@frozen
class RecordingQuery:
    """
    Which recordings: of a user, of a node (a name or an agent id), created
    from and until, in these states; stored, or not yet.

    ``before`` is the time of creation and the id of the last that was seen.
    """

    user: UserName | None = None
    node: str = ""
    agent_id: AgentId | None = None
    session_id: str = ""
    since: float | None = None
    until: float | None = None
    states: frozenset[RecordingState] = VISIBLE
    is_stored: bool | None = None
    before: tuple[float, str] | None = None


class IRecordings(Interface):
    """The recordings that the hub has or is getting, and the sessions that they may be of."""

    def begin_session(
        session: RecordedSession, *, event: AuditEvent | None = None
    ) -> Deferred[None]:
        """Remember a session, so that its recordings are taken, now and later."""

    def session(session_id: str) -> Deferred[RecordedSession | None]:
        """The session of this id, if it is one that is recorded."""

    def purge_sessions(before: float) -> Deferred[int]:
        """
        Forget sessions that began earlier and have no recording; fires with how many.

        At most ``SESSIONS_PURGED_AT_ONCE``, the oldest first.
        """

    def add(record: RecordingRecord) -> Deferred[None]:
        """
        Keep a new recording.

        :raises RecordingExists:
        :raises NoSuchSession: its session is not known.
        """

    def get(recording_id: str) -> Deferred[RecordingRecord | None]:
        """The recording of this id; also one whose bytes are about to go."""

    def change(
        recording_id: str,
        change: Callable[[RecordingRecord], RecordingRecord],
        *,
        event: AuditEvent | None = None,
    ) -> Deferred[RecordingRecord]:
        """
        Replace a recording by what ``change`` makes of it, and fire with that.

        It is called in a thread, may be called twice, and is to do nothing but
        compute; what it raises is the answer, and leaves everything as it was.

        :raises NoSuchRecording:
        """

    def list(
        query: RecordingQuery, limit: int, *, oldest_first: bool = False
    ) -> Deferred[tuple[RecordingRecord, ...]]:
        """
        So many of those that are asked for at most, the newest first.

        ``before`` of the query is for that order only.
        """

    def removable(before: float, limit: int) -> Deferred[tuple[RecordingRecord, ...]]:
        """The oldest that were closed before this time, and that nothing holds."""

    def total() -> Deferred[int]:
        """How many bytes all those that are stored have together."""

    def remove(recording_id: str) -> Deferred[None]:
        """Forget a recording, if it is there."""
