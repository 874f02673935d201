"""
mezctl's commands about nodes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import click

from mezite.cli import administration as admin
from mezite.cli import tables
from mezite.cli.nodetables import status_column
from mezite.cli.options import Duration, format_option
from mezite.names import parse_labels

if TYPE_CHECKING:
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb


_TIMES: Final = ("last_seen", "online_since", "offline_since", "joined", "rejoined")


@click.group()
def nodes() -> None:
    """Machines that people reach through the hub."""


@nodes.command(
    name="ls",
    epilog="\b\nExamples:\n  mezctl nodes ls\n  mezctl nodes ls env=dev --format json",
)
@click.argument("labels", nargs=-1, metavar="[KEY=VALUE]...")
@format_option
def list_nodes(labels: tuple[str, ...], output_format: str) -> None:
    """Show all nodes, or those with these labels; those that are offline, too."""
    parse_labels(labels)
    rows = admin.ask(lambda client: _rows(client, labels))
    now = time.time()
    columns: list[str | tables.Column] = [
        "hostname",
        status_column(rows, output_format),
        "labels",
        tables.Column("last_seen", text=tables.ago(now)),
        "agent_id",
        "kind",
        "version",
        "address",
        tables.Column("joined", text=tables.ago(now)),
    ]
    if output_format == "json":
        columns += ["online_since", "offline_since"]
    tables.print_rows(rows, columns, output_format)


async def _rows(client: AuthClient, labels: Iterable[str]) -> list[admin.Row]:
    from mezite.client import listing

    nodes = await client.list_nodes(labels)
    more = {node.agent_id: node for node in nodes}
    return [{**row, **_more(more[str(row["agent_id"])])} for row in listing.node_rows(nodes)]


def _more(node: pb.Node) -> admin.Row:
    return {
        "kind": node.kind or "agent",
        "version": node.version or None,
        "address": node.address or None,
        "joined": admin.moment(node.joined),
    }


@nodes.command(
    name="show", epilog="\b\nExamples:\n  mezctl nodes show db1\n  mezctl nodes show 4f3a2b1c"
)
@click.argument("node")
@format_option
def show_node(node: str, output_format: str) -> None:
    """Show all that is known of a node, by host name, agent id or the beginning of that."""
    from mezite.client import listing

    found = admin.ask(lambda client: client.get_node(admin.parse_node(node)))
    (basics,) = listing.node_rows([found])
    row: admin.Row = {
        **basics,
        **_more(found),
        "rejoined": admin.moment(found.rejoined),
        "token_id": found.token_id or None,
        "addresses": list(found.facts.addresses),
        "os": found.facts.os or None,
        "arch": found.facts.arch or None,
        "host_keys": list(found.host_keys),
        "host_authorities": list(found.host_authorities),
        "label_sources": {key: _source(found, key) for key in sorted(found.labels)},
    }
    if output_format == "json":
        tables.print_rows([row], list(row), "json")
        return
    _print_facts(row, found)


def _print_facts(row: admin.Row, node: pb.Node) -> None:
    """A line for each fact, and one for each label."""
    now = time.time()
    lines: list[tuple[str, str]] = []
    for key, value in row.items():
        if key == "labels":
            lines += [
                (
                    "" if number else "labels",
                    f"{tables.cell(f'{label}={node.labels[label]}')} (from {_source(node, label)})",
                )
                for number, label in enumerate(sorted(node.labels))
            ]
        elif key in _TIMES and value is not None:
            lines.append((key, f"{value} ({tables.ago(now)(value)})"))
        elif key != "label_sources":
            lines.append((key, tables.cell(value)))
    width = max(len(key) for key, _ in lines) + 2
    for key, text in lines:
        click.echo(f"{key.replace('_', ' '):<{width}}{text}")


def _source(node: pb.Node, key: str) -> str:
    """Whose word a label is."""
    if key in node.hub_labels:
        return "the hub"
    return "a command" if key in node.command_labels else "the agent"


@nodes.command(name="allow-rejoin", epilog="\b\nExamples:\n  mezctl nodes allow-rejoin db1")
@click.argument("node")
@click.option(
    "--ttl", type=Duration(), default="1h", show_default=True, help="How long it is accepted."
)
@format_option
def allow_rejoin(node: str, ttl: float, output_format: str) -> None:
    """
    Let a node join once more that lost its data, or whose certificates ended.

    Prints the command to type there, with a token for this very node. It keeps
    its agent id, its name and its labels from the hub; what it had before is
    refused once the token was used.
    """
    name = admin.parse_node(node)
    made = admin.ask(lambda client: client.allow_rejoin(name, ttl_seconds=int(ttl)))
    row: admin.Row = {
        "hostname": made.hostname,
        "agent_id": made.agent_id,
        "token_id": made.token_id,
        "token": made.token,
        "expires": admin.moment(made.expires),
        "ca_pin": made.ca_pin,
        "hub_address": made.hub_address,
        "join_command": made.join_command,
    }
    if output_format == "json":
        tables.print_rows([row], list(row), "json")
        return
    click.echo(f"Type this on {made.hostname}, once, within {tables.duration(ttl)}:", err=True)
    click.echo(made.join_command)


@nodes.command(name="rm", epilog="\b\nExamples:\n  mezctl nodes rm db1")
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
