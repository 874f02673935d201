"""
The users' program: logging in, seeing nodes, and reaching them.
"""

from __future__ import annotations

import getpass
import os
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

import mezite
from mezite.cli import main, tables
from mezite.cli.filetransfer import scp, sftp
from mezite.cli.logins import choose_login, valid_profile
from mezite.cli.mfacommands import mfa, passwd
from mezite.cli.nodetables import status_column
from mezite.cli.options import Address, Duration, debug_option, format_option, resume_option
from mezite.cli.playcommand import play
from mezite.cli.recordinggrep import grep
from mezite.cli.recordingviews import recordings
from mezite.cli.requestcommands import requests_of
from mezite.cli.sshcommand import SshLike, ssh
from mezite.cli.tokens import read_token
from mezite.cli.watchcommand import sessions
from mezite.client.error import NotLoggedIn
from mezite.client.profile import Profiles
from mezite.names import HostPort, UserName, parse_labels

proxy_option = click.option(
    "--proxy", type=Address(), metavar="HOST:PORT", help="The hub; else that of the latest login."
)


@click.group(name="msh", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(mezite.__version__, prog_name="msh")
@debug_option
def msh() -> None:
    """Reach servers through a Mezite hub."""


@msh.command(
    epilog="\b\nExamples:"
    "\n  msh login --proxy=hub.example.com:443 --user=ada"
    "\n  msh login --proxy=hub.example.com:443 --user=ada --invite=mzi_…"
    "\n  msh login --otp=123456 --password-stdin < password"
)
@proxy_option
@click.option(
    "--resume/--no-resume",
    "resumes",
    default=None,
    help="Whether connections to nodes that are cut are taken up again; remembered.",
)
@click.option("--user", metavar="USER", help="Your name; else that of the latest login there.")
@click.option("--ttl", type=Duration(), metavar="30m", help="How long the login is to last.")
@click.option(
    "--request",
    "access_requests",
    multiple=True,
    metavar="ID",
    help="With the rights of this approved access request, until it ends; may be repeated.",
)
@click.option(
    "--invite", metavar="TOKEN", help="Accept this invite: choose a password, and log in."
)
@click.option("--otp", metavar="CODE", default="", help="A code of your app, or a recovery code.")
@click.option(
    "--password-stdin", is_flag=True, help="Read the answers from standard input, by line."
)
@click.option("--ca-pin", metavar="sha256:…", help="The fingerprint of the hub's authority.")
@click.option(
    "--ca-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The hub's authority, a certificate in PEM.",
)
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="An API token made for certificates, in place of a password.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the SSH key here as well, and its certificate beside it.",
)
def login(
    proxy: HostPort | None,
    user: str | None,
    ttl: float | None,
    invite: str | None,
    otp: str,
    access_requests: tuple[str, ...],
    password_stdin: bool,
    ca_pin: str | None,
    ca_file: Path | None,
    token_file: Path | None,
    out: Path | None,
    resumes: bool | None,
) -> None:
    """Log in, and get certificates that last some hours."""
    from mezite.cli.conversation import LinesConversation, TerminalConversation
    from mezite.client.login import LoginRequest, log_in, write_identity

    if invite is not None and user is None:
        raise click.UsageError("--invite is for one user: give --user as well")
    if ca_pin is not None and ca_file is not None:
        raise click.UsageError("--ca-pin and --ca-file cannot be given together")
    profiles = Profiles()
    remembered = profiles.remembered(proxy)
    if proxy is None:
        if remembered is None:
            raise click.UsageError("which hub? give --proxy HOST:PORT")
        proxy = remembered.hub
    if user is None:
        user = remembered.user.text if remembered is not None else getpass.getuser()
    token = None if password_stdin or invite is not None else read_token(token_file, {})
    request = LoginRequest(
        proxy,
        UserName.parse(user),
        ttl,
        ca_pin,
        ca_file,
        token,
        invite=invite,
        code=otp,
        requests=access_requests,
        resumes=resumes,
    )
    conversation = LinesConversation(sys.stdin) if password_stdin else TerminalConversation()
    profile = main.run(lambda reactor: log_in(reactor, request, conversation, profiles))
    if out is not None:
        write_identity(profile, out)
    left = tables.duration(profile.valid_before - time.time())
    click.echo(f"{profile.user} is logged in at {profile.hub} for {left}.")


@msh.command()
@proxy_option
def logout(proxy: HostPort | None) -> None:
    """Remove the keys and certificates of a login."""
    profiles = Profiles()
    profile = profiles.load(proxy)
    profiles.log_out(profile)
    click.echo(f"{profile.user} is logged out at {profile.hub}.")


