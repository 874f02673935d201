"""
mezctl's commands about users: made, changed, shown and removed.
"""

from __future__ import annotations

from typing import Final

import click

from mezite.cli import administration as admin
from mezite.cli import tables
from mezite.cli.options import Duration, format_option
from mezite.error import BadInput
from mezite.identity.roles import LabelSelector
from mezite.identity.traits import parse_traits
from mezite.names import LoginName, RoleName, UserName

_invite_ttl: Final = click.option(
    "--invite-ttl",
    "ttl",
    type=Duration(),
    default="24h",
    show_default=True,
    help="How long the invite is accepted.",
)


@click.group()
def users() -> None:
    """People: who may log in, as whom, and on which nodes."""


@users.command(
    name="create",
    epilog="\b\nExamples:"
    "\n  mezctl users create ada --logins ada,root"
    "\n  mezctl users create alice --roles access,admin"
    "\n  mezctl users create kim --roles developer --trait team=blue"
    "\n  mezctl users create bob --logins bob --node-labels env=dev,env=staging"
    "\n  mezctl users create kim --roles developer --invite-ttl 3d"
    "\n  mezctl users create eve --logins eve --admin --password-stdin < password",
)
@click.argument("name")
@click.option("--roles", metavar="ROLE,…", default="", help="The roles to be given.")
@click.option(
    "--logins",
    metavar="LOGIN,…",
    default="",
    help="The user's own accounts, used on --node-labels and by roles that say so.",
)
@click.option(
    "--node-labels",
    multiple=True,
    metavar="KEY=VALUE,…",
    help="The nodes for --logins; several values of a key are alternatives."
    " If none are given: all nodes, or with --roles only what those open.",
)
@click.option(
    "--trait",
    "traits",
    multiple=True,
    metavar="NAME=VALUE",
    help="Something for roles to fill in; several of one name are several values.",
)
@click.option("--admin", "is_admin", is_flag=True, help="May use mezctl, and sees all nodes.")
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the password from standard input; else an invite is made.",
)
@click.option(
    "--one-time-password",
    is_flag=True,
    help="Make a password to be replaced at the first login, and no invite.",
)
@_invite_ttl
@format_option
def create_user(
    name: str,
    roles: str,
    logins: str,
    node_labels: tuple[str, ...],
    traits: tuple[str, ...],
    is_admin: bool,
    password_stdin: bool,
    one_time_password: bool,
    ttl: float,
    output_format: str,
) -> None:
    """Make a user, and an invite with which they choose their password."""
    if password_stdin and one_time_password:
        raise BadInput("--password-stdin and --one-time-password cannot be given together")
    user = UserName.parse(name).text
    accounts, given = _logins(logins), _roles(roles)
    if not accounts and not given:
        raise BadInput("a user needs a login or a role: give --logins LOGIN,… or --roles ROLE,…")
    admin.create_user(
        user,
        logins=accounts,
        node_labels=_node_labels(node_labels) or ([] if given else ["*=*"]),
        is_admin=is_admin,
        password=admin.read_password() if password_stdin else "",
        roles=given,
        traits=parse_traits(traits),
        one_time_password=one_time_password,
        invite_ttl=int(ttl),
        output_format=output_format,
    )


