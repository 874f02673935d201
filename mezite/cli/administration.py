"""
What mezctl's commands ask of the hub, and how they show the answers.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from attrs import field, frozen

from mezite.cli import main, tables
from mezite.error import BadInput
from mezite.names import AgentId, HostPort, InvalidName, NodeName

if TYPE_CHECKING:
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb

T = TypeVar("T")
# A UUID from its first group on; a host name that looks so is found all the same.
_ID_BEGINNING: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f-]{0,27})?")
Row = dict[str, object]

# Where click's context carries the Door.
DOOR: Final = "mezite.cli.administration.door"
# argon2 takes any length; nobody types more than this.
_PASSWORD_LIMIT: Final = 1024


@frozen
class Door:
    """
    How the hub is reached: the socket in its data directory, or its port.

    At its port with the login of msh there, or with a token.
    """

    data_dir: Path | None = None
    proxy: HostPort | None = None
    token: str | None = field(default=None, repr=False)
    pin: str | None = None
    ca_file: Path | None = None

    async def dial(self, reactor: Any) -> AuthClient:
        if self.proxy is None:
            from mezite.client.admin import dial_socket

            return await dial_socket(reactor, self.data_dir or default_data_dir())
        from mezite.client.dialer import dial_auth
        from mezite.client.profile import Profiles

        if self.token is not None:
            from mezite.client.programs import TokenLogin, dial_with_token

            login = TokenLogin(self.proxy, self.token, self.pin, self.ca_file)
            return await dial_with_token(reactor, login, Profiles())
        profile = Profiles().load(self.proxy)
        profile.check_valid(time.time())
        return await dial_auth(reactor, profile)


def default_data_dir() -> Path:
    """Where a hub that is started without options, from this account, keeps its data."""
    from mezite.config.hub import load_hub

    return load_hub({}, os.environ).data_dir


def ask(question: Callable[[AuthClient], Coroutine[Any, Any, T]]) -> T:
    """Connect, ask, and close: the answer."""
    door: Door = click.get_current_context().meta[DOOR]

    async def work(reactor: Any) -> T:
        client = await door.dial(reactor)
        try:
            return await question(client)
        finally:
            client.close()

    return main.run(work)


def parse_node(text: str) -> str:
    """A host name, an agent id or the beginning of one, in its canonical spelling."""
    if _ID_BEGINNING.fullmatch(text.strip().lower()):
        return text.strip().lower()
    try:
        return AgentId.parse(text.strip().lower()).text
    except InvalidName:
        return NodeName.parse(text).text


def read_password() -> str:
    """
    The password on standard input: one line, not echoed if it is a terminal.

    :raises BadInput: if there is none, or it is no text.
    """
    if sys.stdin.isatty():
        import getpass

        try:
            password = getpass.getpass("Password for the new user: ")
        except EOFError:
            password = ""
    else:
        line = sys.stdin.buffer.readline(_PASSWORD_LIMIT + 2)
        try:
            password = line.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise BadInput("the password on standard input is not UTF-8") from None
    if not password:
        raise BadInput("a password is expected on standard input")
    if len(password.encode()) > _PASSWORD_LIMIT:
        raise BadInput(f"a password has at most {_PASSWORD_LIMIT} bytes")
    return password


# ------------------------------------------------------------------------ users


def create_user(
    name: str,
    *,
    logins: list[str],
    node_labels: list[str],
    is_admin: bool,
    password: str,
    output_format: str,
    roles: Iterable[str] = (),
    traits: Mapping[str, Iterable[str]] | None = None,
    one_time_password: bool = False,
    invite_ttl: int = 0,
) -> None:
    """Make a user, and say how they log in."""

    async def question(
        client: AuthClient,
    ) -> tuple[pb.CreateUserResponse, pb.GetStatusResponse]:
        # Asked first, so that a user whose password nobody saw cannot come to be.
        status = await client.get_status()
        created = await client.create_user(
            name,
            logins=logins,
            node_labels=node_labels,
            is_admin=is_admin,
            password=password,
            roles=roles,
            traits=traits,
            one_time_password=one_time_password,
            invite_ttl_seconds=invite_ttl,
        )
        return created, status

    created, status = ask(question)
    one_time = created.one_time_password
    if output_format == "json":
        row = {
            **_user_row(created.user),
            "one_time_password": one_time or None,
            **_invite_row(created.invite),
        }
        tables.print_rows([row], list(row), "json")
        return
    if created.invite.token:
        print_invite(created.invite, f"User {name} was created.", output_format)
        return
    command = f"msh login --proxy={status.public_address} --user={name} --ca-pin={status.ca_pin}"
    click.echo(f"User {name} was created.")
    if one_time:
        click.echo(f"One-time password, to be replaced at the first login: {one_time}")
    click.echo(f"They log in with:\n\n    {command}\n")


def print_invite(invite: pb.Invite, sentence: str, output_format: str) -> None:
    """What is to be passed on to the user who is invited."""
    if output_format == "json":
        row = {"name": invite.user, **_invite_row(invite)}
        tables.print_rows([row], list(row), "json")
        return
    left = tables.duration(invite.expires - time.time())
    click.echo(sentence)
    click.echo(f"Whoever has this invite is {invite.user}. It is good once, for {left}:")
    click.echo(f"\n    {invite.url}\n\nor\n\n    {invite.login_command}\n")


def _invite_row(invite: pb.Invite) -> Row:
    return {
        "invite_token": invite.token or None,
        "invite_url": invite.url or None,
        "invite_expires": moment(invite.expires),
        "login_command": invite.login_command or None,
    }


def update_user(name: str, changes: Mapping[str, Any], output_format: str) -> None:
    """Change these fields of a user, and show them as they are then."""
    from mezite.rpc.admincalls import trait_messages
    from mezite.rpc.proto import auth_pb2 as pb

    fields = dict(changes)
    if "traits" in fields:
        fields["traits"] = trait_messages(fields["traits"])
    changed = ask(lambda client: client.update_user(pb.User(name=name, **fields), fields))
    row = _user_row(changed)
    if output_format == "json":
        tables.print_rows([row], list(row), "json")
    else:
        click.echo(f"User {name} was changed.")


async def user_rows(client: AuthClient) -> list[Row]:
    return [_user_row(user) for user in await client.list_users()]


def _user_row(user: pb.User) -> Row:
    return {
        "name": user.name,
        "logins": list(user.logins),
        "node_labels": list(user.node_labels),
        "roles": list(user.roles),
        "traits": {trait.name: list(trait.values) for trait in user.traits},
        "is_admin": user.is_admin,
        "must_change_password": user.must_change_password,
        "has_password": user.has_password,
        "has_second_factor": user.has_second_factor,
        "disabled": user.disabled,
        "created": moment(user.created),
    }


def user_columns() -> list[str | tables.Column]:
    return [
        "name",
        "roles",
        "logins",
        "node_labels",
        tables.Column("traits", text=_traits_text),
        tables.Column("is_admin", "admin"),
        tables.Column("must_change_password", "one-time password"),
        tables.Column("has_password", "password"),
        tables.Column("has_second_factor", "second factor"),
        "disabled",
        tables.Column("created", text=tables.ago(time.time())),
    ]


def _traits_text(value: object) -> str:
    traits = value if isinstance(value, dict) else {}
    return tables.cell({name: ",".join(values) for name, values in traits.items()})


# ----------------------------------------------------------------------- status


def print_status(output_format: str) -> None:
    """What the hub is, a line for each fact, or one object."""
    status = ask(lambda client: client.get_status())
    row: Row = {
        "cluster_name": status.cluster_name,
        "hub_name": status.hub_name,
        "public_address": status.public_address,
        "ca_pin": status.ca_pin,
        "version": status.version,
        "started": moment(status.started),
        "server_time": moment(status.server_time),
        "nodes_online": status.nodes_online,
        "nodes_known": status.nodes_known,
        "users": status.users,
        "tunnels": status.tunnels,
        "streams": status.streams,
        "certificate_expires": moment(status.certificate_expires),
        "authority_expires": moment(status.authority_expires),
    }
    if output_format == "json":
        row["audit_copies"] = [_copy_row(copy) for copy in status.audit_copies]
        row["workers"] = [_worker_row(worker) for worker in status.workers]
        tables.print_rows([row], list(row), "json")
        return
    for copy in status.audit_copies:
        row[f"audit {copy.name}"] = f"{copy.target} ({_copy_text(copy)})"
    for worker in status.workers:
        row[f"worker {worker.number}"] = _worker_text(worker)
    shown = {key: tables.cell(value) for key, value in row.items()}
    # The hub's clock may be another than ours; lengths of time are by its own.
    for key in ("certificate_expires", "authority_expires"):
        shown[key] += f" ({tables.until(status.server_time)(row[key])})"
    shown["started"] += f" ({tables.ago(status.server_time)(row['started'])})"
    width = max(map(len, shown)) + 2
    for key, text in shown.items():
        click.echo(f"{key.replace('_', ' '):<{width}}{text}")


def _worker_row(worker: pb.HubWorker) -> Row:
    return {
        "number": worker.number,
        "pid": worker.pid or None,
        "tunnels": worker.tunnels,
        "streams": worker.streams,
        "connections": worker.connections,
    }


def _worker_text(worker: pb.HubWorker) -> str:
    if not worker.pid:
        return "is being begun again"
    return (
        f"pid {worker.pid}, {worker.tunnels} tunnels, {worker.streams} streams,"
        f" {worker.connections} connections"
    )


def _copy_row(copy: pb.AuditCopy) -> Row:
    return {
        "name": copy.name,
        "target": copy.target,
        "last_seq": copy.last_seq,
        "behind": copy.behind,
        "error": copy.error or None,
    }


def _copy_text(copy: pb.AuditCopy) -> str:
    if copy.error:
        return f"FAILING, {copy.behind} events behind: {copy.error}"
    return f"{copy.behind} events behind" if copy.behind else "up to date"


def print_removed(row: Mapping[str, object], sentence: str, output_format: str) -> None:
    """Say that something is gone, in a sentence or as one object."""
    if output_format == "json":
        tables.print_rows([row], list(row), "json")
    else:
        click.echo(sentence)


def moment(seconds: int) -> str | None:
    """A time of a message, for JSON; none, if it is 0."""
    return tables.timestamp(seconds) if seconds else None
