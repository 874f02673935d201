"""
The auth service's methods about the audit: its events, and whether they are as written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen
from google.protobuf.message import Message

from mezite.audit.events import BY_TEXT, Detail
from mezite.auth.verification import Progress, Verification
from mezite.error import BadInput
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.interfaces import IAuditLog
from mezite.store.records import AuditChain, AuditQuery, AuditRecord

PAGE: Final = 100
LONGEST_PAGE: Final = 1000
# A page ends with the event that exceeds this. An event is some 500 octets, and stands in its
# message twice; stock gRPC clients take 4 MiB.
PAGE_LENGTH: Final = 512 * 1024
# All types by name are fewer than this.
_TYPES: Final = 128
_TEXT_LENGTH: Final = 1024
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")


@frozen
class AuditMethods:
    """The methods, by what they are called."""

    audit: IAuditLog
    verification: Verification

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "ListAuditEvents": self.list_audit_events,
            "VerifyAudit": self.verify_audit,
        }

    async def list_audit_events(
        self, _who: Subject, _call: Call, request: pb.ListAuditEventsRequest
    ) -> Message:
        query = _query_of(request)
        size = request.page_size if 0 < request.page_size <= LONGEST_PAGE else PAGE
        position = _position_of(request)
        # Read before the events: what is written meanwhile is for the next who follows.
        chain: AuditChain = await self.audit.chain()
        records = await self.audit.search(
            query, after=position, limit=size + 1, newest_first=request.newest_first
        )
        wanted = [record for record in records if record.seq > request.after]
        shown = _of_length(wanted[:size])
        return pb.ListAuditEventsResponse(
            events=[event_message(record) for record in shown],
            next_page_token=str(shown[-1].seq) if len(wanted) > len(shown) else "",
            last_seq=max([chain.last_seq, *(record.seq for record in shown)]),
        )

    async def verify_audit(
        self, _who: Subject, _call: Call, request: pb.VerifyAuditRequest
    ) -> Message:
        if request.head and not _HASH.fullmatch(request.head):
            raise BadInput("a head is the hash of an event: 64 hexadecimal digits")
        verdict = await self.verification.verify(
            Progress.parse(request.page_token) if request.page_token else None,
            bytes.fromhex(request.head),
        )
        progress = verdict.progress
        return pb.VerifyAuditResponse(
            count=verdict.count,
            first_seq=progress.start + 1 if verdict.count else 0,
            last_seq=progress.seq if verdict.count else 0,
            head=progress.hash.hex(),
            broken=verdict.broken,
            broken_seq=verdict.broken_seq,
            found_seq=progress.found,
            next_page_token="" if verdict.is_done else progress.text,
        )


def event_message(record: AuditRecord) -> pb.AuditEvent:
    """An event as lists show it."""
    event = record.event
    if event is None:
        return pb.AuditEvent(seq=record.seq, line=record.line, hash=record.hash.hex(), damaged=True)
    return pb.AuditEvent(
        seq=record.seq,
        id=event.id,
        time=event.time,
        event_type=event.type.text,
        event_code=event.type.code,
        user=event.actor.name,
        client_address=event.actor.address,
        target=event.target,
        node=event.node,
        login=event.login,
        session_id=event.session_id,
        success=event.success,
        error=event.error,
        details={name: _detail_text(value) for name, value in event.details.items()},
        line=record.line,
        hash=record.hash.hex(),
    )


def _detail_text(value: Detail) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _query_of(request: pb.ListAuditEventsRequest) -> AuditQuery:
    if len(request.types) > _TYPES:
        raise BadInput(f"at most {_TYPES} types can be asked for at once")
    for text in request.types:
        _check_type(text)
    for name in ("user", "node", "session_id"):
        if len(getattr(request, name)) > _TEXT_LENGTH:
            raise BadInput(f"{name} is longer than any is")
    return AuditQuery(
        types=tuple(request.types),
        user=request.user,
        node=request.node,
        session_id=request.session_id,
        since=float(request.since) if request.since else None,
        until=float(request.until) if request.until else None,
    )


def _check_type(text: str) -> None:
    """
    Refuse a type that no event has: a filter with a mistake in it would show nothing.

    :raises BadInput:
    """
    if text.endswith(".*"):
        is_known = any(each.startswith(text[:-1]) for each in BY_TEXT)
    else:
        is_known = text in BY_TEXT
    if not is_known:
        families = sorted({each.partition(".")[0] for each in BY_TEXT})
        raise BadInput(
            f"there are no events of the type {text[:60]!r}; there are"
            f" {', '.join(f'{family}.*' for family in families)}"
        )


def _position_of(request: pb.ListAuditEventsRequest) -> int:
    """The number of the event from which the page goes on, or 0."""
    if not 0 <= request.after < 2**62:
        raise BadInput("after is no number of an event")
    token = request.page_token
    if not token:
        return 0 if request.newest_first else request.after
    if not _NUMBER.fullmatch(token):
        raise BadInput("that is no page token of this list")
    return int(token) if request.newest_first else max(int(token), request.after)


def _of_length(records: Sequence[AuditRecord]) -> Sequence[AuditRecord]:
    """As many as fit into a page, and at least one."""
    length = 0
    for number, record in enumerate(records, 1):
        length += len(record.line)
        if length > PAGE_LENGTH:
            return records[:number]
    return records
