"""
SSH connections to nodes, through the hub.

It owns what is dialed and within which time; what a login proves is read from
its :class:`~mezite.client.profile.Profile`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from attrs import frozen
from cryptography.hazmat.primitives.serialization import load_ssh_private_key
from twisted.internet.interfaces import IDelayedCall, ITCPTransport
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from mezite.client import places
from mezite.client.incoming import ClientConnection
from mezite.client.profile import Profile, host_authorities
from mezite.client.resuming import Notices, ResumingDialer
from mezite.client.tls import DIAL_SECONDS, certificate_refusal, context_of, damaged, dialed
from mezite.error import BadInput, Denied, TimedOut
from mezite.identity.sshkeys import blob_of_key, load_public_line
from mezite.names import AgentId, InvalidName, LoginName, NodeName
from mezite.resume.error import RemoteResumeError, SessionGone
from mezite.ssh.client import ClientTransport, HostTrust, UserKey
from mezite.ssh.error import BY_APPLICATION, ConnectionEnded
from mezite.ssh.keylife import RESUMABLE
from mezite.wire.alpn import MEZITE_SSH, MEZITE_SSH_RESUME
from mezite.wire.endpoint import TlsClientEndpoint
from mezite.wire.error import TlsBroken

_WHY_NOT_RESUMED: Final = (SessionGone, RemoteResumeError, Denied)
# Below the shortest idle timeouts of load balancers and NAT, which are a minute.
ALIVE_SECONDS: Final = 15.0
UNHEARD: Final = 3


@frozen
class Patience:
    """How long is waited: for a connection, and for signs of life on it."""

    connect_seconds: float = DIAL_SECONDS
    # Without a number of seconds nothing is asked, and a dead connection not noticed.
    alive_seconds: float | None = ALIVE_SECONDS
    unheard: int = UNHEARD


DEFAULT_PATIENCE: Final = Patience()


def parse_node(text: str, hub_name: str) -> NodeName | AgentId:
    """The node that was typed: by name, with the hub's name behind it, or by agent id."""
    name = text.strip().lower().rstrip(".").removesuffix(f".{hub_name}")
    try:
        return AgentId.parse(name)
    except InvalidName:
        return NodeName.parse(name)


@frozen(eq=False)
class NodeConnection:
    """An SSH connection to a node, on which sessions may be opened."""

    transport: ClientTransport
    connection: ClientConnection

    def lost_because(self) -> Exception | None:
        """Why the connection is gone, once it is."""
        reasons: list[Exception] = []
        self.transport.ended().addCallback(reasons.append)
        return reasons[0] if reasons else None

    def close(self) -> None:
        self.transport.close()


class NodeTransport(ClientTransport):
    """
    An SSH transport that notices a dead connection, and tells why it ended.

    Load balancers, sleeping laptops and machines without power end connections
    without a word. The node is asked again and again whether it is there;
    whatever comes from it is a sign of life, since on a slow line an answer may
    wait behind other data.
    """

    patience = DEFAULT_PATIENCE
    _asking: IDelayedCall | None = None
    _unheard = 0

    def connectionMade(self) -> None:
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        super().connectionMade()

    def logged_in(self) -> None:
        super().logged_in()
        self._ask_later()

    def _ask_later(self) -> None:
        if self.patience.alive_seconds is not None:
            self._asking = self._clock.callLater(self.patience.alive_seconds, self._ask)

    def dataReceived(self, data: bytes) -> None:
        self._unheard = 0
        super().dataReceived(data)

    def _ask(self) -> None:
        if not getattr(self.transport, "is_carried", True):
            # It is known that nothing can be heard; another connection is being looked for.
            self._unheard = 0
            self._ask_later()
            return
        if self._unheard >= self.patience.unheard:
            seconds = (self.patience.alive_seconds or 0) * self.patience.unheard
            self.fail(
                TimedOut(f"nothing was heard from the node for {seconds:g} s"), BY_APPLICATION
            )
            return
        self._unheard += 1
        asked = self._connection.sendGlobalRequest(b"keepalive@openssh.com", b"", wantReply=1)
        # A refusal is an answer too.
        asked.addErrback(lambda _: None)
        self._ask_later()

    def connectionLost(self, reason: Failure | None = None) -> None:
        if self._asking is not None and self._asking.active():
            self._asking.cancel()
        if reason is not None and isinstance(reason.value, _WHY_NOT_RESUMED):
            self.end = reason.value
        # In TLS 1.3 a client learns only now that its certificate was refused.
        if (
            reason is not None
            and reason.check(TlsBroken) is not None
            and isinstance(self.end, ConnectionEnded)
        ):
            self.end = certificate_refusal(reason.value) or cast(TlsBroken, reason.value)
        super().connectionLost(reason)


async def dial_node(
    reactor: Any,
    profile: Profile,
    node: NodeName | AgentId,
    login: LoginName,
    *,
    patience: Patience = DEFAULT_PATIENCE,
    on_banner: Callable[[str], None] | None = None,
    wall_clock: Callable[[], float] = time.time,
    notices: Notices | None = None,
) -> NodeConnection:
    """
    Log in on a node, through the hub.

    If it is cut, it is taken up again, unless the profile says not to.

    :param notices: told when it is cut, and when it is back.

    :raises MeziteError: with a sentence from whoever said no: the hub, the
        node, or this side, which did not find the node it meant.
    """
    connection = ClientConnection()
    transport = NodeTransport(
        HostTrust(_host_blobs(profile), {node.text}, wall_clock),
        _user_key(profile),
        login,
        connection,
        reactor,
        on_banner=on_banner,
    )
    transport.patience = patience

    def endpoint(offers: bool) -> TlsClientEndpoint:
        return TlsClientEndpoint(
            reactor,
            profile.hub,
            context_of(profile, MEZITE_SSH, preferred=MEZITE_SSH_RESUME if offers else None),
            server_name=f"{node}.{profile.hub_name}",
            timeout=patience.connect_seconds,
        )

    async def bounded(dialing: Awaitable[Any]) -> Any:
        return await dialed(reactor, profile.hub, dialing, seconds=patience.connect_seconds)

    if profile.resumes:
        transport.key_limits = RESUMABLE
        dialer = ResumingDialer(reactor, endpoint, bounded, notices or Notices())
        await dialer.connect(transport)
    else:
        factory = Factory.forProtocol(cast("type[Any]", lambda: transport))
        factory.noisy = False
        await bounded(endpoint(False).connect(factory))
    await transport.authenticated()
    return NodeConnection(transport, connection)


def _host_blobs(profile: Profile) -> list[bytes]:
    try:
        return [blob_of_key(load_public_line(line)) for line in host_authorities(profile)]
    except BadInput as error:
        raise damaged(profile, error) from error


def _user_key(profile: Profile) -> UserKey:
    pem = profile.read(places.SSH_KEY)
    line = profile.read(places.SSH_CERTIFICATE).decode("utf-8", "replace")
    try:
        return UserKey.of(cast(Any, load_ssh_private_key(pem, None)), line)
    except Exception as error:  # whatever cryptography makes of a damaged file
        raise damaged(profile, error) from error
