"""
How a login dials its hub with TLS, whatever is spoken inside.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from twisted.internet.error import ConnectError, ConnectingCancelledError

from mezite.client import places
from mezite.client.error import DamagedProfile, HubUnreachable, UntrustedHub
from mezite.client.profile import Profile
from mezite.error import BadInput, Denied, TimedOut
from mezite.names import HostPort, is_address
from mezite.tasks import within
from mezite.wire.contexts import ClientContext, client_context
from mezite.wire.error import HandshakeFailed, TlsBroken
from mezite.wire.error import HubUnreachable as NothingThere

T = TypeVar("T")
# Connecting and the TLS handshake together.
DIAL_SECONDS: Final = 10.0


def hub_server_name(hub: HostPort) -> str | None:
    """What to call the hub in TLS, before it has said its name."""
    return None if is_address(hub.host) else hub.host


async def dialed(
    reactor: Any, hub: HostPort, connecting: Awaitable[T], *, seconds: float = DIAL_SECONDS
) -> T:
    """
    What this attempt at a connection gives, within this time.

    :raises HubUnreachable: when they are over, or nothing is there.
    :raises UntrustedHub: what is there is not of an authority that is trusted.
    """
    try:
        return await within(reactor, seconds, connecting, doing=f"connecting to {hub}")
    except HandshakeFailed as error:
        if "not from an authority" not in error.detail:
            raise
        raise UntrustedHub(
            f"the hub at {hub} is not the one you logged in to, or its authority was rotated:"
            " run msh login"
        ) from error
    # An endpoint that is cancelled says so in its own way.
    except (TimedOut, ConnectingCancelledError):
        raise HubUnreachable(f"the hub at {hub} did not answer within {seconds:g} s") from None
    except NothingThere as error:
        cause = error.__cause__
        number = cause.osError if isinstance(cause, ConnectError) else None
        why = os.strerror(number).lower() if number else error.detail
        raise HubUnreachable(f"the hub at {hub} cannot be reached: {why}") from error


def context_of(
    profile: Profile, protocol: bytes, *, preferred: bytes | None = None
) -> ClientContext:
    """
    With the login's certificate, and for its own hub only.

    :raises DamagedProfile: if its files cannot be used.
    """
    try:
        return client_context(
            protocol,
            profile.read(places.CLUSTER_CA),
            profile.read(places.TLS_CERTIFICATE),
            profile.read(places.TLS_KEY),
            cluster=profile.cluster,
            preferred=preferred,
        )
    except BadInput as error:
        raise damaged(profile, error) from error


def certificate_refusal(error: BaseException | None) -> Denied | None:
    """
    What to say if the hub did not take our certificate; None, if it is not that.

    In TLS 1.3 a client hears of it after the handshake, as an alert.
    """
    detail = error.detail.lower() if isinstance(error, TlsBroken) else ""
    if "alert" in detail and ("unknown ca" in detail or "certificate" in detail):
        return Denied("the hub refused your certificate: run msh login")
    return None


def damaged(profile: Profile, error: Exception) -> DamagedProfile:
    """What to say when the content of the login's files makes no sense."""
    if isinstance(error, DamagedProfile):
        return error
    return DamagedProfile(
        f"the keys and certificates in {profile.directory} are damaged: run msh login"
    )
