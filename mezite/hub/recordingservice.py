"""
The auth service's methods about recordings: listed, read, held and removed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attrs import evolve, field, frozen
from google.protobuf.message import Message

from mezite.audit.events import EventType
from mezite.auth.recordkeeping import RecordKeeping
from mezite.auth.reviewing import Reviewer, Reviewing
from mezite.auth.trail import AuditTrail
from mezite.error import BadInput, Denied
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.hub.paging import length_of, read_token, token_of
from mezite.hub.recordingintake import RecordingIntake
from mezite.names import UserName
from mezite.recording.events import Kind
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.error import NoSuchRecording
from mezite.store.recordings import VISIBLE, RecordingQuery, RecordingRecord, RecordingState
from mezite.store.records import UserRecord

# Stock gRPC clients take 4 MiB.
READ_BYTES: Final = 1024 * 1024
# Whoever goes on reading within this time is still viewing, and is one event.
VIEWING_SECONDS: Final = 600.0
_VIEWINGS: Final = 4096
_TEXT_LENGTH: Final = 255

_STATES: Final[Mapping[RecordingState, pb.RecordingState.ValueType]] = {
    RecordingState.LIVE: pb.RECORDING_STATE_LIVE,
    RecordingState.COMPLETE: pb.RECORDING_STATE_COMPLETE,
    RecordingState.INTERRUPTED: pb.RECORDING_STATE_INTERRUPTED,
}
_STATE_OF: Final = {message: state for state, message in _STATES.items()}
_KINDS: Final[Mapping[Kind, pb.RecordingKind.ValueType]] = {
    Kind.SHELL: pb.RECORDING_KIND_SHELL,
    Kind.COMMAND: pb.RECORDING_KIND_COMMAND,
    Kind.SFTP: pb.RECORDING_KIND_SFTP,
    Kind.FORWARDS: pb.RECORDING_KIND_FORWARDS,
}


@frozen
class RecordingMethods:
    """The methods, by what they are called."""

    keeping: RecordKeeping
    intake: RecordingIntake
    reviewing: Reviewing
    trail: AuditTrail
    wall_clock: Callable[[], float]
    # Who views what, by when they last read of it.
    _viewings: OrderedDict[tuple[str, str, bool], float] = field(
        init=False, factory=OrderedDict, repr=False
    )

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "ListRecordings": self.list_recordings,
            "GetRecording": self.get_recording,
            "ReadRecording": self.read_recording,
            "HoldRecording": self.hold_recording,
            "ReleaseRecording": self.release_recording,
            "DeleteRecording": self.delete_recording,
        }

    async def list_recordings(
        self, who: Subject, _call: Call, request: pb.ListRecordingsRequest
    ) -> Message:
        query = _query(request)
        size = length_of(request.page_size)
        reviewer = None if who.user is None else await self.reviewing.reviewer(who.user)
        if reviewer is not None and not reviewer.sees_any:
            query = _own(reviewer.record, query)
        found = await self.keeping.list(query, size + 1)
        shown = found[:size]
        return pb.ListRecordingsResponse(
            # Those in between that are not for the caller make a page shorter, or empty.
            recordings=[
                self._message(record) for record in shown if await _is_for(reviewer, record)
            ],
            next_page_token=token_of(shown[-1].created, shown[-1].id) if len(found) > size else "",
        )

    async def get_recording(
        self, who: Subject, _call: Call, request: pb.GetRecordingRequest
    ) -> Message:
        return pb.GetRecordingResponse(recording=self._message(await self._find(who, request.id)))

    async def read_recording(
        self, who: Subject, _call: Call, request: pb.ReadRecordingRequest
    ) -> Message:
        if request.offset < 0:
            raise BadInput("an offset is not below 0")
        record = await self._find(who, request.id)
        if who.user is None or not _is_own(who.user, record):
            await self._note_viewing(who, record)
        length = request.max_bytes if 0 < request.max_bytes <= READ_BYTES else READ_BYTES
        return pb.ReadRecordingResponse(
            data=await self.keeping.read(record, request.offset, length),
            state=_STATES[record.state],
            encrypted=_is_encrypted(record),
        )

    async def _note_viewing(self, who: Subject, record: RecordingRecord) -> None:
        is_live, now = record.state is RecordingState.LIVE, self.wall_clock()
        viewing = who.name, record.id, is_live
        last = self._viewings.get(viewing)
        if last is None or not last <= now < last + VIEWING_SECONDS:
            session = record.session
            event = self.trail.event(
                EventType.SESSION_WATCHED if is_live else EventType.RECORDING_PLAYED,
                who.actor,
                target=record.id,
                node=session.node,
                login=session.login,
                session_id=session.session_id,
                user=session.user.text,
            )
            await self.trail.record(event)
        self._viewings.pop(viewing, None)
        self._viewings[viewing] = now
        if len(self._viewings) > _VIEWINGS:
            self._viewings.popitem(last=False)

    async def hold_recording(
        self, who: Subject, _call: Call, request: pb.HoldRecordingRequest
    ) -> Message:
        if not request.reason.strip():
            raise BadInput("a hold needs a reason, which auditors read later")
        held = await self.keeping.hold(request.id, request.reason, by=who.actor)
        return pb.HoldRecordingResponse(recording=self._message(held))

    async def release_recording(
        self, who: Subject, _call: Call, request: pb.ReleaseRecordingRequest
    ) -> Message:
        released = await self.keeping.release(request.id, by=who.actor)
        return pb.ReleaseRecordingResponse(recording=self._message(released))

    async def delete_recording(
        self, who: Subject, _call: Call, request: pb.DeleteRecordingRequest
    ) -> Message:
        await self.keeping.remove(request.id, by=who.actor, reason=request.reason)
        return pb.DeleteRecordingResponse()

    async def _find(self, who: Subject, recording_id: str) -> RecordingRecord:
        record = await self.keeping.find(recording_id[:_TEXT_LENGTH])
        if not await self._may_see(who, record):
            # As for one that is not there: ids of others' sessions are not confirmed.
            raise NoSuchRecording(recording_id)
        return record

    async def _may_see(self, who: Subject, record: RecordingRecord) -> bool:
        # Whoever reads their own asks no roles.
        if who.user is None or _is_own(who.user, record):
            return True
        return await (await self.reviewing.reviewer(who.user)).may_see(record.session)

    def _message(self, record: RecordingRecord) -> pb.Recording:
        return recording_message(record, self.intake)


def recording_message(record: RecordingRecord, intake: RecordingIntake) -> pb.Recording:
    """A recording as lists show it."""
    session, hold, extent = record.session, record.hold, record.extent
    is_live = record.state is RecordingState.LIVE
    if is_live:
        kept = intake.kept(record.id)
        extent = None if kept is None else kept.extent
    message = pb.Recording(
        id=record.id,
        session_id=session.session_id,
        user=session.user.text,
        login=session.login.text,
        node=session.node.text,
        agent_id=session.agent_id.text,
        client_address=session.address,
        kind=_KINDS[record.kind],
        command=record.command,
        state=_STATES[record.state],
        created=int(record.created),
        ended=0 if is_live or record.ended is None else int(record.ended),
        encrypted=_is_encrypted(record),
        reason="" if is_live else record.reason,
    )
    if extent is not None:
        message.seconds = extent.seconds
        is_stored = record.is_stored and not is_live
        message.size = record.stored_size if is_stored else extent.size
    if extent is not None and not is_live:
        message.chunks, message.chain = extent.position.number, extent.position.chain.hex()
    if hold is not None:
        message.held_by, message.held_since = hold.by, int(hold.since)
        message.held_reason = hold.reason
    return message


def _is_encrypted(record: RecordingRecord) -> bool:
    return record.is_closed and record.is_stored and record.is_sealed


async def _is_for(reviewer: Reviewer | None, record: RecordingRecord) -> bool:
    """Whether a caller may see it; None is the admin socket, which is nobody."""
    if reviewer is None or _is_own(reviewer.record, record):
        return True
    return await reviewer.may_see(record.session)


def _is_own(user: UserRecord, record: RecordingRecord) -> bool:
    # Another person may have had the name before.
    return record.session.user == user.name and record.created >= user.created


def _own(user: UserRecord, query: RecordingQuery) -> RecordingQuery:
    """The same, of a user's own."""
    if query.user not in (None, user.name):
        raise Denied("the recordings of others are for auditors, and for whom a role lets see them")
    since = max(query.since or 0.0, user.created)
    return evolve(query, user=user.name, since=since)


def _query(request: pb.ListRecordingsRequest) -> RecordingQuery:
    return RecordingQuery(
        user=UserName.parse(request.user) if request.user else None,
        node=request.node[:_TEXT_LENGTH],
        session_id=request.session_id[:_TEXT_LENGTH],
        since=float(request.since) or None,
        until=float(request.until) or None,
        states=_read_states(request.states) or VISIBLE,
        before=read_token(request.page_token),
    )


def _read_states(
    states: Iterable[pb.RecordingState.ValueType],
) -> frozenset[RecordingState]:
    read = set()
    for state in states:
        if state not in _STATE_OF:
            raise BadInput("states names one that this hub does not know")
        read.add(_STATE_OF[state])
    return frozenset(read)
