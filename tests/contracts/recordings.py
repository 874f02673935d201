"""
What every store does with what is known of recordings.
"""

from __future__ import annotations

from attrs import evolve
from zope.interface.verify import verifyObject

from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.names import AgentId, LoginName, NodeName, UserName
from mezite.recording.chunks import Position
from mezite.recording.events import Kind
from mezite.store.error import (
    NoSuchRecording,
    NoSuchSession,
    RecordingExists,
    RecordingHeld,
    RecordingIsLive,
)
from mezite.store.recordings import (
    VISIBLE,
    Extent,
    Hold,
    IRecordings,
    RecordedSession,
    RecordingQuery,
    RecordingRecord,
    RecordingState,
)
from tests.contracts.store import StoreContract

START = 1000.25
ADA = UserName("ada")
BOB = UserName("bob")
ID_1 = AgentId("00000000-0000-4000-8000-000000000001")
ID_2 = AgentId("00000000-0000-4000-8000-000000000002")


def session(number: int, user: UserName = ADA, agent_id: AgentId = ID_1) -> RecordedSession:
    """A session whose id and age follow from the number."""
    node = NodeName("db1" if agent_id == ID_1 else "db2")
    login = LoginName("root")
    return RecordedSession(f"s{number}", user, login, node, agent_id, "192.0.2.7:1", START + number)


def recording(of: RecordedSession, number: int = 1) -> RecordingRecord:
    """A live recording of a session."""
    return RecordingRecord(
        f"{of.session_id}.{number}", of, number, created=of.started, touched=of.started
    )


def closed(record: RecordingRecord, size: int = 10) -> RecordingRecord:
    """A recording, complete and stored, a second after it began."""
    return evolve(
        record,
        kind=Kind.COMMAND,
        command="true \N{SNOWMAN}",
        state=RecordingState.COMPLETE,
        extent=Extent(Position(2**31, b"\x07" * 32), 2**40, 1.5),
        ended=record.created + 1,
        is_stored=True,
        is_sealed=True,
        stored_size=size,
    )


