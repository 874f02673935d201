"""
How the bytes of a session get from its person to its node.

A session has one :class:`IWay`: :class:`TunnelWay` is a stream of the tunnel
that the node's agent holds; the other leads through the hub's own SSH server
(:mod:`mezite.hub.openssh`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol
from zope.interface import Attribute, Interface, implementer

from mezite.error import MeziteError
from mezite.hub.tunnels import Tunnel, TunnelStream
from mezite.hub.workers.fartunnels import FarStream
from mezite.hub.workers.handed import HandedTransport
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode
from mezite.wire.splice import Spliceable, Spliced, splice


class IWay(Interface):
    """The way of one session."""

    labels: Mapping[str, str] = Attribute("the node's, as they are now")

    def carry(transport: Spliceable) -> Deferred[Spliced]:
        """
        Join the person's transport with the node; fires when both have gone.

        The transport may be paused, and is resumed.
        """

    def ask_to_end(session_id: str, reason: str) -> Callable[[], None] | None:
        """
        Have the person told why the session ends, which it then does.

        Returns what takes the question back; None if there is nobody to be asked.
        """

    def cut() -> None:
        """End it at once, without a word."""


@implementer(IWay)
@define(eq=False)
class TunnelWay:
    """A stream to a node's SSH server."""

    tunnel: Tunnel = field(repr=False)
    stream: TunnelStream = field(repr=False)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.tunnel.labels

    def carry(self, transport: Spliceable) -> Deferred[Spliced]:
        if (
            isinstance(transport, HandedTransport)
            and isinstance(self.stream, FarStream)
            and transport.is_undecided
            and self.stream.is_untouched
        ):
            return transport.join(self.stream)
        return splice(transport, self.stream)

    def ask_to_end(self, session_id: str, reason: str) -> Callable[[], None] | None:
        return ask_agent(self.tunnel, session_id, reason)

    def cut(self) -> None:
        self.stream.abortConnection()


def ask_agent(tunnel: Tunnel, session_id: str, reason: str) -> Callable[[], None] | None:
    """Ask the agent at the other end of a tunnel to end a session, as ways do."""
    header = StreamHeader(service="end-session", session_id=session_id, reason=reason)
    try:
        asking: Any = tunnel.mux.open_stream()
        asking.write(encode(header))
    except MeziteError:
        # The tunnel is going, or full.
        return None
    asking.attach(_Question())

    def take_back() -> None:
        asking.abortConnection()

    return take_back


class _Question(Protocol):
    """The hub's end of a stream that asks for an end; the answer is its own end."""
