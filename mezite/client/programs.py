"""
The hub's auth service for programs, which have a token and nobody to be asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import field, frozen

from mezite.client.dialer import dial_unauthenticated
from mezite.client.login import authority_of
from mezite.client.profile import Profiles
from mezite.error import BadInput
from mezite.names import HostPort
from mezite.rpc.client import AuthClient


@frozen
class TokenLogin:
    """Where a token is good, and how the hub there is to be known; as in a LoginRequest."""

    hub: HostPort
    token: str = field(repr=False)
    pin: str | None = None
    ca_file: Path | None = None


async def dial_with_token(reactor: Any, login: TokenLogin, profiles: Profiles) -> AuthClient:
    """
    The auth service, as whom the token speaks for.

    :raises BadInput: nothing tells whether this is the hub.
    """
    authority, _ = await authority_of(
        reactor,
        login.hub,
        pin=login.pin,
        ca_file=login.ca_file,
        confirm=_nobody_to_ask,
        profiles=profiles,
    )
    client = await dial_unauthenticated(reactor, login.hub, authority)
    client.bearer = login.token
    return client


def _nobody_to_ask(hub: HostPort, pin: str) -> bool:
    raise BadInput(f"whether {hub} is your hub is not known: give --ca-pin, or --ca-file")
