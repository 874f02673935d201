"""
``msh ssh``, as people know it from ssh.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final, TypeVar

import click

from mezite.cli import main
from mezite.cli.logins import choose_login, valid_profile
from mezite.cli.options import Address, Invocation, resume_option
from mezite.error import BadInput
from mezite.names import HostPort

_F = TypeVar("_F", bound=Callable[..., Any])
# As many TLS handshakes at a time as two cores do in a second or so.
PARALLEL: Final = 20
_IGNORED_VALUES: Final = ("p", "i", "F", "c", "m", "b", "B", "I", "S")
_IGNORED_FLAGS: Final = ("4", "6", "C", "k", "K", "M", "x", "y")


class SshLike(click.Command):
    """A command whose own failures are exit code 255, so that they are not the node's."""

    def make_context(self, *arguments: Any, **rest: Any) -> click.Context:
        current = click.get_current_context(silent=True)
        if current is not None:
            current.ensure_object(Invocation).failure_code = 255
        return super().make_context(*arguments, **rest)


class _SshCommand(SshLike):
    """Options before the destination, or behind it; then words that are not ours."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        from mezite.cli.sshoptions import split_words

        takes_value = {
            name
            for each in self.params
            if isinstance(each, click.Option) and not (each.is_flag or each.count)
            for name in each.opts
        }
        options, destination, command = split_words(args, takes_value)
        rest = [] if destination is None else [destination, *command]
        return super().parse_args(ctx, [*options, "--", *rest])


def _ignored(function: _F) -> _F:
    for letter in reversed(_IGNORED_VALUES):
        function = click.option(f"-{letter}", f"_{letter}_value", hidden=True)(function)
    for letter in reversed(_IGNORED_FLAGS):
        function = click.option(f"-{letter}", f"_{letter}_flag", is_flag=True, hidden=True)(
            function
        )
    return function


def _several(*names: str, metavar: str, help: str) -> Callable[[_F], _F]:
    return click.option(*names, multiple=True, metavar=metavar, help=help)


@click.command(name="ssh", cls=_SshCommand, context_settings={"allow_interspersed_args": False})
@click.option(
    "--proxy", type=Address(), metavar="HOST:PORT", help="The hub; else that of the latest login."
)
@click.option("-l", "--login", "login_name", metavar="LOGIN", help="Who to be on the node.")
@_several("-L", "local", metavar="[BIND:]PORT:HOST:PORT", help="Listen here, lead there.")
@_several("-R", "remote", metavar="[BIND:]PORT[:HOST:PORT]", help="Listen there, lead here.")
@_several("-D", "dynamic", metavar="[BIND:]PORT", help="Listen here as a SOCKS proxy.")
@click.option("-g", "is_gateway", is_flag=True, help="Let other machines use what listens here.")
@click.option("-A/-a", "lends_agent", default=None, help="Lend the ssh-agent to the node.")
@click.option("-N", "no_session", is_flag=True, help="Run nothing, only forward.")
@click.option("-f", "in_background", is_flag=True, help="Go to the background once all runs.")
@click.option("-n", "no_input", is_flag=True, help="Do not read standard input.")
@click.option("-s", "is_subsystem", is_flag=True, help="The command is a subsystem's name.")
@click.option("-t", "with_terminal", count=True, help="A terminal, also for a command.")
@click.option("-T", "without_terminal", is_flag=True, help="No terminal, also for a shell.")
@click.option("-e", "escape", metavar="CHAR", help="What escapes begin with; none for no escapes.")
@click.option("-q", "is_quiet", is_flag=True, help="No warnings.")
@click.option("-v", "is_verbose", count=True, help="Tell what goes on.")
@_several("-o", "settings", metavar="KEY=VALUE", help="As in ssh_config(5).")
@click.option(
    "--parallel",
    type=click.IntRange(1, 500),
    default=PARALLEL,
    show_default=True,
    help="On how many nodes at a time.",
)
@resume_option
@_ignored
@click.argument("destination", metavar="[LOGIN@]NODE|KEY=VALUE[,...]")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[COMMAND]...")
def ssh(destination: str, words: tuple[str, ...], proxy: HostPort | None, **given: Any) -> int:
    """
    Open a shell on a node, or run a command there.

    With KEY=VALUE in place of a node the command runs on every node that has
    these labels, and each line of its output says whose it is.
    """
    from mezite.cli.sshoptions import SshOptions

    options: SshOptions = _options_of(given)
    invocation = click.get_current_context().ensure_object(Invocation)
    invocation.verbosity = int(options.verbosity)
    _tell_ignored(options.ignored, invocation.verbosity)
    before, at, rest = destination.partition("@")
    if not at or "=" in before:
        before, rest = "", destination
    elif not before:
        raise BadInput(f"{destination[:80]!r} has no login before the @")
    if given["login_name"] is None and before:
        options.login = before
    if "=" in rest:
        return _on_several(proxy, options, rest, words, given["parallel"])
    return _on_one(proxy, options, rest, words)


def _on_one(proxy: HostPort | None, options: Any, name: str, words: tuple[str, ...]) -> int:
    from mezite.cli.background import in_background
    from mezite.cli.remote import run_on_node, visit_of
    from mezite.client.node import parse_node

    profile = valid_profile(proxy, resumes=options.resumes)
    target = parse_node(name, profile.hub_name)
    login = choose_login(profile, options.login)
    visit = visit_of(options, words, os.environ)
    if options.in_background and visit.request is not None and visit.request.command is None:
        raise click.UsageError("-f takes a command, or -N")

    def run(on_ready: Any = lambda: None) -> int:
        code: int = main.run(
            lambda reactor: run_on_node(reactor, profile, target, login, visit, on_ready)
        )
        return code

    return in_background(run) if options.in_background else run()


def _on_several(
    proxy: HostPort | None, options: Any, selector: str, words: tuple[str, ...], parallel: int
) -> int:
    from mezite.cli.remote import request_of
    from mezite.cli.severalnodes import parse_selector, run_on_selected
    from mezite.cli.sshoptions import Terminal, Verbosity
    from mezite.client.several import Errand

    labels = parse_selector(selector)
    only_one = {
        "-L, -R and -D": options.local or options.remote,
        "-N": not options.has_session,
        "-f": options.in_background,
        "-A": options.lends_agent,
        "-t": options.terminal in (Terminal.YES, Terminal.FORCE),
    }
    for name, is_given in only_one.items():
        if is_given:
            raise click.UsageError(
                f"{name} are for one node" if "," in name else f"{name} is for one node"
            )
    options.terminal = Terminal.NO
    request = request_of(options, words, os.environ)
    if request.command is None:
        raise click.UsageError("what shall run there? several nodes take a command")
    profile = valid_profile(proxy, resumes=options.resumes)
    errand = Errand(profile, choose_login(profile, options.login), request, options.patience)
    is_quiet = options.verbosity is Verbosity.QUIET
    code: int = main.run(
        lambda reactor: run_on_selected(reactor, errand, labels, parallel, is_quiet=is_quiet)
    )
    return code


def _options_of(given: dict[str, Any]) -> Any:
    """One value for what options say, and what ``-o`` says where they do not."""
    from mezite.cli.sshoptions import SshOptions, Terminal, Verbosity, parse_escape, set_options
    from mezite.client.forwardspec import parse_dynamic, parse_local, parse_remote

    options = SshOptions()
    set_options(options, given["settings"])
    if given["login_name"] is not None:
        options.login = given["login_name"]
    options.local += [parse_local(each) for each in given["local"]]
    options.local += [parse_dynamic(each) for each in given["dynamic"]]
    options.remote += [parse_remote(each) for each in given["remote"]]
    if given["lends_agent"] is not None:
        options.lends_agent = options.lends_agent or True if given["lends_agent"] else False
    if given["no_resume"]:
        options.resumes = False
    if given["no_session"]:
        options.has_session = False
    for flag in ("is_gateway", "in_background", "is_subsystem"):
        if given[flag]:
            setattr(options, flag, True)
    if given["no_input"]:
        options.takes_input = False
    if given["without_terminal"]:
        options.terminal = Terminal.NO
    elif given["with_terminal"]:
        options.terminal = Terminal.FORCE if given["with_terminal"] > 1 else Terminal.YES
    if given["escape"] is not None:
        options.escape = parse_escape(given["escape"])
    if given["is_quiet"]:
        options.verbosity = Verbosity.QUIET
    elif given["is_verbose"]:
        options.verbosity = Verbosity.VERBOSE
    options.ignored += [f"-{letter}" for letter in _IGNORED_VALUES if given[f"_{letter}_value"]]
    options.ignored += [f"-{letter}" for letter in _IGNORED_FLAGS if given[f"_{letter}_flag"]]
    return options


def _tell_ignored(ignored: list[str], verbosity: int) -> None:
    if ignored and verbosity > 0:
        names = ", ".join(dict.fromkeys(ignored))
        click.echo(f"msh: of no meaning here, and left aside: {names}", err=True)
