"""Tests of whom a request counts as coming from."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers
from twisted.web.server import Site

from mezite.hub.authservice import SERVICE
from mezite.hub.web.forwarding import client_of
from mezite.hub.web.rest import RestApi
from mezite.identity.networks import parse_network
from mezite.rpc.calls import Call, Method
from mezite.rpc.proto import auth_pb2 as pb


class _Request:
    """What is looked at of a request."""

    def __init__(self, peer: Any, *forwarded: bytes) -> None:
        self.requestHeaders = Headers({b"x-forwarded-for": list(forwarded)} if forwarded else {})
        self._peer = peer

    def getClientAddress(self) -> Any:
        return self._peer


class ClientAddressTests(SynchronousTestCase):
    """From where a connection counts as coming."""

    def test_forwarded(self) -> None:
        """Only balancers are believed, and only what they have added themselves."""
        balancers = (parse_network("10.0.0.0/8"),)
        balancer = IPv4Address("TCP", "10.0.0.9", 4000)
        stranger = IPv4Address("TCP", "203.0.113.1", 4000)
        client = IPv4Address("TCP", "192.0.2.7", 0)
        for peer, forwarded, expected in (
            (stranger, [b"192.0.2.7"], stranger),
            (balancer, [], balancer),
            (balancer, [b"192.0.2.7"], client),
            (balancer, [b"198.51.100.1, 192.0.2.7"], client),
            (balancer, [b"198.51.100.1", b"192.0.2.7, 10.1.1.1"], client),
            (balancer, [b"2001:db8::7"], IPv6Address("TCP", "2001:db8::7", 0)),
            (balancer, [b"192.0.2.7, unknown"], balancer),
            (balancer, [b"192.0.2.7, fe80::1%\x1b[2J"], balancer),
            (balancer, [b"10.0.0.1, 10.0.0.2"], balancer),
            (balancer, [b"," * 10_000], balancer),
        ):
            found = client_of(_Request(peer, *forwarded), balancers)  # type: ignore[arg-type]
            self.assertEqual(found, expected, forwarded)

    def test_nobody_is_believed(self) -> None:
        """Without sources there are none."""
        peer = IPv4Address("TCP", "10.0.0.9", 4000)
        self.assertEqual(client_of(_Request(peer, b"192.0.2.7"), ()), peer)  # type: ignore[arg-type]


class RestThroughForwarderTests(SynchronousTestCase):
    """Calls of the REST API, by way of a balancer that says in HTTP for whom it asks."""

    def address_from(self, peer: str, *, believed: str) -> str:
        """What a call from this peer has for its caller's address."""
        called: list[str] = []

        async def ping(call: Call, request: Any) -> Any:
            called.append(call.caller.address)
            return pb.PingResponse()

        clock = Clock()
        api = RestApi(
            {f"/{SERVICE}/Ping": Method(pb.PingRequest, pb.PingResponse, ping)},
            clock=clock,
            wall_clock=clock.seconds,
            forwarders=(parse_network(believed),),
        )
        channel = Site(api, reactor=clock).buildProtocol(None)
        assert channel is not None
        channel.makeConnection(StringTransport(peerAddress=IPv4Address("TCP", peer, 4000)))
        channel.dataReceived(b"GET /ping HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n")
        (address,) = called
        return address

    def test_believed(self) -> None:
        """The audit and the limits see the client."""
        self.assertEqual(self.address_from("10.0.0.9", believed="10.0.0.0/8"), "192.0.2.7:0")

    def test_not_believed(self) -> None:
        """Anybody else is who they are."""
        self.assertEqual(self.address_from("10.0.0.9", believed="10.9.0.0/16"), "10.0.0.9:4000")
