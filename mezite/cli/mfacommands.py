"""
msh's commands about one's own proofs: second factors, recovery codes, the password.

Each change is made with a login of its own, so that who finds a certificate
cannot change how its owner logs in.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import click

from mezite.cli import main, tables
from mezite.cli.logins import valid_profile
from mezite.cli.options import Address, format_option
from mezite.client.profile import Profile, Profiles
from mezite.error import BadInput, MeziteError
from mezite.names import HostPort

if TYPE_CHECKING:
    from mezite.client.proving import Dial, OwnLogin
    from mezite.rpc.client import AuthClient

T = TypeVar("T")
_F = TypeVar("_F", bound=Callable[..., Any])


def _login_options(function: _F) -> _F:
    for option in (
        click.option(
            "--password-stdin", is_flag=True, help="Read the answers from standard input, by line."
        ),
        click.option(
            "--otp", metavar="CODE", default="", help="A code of the second factor you have."
        ),
        click.option(
            "--proxy",
            type=Address(),
            metavar="HOST:PORT",
            help="The hub; else that of the latest login.",
        ),
    ):
        function = option(function)
    return function


@click.group(
    epilog="\b\nExamples:"
    "\n  msh mfa add totp"
    "\n  msh mfa ls"
    "\n  msh mfa recovery-codes"
    "\n  msh mfa rm totp"
)
def mfa() -> None:
    """Second factors: what you show beside your password."""


@mfa.command(name="ls")
@click.option(
    "--proxy", type=Address(), metavar="HOST:PORT", help="The hub; else that of the latest login."
)
@format_option
def list_factors(proxy: HostPort | None, output_format: str) -> None:
    """Show your second factors, and how many recovery codes are left."""
    from mezite.client.dialer import dial_auth

    profile = valid_profile(proxy)

    async def listing(reactor: Any) -> Any:
        client = await dial_auth(reactor, profile)
        try:
            return await client.list_second_factors()
        finally:
            client.close()

    found = main.run(listing)
    rows: list[dict[str, object]] = [
        {
            "kind": each.kind,
            "id": each.id or None,
            "name": each.name or None,
            "created": tables.timestamp(each.created),
            "last_used": tables.timestamp(each.last_used) if each.last_used else None,
        }
        for each in found.second_factors
    ]
    columns: list[str | tables.Column] = [
        "kind",
        "id",
        "name",
        tables.Column("created", text=tables.ago(time.time())),
        tables.Column("last_used", text=tables.ago(time.time())),
    ]
    if output_format == "json":
        row = {
            "second_factors": rows,
            "recovery_codes_left": found.recovery_codes_left,
            "policy": found.policy,
        }
        tables.print_rows([row], list(row), "json")
        return
    tables.print_rows(rows, columns, "text")
    click.echo(f"\nRecovery codes left: {found.recovery_codes_left}")
    click.echo(f"A second factor is {found.policy} in this cluster.")


@mfa.command(name="add")
@click.argument("kind", type=click.Choice(["totp"]))
@_login_options
def add_factor(kind: str, proxy: HostPort | None, otp: str, password_stdin: bool) -> None:
    """
    Enrol an authenticator app, in place of the one you have.

    Security keys are added in the browser.
    """
    conversation = _conversation(password_stdin)

    async def work(login: OwnLogin) -> list[str]:
        offer = await login.ask(lambda hub: hub.begin_totp())
        # Enrolling is what was asked for.
        code = conversation.enrol(offer, True)
        return await login.ask(lambda hub: hub.confirm_totp(code))

    codes = _with_login(proxy, otp, conversation, work)
    click.echo("The app is your second factor from now on.", err=True)
    if codes:
        conversation.show_recovery_codes(codes)


@mfa.command(name="rm")
@click.argument("factor", metavar="totp|ID")
@_login_options
def remove_factor(factor: str, proxy: HostPort | None, otp: str, password_stdin: bool) -> None:
    """Remove your authenticator app, or a security key by the id that ls shows."""
    if not factor.isascii() or not factor.isalnum() or len(factor) > 64:
        raise BadInput("that is no second factor: write totp, or an id that msh mfa ls shows")

    async def work(login: OwnLogin) -> None:
        if factor == "totp":
            await login.ask(lambda hub: hub.remove_totp())
        else:
            await login.ask(lambda hub: hub.remove_webauthn(factor))

    _with_login(proxy, otp, _conversation(password_stdin), work)
    click.echo(f"{factor} was removed.")


@mfa.command(name="recovery-codes")
@_login_options
def recovery_codes(proxy: HostPort | None, otp: str, password_stdin: bool) -> None:
    """Make ten new recovery codes; the old ones are worth nothing then."""
    conversation = _conversation(password_stdin)

    async def work(login: OwnLogin) -> list[str]:
        return await login.ask(lambda hub: hub.create_recovery_codes())

    codes = _with_login(proxy, otp, conversation, work)
    conversation.show_recovery_codes(codes)


@click.command()
@_login_options
def passwd(proxy: HostPort | None, otp: str, password_stdin: bool) -> None:
    """
    Choose a new password.

    Logins in browsers end; certificates last as long as they say.
    """
    from mezite.client.proving import ask_for_code, call

    profile = Profiles().load(proxy)
    conversation = _conversation(password_stdin)

    async def work(reactor: Any) -> None:
        user, dial = profile.user, _dial(reactor, profile)
        old = conversation.password(user)
        # Without a code, which would be spent by it.
        found = await call(dial, lambda hub: hub.authenticate_local(user.text, old))
        code = otp
        if found.second_factor_required and not code:
            code = ask_for_code(conversation, found.second_factors)
        new = conversation.chosen_password(user)
        await call(dial, lambda hub: hub.change_password(user.text, old, new, code))

    main.run(work)
    click.echo(f"The password of {profile.user} was changed.")


def _with_login(
    proxy: HostPort | None,
    code: str,
    conversation: Any,
    work: Callable[[OwnLogin], Awaitable[T]],
) -> T:
    """Log in beside the certificates that there are, do this, and log out."""
    from mezite.client.proving import OwnLogin

    profile = Profiles().load(proxy)

    async def run(reactor: Any) -> T:
        login = OwnLogin(_dial(reactor, profile), profile.user, conversation, code)
        await login.begin()
        done = await work(login)
        # Whether it ends now or by itself, what was done is to be shown.
        with suppress(MeziteError):
            await login.end()
        return done

    return main.run(run)


def _dial(reactor: Any, profile: Profile) -> Dial:
    from mezite.client import places
    from mezite.client.dialer import dial_unauthenticated

    async def dial() -> AuthClient:
        authority = profile.read(places.CLUSTER_CA)
        return await dial_unauthenticated(reactor, profile.hub, authority)

    return dial


def _conversation(password_stdin: bool) -> Any:
    from mezite.cli.conversation import LinesConversation, TerminalConversation

    return LinesConversation(sys.stdin) if password_stdin else TerminalConversation()
