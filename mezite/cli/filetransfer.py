"""
The commands ``msh scp`` and ``msh sftp``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, BinaryIO, TypeVar

import click

from mezite.cli import main
from mezite.cli.options import Address, Invocation, resume_option
from mezite.names import HostPort

_F = TypeVar("_F", bound=Callable[..., Any])

_proxy_option = click.option(
    "--proxy", type=Address(), metavar="HOST:PORT", help="The hub; else that of the latest login."
)
_login_option = click.option(
    "--login", "login_name", metavar="LOGIN", help="Who to be where no LOGIN@ is given."
)


class _FailsWith(click.Command):
    """A command with one exit code for all its own failures, as OpenSSH's have."""

    own_failure = 1

    def make_context(self, *arguments: Any, **rest: Any) -> click.Context:
        current = click.get_current_context(silent=True)
        if current is not None:
            current.ensure_object(Invocation).failure_code = self.own_failure
        return super().make_context(*arguments, **rest)


class _Scp(_FailsWith):
    """scp ends with 1, whatever it was."""


class _Sftp(_FailsWith):
    """sftp ends with 1 for a command that failed, and with 255 for the connection."""

    own_failure = 255


def _ignored(*names: str) -> Callable[[_F], _F]:
    """An option that scp or sftp has, and that would change nothing here."""
    return click.option(*names, is_flag=True, hidden=True, expose_value=False)


@click.command(
    cls=_Scp,
    epilog=(
        "A place is a path, or [LOGIN@]NODE:PATH; a path on a node begins at home. "
        "If several files are copied, DST is a directory that exists."
    ),
)
@_proxy_option
@_login_option
@resume_option
@click.option("-r", "recursive", is_flag=True, help="Copy directories with all that is in them.")
@click.option("-p", "preserve", is_flag=True, help="Keep modes and times.")
@click.option("-q", "quiet", is_flag=True, help="Show no progress.")
@_ignored("-3")
@_ignored("-B")
@_ignored("-C")
@click.argument("places", nargs=-1, required=True, metavar="SRC... DST")
def scp(
    proxy: HostPort | None,
    login_name: str | None,
    no_resume: bool,
    recursive: bool,
    preserve: bool,
    quiet: bool,
    places: tuple[str, ...],
) -> int:
    """
    Copy files from and to nodes, or from one node to another.

    \b
      msh scp backup.tar root@db1:/tmp/         to a node
      msh scp -r -p 'web1:/etc/nginx' .         a directory, modes and times kept
      msh scp 'db1:/var/log/*.gz' logs/         the node's files, by pattern
      msh scp db1:dump.sql web1:                through this machine
      msh scp -- -odd-name db1:                 a name that begins with a dash
    """
    from mezite.cli.copying import CopyRequest, Whom, run_copy
    from mezite.cli.logins import choose_login, valid_profile
    from mezite.client.copytree import CopyOptions

    if len(places) < 2:
        raise click.UsageError("copy it where? give SRC and DST")
    request = CopyRequest.parse(places, CopyOptions(recursive, preserve), quiet=quiet)
    whom = Whom(valid_profile(proxy, resumes=not no_resume), login_name, choose_login)
    code: int = main.run(lambda reactor: run_copy(reactor, whom, request))
    return code


@click.command(
    cls=_Sftp,
    epilog="At the prompt, help shows the commands; they are those of OpenSSH's sftp.",
)
@_proxy_option
@_login_option
@resume_option
@click.option(
    "-b",
    "batch",
    type=click.File("rb"),
    metavar="FILE",
    help="Read commands from FILE (- for standard input), and stop at the first that fails.",
)
@click.option("-q", "quiet", is_flag=True, help="Show no progress, and do not echo commands.")
@_ignored("-C")
@click.argument("place", metavar="[LOGIN@]NODE[:PATH]")
@click.argument("local", required=False, metavar="[LOCAL]")
def sftp(
    proxy: HostPort | None,
    login_name: str | None,
    no_resume: bool,
    batch: BinaryIO | None,
    quiet: bool,
    place: str,
    local: str | None,
) -> int:
    """
    Look around among a node's files, and fetch and send them.

    \b
      msh sftp root@db1                         a prompt, at home
      msh sftp db1:/var/log                     a prompt, there
      msh sftp db1:/etc/motd                    fetch this file
      echo 'put -r site /srv' | msh sftp -b - web1

    In a batch, a line that begins with - may fail, and one with @ is not echoed.
    """
    from mezite.cli.copying import Whom
    from mezite.cli.logins import choose_login, valid_profile
    from mezite.cli.sftpcommands import SftpRequest, run_lines
    from mezite.client.copyplaces import parse_location

    location = parse_location(place if ":" in place else f"{place}:")
    whom = Whom(valid_profile(proxy, resumes=not no_resume), login_name, choose_login)
    request = SftpRequest(whom, location, local, quiet)
    if batch is None and sys.stdin.isatty():
        from mezite.cli.sftpprompt import run_prompt

        return run_prompt(request)
    lines = batch or sys.stdin.buffer
    stops = batch is not None
    code: int = main.run(lambda reactor: run_lines(reactor, request, lines, stops=stops))
    return code
