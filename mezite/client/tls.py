"""
How a login dials its hub with TLS, whatever is spoken inside.
"""

from __future__ import annotations

from typing import Final

from mezite.client import places
from mezite.client.error import DamagedProfile
from mezite.client.profile import Profile
from mezite.error import BadInput
from mezite.names import HostPort, is_address
from mezite.wire.contexts import ClientContext, client_context

# Connecting and the TLS handshake together.
DIAL_SECONDS: Final = 10.0


def hub_server_name(hub: HostPort) -> str | None:
    """What to call the hub in TLS, before it has said its name."""
    return None if is_address(hub.host) else hub.host


def context_of(profile: Profile, protocol: bytes) -> ClientContext:
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
        )
    except BadInput as error:
        raise damaged(profile, error) from error


def damaged(profile: Profile, error: Exception) -> DamagedProfile:
    """What to say when the content of the login's files makes no sense."""
    if isinstance(error, DamagedProfile):
        return error
    return DamagedProfile(
        f"the keys and certificates in {profile.directory} are damaged: run msh login"
    )
