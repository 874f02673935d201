"""
Events as lines of a chain, in which a removed or changed line is found.

Each line is canonical JSON, and each has a hash over the hash before it and
the line. docs/protocols/audit.rst specifies both. Whoever holds one hash from
elsewhere (a copy of the log, a syslog server) can prove every line before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from attrs import define, field, frozen

from mezite.audit.error import BadAuditLine
from mezite.audit.events import BY_TEXT, Actor, AuditEvent

HASH_LENGTH: Final = 32
# The hash before the first line.
GENESIS: Final = bytes(HASH_LENGTH)
_KEYS: Final = frozenset(
    (
        "seq",
        "id",
        "time",
        "event_type",
        "event_code",
        "user",
        "client_address",
        "target",
        "node",
        "login",
        "session_id",
        "success",
        "error",
        "details",
    )
)


@frozen
class ChainedLine:
    """A line with its number, from 1 up without a gap, and its hash."""

    seq: int
    line: str
    hash: bytes


def encode_event(event: AuditEvent, seq: int) -> str:
    """The event as its line: one JSON object, keys sorted, ASCII, without spaces."""
    values = {
        "seq": seq,
        "id": event.id,
        "time": time_text(event.time),
        "event_type": event.type.text,
        "event_code": event.type.code,
        "user": event.actor.name,
        "client_address": event.actor.address,
        "target": event.target,
        "node": event.node,
        "login": event.login,
        "session_id": event.session_id,
        "success": event.success,
        "error": event.error,
        "details": dict(event.details),
    }
    return json.dumps(values, sort_keys=True, separators=(",", ":"))


def decode_event(line: str) -> tuple[int, AuditEvent]:
    """
    The number and the event of a line.

    :raises BadAuditLine:
    """
    try:
        values = json.loads(line)
        if not isinstance(values, dict) or values.keys() != _KEYS:
            raise BadAuditLine("a line of the audit has not the fields of one")
        seq, event = _seq(values), _event(values)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadAuditLine(f"a line of the audit cannot be read: {error}") from None
    if encode_event(event, seq) != line:
        raise BadAuditLine("a line of the audit is not spelled as one")
    return seq, event


def link(previous: bytes, line: str) -> bytes:
    """The hash of a line that follows the one with the hash ``previous``."""
    return hashlib.sha256(previous + line.encode()).digest()


@define
class ChainVerifier:
    """
    Checks lines as they come, from a hash that is known.

    ``broken`` is a sentence about the first line that is not as it was
    written; from then on nothing more is looked at.

    :param wanted: a hash that was written down elsewhere; ``found`` is the
        number of the line that has it.
    """

    seq: int = 0
    hash: bytes = GENESIS
    wanted: bytes = b""
    found: int = 0
    broken: str | None = field(init=False, default=None)

    def check(self, lines: Iterable[ChainedLine]) -> bool:
        """Take the next lines; False as soon as the chain is broken."""
        for each in lines:
            if self.broken is not None:
                return False
            self.broken = self._wrong(each)
            if self.broken is None:
                self.seq, self.hash = each.seq, each.hash
                if each.hash == self.wanted:
                    self.found = each.seq
        return self.broken is None

    def _wrong(self, each: ChainedLine) -> str | None:
        if each.seq != self.seq + 1:
            return f"event {self.seq + 1} is missing: {each.seq} follows {self.seq}"
        if link(self.hash, each.line) != each.hash:
            return f"event {each.seq} was changed, or one before it was: its hash does not match"
        try:
            seq, _ = decode_event(each.line)
        except BadAuditLine as error:
            return f"event {each.seq}: {error}"
        if seq != each.seq:
            return f"event {each.seq} says that it is number {seq}"
        return None


def time_text(time: float) -> str:
    """RFC 3339 in UTC, with microseconds."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _seq(values: Mapping[str, Any]) -> int:
    seq = values["seq"]
    if type(seq) is not int or seq < 1:
        raise BadAuditLine("a line of the audit has no number")
    return seq


def _event(values: Mapping[str, Any]) -> AuditEvent:
    kind = BY_TEXT.get(values["event_type"])
    if kind is None or kind.code != values["event_code"]:
        raise BadAuditLine(f"there are no events of the type {str(values['event_type'])[:80]!r}")
    # It reads more than the one spelling, and what is read is spelled again and compared.
    time = datetime.fromisoformat(values["time"])
    details = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in values["details"].items()
    }
    return AuditEvent(
        type=kind,
        time=time.timestamp(),
        actor=Actor(values["user"], values["client_address"]),
        target=values["target"],
        node=values["node"],
        login=values["login"],
        session_id=values["session_id"],
        success=values["success"] is True,
        error=values["error"],
        details=details,
        id=values["id"],
    )