class RecordingsContract(StoreContract):
    """What :class:`IRecordings` promises."""

    def add(self, *records: RecordingRecord) -> None:
        for each in records:
            self.answer(self.store.recordings.begin_session(each.session))
            self.answer(self.store.recordings.add(each))

    def listed(self, query: RecordingQuery, limit: int = 100, **more: bool) -> list[str]:
        return [each.id for each in self.answer(self.store.recordings.list(query, limit, **more))]

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IRecordings, self.store.recordings)

    def test_round_trip(self) -> None:
        """A recording is kept with everything in it."""
        store = self.store.recordings
        record = recording(session(1))
        self.add(record)
        self.assertEqual(self.answer(store.get("s1.1")), record)
        self.assertEqual(self.answer(store.session("s1")), record.session)
        held = evolve(
            closed(record), hold=Hold("grace", 2.5, "case 7"), reason="gone", may_return=True
        )
        self.assertEqual(self.answer(store.change("s1.1", lambda _: held)), held)
        self.assertEqual(self.answer(store.get("s1.1")), held)

    def test_unknown(self) -> None:
        """What is not there is not found, and a recording needs its session."""
        store = self.store.recordings
        self.assertIsNone(self.answer(store.get("s1.1")))
        self.assertIsNone(self.answer(store.session("s1")))
        self.refusal(store.change("s1.1", lambda found: found), NoSuchRecording)
        self.refusal(store.add(recording(session(1))), NoSuchSession)
        self.answer(store.remove("s1.1"))

    def test_twice(self) -> None:
        """A recording is added once; a session that begins twice stays as it was."""
        self.add(recording(session(1)))
        self.refusal(self.store.recordings.add(recording(session(1))), RecordingExists)
        self.answer(self.store.recordings.begin_session(session(1, BOB)))
        self.assertEqual(self.answer(self.store.recordings.session("s1")), session(1))

    def test_change_that_is_refused(self) -> None:
        """What a change raises leaves everything as it was, and no event."""
        held = evolve(closed(recording(session(1))), hold=Hold("grace", 2.5, "case 7"))
        live = recording(session(2))
        self.add(held, live)
        event = AuditEvent(EventType.RECORDING_DELETED, START, Actor("grace"), target="s1.1")
        store = self.store.recordings
        for record, error in ((held, RecordingHeld), (live, RecordingIsLive)):
            self.refusal(store.change(record.id, RecordingRecord.removing, event=event), error)
            self.assertEqual(self.answer(store.get(record.id)), record)
        self.assertEqual(self.answer(self.store.audit.chain()).last_seq, 0)

    def test_change_with_its_event(self) -> None:
        """The event of a change is in the audit with it."""
        self.add(closed(recording(session(1))))
        event = AuditEvent(EventType.RECORDING_DELETED, START, Actor("grace"), target="s1.1")
        store = self.store.recordings
        self.answer(store.change("s1.1", RecordingRecord.removing, event=event))
        self.assertEqual(self.answer(self.store.audit.chain()).last_seq, 1)
        self.assertEqual(self.listed(RecordingQuery()), [])
        removing = RecordingQuery(states=frozenset({RecordingState.REMOVING}))
        self.assertEqual(self.listed(removing), ["s1.1"])

    def test_lists(self) -> None:
        """Lists are filtered, the newest first, and go on where a page ended."""
        self.add(
            recording(session(1)),
            closed(recording(session(2, BOB))),
            closed(recording(session(3, agent_id=ID_2))),
        )
        self.add(recording(session(3, agent_id=ID_2), 2))
        for query, found in (
            (RecordingQuery(), ["s3.2", "s3.1", "s2.1", "s1.1"]),
            (RecordingQuery(user=BOB), ["s2.1"]),
            (RecordingQuery(node="db2"), ["s3.2", "s3.1"]),
            (RecordingQuery(node=ID_2.text), ["s3.2", "s3.1"]),
            (RecordingQuery(agent_id=ID_1), ["s2.1", "s1.1"]),
            (RecordingQuery(session_id="s3"), ["s3.2", "s3.1"]),
            (RecordingQuery(since=START + 2, until=START + 3), ["s2.1"]),
            (RecordingQuery(states=frozenset({RecordingState.LIVE})), ["s3.2", "s1.1"]),
            (RecordingQuery(is_stored=False), ["s3.2", "s1.1"]),
            (RecordingQuery(is_stored=True), ["s3.1", "s2.1"]),
            (RecordingQuery(before=(START + 3, "s3.2")), ["s3.1", "s2.1", "s1.1"]),
        ):
            self.assertEqual(self.listed(query), found, query)
        self.assertEqual(self.listed(RecordingQuery(), 2), ["s3.2", "s3.1"])
        self.assertEqual(self.listed(RecordingQuery(), 2, oldest_first=True), ["s1.1", "s2.1"])
        self.assertEqual(self.listed(RecordingQuery(states=VISIBLE)), self.listed(RecordingQuery()))

    def test_removable(self) -> None:
        """What is live, held or young is not among the oldest that may go."""
        self.add(
            recording(session(1)),
            evolve(closed(recording(session(2))), hold=Hold("grace", 2.5, "")),
            closed(recording(session(4)), 200),
            closed(recording(session(3)), 30),
            closed(recording(session(5)), 1),
        )
        store = self.store.recordings
        found = self.answer(store.removable(START + 6, 10))
        self.assertEqual([each.id for each in found], ["s3.1", "s4.1"])
        self.assertEqual(len(self.answer(store.removable(START + 9, 1))), 1)
        self.assertEqual(self.answer(store.total()), 241)
        self.answer(store.remove("s4.1"))
        self.assertEqual(self.answer(store.total()), 41)

    def test_purged_sessions(self) -> None:
        """Sessions without a recording are forgotten in time, others stay."""
        self.add(recording(session(1)))
        store = self.store.recordings
        for number in (2, 3):
            self.answer(store.begin_session(session(number)))
        self.assertEqual(self.answer(store.purge_sessions(START + 3)), 1)
        kept = [self.answer(store.session(f"s{number}")) is not None for number in (1, 2, 3)]
        self.assertEqual(kept, [True, False, True])
