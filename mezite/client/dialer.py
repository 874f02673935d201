"""
Connections to the hub's auth service.

:mod:`mezite.client.node` dials nodes, and does without gRPC, whose import
would make every session start a tenth of a second later.
"""

from __future__ import annotations

from typing import Any, Final

from mezite.client.profile import Profile
from mezite.client.tls import DIAL_SECONDS, context_of, dialed, hub_server_name
from mezite.names import HostPort
from mezite.rpc.client import AuthClient, open_channel
from mezite.wire.contexts import ClientContext, client_context
from mezite.wire.endpoint import TlsClientEndpoint

AUTH: Final = b"mezite-auth"


async def dial_unauthenticated(reactor: Any, hub: HostPort, authority: bytes) -> AuthClient:
    """The hub's auth service, for those who have no login yet."""
    return await _auth(reactor, hub, client_context(AUTH, authority))


async def dial_auth(reactor: Any, profile: Profile) -> AuthClient:
    """The hub's auth service, as the user of this login."""
    return await _auth(reactor, profile.hub, context_of(profile, AUTH))


async def _auth(reactor: Any, hub: HostPort, context: ClientContext) -> AuthClient:
    endpoint = TlsClientEndpoint(
        reactor, hub, context, server_name=hub_server_name(hub), timeout=DIAL_SECONDS
    )
    channel = await dialed(reactor, hub, open_channel(endpoint, reactor))
    return AuthClient(channel)
