"""
mezctl's commands about API tokens, with which programs speak as users.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from mezite.cli import administration as admin
from mezite.cli import tables
from mezite.cli.options import Duration, format_option
from mezite.error import BadInput
from mezite.names import UserName

if TYPE_CHECKING:
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb

# The names of what a token is good for, and of the same in messages.
_ACCESSES: Final = {
    "full": "API_ACCESS_FULL",
    "read-only": "API_ACCESS_READ_ONLY",
    "certificates": "API_ACCESS_CERTIFICATES",
}
_LONGEST_TTL: Final = 366 * 86400.0


@click.group(name="api-tokens")
def api_tokens() -> None:
    """Tokens with which programs speak as users, in gRPC, in REST and in mezctl."""


@api_tokens.command(
    name="create",
    epilog="\b\nExamples:\n  mezctl api-tokens create --user ci --name nightly"
    "\n  mezctl api-tokens create --user ci --name dashboard --access read-only --ttl 90d"
    "\n  mezctl api-tokens create --user ci --name deploy --access certificates > token",
)
@click.option("--user", required=True, metavar="NAME", help="Whom the program speaks as.")
@click.option("--name", required=True, metavar="TEXT", help="What it is for, to be read in lists.")
@click.option(
    "--access",
    type=click.Choice(list(_ACCESSES)),
    default="full",
    show_default=True,
    help="Of what the user may: all but certificates, what changes nothing, or certificates.",
)
@click.option(
    "--ttl", type=Duration(), default="30d", show_default=True, help="How long it is accepted."
)
@format_option
def create_api_token(user: str, name: str, access: str, ttl: float, output_format: str) -> None:
    """Make a token, and print it; it is not kept and cannot be shown again."""
    from mezite.rpc.proto import auth_pb2 as pb

    if ttl > _LONGEST_TTL:
        raise BadInput("an API token lives for a year at most: give a shorter --ttl")
    who = UserName.parse(user).text
    number = pb.ApiAccess.Value(_ACCESSES[access])
    made = admin.ask(
        lambda client: client.create_api_token(who, name, access=number, ttl_seconds=int(ttl))
    )
    if output_format == "json":
        row = {**_row(made.api_token), "secret": made.secret}
        tables.print_rows([row], list(row), "json")
        return
    left = tables.duration(ttl)
    click.echo(f"With this token a program speaks as {who}, for {left}:", err=True)
    click.echo(made.secret)


@api_tokens.command(name="ls")
@format_option
def list_api_tokens(output_format: str) -> None:
    """Show the tokens that are accepted, with who made them and when they were used."""

    async def question(client: AuthClient) -> list[admin.Row]:
        return [_row(token) for token in await client.list_api_tokens()]

    now = time.time()
    columns: list[str | tables.Column] = [
        "token_id",
        "name",
        "user",
        "access",
        "created_by",
        tables.Column("created", text=tables.ago(now)),
        tables.Column("last_used", text=tables.ago(now)),
        tables.Column("expires", text=tables.until(now)),
    ]
    tables.print_rows(admin.ask(question), columns, output_format)


@api_tokens.command(name="rm", epilog="\b\nExamples:\n  mezctl api-tokens rm 1c2a54bd2c6f")
@click.argument("token_id")
@format_option
def remove_api_token(token_id: str, output_format: str) -> None:
    """Revoke a token, by the id that ls shows."""
    if not token_id.isascii() or not token_id.isprintable() or len(token_id) > 64:
        raise BadInput("that is no token's id: mezctl api-tokens ls shows them")
    admin.ask(lambda client: client.delete_api_token(token_id))
    admin.print_removed({"token_id": token_id}, f"Token {token_id} was revoked.", output_format)


def _row(token: pb.ApiToken) -> admin.Row:
    from mezite.rpc.proto import auth_pb2 as pb

    names = {value: key for key, value in _ACCESSES.items()}
    return {
        "token_id": token.token_id,
        "name": token.name,
        "user": token.user,
        "access": names.get(pb.ApiAccess.Name(token.access), "unknown"),
        "created_by": token.created_by,
        "created": admin.moment(token.created),
        "expires": admin.moment(token.expires),
        "last_used": admin.moment(token.last_used),
    }
