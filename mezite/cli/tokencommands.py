"""
mezctl's commands about join tokens.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from mezite.cli import administration as admin
from mezite.cli import tables
from mezite.cli.options import Duration, format_option
from mezite.error import BadInput
from mezite.names import parse_labels

if TYPE_CHECKING:
    from mezite.rpc.client import AuthClient

# The number that travels has 32 bits; the hub's own cap is far below.
_MOST_USES: Final = 1_000_000
_LONGEST_TTL: Final = 366 * 86400.0


@click.group()
def tokens() -> None:
    """Join tokens, with which new nodes are let in."""


@tokens.command(
    name="create",
    epilog="\b\nExamples:\n  mezctl tokens create"
    "\n  mezctl tokens create --ttl 30m --uses 5 --format json"
    "\n  mezctl tokens create --labels env=prod,team=db --hostnames db1,db2,'web-*'",
)
@click.option(
    "--ttl", type=Duration(), default="1h", show_default=True, help="How long it is accepted."
)
@click.option(
    "--uses",
    type=click.IntRange(1, _MOST_USES),
    default=1,
    show_default=True,
    help="How many nodes may join with it.",
)
@click.option(
    "--labels",
    multiple=True,
    metavar="KEY=VALUE,...",
    help="Labels that its nodes get, whatever they say of themselves.",
)
@click.option(
    "--hostnames",
    multiple=True,
    metavar="NAME,...",
    help="The host names that its nodes may claim; * stands for a part of one.",
)
@click.option("--description", default="", metavar="TEXT", help="What it is for.")
@click.option(
    "--roles",
    type=click.Choice(["node"]),
    default="node",
    help="What may join with it: nodes, and nothing else yet.",
)
@format_option
def create_token(
    ttl: float,
    uses: int,
    labels: tuple[str, ...],
    hostnames: tuple[str, ...],
    description: str,
    roles: str,
    output_format: str,
) -> None:
    """Make a join token, and print the command to type on the new node."""
    if ttl > _LONGEST_TTL:
        raise BadInput("a join token lives for a year at most: give a shorter --ttl")
    given = parse_labels(_separated(labels))
    names = _separated(hostnames)
    made = admin.ask(
        lambda client: client.create_token(
            ttl_seconds=int(ttl),
            uses=uses,
            labels=given,
            hostnames=names,
            description=description,
        )
    )
    row: admin.Row = {
        "token_id": made.token_id,
        "token": made.token,
        "expires": admin.moment(made.expires),
        "uses": made.uses,
        "ca_pin": made.ca_pin,
        "hub_address": made.hub_address,
        "join_command": made.join_command,
    }
    if output_format == "json":
        tables.print_rows([row], list(row), "json")
        return
    often = "once" if made.uses == 1 else f"{made.uses} times"
    # The command alone goes to standard output, for scripts.
    click.echo(f"Type this on the new node, {often}, within {tables.duration(ttl)}:", err=True)
    click.echo(made.join_command)


@tokens.command(name="ls")
@format_option
def list_tokens(output_format: str) -> None:
    """Show the join tokens that can still be used; their secrets are not kept."""
    rows = admin.ask(_rows)
    now = time.time()
    columns: list[str | tables.Column] = [
        "token_id",
        "created_by",
        tables.Column("created", text=tables.ago(now)),
        tables.Column("expires", text=tables.until(now)),
        "uses_left",
        "max_uses",
        "labels",
        "hostnames",
        tables.Column("rejoins", "only for"),
        "description",
    ]
    tables.print_rows(rows, columns, output_format)


async def _rows(client: AuthClient) -> list[admin.Row]:
    return [
        {
            "token_id": token.token_id,
            "created_by": token.created_by,
            "created": admin.moment(token.created),
            "expires": admin.moment(token.expires),
            "uses_left": token.uses_left,
            "max_uses": token.max_uses,
            "labels": dict(token.labels),
            "hostnames": list(token.hostnames),
            "rejoins": token.rejoins or None,
            "description": token.description,
        }
        for token in await client.list_tokens()
    ]


@tokens.command(name="rm")
@click.argument("token_id")
@format_option
def remove_token(token_id: str, output_format: str) -> None:
    """Revoke a join token, by the id that ls shows."""
    if not token_id.isascii() or not token_id.isprintable() or len(token_id) > 64:
        raise BadInput("that is no token's id: mezctl tokens ls shows them")
    admin.ask(lambda client: client.delete_token(token_id))
    row = {"token_id": token_id}
    admin.print_removed(row, f"Token {token_id} was revoked.", output_format)


def _separated(texts: tuple[str, ...]) -> list[str]:
    """The parts between commas, of an option that may be repeated."""
    return [part.strip() for text in texts for part in text.split(",") if part.strip()]
