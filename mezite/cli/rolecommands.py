"""
mezctl's commands about roles: written, shown, and what they come to.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mezite.cli import administration as admin
from mezite.cli import tables
from mezite.cli.options import format_option
from mezite.names import LoginName, RoleName, UserName

if TYPE_CHECKING:
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb


@click.group()
def roles() -> None:
    """What users may do, written down: on which nodes, under which logins, and how."""


@roles.command(
    name="create",
    epilog="\b\nExamples:\n  mezctl roles create --from-file developer.yaml"
    "\n  mezctl roles create --from-file developer.yaml --force",
)
@click.option(
    "--from-file",
    "path",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The role, as YAML.",
)
@click.option("--force", is_flag=True, help="Replace the role of this name, if there is one.")
@format_option
def create_role(path: Path, force: bool, output_format: str) -> None:
    """Add a role from a file."""
    from mezite.config.roles import read_role, role_text

    # Read here, so that a complaint names the file; the hub reads it again.
    role = read_role(path)
    made = admin.ask(lambda client: client.create_role(role_text(role), replace=force))
    if output_format == "json":
        _print_role(made)
    else:
        click.echo(f"Role {made.name} was {'written' if force else 'created'}.")


@roles.command(name="ls")
@format_option
def list_roles(output_format: str) -> None:
    """Show all roles."""

    async def question(client: AuthClient) -> list[admin.Row]:
        return [_row(role) for role in await client.list_roles()]

    now = time.time()
    columns: list[str | tables.Column] = [
        "name",
        "description",
        "built_in",
        tables.Column("changed", text=lambda value: tables.ago(now)(value) if value else "-"),
    ]
    if output_format == "json":
        columns.append("created")
    tables.print_rows(admin.ask(question), columns, output_format)


@roles.command(name="get")
@click.argument("name")
@format_option
def get_role(name: str, output_format: str) -> None:
    """Show one role, as YAML that roles create takes."""
    wanted = RoleName.parse(name).text
    role = admin.ask(lambda client: client.get_role(wanted))
    if output_format == "json":
        _print_role(role)
    else:
        click.echo(role.document, nl=False)


@roles.command(name="rm")
@click.argument("name")
@format_option
def remove_role(name: str, output_format: str) -> None:
    """Remove a role that no user has."""
    wanted = RoleName.parse(name).text
    admin.ask(lambda client: client.delete_role(wanted))
    admin.print_removed({"name": wanted}, f"Role {wanted} was removed.", output_format)


@click.group()
def access() -> None:
    """Who may do what, as the hub decides it now."""


@access.command(
    name="explain",
    epilog="\b\nExamples:\n  mezctl access explain --user alice --login root --node db1",
)
@click.option("--user", required=True, metavar="NAME", help="The person.")
@click.option(
    "--login", default="", metavar="LOGIN", help="The account on the node; any, if none is given."
)
@click.option("--node", required=True, metavar="NODE", help="The node's host name or agent id.")
@format_option
def explain(user: str, login: str, node: str, output_format: str) -> None:
    """
    Show whether a user may use a login on a node, and which rule decides it.

    The answer is the same as for a session; the exit code is 0 for both.
    """
    person = UserName.parse(user).text
    account = LoginName.parse(login).text if login else ""
    machine = admin.parse_node(node)
    answer = admin.ask(lambda client: client.explain_access(person, account, machine))
    findings = [
        {"role": each.role, "rule": each.rule, "sentence": each.sentence}
        for each in answer.findings
    ]
    if output_format == "json":
        row: admin.Row = {
            "user": person,
            "login": account or None,
            "node": machine,
            "allowed": answer.allowed,
            "reason": answer.reason,
            "explanation": answer.explanation,
            "role": answer.role or None,
            "rule": answer.rule or None,
            "findings": findings,
        }
        tables.print_rows([row], list(row), "json")
        return
    verdict = "Yes" if answer.allowed else "No"
    click.echo(f"{verdict}: {answer.reason}.\nWhy: {answer.explanation}.\n")
    tables.print_rows(findings, ["role", "rule", tables.Column("sentence", "what it says")])


def _row(role: pb.Role) -> admin.Row:
    return {
        "name": role.name,
        "description": role.description,
        "built_in": role.built_in,
        "created": admin.moment(role.created),
        "changed": admin.moment(role.changed),
    }


def _print_role(role: pb.Role) -> None:
    """One object with the document as it is nested in YAML."""
    import yaml

    row = {**_row(role), "document": yaml.safe_load(role.document)}
    tables.print_rows([row], list(row), "json")
