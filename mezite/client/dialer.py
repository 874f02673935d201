"""
Connections to the hub's auth service.

:mod:`mezite.client.node` dials nodes, and does without gRPC, whose import
would make every session start a tenth of a second later.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from mezite.client.learning import learn_authorities
from mezite.client.profile import Profile, Profiles
from mezite.client.tls import DIAL_SECONDS, certificate_refusal, context_of, dialed, hub_server_name
from mezite.names import HostPort
from mezite.rpc.client import AuthClient, GrpcChannel, open_channel
from mezite.rpc.error import ChannelClosed
from mezite.tasks import background
from mezite.wire.contexts import ClientContext, client_context
from mezite.wire.endpoint import TlsClientEndpoint

AUTH: Final = b"mezite-auth"
M = TypeVar("M", bound=Message)


class _LoggedInClient(AuthClient):
    """Says so, where a certificate that is still in time is refused."""

    async def _call(self, request: Message, response_type: type[M]) -> M:
        try:
            return await super()._call(request, response_type)
        except ChannelClosed as error:
            raise certificate_refusal(error.__cause__) or error from error.__cause__


async def dial_unauthenticated(reactor: Any, hub: HostPort, authority: bytes) -> AuthClient:
    """The hub's auth service, for those who have no login yet."""
    return AuthClient(await _channel(reactor, hub, client_context(AUTH, authority)))


async def dial_auth(reactor: Any, profile: Profile) -> AuthClient:
    """
    The hub's auth service, as the user of this login.

    Beside whatever it is called for, the hub is asked for its authorities, if there is the
    time for that.
    """
    client = _LoggedInClient(await _channel(reactor, profile.hub, context_of(profile, AUTH)))
    background(learn_authorities(client, profile, Profiles()), doing="learning authorities")
    return client


async def _channel(reactor: Any, hub: HostPort, context: ClientContext) -> GrpcChannel:
    endpoint = TlsClientEndpoint(
        reactor, hub, context, server_name=hub_server_name(hub), timeout=DIAL_SECONDS
    )
    return await dialed(reactor, hub, open_channel(endpoint, reactor))
