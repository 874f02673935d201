"""
mezctl's commands about locks and live sessions, and msh's about one's own sessions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import click

from mezite.cli import administration as admin
from mezite.cli import tables
from mezite.cli.options import Duration, format_option

if TYPE_CHECKING:
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb


@click.command(
    name="lock",
    epilog="\b\nExamples:\n  mezctl lock --user ada --message 'lost laptop: call 4711'"
    "\n  mezctl lock --node db1 --ttl 1h"
    "\n  mezctl lock --role contractors --login root",
)
@click.option("--user", default="", metavar="NAME", help="This person.")
@click.option("--node", default="", metavar="NODE", help="This node, by host name or agent id.")
@click.option("--role", default="", metavar="ROLE", help="Everybody who holds this role.")
@click.option("--login", default="", metavar="LOGIN", help="This account on nodes.")
@click.option("--ttl", type=Duration(), help="How long; without it, until locks rm.")
@click.option("--message", default="", metavar="TEXT", help="What the person concerned reads.")
@format_option
def lock(
    user: str,
    node: str,
    role: str,
    login: str,
    ttl: float | None,
    message: str,
    output_format: str,
) -> None:
    """
    Lock out, at once.

    Sessions that match end within two seconds, and no more begin; a locked node's
    tunnel is closed. Of several names, all must hold at once. mezctl locks ls shows
    what is locked, and mezctl locks rm takes it away; on the hub's own machine
    that always works.
    """
    from mezite.identity.locks import LockTarget, check_message
    from mezite.rpc.proto import auth_pb2 as pb

    LockTarget.parse(user=user, node=node, role=role, login=login)
    target = pb.LockTarget(user=user, node=node, role=role, login=login)
    text, seconds = check_message(message), max(1, int(ttl)) if ttl is not None else 0
    made = admin.ask(lambda client: client.create_lock(target, ttl_seconds=seconds, message=text))
    row = _lock_row(made)
    if output_format == "json":
        tables.print_rows([row], list(row), "json")
        return
    until = f"for {tables.duration(seconds)}" if seconds else "until it is removed"
    click.echo(f"Locked {row['target']}, {until}: mezctl locks rm {made.lock_id} takes it away.")


@click.group()
def locks() -> None:
    """What is locked; mezctl lock makes one."""


@locks.command(name="ls")
@format_option
def list_locks(output_format: str) -> None:
    """Show the locks that hold."""

    async def question(client: AuthClient) -> list[admin.Row]:
        return [_lock_row(each) for each in await client.list_locks()]

    now = time.time()
    columns: list[str | tables.Column] = ["lock_id", "target", "message", "created_by"]
    columns.append(tables.Column("created", text=tables.ago(now)))
    ends = tables.until(now)
    columns.append(tables.Column("expires", text=lambda value: ends(value) if value else "-"))
    if output_format == "json":
        columns = ["lock_id", "user", "node", "role", "login", *columns[2:]]
    tables.print_rows(admin.ask(question), columns, output_format)


@locks.command(name="rm", epilog="\b\nExamples:\n  mezctl locks rm 8d0f3a5c71e2")
@click.argument("lock_id")
@format_option
def remove_lock(lock_id: str, output_format: str) -> None:
    """Take a lock away, by the id that ls shows."""
    admin.ask(lambda client: client.delete_lock(lock_id))
    admin.print_removed({"lock_id": lock_id}, f"Lock {lock_id} was removed.", output_format)


@click.group()
def sessions() -> None:
    """Sessions that are open now."""


@sessions.command(name="ls", epilog="\b\nExamples:\n  mezctl sessions ls --format json")
@format_option
def list_sessions(output_format: str) -> None:
    """Show all live sessions."""
    print_sessions(admin.ask, output_format)


@sessions.command(
    name="end",
    epilog="\b\nExamples:\n  mezctl sessions end 5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f"
    " --message 'the node restarts'",
)
@click.argument("session_id")
@click.option("--message", default="", metavar="TEXT", help="What the person reads.")
@format_option
def end_session(session_id: str, message: str, output_format: str) -> None:
    """End a live session, by the id that ls shows; the person may begin another."""
    admin.ask(lambda client: client.end_session(session_id, message))
    row = {"session_id": session_id}
    admin.print_removed(row, f"Session {session_id} was ended.", output_format)


def print_sessions(
    ask: Callable[[Callable[[AuthClient], Coroutine[Any, Any, list[admin.Row]]]], Any],
    output_format: str,
    *,
    with_recordings: bool = False,
) -> None:
    """The live sessions that ``ask`` gets to see, and of which recordings go on, if wanted."""

    async def question(client: AuthClient) -> list[admin.Row]:
        rows = [_session_row(each) for each in await client.list_sessions()]
        if with_recordings:
            from mezite.client.hubrecordings import live_recordings

            live = await live_recordings(client)
            for row in rows:
                row["recordings"] = live.get(str(row["session_id"]), [])
        return rows

    now = time.time()
    columns: list[str | tables.Column] = ["session_id", "user", "node", "login", "client_address"]
    columns.append(tables.Column("started", text=tables.ago(now)))
    columns.append(tables.Column("certificate_expires", text=tables.until(now)))
    if with_recordings:
        can_be_watched = tables.Column("recordings", "watch", lambda ids: "yes" if ids else "no")
        columns.append(can_be_watched if output_format == "text" else "recordings")
    if output_format == "json":
        columns.insert(3, "agent_id")
    tables.print_rows(ask(question), columns, output_format)


def _session_row(session: pb.Session) -> admin.Row:
    return {
        "session_id": session.session_id,
        "user": session.user,
        "node": session.node,
        "agent_id": session.agent_id,
        "login": session.login or None,
        "client_address": session.client_address,
        "started": admin.moment(session.started),
        "certificate_expires": admin.moment(session.certificate_expires),
    }


def _lock_row(made: pb.Lock) -> admin.Row:
    target = made.target
    names = {
        "user": target.user or None,
        "node": target.node or None,
        "role": target.role or None,
        "login": target.login or None,
    }
    return {
        "lock_id": made.lock_id,
        "target": ", ".join(f"{kind} {name}" for kind, name in names.items() if name),
        **names,
        "message": made.message,
        "created_by": made.created_by,
        "created": admin.moment(made.created),
        "expires": admin.moment(made.expires),
    }
