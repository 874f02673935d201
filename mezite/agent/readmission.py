"""
What an agent does when the hub keeps hanging up on it.

A hub ends the tunnel of a node that it does not know, and cannot say why
there. Over ``mezite-auth`` it can, so the agent asks for new certificates. If
the node was removed, if its certificate ended or its authority was forgotten
while it was away, or if the hub was set up anew, a join token that was given
brings it back; its keys stay, and nothing is deleted by hand. A hub with another
authority is believed only by a pin or a CA file that somebody gave, or if the
authority that the node trusts vouches for it, as it does while the other takes
over: never by public trust, never by its word.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from attrs import define, field
from twisted.logger import Logger

from mezite.agent.condition import Condition
from mezite.agent.currentmembership import CurrentMembership
from mezite.agent.error import JoinRefused, NotJoined
from mezite.agent.explanations import expired, is_another_hub, is_refused_certificate
from mezite.agent.hubcalls import DEADLINE, HubCalls
from mezite.agent.join import Application
from mezite.agent.membership import Issued, Membership, NodeKeys
from mezite.error import Denied, MeziteError
from mezite.identity.authority import pin_of
from mezite.names import is_address
from mezite.rpc.channel import open_channel
from mezite.tasks import within
from mezite.wire import alpn
from mezite.wire.contexts import client_context
from mezite.wire.credentials import load_certificates
from mezite.wire.endpoint import TlsClientEndpoint
from mezite.wire.error import NotThisHub
from mezite.wire.trust import fetch_authority

_SECONDS: Final = 30.0


async def renew_directly(reactor: Any, membership: Membership) -> Issued:
    """
    New certificates over a connection of its own.

    :raises Denied: the node is not part of the cluster any more.
    """
    hub = membership.hub
    endpoint = TlsClientEndpoint(
        reactor,
        hub,
        tls_context(alpn.MEZITE_AUTH, membership),
        server_name=None if is_address(hub.host) else hub.host,
        timeout=DEADLINE,
    )
    channel = await open_channel(endpoint, reactor)
    try:
        return await HubCalls.on(channel).renew(membership.keys)
    finally:
        channel.close()


async def find_successor(reactor: Any, membership: Membership) -> Membership:
    """
    The same node, which trusts the authority that takes over from its own as well.

    :raises NotThisHub: the hub shows no such authority.
    """
    refusal: NotThisHub | None = None
    for authority in load_certificates(membership.certificates.cluster_ca_pem):
        try:
            found = await fetch_authority(reactor, membership.hub, pin=pin_of(authority))
        except NotThisHub as error:
            refusal = error
        else:
            return membership.trusting(found)
    raise refusal or NotThisHub(f"{membership.hub} shows no authority that this node knows")


def tls_context(protocol: bytes, membership: Membership) -> Any:
    """How this node dials its hub, and no other."""
    return client_context(
        protocol,
        membership.certificates.cluster_ca_pem,
        membership.certificates.tls_certificate_pem,
        membership.keys.tls_pem,
        cluster=membership.identity.cluster,
    )


@define(eq=False)
class Readmission:
    """
    Finds out why the hub hangs up, and mends it if it can.

    ``application`` reads the join token that was given; it raises
    :class:`NotJoined` if there is none.
    """

    _log = Logger()

    current: CurrentMembership
    clock: Any
    wall_clock: Callable[[], float]
    renew: Callable[[Membership], Awaitable[Issued]] = field(repr=False)
    join: Callable[[Application, NodeKeys], Awaitable[Membership]] = field(repr=False)
    application: Callable[[], Application] = field(repr=False)
    # Not asked for where nobody can be, as in tests of the rest.
    successor: Callable[[Membership], Awaitable[Membership]] | None = field(
        repr=False, default=None
    )
    condition: Condition = field(repr=False, factory=Condition)
    # The token that was refused; it will not get better.
    _refused: str | None = field(init=False, default=None, repr=False)

    async def mend(self) -> bool:
        """Whether the next dial is made with something new."""
        membership = self.current.membership
        if self.wall_clock() >= membership.tls_expires:
            return await self._join_again(expired(membership))
        try:
            issued = await within(
                self.clock, _SECONDS, self.renew(membership), doing="asking the hub for its reason"
            )
            self.current.replace(membership.renewed(issued))
        except Denied as error:
            return await self._join_again(str(error), was_removed=True)
        except MeziteError as error:
            if is_refused_certificate(error):
                return await self._join_again(
                    f"the hub at {membership.hub} does not accept this node's certificate: its"
                    " authority may have been rotated while this node was away"
                )
            if is_another_hub(error):
                if await self._follow_successor(membership):
                    return True
                return await self._join_again(
                    f"the hub at {membership.hub} is not the one that this node joined, or its"
                    " authority was rotated while this node was away"
                )
            # A locked node hears it here.
            self.condition.troubled(f"asked why it hangs up, the hub says: {error}")
            self._log.info("asked why it hangs up, the hub says: {error}", error=error)
            return False
        return True

    async def _follow_successor(self, old: Membership) -> bool:
        """Whether the hub's authority is the one that takes over from ours, and took us in."""
        if self.successor is None:
            return False
        try:
            membership = await within(
                self.clock, _SECONDS, self.successor(old), doing="looking at the hub's authority"
            )
            issued = await within(
                self.clock, _SECONDS, self.renew(membership), doing="asking for new certificates"
            )
            self.current.replace(membership.renewed(issued))
        except MeziteError as error:
            self._log.debug("the hub's authority is not the next of ours: {error}", error=error)
            return False
        self._log.info("the cluster's authority is being rotated; this node has learned of it")
        return True

    async def _join_again(self, why: str, *, was_removed: bool = False) -> bool:
        old = self.current.membership
        try:
            application = self.application()
            if application.token == self._refused:
                raise NotJoined("the join token that mezd was started with was refused before")
            new = await within(
                self.clock, _SECONDS, self.join(application, old.keys), doing="joining again"
            )
            self.current.replace(new)
        except MeziteError as error:
            if isinstance(error, Denied) and not isinstance(error, JoinRefused | NotThisHub):
                # The hub itself said no; what did not reach it may still be good.
                self._refused = application.token
            self.condition.refused(why, was_removed=was_removed)
            self._log.error(
                "{why}; it could not join again: {error}. On the hub run mezctl nodes"
                " allow-rejoin {node} (or mezctl tokens create, if the node was removed there), and"
                " start mezd with what it prints; nothing needs to be deleted here",
                why=why,
                node=old.identity.node,
                error=error,
            )
            return False
        self._log.info(
            "joined again as {node} ({agent_id})",
            node=new.identity.node,
            agent_id=new.identity.agent_id,
        )
        return True
