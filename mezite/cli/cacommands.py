"""
mezctl's commands about the authorities: how they are, and their rotation.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import click

from mezite.cli import administration as admin
from mezite.cli import tables
from mezite.cli.options import Duration, format_option

if TYPE_CHECKING:
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb

_TYPES: Final = ("user", "host", "tls")
_ALL: Final = "all"
# User certificates live so long at most; mezite.auth.issuing says so.
_LONGEST_LIFETIME: Final = 24 * 3600.0


def _given(kind: str | None) -> str:
    if kind is None:
        raise click.UsageError("which authority? give --type user, host, tls or all")
    return kind


type_option = click.option(
    "--type",
    "kind",
    type=click.Choice([*_TYPES, _ALL]),
    callback=lambda ctx, param, value: _given(value),
    help="Which: of users' SSH keys, of SSH host keys, of TLS certificates, or each of them.",
)


@click.group()
def ca() -> None:
    """The cluster's authorities, whom every node and user trusts."""


@ca.command(
    name="status",
    epilog="\b\nExamples:\n  mezctl ca status\n  mezctl ca status --format=json",
)
@format_option
def show_status(output_format: str) -> None:
    """Show the authorities, how far each rotation is, and which nodes and servers are behind."""

    async def question(client: AuthClient) -> pb.GetAuthoritiesResponse:
        return await client.get_authorities()

    _print([_row(each) for each in admin.ask(question).authorities], output_format)


@ca.command(
    name="rotate",
    epilog="\b\nExamples:\n  mezctl ca rotate --type=host"
    "\n  mezctl ca rotate --type=user --grace-period=96h"
    "\n  mezctl ca rotate --type=all --phase=prepare",
)
@type_option
@click.option(
    "--grace-period",
    "grace",
    type=Duration(),
    metavar="72h",
    help="When the old authority is forgotten: 72h from now, if nothing else is said.",
)
@click.option(
    "--phase",
    type=click.Choice(["prepare", "rotate", "standby"]),
    help="Go to this phase now, instead of when it is time; prepare begins by hand.",
)
@format_option
def rotate(kind: str, grace: float | None, phase: str | None, output_format: str) -> None:
    """
    Replace an authority by a new one, while everything goes on.

    For a third of the grace period everybody learns of the new authority
    (prepare); then it signs, and the old one is still trusted (rotate); at the
    end the old one is forgotten, and what it has signed is refused.
    """
    if grace is not None and phase is not None:
        raise click.UsageError("--grace-period and --phase cannot be given together")
    changed = admin.ask(
        lambda client: client.rotate_authority(
            _types(kind), grace_period_seconds=int(grace or 0), phase=phase or ""
        )
    )
    if phase is None and grace is not None and grace * 2 / 3 < _LONGEST_LIFETIME:
        click.echo(
            "With a grace period below 36h, users whose certificates are from before the switch"
            " may have to log in again before these end.",
            err=True,
        )
    _print([_row(each) for each in changed], output_format)


@ca.command(
    name="rollback",
    epilog="\b\nExamples:\n  mezctl ca rollback --type=host",
)
@type_option
@format_option
def roll_back(kind: str, output_format: str) -> None:
    """
    Let the old authority sign again.

    What the new one has signed is trusted for another third of the grace period.
    """
    changed = admin.ask(lambda client: client.rollback_authority(_types(kind)))
    _print([_row(each) for each in changed], output_format)


def _types(kind: str) -> list[str]:
    return list(_TYPES) if kind == _ALL else [kind]


def _row(authority: pb.Authority) -> admin.Row:
    return {
        "type": authority.type,
        "phase": authority.phase,
        "since": admin.moment(authority.since),
        "fingerprint": authority.fingerprint,
        "signs_since": admin.moment(authority.switched),
        "other_fingerprint": authority.other_fingerprint or None,
        "other_is": _other(authority),
        "grace_period": authority.grace_period_seconds or None,
        "next_phase": authority.next_phase or None,
        "next_change": admin.moment(authority.next_change),
        "next_change_latest": admin.moment(authority.next_change_latest),
        "nodes_behind": authority.nodes_behind,
        "behind": list(authority.behind),
        "servers_behind": authority.servers_behind,
        "behind_servers": list(authority.behind_servers),
    }


def _other(authority: pb.Authority) -> str | None:
    if not authority.other_fingerprint:
        return None
    return "new" if authority.other_is_new else "old"


def _print(rows: list[admin.Row], output_format: str) -> None:
    if output_format == "json":
        tables.print_rows(rows, list(rows[0]) if rows else [], "json")
        return
    now = time.time()
    columns: list[str | tables.Column] = [
        "type",
        "phase",
        tables.Column("since", text=lambda value: tables.ago(now)(value) if value else "-"),
        tables.Column("fingerprint", "signs"),
        "next_phase",
        tables.Column("next_change", text=lambda v: tables.until(now)(v) if v else "-"),
        "nodes_behind",
    ]
    tables.print_rows(rows, columns)
    for sentence in filter(None, map(_sentence, rows)):
        click.echo(sentence)


def _sentence(row: admin.Row) -> str:
    """What a person is to know of one authority, if anything."""
    said = []
    if row["other_fingerprint"]:
        said.append(f"The {row['other_is']} one, {row['other_fingerprint']}, is trusted too.")
        if not row["next_change"]:
            said.append(
                "Nothing happens by itself:"
                f" mezctl ca rotate --type={row['type']} --phase={row['next_phase']} goes on."
            )
    if names := _names(row, "behind", "nodes_behind"):
        said.append(f"Not heard from since: {names}.")
        if row["type"] == "tls":
            said.append(
                "Who comes back after the old one is forgotten is refused, until mezctl nodes"
                " allow-rejoin."
            )
    if names := _names(row, "behind_servers", "servers_behind"):
        said.append(
            "Servers without an agent are told by nobody but you. These were not seen to trust"
            f" the new one, whose line mezctl openssh setup --user-ca prints: {names}."
        )
    return f"\n{row['type']}: {' '.join(said)}" if said else ""


def _names(row: admin.Row, key: str, count: str) -> str:
    """Some of the names that stand there, and whether there are more."""
    names = row[key]
    if not isinstance(names, list):
        return ""
    shown = names[:10]
    return ", ".join(shown) + (", ..." if row[count] != len(shown) else "")
