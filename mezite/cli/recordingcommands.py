"""
mezctl's commands about recordings: which there are, and which stay.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Final

import click

from mezite.cli import administration as admin
from mezite.cli import tables
from mezite.cli.auditcommands import Moment
from mezite.cli.options import format_option
from mezite.error import BadInput

if TYPE_CHECKING:
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb

_STATES: Final = ("live", "complete", "interrupted")
_ID: Final = re.compile(r"[0-9A-Za-z-]{1,40}\.[0-9]{1,9}", re.ASCII)


@click.group()
def recordings() -> None:
    """What was recorded of sessions; msh play shows one."""


@recordings.command(
    name="ls",
    epilog="\b\nExamples:\n  mezctl recordings ls --user ada --from 2h"
    "\n  mezctl recordings ls --node db1 --state interrupted --format json",
)
@click.option("--user", default="", metavar="NAME", help="Of this user's sessions.")
@click.option("--node", default="", metavar="NODE", help="On this node, by name or agent id.")
@click.option("--session", default="", metavar="ID", help="Of this session.")
@click.option("--from", "since", type=Moment(), metavar="TIME", help="Created from then on.")
@click.option("--to", "until", type=Moment(), metavar="TIME", help="Created before then.")
@click.option(
    "--state", "states", type=click.Choice(_STATES), multiple=True, help="May be repeated."
)
@format_option
def list_recordings(
    user: str,
    node: str,
    session: str,
    since: int | None,
    until: int | None,
    states: tuple[str, ...],
    output_format: str,
) -> None:
    """
    Show recordings, the newest first.

    A TIME is as in mezctl audit ls: 2026-11-21T10:00:00Z, 2026-11-21, or 2h.
    """
    from mezite.rpc.proto import auth_pb2 as pb

    wanted = pb.ListRecordingsRequest(
        user=user,
        node=node,
        session_id=session,
        since=since or 0,
        until=until or 0,
        states=[pb.RecordingState.Value(f"RECORDING_STATE_{each.upper()}") for each in states],
    )

    async def question(client: AuthClient) -> list[admin.Row]:
        return [_row(each) for each in await client.list_recordings(wanted)]

    columns: list[str | tables.Column] = ["id", "user", "node", "login", "kind", "state"]
    columns.append(tables.Column("created", text=tables.ago(time.time())))
    columns += ["seconds", "size", "held_by"]
    if output_format == "json":
        columns = list(_row(pb.Recording()))
    tables.print_rows(admin.ask(question), columns, output_format)


@recordings.command(
    name="hold",
    epilog="\b\nExamples:\n  mezctl recordings hold"
    " 5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f.1 --reason 'case 2026-17'",
)
@click.argument("recording_id", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="For auditors.")
@format_option
def hold_recording(recording_id: str, reason: str, output_format: str) -> None:
    """Keep a recording from being removed, by time, by size and by hand."""
    wanted = _checked(recording_id)
    held = admin.ask(lambda client: client.hold_recording(wanted, reason))
    _print_changed(held, f"Recording {wanted} is held.", output_format)


@recordings.command(
    name="release",
    epilog="\b\nExamples:\n  mezctl recordings release 5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f.1",
)
@click.argument("recording_id", metavar="ID")
@format_option
def release_recording(recording_id: str, output_format: str) -> None:
    """Let a held recording go when its time comes; it may be at once."""
    wanted = _checked(recording_id)
    released = admin.ask(lambda client: client.release_recording(wanted))
    _print_changed(released, f"Recording {wanted} is released.", output_format)


@recordings.command(
    name="rm",
    epilog="\b\nExamples:\n  mezctl recordings rm 5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f.1"
    " --reason 'a password on the screen'",
)
@click.argument("recording_id", metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="For auditors.")
@format_option
def remove_recording(recording_id: str, reason: str, output_format: str) -> None:
    """Remove a recording that is neither live nor held."""
    wanted = _checked(recording_id)
    admin.ask(lambda client: client.delete_recording(wanted, reason))
    admin.print_removed({"id": wanted}, f"Recording {wanted} was removed.", output_format)


def _checked(recording_id: str) -> str:
    if not _ID.fullmatch(recording_id):
        raise BadInput("that is no recording's id: mezctl recordings ls shows them")
    return recording_id


def _print_changed(recording: pb.Recording, sentence: str, output_format: str) -> None:
    if output_format == "json":
        row = _row(recording)
        tables.print_rows([row], list(row), "json")
    else:
        click.echo(sentence)


def _row(recording: pb.Recording) -> admin.Row:
    from mezite.rpc.proto import auth_pb2 as pb

    state = pb.RecordingState.Name(recording.state).removeprefix("RECORDING_STATE_")
    kind = pb.RecordingKind.Name(recording.kind).removeprefix("RECORDING_KIND_")
    return {
        "id": recording.id,
        "session_id": recording.session_id,
        "user": recording.user,
        "login": recording.login,
        "node": recording.node,
        "agent_id": recording.agent_id,
        "client_address": recording.client_address,
        "kind": kind.lower(),
        "command": recording.command,
        "state": state.lower(),
        "created": admin.moment(recording.created),
        "ended": admin.moment(recording.ended),
        "seconds": round(recording.seconds, 3),
        "size": recording.size,
        "chunks": recording.chunks,
        "chain": recording.chain,
        "encrypted": recording.encrypted,
        "reason": recording.reason,
        "held_by": recording.held_by,
        "held_since": admin.moment(recording.held_since),
        "held_reason": recording.held_reason,
    }
