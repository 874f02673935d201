"""
What every store does with the audit.
"""

from __future__ import annotations

import attrs
from zope.interface.verify import verifyObject

from mezite.audit.chain import ChainVerifier
from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.names import UserName
from mezite.store.error import UserExists
from mezite.store.interfaces import IAuditLog
from mezite.store.records import AuditChain, AuditQuery, AuditRecord
from tests.contracts.store import ADA, BOB, StoreContract

LOGIN = AuditEvent(
    type=EventType.USER_LOGIN, time=1000.25, actor=Actor("ada", "192.0.2.1"), target="ada"
)
DENIED = AuditEvent(
    type=EventType.AUTHZ_DENIED,
    time=1001.5,
    actor=Actor("bob", "192.0.2.2"),
    node="db1",
    login="root",
    session_id="s-1",
    success=False,
    error="no role allows it",
    details={"method": "AuthorizeSession", "tried": 3, "again": True, "roles": ("a", "b")},
)
CREATED = AuditEvent(
    type=EventType.USER_CREATED, time=1002.0, actor=Actor("local"), target=str(ADA.name)
)


class AuditContract(StoreContract):
    """What :class:`IAuditLog` promises, and every method that takes an event."""

    def search(self, query: AuditQuery, **options: object) -> list[str]:
        options.setdefault("limit", 100)
        records = self.answer(self.store.audit.search(query, **options))
        return [record.event.id for record in records]

    def verified(self) -> ChainVerifier:
        chain: AuditChain = self.answer(self.store.audit.chain())
        verifier = ChainVerifier(chain.first_seq, chain.first_hash)
        verifier.check(self.answer(self.store.audit.lines(chain.first_seq, 1000)))
        self.assertEqual((verifier.seq, verifier.hash), (chain.last_seq, chain.last_hash))
        return verifier

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IAuditLog, self.store.audit)

    def test_begins_empty(self) -> None:
        """A fresh store has an empty chain."""
        self.assertEqual(self.answer(self.store.audit.chain()), AuditChain())
        self.assertEqual(self.answer(self.store.audit.lines(0, 10)), ())

    def test_round_trip(self) -> None:
        """An event is kept with everything in it, and linked."""
        for event in (LOGIN, DENIED):
            self.answer(self.store.audit.record(event))
        records = self.answer(self.store.audit.search(AuditQuery(), limit=10))
        self.assertEqual([(each.seq, each.event) for each in records], [(1, LOGIN), (2, DENIED)])
        lines = self.answer(self.store.audit.lines(0, 10))
        self.assertEqual([AuditRecord.of(line) for line in lines], list(records))
        self.assertIsNone(self.verified().broken)

    def test_with_a_change(self) -> None:
        """An event given with a change is there when the change is."""
        self.answer(self.store.users.create(ADA, event=CREATED))
        self.assertEqual(self.search(AuditQuery()), [CREATED.id])

    def test_with_a_refused_change(self) -> None:
        """A change that is refused leaves no event."""
        self.answer(self.store.users.create(ADA))
        self.refusal(self.store.users.create(ADA, event=CREATED), UserExists)
        self.assertEqual(self.search(AuditQuery()), [])
        self.assertIsNone(self.verified().broken)

    def test_search(self) -> None:
        """Types, families of types, people, nodes, sessions and times choose events."""
        for event in (LOGIN, DENIED, CREATED):
            self.answer(self.store.audit.record(event))
        for query, found in (
            (AuditQuery(types=("user.login",)), [LOGIN]),
            (AuditQuery(types=("user.*",)), [LOGIN, CREATED]),
            (AuditQuery(types=("user.log.*", "authz.denied")), [DENIED]),
            (AuditQuery(user="ada"), [LOGIN, CREATED]),
            (AuditQuery(user="bob", node="db1"), [DENIED]),
            (AuditQuery(session_id="s-1"), [DENIED]),
            (AuditQuery(since=1001.5), [DENIED, CREATED]),
            (AuditQuery(since=1000.0, until=1001.5), [LOGIN]),
            (AuditQuery(types=("user.%",)), []),
            (AuditQuery(user="a' OR '1'='1"), []),
        ):
            self.assertEqual(self.search(query), [event.id for event in found], query)

    def test_pages(self) -> None:
        """Events come in pages, from either end."""
        events = [attrs.evolve(LOGIN, id=str(number)) for number in range(1, 6)]
        for event in events:
            self.answer(self.store.audit.record(event))
        query = AuditQuery()
        self.assertEqual(self.search(query, after=2, limit=2), ["3", "4"])
        self.assertEqual(self.search(query, limit=2, newest_first=True), ["5", "4"])
        self.assertEqual(self.search(query, after=2, limit=2, newest_first=True), ["1"])

    def test_unended(self) -> None:
        """Sessions that began and did not end are found, up to an event, in pages."""
        kinds = {"start": EventType.SESSION_START, "end": EventType.SESSION_END}
        for number, (kind, session) in enumerate(
            [("start", "a"), ("start", "b"), ("end", "a"), ("start", "c"), ("start", "d")]
        ):
            event = attrs.evolve(
                DENIED, id=f"{kind}-{session}", type=kinds[kind], session_id=session,
                time=1000.0 + number,
            )  # fmt: skip
            self.answer(self.store.audit.record(event))
        # Its end is here, though nobody wrote it down in time.
        end = attrs.evolve(DENIED, type=EventType.SESSION_END, session_id="c")
        self.answer(self.store.audit.record(end))

        def unended(since: float = 0.0, **bounds: int) -> list[str]:
            bounds = {"upto": 6, "limit": 10, **bounds}
            found = self.answer(self.store.audit.unended(since, **bounds))
            return [each.event.session_id for each in found]

        self.assertEqual(unended(), ["b", "d"])
        self.assertEqual(unended(upto=4), ["b"])
        self.assertEqual(unended(limit=1), ["b"])
        self.assertEqual(unended(after=2), ["d"])
        self.assertEqual(unended(since=1001.5), ["d"])

    def test_prune(self) -> None:
        """What is old is forgotten, and the rest is still a chain."""
        for event in (LOGIN, DENIED):
            self.answer(self.store.audit.record(event))
        pruned = attrs.evolve(CREATED, type=EventType.AUDIT_PRUNED, time=2000.0)
        self.assertEqual(self.answer(self.store.audit.prune(1000.0, event=pruned)), 0)
        self.assertEqual(self.answer(self.store.audit.prune(1001.0, event=pruned)), 1)
        self.assertEqual(self.search(AuditQuery()), [DENIED.id, pruned.id])
        told = self.answer(self.store.audit.search(AuditQuery(), after=2, limit=1))[0].event
        chain = self.answer(self.store.audit.chain())
        self.assertEqual((chain.first_seq, chain.last_seq), (1, 3))
        anchor = {"removed": 1, "last_seq": 1, "hash": chain.first_hash.hex()}
        self.assertEqual(told.details, anchor)
        self.assertIsNone(self.verified().broken)
        self.assertEqual(self.answer(self.store.audit.prune(9000.0)), 2)
        self.answer(self.store.audit.record(LOGIN))
        self.assertIsNone(self.verified().broken)

    def test_prune_in_steps(self) -> None:
        """Much is forgotten a little at a time."""
        for _ in range(5):
            self.answer(self.store.audit.record(LOGIN))
        steps = [self.answer(self.store.audit.prune(9000.0, limit=2)) for _ in range(4)]
        self.assertEqual(steps, [2, 2, 1, 0])
        self.assertIsNone(self.verified().broken)

    def test_every_change_takes_an_event(self) -> None:
        """Each kind of change keeps its event with it."""
        self.answer(self.store.users.create(BOB))
        name = UserName("bob")
        changes = [
            lambda event: self.store.users.change(name, lambda user: user, event=event),
            lambda event: self.store.users.set_password(name, "x", False, event=event),
            lambda event: self.store.bearers.remove_for(name, event=event),
            lambda event: self.store.bearers.remove(b"x", event=event),
            lambda event: self.store.users.remove(name, event=event),
        ]
        for number, change in enumerate(changes):
            self.answer(change(attrs.evolve(LOGIN, id=str(number))))
        self.assertEqual(self.search(AuditQuery()), [str(n) for n in range(len(changes))])
