"""
Access requests at the prompt: what msh and mezctl have in common, and msh's own.

Both list, show and review; only msh, which has a user, makes requests.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from mezite.cli import administration as admin
from mezite.cli import main, tables
from mezite.cli.options import Address, Duration, format_option
from mezite.names import AgentId, HostPort, InvalidName, NodeName, RoleName, UserName

if TYPE_CHECKING:
    from mezite.client.profile import Profile
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb

T = TypeVar("T")
Row = dict[str, object]
Question = Callable[["AuthClient"], Coroutine[Any, Any, T]]
_STATES: Final = ("pending", "approved", "denied", "cancelled", "expired", "revoked")


def requests_of(program: str) -> click.Group:
    """The commands of mezctl, or of msh, which finds its hub in another way."""
    group = click.Group(
        "requests" if program == "mezctl" else "request",
        help=(
            "Wishes of users for roles, for a time: seen and decided."
            if program == "mezctl"
            else "Ask for roles, for a time; or decide about what others ask for."
        ),
    )
    for command in (list_requests, show_request, approve, deny, revoke):
        group.add_command(_with_door(command(program), program))
    if program == "msh":
        for command in (create_request, cancel_request):
            group.add_command(_with_door(command(program), program))
    return group


_PROXY: Final = "proxy"


def _with_door(command: click.Command, program: str) -> click.Command:
    if program == "msh":
        command.params.append(
            click.Option(
                ["--proxy", _PROXY],
                type=Address(),
                metavar="HOST:PORT",
                help="The hub; else that of the latest login.",
                expose_value=False,
                callback=_remember_proxy,
            )
        )
    return command


def _remember_proxy(ctx: click.Context, param: click.Parameter, value: HostPort | None) -> None:
    ctx.meta[_PROXY] = value


def _profile() -> Profile:
    from mezite.cli.logins import valid_profile

    return valid_profile(click.get_current_context().meta.get(_PROXY))


def _ask(program: str, question: Question[T]) -> T:
    if program == "mezctl":
        return admin.ask(question)
    from mezite.client.dialer import dial_auth

    profile = _profile()

    async def work(reactor: Any) -> T:
        client = await dial_auth(reactor, profile)
        try:
            return await question(client)
        finally:
            client.close()

    return main.run(work)


def _epilog(program: str, *lines: str) -> str:
    name = "requests" if program == "mezctl" else "request"
    return "\n".join(["\b", "Examples:", *(f"  {program} {name} {line}" for line in lines)])


# ------------------------------------------------------------------------- seen


def list_requests(program: str) -> click.Command:
    @click.command(name="ls", epilog=_epilog(program, "ls", "ls --state pending --user ada"))
    @click.option(
        "--state",
        "states",
        multiple=True,
        type=click.Choice(_STATES),
        help="Only those that are so now; may be repeated.",
    )
    @click.option("--user", default="", metavar="NAME", help="Only those of this user.")
    @format_option
    def ls(states: tuple[str, ...], user: str, output_format: str) -> None:
        """Show the requests that you may see, the newest first."""
        from mezite.client.requesting import STATES

        name = UserName.parse(user).text if user else ""
        wanted = [number for number, state in STATES.items() if state in states]
        found = _ask(program, lambda client: client.list_access_requests(user=name, states=wanted))
        now = time.time()
        columns: list[str | tables.Column] = [
            "id",
            "user",
            "roles",
            "nodes",
            "state",
            tables.Column("created", text=tables.ago(now)),
            tables.Column("expires", "ends", text=tables.until(now)),
            "reason",
        ]
        if output_format == "json":
            columns = list(request_row(None))
        tables.print_rows([request_row(each) for each in found], columns, output_format)

    return ls


def show_request(program: str) -> click.Command:
    @click.command(name="show")
    @click.argument("request_id", metavar="ID")
    @format_option
    def show(request_id: str, output_format: str) -> None:
        """Show one request, with what became of it."""
        found = _ask(program, lambda client: client.get_access_request(request_id))
        _print_request(found, output_format)

    return show


# --------------------------------------------------------------------- reviewed


def approve(program: str) -> click.Command:
    return _review(program, "approve", "Give the requester the roles, for as long as they ask for.")


def deny(program: str) -> click.Command:
    return _review(program, "deny", "Refuse a request.")


def revoke(program: str) -> click.Command:
    return _review(program, "revoke", "Take back what an approved request gave.")


def _review(program: str, name: str, summary: str) -> click.Command:
    @click.command(
        name=name,
        help=f"{summary}\n\nFor those whose roles may review it, and never for one's own.",
        epilog=_epilog(program, f"{name} 1f0c22ab9e --reason 'as agreed'"),
    )
    @click.argument("request_id", metavar="ID")
    @click.option("--reason", default="", metavar="TEXT", help="A line for the requester.")
    @format_option
    def review(request_id: str, reason: str, output_format: str) -> None:
        from mezite.rpc.proto import auth_pb2 as pb

        decision = pb.AccessRequestDecision.Value(f"ACCESS_REQUEST_DECISION_{name.upper()}")
        decided = _ask(
            program,
            lambda client: client.review_access_request(request_id, decision, reason),
        )
        _print_outcome(decided, output_format)

    return review


# ------------------------------------------------------------------------- made


def create_request(program: str) -> click.Command:
    @click.command(
        name="create",
        epilog=_epilog(
            program,
            "create --roles ssh-production --reason 'disk full on db1' --nodes db1",
            "create --roles ssh-production --reason 'release 1.4' --ttl 2h --wait",
        ),
    )
    @click.option("--roles", required=True, metavar="ROLE,...", help="What you ask for.")
    @click.option("--reason", required=True, metavar="TEXT", help="A line for the reviewers.")
    @click.option(
        "--nodes", default="", metavar="NODE,...", help="Only on these nodes; else on all."
    )
    @click.option(
        "--ttl", type=Duration(), metavar="4h", help="For how long, from the approval on."
    )
    @click.option("--wait", is_flag=True, help="Wait for the review, then log in with it.")
    @click.option(
        "--password-stdin", is_flag=True, help="With --wait: the password on standard input."
    )
    @format_option
    def create(
        roles: str,
        reason: str,
        nodes: str,
        ttl: float | None,
        wait: bool,
        password_stdin: bool,
        output_format: str,
    ) -> None:
        """Ask for roles that your roles let you ask for."""
        wanted = [RoleName.parse(each).text for each in _parts(roles)]
        where = [_node(each) for each in _parts(nodes)]
        seconds = 0 if ttl is None else max(1, int(ttl))
        if password_stdin and not wait:
            raise click.UsageError("--password-stdin is for --wait")

        async def question(client: AuthClient) -> pb.AccessRequest:
            return await client.create_access_request(
                wanted, reason, nodes=where, window_seconds=seconds
            )

        if wait:
            _create_and_wait(question, password_stdin, output_format)
            return
        made = _ask(program, question)
        if output_format == "json":
            _print_request(made, output_format)
            return
        click.echo(f"Request {made.id} waits for a review.")
        click.echo(f"Once it is approved:\n\n    msh login --request {made.id}\n")

    return create


def cancel_request(program: str) -> click.Command:
    @click.command(name="cancel")
    @click.argument("request_id", metavar="ID")
    @format_option
    def cancel(request_id: str, output_format: str) -> None:
        """Take back a request of yours, or give back what it gave."""
        ended = _ask(program, lambda client: client.cancel_access_request(request_id))
        _print_outcome(ended, output_format)

    return cancel


def _create_and_wait(
    question: Question[pb.AccessRequest], password_stdin: bool, output_format: str
) -> None:
    from mezite.cli.conversation import LinesConversation, TerminalConversation
    from mezite.client.dialer import dial_auth
    from mezite.client.login import LoginRequest, log_in
    from mezite.client.profile import Profiles
    from mezite.client.requesting import until_approved

    profile = _profile()
    conversation = LinesConversation(sys.stdin) if password_stdin else TerminalConversation()

    async def work(reactor: Any) -> tuple[pb.AccessRequest, Profile]:
        client = await dial_auth(reactor, profile)
        try:
            made = await question(client)
        finally:
            client.close()
        click.echo(f"Request {made.id} waits for a review; Ctrl-C leaves it waiting.", err=True)
        approved = await until_approved(reactor, profile, made.id)
        click.echo(f"Request {made.id} was approved by {approved.changes[-1].by}.", err=True)
        login = LoginRequest(profile.hub, profile.user, requests=(made.id,))
        return approved, await log_in(reactor, login, conversation, Profiles())

    approved, logged_in = main.run(work)
    if output_format == "json":
        _print_request(approved, output_format)
        return
    left = tables.duration(logged_in.valid_before - time.time())
    click.echo(f"{logged_in.user} is logged in at {logged_in.hub} for {left}.")


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _node(text: str) -> str:
    try:
        return AgentId.parse(text).text
    except InvalidName:
        return NodeName.parse(text).text


# ------------------------------------------------------------------------ shown


def request_row(request: pb.AccessRequest | None) -> Row:
    """One request as JSON shows it; of none, the keys."""
    from mezite.client.requesting import STATES
    from mezite.rpc.proto import auth_pb2 as pb

    shown = request or pb.AccessRequest()
    return {
        "id": shown.id,
        "user": shown.user,
        "roles": list(shown.roles),
        "nodes": list(shown.nodes),
        "state": STATES.get(shown.state, "unknown"),
        "reason": shown.reason,
        "created": admin.moment(shown.created),
        "expires": admin.moment(shown.expires),
        "window_seconds": shown.window_seconds,
        "changes": [
            {
                "state": STATES.get(change.state, "unknown"),
                "time": admin.moment(change.time),
                "by": change.by,
                "reason": change.reason,
            }
            for change in shown.changes
        ],
    }


def _print_outcome(request: pb.AccessRequest, output_format: str) -> None:
    if output_format == "json":
        _print_request(request, output_format)
        return
    row = request_row(request)
    until = ""
    if row["state"] == "approved":
        until = f", until {row['expires']}"
    click.echo(f"Request {request.id} of {request.user} is {row['state']}{until}.")


def _print_request(request: pb.AccessRequest, output_format: str) -> None:
    row = request_row(request)
    if output_format == "json":
        tables.print_rows([row], list(row), "json")
        return
    now = time.time()
    shown = {
        "id": tables.cell(row["id"]),
        "user": tables.cell(row["user"]),
        "roles": tables.cell(row["roles"]),
        "nodes": tables.cell(row["nodes"]) if row["nodes"] else "all that the roles open",
        "reason": tables.cell(row["reason"]),
        "state": tables.cell(row["state"]),
        "ends": f"{tables.cell(row['expires'])} ({tables.until(now)(row['expires'])})",
        "wished for": tables.duration(request.window_seconds),
    }
    for key, text in shown.items():
        click.echo(f"{key:<12}{text}")
    click.echo()
    tables.print_rows(_changes(row["changes"]), ["time", "state", "by", "reason"])


def _changes(changes: object) -> list[Row]:
    return list(changes) if isinstance(changes, list) else []
