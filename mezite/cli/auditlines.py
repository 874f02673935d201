"""
An event of the audit as a line: for people, or as copies of the audit have it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mezite.audit.chain import ChainedLine
from mezite.audit.copies import copy_of
from mezite.cli import tables

if TYPE_CHECKING:
    from mezite.rpc.proto import auth_pb2 as pb

_TYPE_WIDTH: Final = 24
_USER_WIDTH: Final = 12


def event_line(event: pb.AuditEvent, output_format: str) -> str:
    """One line, without its end; of an event that is damaged a sentence."""
    if event.damaged:
        return f"event {event.seq} was changed by somebody: run mezctl audit verify"
    if output_format == "json":
        return copy_of(ChainedLine(event.seq, event.line, bytes.fromhex(event.hash)))
    return _text(event)


def _text(event: pb.AuditEvent) -> str:
    moment = datetime.fromtimestamp(event.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    parts = [
        moment,
        f"{event.event_type:<{_TYPE_WIDTH}}",
        f"{tables.cell(event.user):<{_USER_WIDTH}}",
    ]
    named = {
        "to": event.target if event.target != event.user else "",
        "node": event.node,
        "login": event.login,
        "session": event.session_id,
        **dict(sorted(event.details.items())),
        "from": event.client_address,
    }
    parts.extend(f"{name}={_shown(value)}" for name, value in named.items() if value)
    if not event.success:
        parts.append(f"FAILED: {tables.cell(event.error)}")
    return "  ".join(parts)


def _shown(text: str) -> str:
    cell = tables.cell(text)
    return f'"{cell}"' if " " in cell else cell
