"""
The administrators' program: its own options, and how the hub is.

How the hub is reached and what its answers look like is
:mod:`mezite.cli.administration`'s; the commands of each area are in a module of
its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

import mezite
from mezite.cli import administration as admin
from mezite.cli.agentcommands import agent
from mezite.cli.apitokencommands import api_tokens
from mezite.cli.auditcommands import audit
from mezite.cli.cacommands import ca
from mezite.cli.lockcommands import lock, locks, sessions
from mezite.cli.msh import login
from mezite.cli.nodecommands import nodes
from mezite.cli.opensshcommands import openssh
from mezite.cli.options import Address, debug_option, format_option
from mezite.cli.recordingcommands import recordings
from mezite.cli.requestcommands import requests_of
from mezite.cli.rolecommands import access, roles
from mezite.cli.tokencommands import tokens
from mezite.cli.tokens import read_token
from mezite.cli.usercommands import users
from mezite.names import HostPort

_SETTINGS: Final = {"help_option_names": ["-h", "--help"]}


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
        "audit ls --user ada --from 2h",
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
mezctl.add_command(requests_of("mezctl"))
mezctl.add_command(audit)
mezctl.add_command(recordings)
mezctl.add_command(tokens)
mezctl.add_command(lock)
mezctl.add_command(locks)
mezctl.add_command(sessions)
mezctl.add_command(nodes)
mezctl.add_command(openssh)
mezctl.add_command(api_tokens)
mezctl.add_command(ca)
mezctl.add_command(agent)

# ----------------------------------------------------------------------- status


@mezctl.command()
@format_option
def status(output_format: str) -> None:
    """Show what the hub is, and how it is."""
    admin.print_status(output_format)
