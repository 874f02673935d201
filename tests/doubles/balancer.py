"""
Something in memory that ends TLS before a hub, and speaks TLS of its own with it.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from mezite.wire.contexts import outer_context
from mezite.wire.handshake import Handshake
from mezite.wire.transport import TLSTransport
from tests.doubles.certificates import certificate_set, leaf_of
from tests.doubles.hubworld import HubWorld
from tests.doubles.link import Link, link


@define(eq=False)
class Balancer:
    """Passes on whatever is inside of TLS, from whoever dials it to the hub."""

    world: HubWorld
    # As what the hub sees whoever it speaks with.
    address: IAddress | None = None
    passed: bytearray = field(init=False, factory=bytearray)

    def answer(self) -> Link:
        """Take the connection that was dialed last."""
        client = self.world.clock.tcpClients[-1][2].buildProtocol(None)
        server = TLSTransport(
            _connection(),
            self.world.clock,
            Handshake(lambda transport: transport.attach(_Front(self)), lambda failure: None),
        )
        made = link(client, server, self.world.clock, flush=False)
        self.world.links.append(made)
        self.world.flush()
        return made


def _connection() -> SSL.Connection:
    """TLS with a certificate of its own, and without a word on ALPN."""
    theirs = certificate_set("theirs")
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(leaf_of(theirs.hub))
    context.use_privatekey(load_pem_private_key(theirs.hub.key_pem, None))
    connection = SSL.Connection(context, None)
    connection.set_accept_state()
    return connection


class _Front(Protocol):
    """The side of those who dial."""

    def __init__(self, balancer: Balancer) -> None:
        self.balancer = balancer
        self.back: Any = None

    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        world = self.balancer.world
        back = TLSTransport(
            outer_context().connection(None),
            world.clock,
            Handshake(
                lambda transport: transport.attach(_Back(self)),
                lambda failure: self.transport.loseConnection(),
            ),
        )
        server = world.hub.router.buildProtocol(self.balancer.address)
        world.links.append(link(back, server, world.clock, flush=False))

    def dataReceived(self, data: bytes) -> None:
        self.balancer.passed += data
        self.back.transport.write(data)

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        if self.back is not None:
            self.back.transport.loseConnection()


class _Back(Protocol):
    """The hub's side."""

    def __init__(self, front: _Front) -> None:
        self.front = front

    def connectionMade(self) -> None:
        self.front.back = self
        self.front.transport.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        self.front.transport.write(data)

    def connectionLost(self, reason: Failure = Failure(Exception())) -> None:  # noqa: B008
        self.front.transport.loseConnection()
