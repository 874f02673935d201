"""
The administrators' program: join tokens, nodes, and how the hub is.

How the hub is reached and what its answers look like is
:mod:`mezite.cli.administration`'s; this owns the commands and their options,
but those of users (:mod:`mezite.cli.usercommands`) and of roles
(:mod:`mezite.cli.rolecommands`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

import mezite
from mezite.cli import administration as admin
from mezite.cli import tables
from mezite.cli.apitokencommands import api_tokens
from mezite.cli.msh import login
from mezite.cli.options import Address, Duration, debug_option, format_option
from mezite.cli.rolecommands import access, roles
from mezite.cli.tokens import read_token
from mezite.cli.usercommands import users
from mezite.error import BadInput
from mezite.names import HostPort, parse_labels

_SETTINGS: Final = {"help_option_names": ["-h", "--help"]}
# The number that travels has 32 bits; the hub's own cap is far below.
_MOST_USES: Final = 1_000_000
_LONGEST_TTL: Final = 366 * 86400.0


def _examples(*lines: str) -> str:
    """Examples for the end of a help page; click leaves a paragraph after \\b as it is."""
    return "\n".join(["\b", "Examples:", *(f"  mezctl {line}" for line in lines)])


@click.group(
    name="mezctl",
    context_settings=_SETTINGS,
    epilog=_examples(
        "users create ada --logins ada,root",
        "users create alice --roles access,admin",
        "tokens create --ttl 1h",
        "nodes ls --format json",
        "--data-dir /srv/mezite status",
        "--proxy hub.example.com:3080 users ls",
        "api-tokens create --user ci --name nightly",
        "--proxy hub.example.com:3080 --token-file /run/secrets/mezite nodes ls",
    ),
)
@click.version_option(mezite.__version__, prog_name="mezctl")
@debug_option
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The data directory of the hub, on the hub's own machine; else the hub's default.",
)
@click.option(
    "--proxy",
    type=Address(),
    metavar="HOST:PORT",
    help="The hub from afar, with the login there, or with a token.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="With --proxy: an API token; else that in MEZITE_TOKEN, if there is one.",
)
@click.option(
    "--ca-pin",
    metavar="sha256:…",
    envvar="MEZITE_CA_PIN",
    help="With a token: the fingerprint of the hub's authority.",
)
@click.option(
    "--ca-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="With a token: the hub's authority, a certificate in PEM.",
)
@click.pass_context
def mezctl(
    ctx: click.Context,
    data_dir: Path | None,
    proxy: HostPort | None,
    token_file: Path | None,
    ca_pin: str | None,
    ca_file: Path | None,
) -> None:
    """
    Administer a Mezite hub.

    On the hub's own machine, as the account that the hub runs as or as root,
    no login is needed. From elsewhere, use --proxy after mezctl login (which is
    msh login), or with an API token.
    """
    if data_dir is not None and proxy is not None:
        raise click.UsageError("--data-dir and --proxy cannot be given together")
    if proxy is None and (token_file is not None or ca_file is not None):
        raise click.UsageError("a token is for a hub from afar: give --proxy")
    token = None if proxy is None else read_token(token_file)
    ctx.meta[admin.DOOR] = admin.Door(data_dir, proxy, token, ca_pin, ca_file)


mezctl.add_command(login)
mezctl.add_command(users)
mezctl.add_command(roles)
mezctl.add_command(access)
mezctl.add_command(api_tokens)

# ----------------------------------------------------------------------- tokens


@mezctl.group(context_settings=_SETTINGS)
def tokens() -> None:
    """Join tokens, with which new nodes are let in."""


@tokens.command(
    name="create",
    epilog=_examples("tokens create", "tokens create --ttl 30m --uses 5 --format json"),
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
@format_option
def create_token(ttl: float, uses: int, output_format: str) -> None:
    """Make a join token, and print the command to type on the new node."""
    if ttl > _LONGEST_TTL:
        raise BadInput("a join token lives for a year at most: give a shorter --ttl")
    admin.create_token(int(ttl), uses, output_format)


@tokens.command(name="ls")
@format_option
def list_tokens(output_format: str) -> None:
    """Show the join tokens that can still be used; their secrets are not kept."""
    rows = admin.ask(admin.token_rows)
    tables.print_rows(rows, admin.token_columns(), output_format)


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


# ------------------------------------------------------------------------ nodes


@mezctl.group(context_settings=_SETTINGS)
def nodes() -> None:
    """Machines with an agent."""


@nodes.command(name="ls", epilog=_examples("nodes ls", "nodes ls env=dev --format json"))
@click.argument("labels", nargs=-1, metavar="[KEY=VALUE]...")
@format_option
def list_nodes(labels: tuple[str, ...], output_format: str) -> None:
    """Show all nodes, or those with these labels."""
    parse_labels(labels)
    rows = admin.ask(lambda client: admin.node_rows(client, labels))
    tables.print_rows(rows, admin.node_columns(), output_format)


@nodes.command(name="rm", epilog=_examples("nodes rm db1"))
@click.argument("node")
@format_option
def remove_node(node: str, output_format: str) -> None:
    """
    Forget a node, by host name or agent id.

    Its tunnel is closed and its certificates are not renewed; to come back it
    joins with a new token.
    """
    name = admin.parse_node(node)
    admin.ask(lambda client: client.delete_node(name))
    admin.print_removed({"node": name}, f"Node {name} was removed.", output_format)


# ----------------------------------------------------------------------- status


@mezctl.command()
@format_option
def status(output_format: str) -> None:
    """Show what the hub is, and how it is."""
    admin.print_status(output_format)
