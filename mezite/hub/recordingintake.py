"""
Recordings as they come in: whose are taken, how far each is, and when one is closed.

A :class:`RecordingIntake` has an :class:`Arrival` for each recording that is
being brought. The wire is :mod:`mezite.hub.recordinguploads`'s, and what becomes
of closed recordings :mod:`mezite.auth.recordkeeping`'s.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from typing import Final

from attrs import define, evolve, field
from twisted.logger import Logger
from zope.interface import implementer

from mezite.audit.events import HUB, Actor
from mezite.auth.recordkeeping import RecordKeeping
from mezite.error import Denied, LimitReached, MeziteError, Unavailable
from mezite.hub.livesessions import LiveSessions
from mezite.hub.recordinguploads import IRecordingIntake
from mezite.identity.x509 import NodeIdentity
from mezite.names import AgentId
from mezite.recording.chunks import Chunk, Position
from mezite.recording.events import Header
from mezite.store.error import RecordingsUnavailable
from mezite.store.recordingfiles import DamagedChunk, Kept
from mezite.store.recordings import (
    COMMAND_LENGTH,
    IRecordings,
    RecordedSession,
    RecordingQuery,
    RecordingRecord,
    RecordingState,
)
from mezite.store.transactions import Threads
from mezite.tasks import background

# Of one node: the recordings of its sessions now, and of those that were cut off. A node that
# makes up more fills neither the table nor the disk.
LIVE_OF_A_NODE: Final = 2048
BYTES_OF_A_NODE: Final = 256 * 1024**3
# Twelve hours at 1 MB/s.
BYTES_OF_A_RECORDING: Final = 64 * 1024**3
# Where each of these ends is remembered, so that an agent that comes and goes costs no reading.
_REMEMBERED: Final = 4096
_SWEPT: Final = 500
_BACK_WITHOUT: Final = "the node came back without it"

_LIVE: Final = frozenset({RecordingState.LIVE})


class RecordingNotTaken(Denied):
    """The hub will never take this recording as it is."""


@define(eq=False)
class Arrival:
    """
    One recording that is being brought: a :class:`~mezite.hub.recordinguploads.Brought`.

    ``drop`` is called when another stream comes in the place of the one.
    """

    record: RecordingRecord
    kept: Kept
    by: Actor
    drop: Callable[[], None] = field(repr=False)
    is_over: bool = False

    @property
    def position(self) -> Position:
        if self.is_over and self.record.extent is not None:
            return self.record.extent.position
        return self.kept.extent.position

    @property
    def is_whole(self) -> bool:
        return self.kept.is_whole


@implementer(IRecordingIntake)
class RecordingIntake:
    """Takes recordings in, and closes those that do not come any more."""

    _log = Logger()

    def __init__(
        self,
        recordings: IRecordings,
        keeping: RecordKeeping,
        live: LiveSessions,
        *,
        threads: Threads,
        wall_clock: Callable[[], float],
        abandon_after: float,
    ) -> None:
        """
        :param abandon_after: seconds until a recording of which nothing more comes is closed.
        """
        self._recordings = recordings
        self._keeping = keeping
        self._live = live
        self._threads = threads
        self._wall_clock = wall_clock
        self._abandon_after = abandon_after
        self._arrivals: dict[str, Arrival] = {}
        # Of recordings that nobody brings just now, too.
        self._known: OrderedDict[str, Kept] = OrderedDict()

    def __len__(self) -> int:
        return len(self._arrivals)

    def kept(self, recording: str) -> Kept | None:
        """What is kept of a live recording, as far as that is in memory."""
        arrival = self._arrivals.get(recording)
        return self._known.get(recording) if arrival is None else arrival.kept

    async def begin(
        self, node: NodeIdentity, address: str, recording: str, drop: Callable[[], None]
    ) -> Arrival:
        """
        Let a node bring a recording, in the place of any other stream that does.

        :raises RecordingNotTaken: it is of no session of this node.
        :raises Unavailable: it can be tried again later.
        """
        by = Actor(node.node.text, address)
        session_id, _, number = recording.partition(".")
        session = await self._recordings.session(session_id)
        if session is None or session.agent_id != node.agent_id:
            raise RecordingNotTaken("the hub knows no such session of this node")
        before = self._arrivals.pop(recording, None)
        if before is not None:
            before.drop()
        async with self._keeping.turns.of(recording):
            record = await self._record(recording, session, int(number))
            if record.is_closed:
                return Arrival(record, Kept.nothing(recording), by, drop, is_over=True)
            if record.state is not RecordingState.LIVE:
                raise Unavailable("this recording is being removed")
            arrival = Arrival(record, await self._recovered(recording), by, drop)
            other = self._arrivals.pop(recording, None)
            if other is not None:
                other.drop()
            self._arrivals[recording] = arrival
            return arrival

    async def _record(
        self, recording: str, session: RecordedSession, number: int
    ) -> RecordingRecord:
        """The recording, live unless the node itself ended it."""
        now = self._wall_clock()
        found = await self._recordings.get(recording)
        record: RecordingRecord
        if found is None:
            await self._check_share(session.agent_id)
            record = RecordingRecord(recording, session, number, created=now, touched=now)
            await self._recordings.add(record)
            return record
        if found.state is RecordingState.LIVE or (found.is_closed and found.may_return):
            record = await self._recordings.change(
                recording, lambda each: evolve(each, state=RecordingState.LIVE, touched=now)
            )
            return record
        record = found
        return record

    async def _check_share(self, agent_id: AgentId) -> None:
        theirs = await self._recordings.list(
            RecordingQuery(agent_id=agent_id, states=_LIVE), LIVE_OF_A_NODE
        )
        if len(theirs) >= LIVE_OF_A_NODE:
            raise LimitReached("the hub has too many unfinished recordings of this node")
        names = [each.id for each in theirs]
        if await self._threads.run(lambda: self._keeping.incoming.size(names)) > BYTES_OF_A_NODE:
            raise LimitReached("the hub has too much of unfinished recordings of this node")

    async def _recovered(self, recording: str) -> Kept:
        kept = self._known.get(recording)
        if kept is None:
            found: Kept = await self._threads.run(lambda: self._keeping.incoming.recover(recording))
            kept = found
        return kept

    def _remember(self, recording: str, kept: Kept | None) -> None:
        self._known.pop(recording, None)
        if kept is not None:
            self._known[recording] = kept
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)

    async def append(self, arrival: Arrival, chunks: Sequence[Chunk]) -> None:
        """
        Keep chunks that follow what is kept; afterwards they survive a crash.

        :raises RecordingNotTaken: they are damaged, or are of another recording.
        :raises Unavailable: for example, the disk is full.
        """
        record = arrival.record
        async with self._keeping.turns.of(record.id):
            self._check_current(arrival)
            before = arrival.kept
            if before.extent.size > BYTES_OF_A_RECORDING:
                raise RecordingNotTaken("this recording is too large for the hub")
            # Until it is known how that went.
            self._remember(record.id, None)
            try:
                kept = await self._threads.run(
                    lambda: self._keeping.incoming.append(
                        record.id, before, chunks, lambda header: _check_header(record, header)
                    )
                )
            except DamagedChunk as error:
                raise RecordingNotTaken(str(error)) from None
            arrival.kept = kept
            self._remember(record.id, kept)
            if before.header is None and kept.header is not None:
                arrival.record = await self._described(record, kept.header)

    async def _described(self, record: RecordingRecord, header: Header) -> RecordingRecord:
        command = (header.command or b"").decode("utf-8", "replace")[:COMMAND_LENGTH]
        changed: RecordingRecord = await self._recordings.change(
            record.id, lambda found: evolve(found, kind=header.kind, command=command)
        )
        return changed

    def _check_current(self, arrival: Arrival) -> None:
        if self._arrivals.get(arrival.record.id) is not arrival:
            raise Unavailable("another stream brings this recording now")

    async def finish(self, arrival: Arrival) -> Position:
        """The recording is whole."""
        return await self._close(arrival, "")

    async def abandon(self, arrival: Arrival, reason: str) -> Position:
        """The node says that it was cut off, and that there is no more."""
        return await self._close(arrival, reason or "the node says that it was cut off")

    async def _close(self, arrival: Arrival, reason: str) -> Position:
        recording = arrival.record.id
        async with self._keeping.turns.of(recording):
            self._check_current(arrival)
            closed = await self._keeping.close(
                arrival.record, arrival.kept, by=arrival.by, reason=reason
            )
            del self._arrivals[recording]
            self._remember(recording, None)
        background(self._keeping.put_away(recording), doing=f"putting recording {recording} away")
        assert closed.extent is not None
        return closed.extent.position

    async def leave(self, arrival: Arrival) -> None:
        """Nobody brings this recording any more, for now."""
        recording, now = arrival.record.id, self._wall_clock()
        if self._arrivals.get(recording) is not arrival:
            return
        del self._arrivals[recording]
        await self._recordings.change(
            recording, lambda found: evolve(found, touched=max(found.touched, now))
        )

    async def give_up(self, record: RecordingRecord, reason: str, *, by: Actor) -> None:
        """Close a recording of which no more comes, without its node's word."""
        async with self._keeping.turns.of(record.id):
            found = await self._recordings.get(record.id)
            if found is None or found.state is not RecordingState.LIVE:
                return
            if record.id in self._arrivals or found.touched > record.touched:
                return
            kept = await self._recovered(record.id)
            await self._keeping.close(found, kept, by=by, reason=reason, may_return=True)
            self._remember(record.id, None)
        await self._keeping.put_away(record.id)

    async def inventory(
        self, node: NodeIdentity, address: str, held: Collection[str], since: float
    ) -> None:
        """
        Close what a node that came back does not have any more.

        :param since: when its tunnel came up; what was touched since is being brought.
        """
        theirs = await self._recordings.list(
            RecordingQuery(agent_id=node.agent_id, states=_LIVE), LIVE_OF_A_NODE
        )
        for record in theirs:
            if record.id not in held and record.touched < since:
                await self._try_to_give_up(record, _BACK_WITHOUT, Actor(node.node.text, address))

    async def sweep(self) -> None:
        """Close what nobody has brought anything of for too long."""
        before = self._wall_clock() - self._abandon_after
        oldest = await self._recordings.list(
            RecordingQuery(states=_LIVE, until=before), _SWEPT, oldest_first=True
        )
        for record in oldest:
            going_on = self._live.find(record.session.session_id) is not None
            if record.touched < before and not going_on:
                reason = f"nothing came for {self._abandon_after / 3600:g} hours"
                await self._try_to_give_up(record, reason, HUB)

    async def _try_to_give_up(self, record: RecordingRecord, reason: str, by: Actor) -> None:
        try:
            await self.give_up(record, reason, by=by)
        except RecordingsUnavailable as error:
            self._log.warn("recording {id} waits: {why}", id=record.id, why=error.reason)
        except MeziteError as error:
            self._log.warn("recording {id} stays live: {error}", id=record.id, error=error)


def _check_header(record: RecordingRecord, header: Header) -> None:
    """:raises DamagedChunk: it is the header of something else."""
    session = record.session
    if (header.session, header.number) != (session.session_id, record.number):
        raise DamagedChunk("the recording's header names another recording")
    if header.node != session.node.text:
        raise DamagedChunk("the recording's header names another node")
