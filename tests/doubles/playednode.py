"""
The agent's end of a tunnel that answers nothing and notes what the hub asks of it.
"""

from __future__ import annotations

from attrs import define, field

from mezite.identity.x509 import NodeIdentity
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.rpc.opening import Opening
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from tests.doubles.hubworld import Heard, HubWorld


@define(eq=False)
class PlayedNode:
    """One node of a :class:`HubWorld`, whose tunnel is up."""

    world: HubWorld
    identity: NodeIdentity
    headers: list[StreamHeader] = field(init=False, factory=list)
    streams: list[Heard] = field(init=False, factory=list)
    mux: MuxProtocol = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.connect()

    def connect(self) -> None:
        """Dial again."""
        self.mux = self.world.open_tunnel(self.identity, self._accept)
        self.world.flush()

    def _accept(self, stream: StreamTransport) -> None:
        stream.attach(Opening(self.world.clock, self._choose))

    def _choose(self, header: StreamHeader) -> Heard:
        self.headers.append(header)
        self.streams.append(Heard())
        return self.streams[-1]

    def asked(self, service: str) -> list[StreamHeader]:
        """The headers of the streams for one service."""
        return [header for header in self.headers if header.service == service]
