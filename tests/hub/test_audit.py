"""Tests of the audit through the hub's port: shown in pages, and verified."""

from __future__ import annotations

from typing import Any

import attrs

from mezite.audit.chain import ChainedLine
from mezite.audit.copies import copy_of, read_copy
from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.error import BadInput
from mezite.hub import auditservice
from mezite.hub.auditservice import AuditMethods
from mezite.hub.callers import Subject
from mezite.rpc.proto import auth_pb2 as pb
from mezite.store.memorytables import Tables
from tests.hub.test_service import HubTests

LOGIN = AuditEvent(
    type=EventType.USER_LOGIN,
    time=1000.25,
    actor=Actor("ada", "192.0.2.1"),
    target="ada",
    details={"roles": ("a", "b"), "again": True, "tries": 3, "how": "password"},
)
DENIED = AuditEvent(
    type=EventType.AUTHZ_DENIED,
    time=1001.0,
    actor=Actor("bob"),
    node="db1",
    session_id="s1",
    success=False,
    error="no",
)


class AuditTests(HubTests):
    def setUp(self) -> None:
        super().setUp()
        self.auditor = self.client(self.world.user("grace"))
        self.tables.audit.clear()
        self.tables.chain = type(self.tables.chain)()

    @property
    def tables(self) -> Tables:
        return self.world.store._tables

    def record(self, *events: AuditEvent) -> None:
        for event in events:
            self.world.done(self.world.store.audit.record(event))

    def list(self, **fields: Any) -> pb.ListAuditEventsResponse:
        request = pb.ListAuditEventsRequest(**fields)
        return self.world.done(self.auditor.list_audit_events(request))

    def seqs(self, **fields: Any) -> list[int]:
        return [event.seq for event in self.list(**fields).events]


class ListTests(AuditTests):
    def test_event(self) -> None:
        """An event comes with all that is in it, and with its line."""
        self.record(LOGIN)
        (event,) = self.list().events
        self.assertEqual((event.seq, event.id, event.time), (1, LOGIN.id, 1000.25))
        self.assertEqual((event.event_type, event.event_code), ("user.login", "MZ1000I"))
        self.assertEqual((event.user, event.client_address), ("ada", "192.0.2.1"))
        self.assertEqual(
            dict(event.details), {"roles": "a,b", "again": "true", "tries": "3", "how": "password"}
        )
        line = ChainedLine(1, event.line, bytes.fromhex(event.hash))
        self.assertEqual(read_copy(copy_of(line)), self.tables.audit[0])

    def test_filters(self) -> None:
        """Each filter chooses, and those of time have whole seconds."""
        self.record(LOGIN, DENIED)
        for fields, found in (
            ({}, [1, 2]),
            ({"types": ["user.*"]}, [1]),
            ({"types": ["user.login", "authz.denied"]}, [1, 2]),
            ({"user": "ada"}, [1]),
            ({"node": "db1"}, [2]),
            ({"session_id": "s1"}, [2]),
            ({"since": 1001}, [2]),
            ({"until": 1001}, [1]),
            ({"after": 1}, [2]),
            ({"after": 1, "newest_first": True}, [2]),
            ({"newest_first": True}, [2, 1]),
        ):
            self.assertEqual(self.seqs(**fields), found, fields)

    def test_pages(self) -> None:
        """Pages follow each other from either end, and the last says so."""
        self.record(*[LOGIN] * 5)
        for newest_first, pages in ((False, [[1, 2], [3, 4], [5]]), (True, [[5, 4], [3, 2], [1]])):
            token, seen = "", []
            while True:
                answer = self.list(page_size=2, page_token=token, newest_first=newest_first)
                seen.append([event.seq for event in answer.events])
                self.assertEqual(answer.last_seq, 5)
                token = answer.next_page_token
                if not token:
                    break
            self.assertEqual(seen, pages)

    def test_long_events(self) -> None:
        """A page ends before it is too long for a message, however long its events are."""
        self.patch(auditservice, "PAGE_LENGTH", 1000)
        self.record(*[attrs.evolve(LOGIN, error="x" * 900)] * 3)
        answer = self.list()
        self.assertEqual((len(answer.events), answer.next_page_token), (1, "1"))

    def test_following(self) -> None:
        """Who follows with a filter does not look at the same events twice."""
        self.record(DENIED, LOGIN, DENIED)
        answer = self.list(types=["user.login"])
        self.assertEqual(answer.last_seq, 3)
        self.record(LOGIN)
        self.assertEqual(self.seqs(types=["user.login"], after=answer.last_seq), [4])

    def test_mistakes(self) -> None:
        """A filter with which nothing can be found is refused, and so are bad tokens."""
        for fields, sentence in (
            ({"types": ["user.logn"]}, "no events of the type 'user.logn'; there are access"),
            ({"types": ["*"]}, "no events of the type"),
            ({"types": [".*"]}, "no events of the type"),
            ({"types": ["user.login"] * 200}, "at most 128 types"),
            ({"user": "x" * 2000}, "user is longer"),
            ({"page_token": "x"}, "page token"),
            ({"page_token": "9" * 30}, "page token"),
            ({"after": -1}, "after is no number"),
            ({"after": 2**63 - 1}, "after is no number"),
        ):
            error = self.assertRaises(BadInput, self.list, **fields)
            self.assertIn(sentence, str(error))

    def test_damaged(self) -> None:
        """A line that somebody changed does not hide the others."""
        self.record(LOGIN, LOGIN)
        self.tables.audit[0] = attrs.evolve(self.tables.audit[0], line="{}")
        methods = AuditMethods(_Damaged(self.world.store.audit), None)
        answer = self.world.done(
            methods.list_audit_events(Subject(), None, pb.ListAuditEventsRequest())
        )
        self.assertEqual([event.damaged for event in answer.events], [True, False])
        self.assertEqual(answer.events[0].line, "{}")


class _Damaged:
    """An audit that finds damaged lines, as a database with columns does."""

    def __init__(self, audit: Any) -> None:
        self._audit = audit
        self.chain = audit.chain

    async def search(self, query: Any, **options: Any) -> list[Any]:
        from mezite.store.records import AuditRecord

        return [AuditRecord.of(line) for line in await self._audit.lines(0, 10)]


class VerifyTests(AuditTests):
    def verify(self, *arguments: str) -> pb.VerifyAuditResponse:
        return self.world.done(self.auditor.verify_audit(*arguments))

    def test_whole(self) -> None:
        """A chain that is whole is described by its ends."""
        self.record(LOGIN, DENIED)
        answer = self.verify()
        self.assertEqual((answer.count, answer.first_seq, answer.last_seq), (2, 1, 2))
        self.assertEqual(answer.head, self.tables.chain.last_hash.hex())
        self.assertEqual((answer.broken, answer.next_page_token), ("", ""))
        self.assertEqual(self.verify(self.tables.audit[0].hash.hex()).found_seq, 1)

    def test_broken(self) -> None:
        """The first event that was changed is named."""
        self.record(LOGIN, LOGIN, DENIED)
        line = self.tables.audit[1]
        self.tables.audit[1] = attrs.evolve(line, line=line.line.replace("ada", "eve"))
        answer = self.verify()
        self.assertEqual((answer.count, answer.broken_seq), (1, 2))
        self.assertIn("event 2 was changed", answer.broken)

    def test_mistakes(self) -> None:
        """Heads and tokens that are none are refused."""
        for arguments in (("x",), ("A" * 64,), ("", "x")):
            self.assertRaises(BadInput, self.verify, *arguments)
