"""
mezctl's commands about the audit: its events shown and followed, and the chain verified.

How an event reads is :mod:`mezite.cli.auditlines`'; what is right about a
chain is :mod:`mezite.audit`'s.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import define

from mezite.cli import administration as admin
from mezite.cli import main
from mezite.cli.auditlines import event_line
from mezite.cli.options import format_option, parse_duration
from mezite.error import BadInput, Unavailable

if TYPE_CHECKING:
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb

_LONGEST_PAGE: Final = 1000
_POLL_SECONDS: Final = 1.0
_RETRY_SECONDS: Final = 3.0
# Python reads more, such as weeks, than anybody would guess.
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_BROKEN: Final = 1


class Moment(click.ParamType[int]):
    """A time, in POSIX seconds: RFC 3339, a date, or how long ago."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return parse_moment(value, time.time())
        except BadInput as error:
            self.fail(str(error), param, ctx)


def parse_moment(text: str, now: float) -> int:
    """Read ``2026-11-21T10:00:00Z``, ``2026-11-21`` (as in UTC), or ``2h`` for two hours ago."""
    if text and text[-1].isalpha() and text[-1] not in "Zz":
        return max(1, int(now - parse_duration(text)))
    try:
        if not _DATE.match(text):
            raise ValueError
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadInput(
            f"{text[:40]!r} is not a time: write 2026-11-21, 2026-11-21T10:00:00Z,"
            " or 2h for two hours ago"
        ) from None
    return max(1, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


@click.group()
def audit() -> None:
    """What was done, by whom and with what outcome; nobody changes it unseen."""


@audit.command(
    name="ls",
    epilog="\b\nExamples:\n  mezctl audit ls --user ada --from 2h"
    "\n  mezctl audit ls --type 'user.login.*' --type authz.denied --limit 20"
    "\n  mezctl audit ls --from 2026-11-20 --to 2026-11-21 --limit 0 --format json > day.jsonl"
    "\n  mezctl audit ls --node db1 --follow",
)
@click.option(
    "--type",
    "types",
    multiple=True,
    metavar="TYPE",
    help="Events of this type, such as user.login, or user.* for all below; may be repeated.",
)
@click.option("--user", default="", metavar="NAME", help="Who acted, or to whom it was done.")
@click.option("--node", default="", metavar="NODE", help="What happened on this node.")
@click.option("--session", default="", metavar="ID", help="What belongs to this session.")
@click.option("--from", "since", type=Moment(), metavar="TIME", help="From this time on.")
@click.option("--to", "until", type=Moment(), metavar="TIME", help="Before this time.")
@click.option(
    "--limit",
    type=click.IntRange(0, 1_000_000),
    default=100,
    show_default=True,
    help="The newest so many; 0 shows all.",
)
@click.option("--follow", "-f", is_flag=True, help="Show what is written from now on, too.")
@format_option
def list_events(
    types: tuple[str, ...],
    user: str,
    node: str,
    session: str,
    since: int | None,
    until: int | None,
    limit: int,
    follow: bool,
    output_format: str,
) -> None:
    """
    Show events, the oldest first.

    A TIME is 2026-11-21T10:00:00Z, 2026-11-21 (from its beginning in UTC), or
    2h for two hours ago. With --format=json each line is one event, spelled as
    in the file that the hub writes.
    """
    from mezite.rpc.proto import auth_pb2 as pb

    wanted = pb.ListAuditEventsRequest(
        types=types,
        user=user,
        node=node,
        session_id=session,
        since=since or 0,
        until=until or 0,
    )
    door: admin.Door = click.get_current_context().meta[admin.DOOR]
    reading = _Reading(wanted, output_format)

    async def work(reactor: Any) -> None:
        client = await door.dial(reactor)
        try:
            await reading.show(client, limit)
        finally:
            client.close()
        while follow:
            await _follow(reactor, door, reading)

    main.run(work)


@define(eq=False)
class _Reading:
    """What is shown, and how far it has come: the number of the last event looked at."""

    wanted: pb.ListAuditEventsRequest
    output_format: str
    last: int = 0

    async def show(self, client: AuthClient, limit: int) -> None:
        """Print the newest so many, or all."""
        if not limit:
            await self.show_more(client)
            return
        found: list[pb.AuditEvent] = []
        token = ""
        while True:
            answer = await client.list_audit_events(
                self._request(
                    newest_first=True,
                    page_token=token,
                    page_size=min(limit - len(found), _LONGEST_PAGE),
                )
            )
            self.last = self.last or answer.last_seq
            found.extend(answer.events)
            token = answer.next_page_token
            if not token or len(found) >= limit:
                break
        self._print(found[::-1])

    async def show_more(self, client: AuthClient) -> None:
        """Print all that is new, page by page."""
        while True:
            answer = await client.list_audit_events(self._request(after=self.last))
            self._print(answer.events)
            if not answer.next_page_token:
                self.last = max(self.last, answer.last_seq)
                return
            self.last = answer.events[-1].seq

    def _request(self, **fields: Any) -> pb.ListAuditEventsRequest:
        from mezite.rpc.proto import auth_pb2 as pb

        request = pb.ListAuditEventsRequest(page_size=_LONGEST_PAGE)
        request.MergeFrom(self.wanted)
        request.MergeFrom(pb.ListAuditEventsRequest(**fields))
        return request

    def _print(self, events: Iterable[pb.AuditEvent]) -> None:
        for event in events:
            # A line that is none does not belong among those for programs.
            is_aside = event.damaged and self.output_format == "json"
            click.echo(event_line(event, self.output_format), err=is_aside)


async def _follow(reactor: Any, door: admin.Door, reading: _Reading) -> None:
    """Print what comes, until the hub cannot be reached for a moment; then wait that moment."""
    from twisted.internet.task import deferLater

    try:
        client = await door.dial(reactor)
        try:
            while True:
                await reading.show_more(client)
                await deferLater(reactor, _POLL_SECONDS)
        finally:
            client.close()
    except Unavailable as error:
        click.echo(f"mezctl: {error}; trying again", err=True)
        await deferLater(reactor, _RETRY_SECONDS)


# ----------------------------------------------------------------------- verify


@audit.command(
    name="verify",
    epilog="\b\nExamples:\n  mezctl audit verify"
    "\n  mezctl audit verify --head 3940d17d…bed8110c563b"
    "\n  mezctl audit verify --file /var/log/mezite/audit.jsonl",
)
@click.option(
    "--head", default="", metavar="SHA256", help="A hash that was written down, and must be there."
)
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Verify a copy with JSON lines, and not the hub; rotated ones beside it are part of it.",
)
@format_option
def verify(head: str, path: Path | None, output_format: str) -> int:
    """
    Find out whether the audit is as it was written.

    The exit code is 0 if it is, and 1 if an event was changed, removed, added
    or moved. Write down the hash that is printed, away from the hub: --head
    with it proves later that everything up to it is still the same.
    """
    head = head.lower()
    if head and not _HASH.fullmatch(head):
        raise BadInput("a head is the hash of an event: 64 hexadecimal digits")
    if path is not None:
        from mezite.cli.auditfiles import verify_files

        answer = verify_files(path, head)
    else:
        answer = admin.ask(lambda client: _verified(client, head))
    if output_format == "json":
        click.echo(json.dumps(_row(answer)))
    else:
        _say(answer)
    return _BROKEN if answer.broken else 0


async def _verified(client: AuthClient, head: str) -> pb.VerifyAuditResponse:
    answer = await client.verify_audit(head)
    while answer.next_page_token:
        answer = await client.verify_audit(head, answer.next_page_token)
    return answer


def _row(answer: pb.VerifyAuditResponse) -> dict[str, object]:
    return {
        "whole": not answer.broken,
        "count": answer.count,
        "first_seq": answer.first_seq,
        "last_seq": answer.last_seq,
        "head": answer.head,
        "broken": answer.broken or None,
        "broken_seq": answer.broken_seq or None,
        "found_seq": answer.found_seq or None,
    }


def _say(answer: pb.VerifyAuditResponse) -> None:
    reach = f", {answer.first_seq} to {answer.last_seq}" if answer.count else ""
    if answer.broken:
        click.echo(f"The audit is BROKEN: {answer.broken}.")
        click.echo(f"The {answer.count} events before it are as they were written{reach}.")
        return
    click.echo(f"The audit is whole: {answer.count} events{reach}.")
    click.echo(f"head: {answer.head}")
    if answer.found_seq:
        click.echo(f"The hash that was written down is that of event {answer.found_seq}.")