@users.command(
    name="update",
    epilog="\b\nExamples:"
    "\n  mezctl users update alice --roles access,developer"
    "\n  mezctl users update alice --trait team=blue --trait team=green"
    "\n  mezctl users update alice --disable",
)
@click.argument("name")
@click.option("--roles", metavar="ROLE,…", help='All roles of the user from now on; "" for none.')
@click.option("--logins", metavar="LOGIN,…", help='All their own logins; "" for none.')
@click.option(
    "--node-labels",
    multiple=True,
    metavar="KEY=VALUE,…",
    help='All labels of the nodes for their own logins; "" for no nodes.',
)
@click.option(
    "--trait",
    "traits",
    multiple=True,
    metavar="NAME=VALUE",
    help='All their traits, one with each option; "" for none.',
)
@click.option("--disable/--enable", "disabled", default=None, help="Whether they may log in.")
@click.option("--admin/--no-admin", "is_admin", default=None, help="Whether they may use mezctl.")
@format_option
def update_user(
    name: str,
    roles: str | None,
    logins: str | None,
    node_labels: tuple[str, ...],
    traits: tuple[str, ...],
    disabled: bool | None,
    is_admin: bool | None,
    output_format: str,
) -> None:
    """
    Change a user. What is not named stays; what is named is replaced as a whole.

    It holds for the next session; certificates say it when they are next issued.
    """
    user = UserName.parse(name).text
    changes: dict[str, object] = {}
    if roles is not None:
        changes["roles"] = _roles(roles)
    if logins is not None:
        changes["logins"] = _logins(logins)
    if node_labels:
        changes["node_labels"] = _node_labels(node_labels)
    if traits:
        changes["traits"] = parse_traits(each for each in traits if each)
    if disabled is not None:
        changes["disabled"] = disabled
    if is_admin is not None:
        changes["is_admin"] = is_admin
    if not changes:
        raise BadInput("nothing is to be changed: give --roles, --logins, --trait or --disable")
    admin.update_user(user, changes, output_format)


@users.command(name="invite", epilog="\b\nExample:\n  mezctl users invite alice --invite-ttl 3d")
@click.argument("name")
@_invite_ttl
@format_option
def invite_user(name: str, ttl: float, output_format: str) -> None:
    """Make a new invite, if the first was lost; a password that there is stays."""
    user = UserName.parse(name).text
    made = admin.ask(lambda client: client.create_invite(user, ttl_seconds=int(ttl)))
    admin.print_invite(made, f"User {user} was invited.", output_format)


@users.command(name="reset", epilog="\b\nExample:\n  mezctl users reset alice")
@click.argument("name")
@_invite_ttl
@format_option
def reset_user(name: str, ttl: float, output_format: str) -> None:
    """
    End a user's password and logins, and make an invite for a new one.

    Second factors stay: who accepts the invite must show one. See reset-totp.
    """
    user = UserName.parse(name).text
    made = admin.ask(lambda client: client.reset_user(user, ttl_seconds=int(ttl)))
    admin.print_invite(made, f"The password of {user} is worth nothing any more.", output_format)


@users.command(name="reset-totp", epilog="\b\nExample:\n  mezctl users reset-totp alice")
@click.argument("name")
@format_option
def reset_totp(name: str, output_format: str) -> None:
    """Forget a user's second factors: app, security keys and recovery codes."""
    user = UserName.parse(name).text
    admin.ask(lambda client: client.reset_second_factors(user))
    sentence = f"User {user} has no second factor any more."
    admin.print_removed({"name": user}, sentence, output_format)


@users.command(name="ls")
@format_option
def list_users(output_format: str) -> None:
    """Show all users."""
    rows = admin.ask(admin.user_rows)
    tables.print_rows(rows, admin.user_columns(), output_format)


@users.command(name="rm")
@click.argument("name")
@format_option
def remove_user(name: str, output_format: str) -> None:
    """Remove a user, whose logins end with it."""
    user = UserName.parse(name).text
    admin.ask(lambda client: client.delete_user(user))
    admin.print_removed({"name": user}, f"User {user} was removed.", output_format)


def _logins(text: str) -> list[str]:
    return [LoginName.parse(login).text for login in _split(text)]


def _roles(text: str) -> list[str]:
    return [RoleName.parse(role).text for role in _split(text)]


def _node_labels(texts: tuple[str, ...]) -> list[str]:
    pairs = [pair for text in texts for pair in _split(text)]
    LabelSelector.parse(pairs)
    return pairs


def _split(text: str) -> list[str]:
    """The parts between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