@msh.command()
@proxy_option
@format_option
def status(proxy: HostPort | None, output_format: str) -> None:
    """Show who you are, where, and for how long."""
    profile = Profiles().load(proxy)
    now = time.time()
    if profile.valid_before == 0:
        raise NotLoggedIn
    row = {
        "user": profile.user.text,
        "hub": str(profile.hub),
        "cluster": profile.cluster.text,
        "logins": [login.text for login in profile.logins],
        "valid_until": tables.timestamp(profile.valid_before),
        "time_left": max(0, int(profile.valid_before - now)),
    }
    columns: list[str | tables.Column] = [
        "user",
        "hub",
        "cluster",
        "logins",
        "valid_until",
        tables.Column("time_left", text=_time_left),
    ]
    tables.print_rows([row], columns, output_format)
    profile.check_valid(now)


def _time_left(value: object) -> str:
    return tables.duration(value) if isinstance(value, int) and value else "expired"


@msh.command()
@proxy_option
@click.argument("labels", nargs=-1, metavar="[KEY=VALUE]...")
@format_option
def ls(proxy: HostPort | None, labels: tuple[str, ...], output_format: str) -> None:
    """Show the nodes that you may reach, or those of them with these labels."""
    from mezite.client.dialer import dial_auth
    from mezite.client.listing import node_rows

    parse_labels(labels)
    profile = valid_profile(proxy)

    async def listing(reactor: Any) -> list[dict[str, object]]:
        client = await dial_auth(reactor, profile)
        try:
            return node_rows(await client.list_nodes(labels))
        finally:
            client.close()

    rows = main.run(listing)
    columns: list[str | tables.Column] = [
        "hostname",
        status_column(rows, output_format),
        "labels",
        tables.Column("last_seen", text=tables.ago(time.time())),
        "agent_id",
    ]
    if output_format == "json":
        columns += ["online_since", "offline_since"]
    tables.print_rows(rows, columns, output_format)


recordings.add_command(grep)
for command in (ssh, scp, sftp, mfa, passwd, play, recordings, sessions, requests_of("msh")):
    msh.add_command(command)


@msh.command()
@proxy_option
@click.option(
    "--host", "hosts", multiple=True, metavar="PATTERN", help="Only for these hosts, not for all."
)
@click.option("--save", is_flag=True, help="Write it beside the login, and print the file's name.")
def config(proxy: HostPort | None, hosts: tuple[str, ...], save: bool) -> None:
    """
    Print a configuration for OpenSSH.

    Use it as ssh -F "$(msh config --save)" login@node, or put it into
    ~/.ssh/config with --host patterns that fit your nodes.
    """
    from mezite.client.openssh import ssh_config
    from mezite.client.profile import write_private

    # One that has expired will do: the next login fills the same files.
    profile = Profiles().load(proxy)
    if profile.valid_before == 0:
        raise NotLoggedIn
    local = getpass.getuser()
    # ssh itself tries the local user's name, where nothing else is said.
    is_local = any(each.text == local for each in profile.logins)
    login = None if is_local or not profile.logins else choose_login(profile, None)
    text = ssh_config(profile, program(), hosts=hosts or ("*",), login=login)
    if save:
        path = profile.directory / "ssh_config"
        write_private(path, text.encode())
        click.echo(path)
    else:
        click.echo(text, nl=False)


@msh.group(name="proxy")
def proxy_group() -> None:
    """Connections for other programs."""


@proxy_group.command(name="ssh", cls=SshLike, context_settings={"ignore_unknown_options": True})
@click.option("--profile", metavar="DIR", help="The directory of the login.")
@click.option("--proxy", metavar="HOST:PORT", help="The hub; else that of the latest login.")
@resume_option
@click.argument("node", metavar="NODE[:PORT]")
def proxy_ssh(profile: str | None, proxy: str | None, no_resume: bool, node: str) -> int:
    """Carry standard input and output to a node's SSH server, for a ProxyCommand."""
    from mezite.client import proxycommand

    options = [("--profile", profile), ("--proxy", proxy)]
    arguments = [f"{name}={value}" for name, value in options if value is not None]
    if no_resume:
        arguments.append("--no-resume")
    return proxycommand.main([*arguments, node])


def program() -> list[str]:
    """The words that run this program again, from any directory."""
    started_as = sys.argv[0]
    if os.path.basename(started_as) == "msh" and (found := shutil.which(started_as)):
        return [os.path.abspath(found)]
    beside = os.path.join(os.path.dirname(sys.executable), "msh")
    if os.access(beside, os.X_OK):
        return [beside]
    return [
        sys.executable,
        "-P",
        "-c",
        "import sys; from mezite.cli.main import msh; sys.exit(msh())",
    ]
