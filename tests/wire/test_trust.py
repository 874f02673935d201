"""
First trust, in hubs and in impostors.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI, ResponseFailed
from twisted.web.iweb import IAgent
from zope.interface import implementer

from mezite.identity.authority import X509Authority, pin_of
from mezite.identity.error import BadPin
from mezite.identity.x509 import HubIdentity, UserIdentity, is_signed_by, issue_hub, issue_user
from mezite.names import HostPort, UserName
from mezite.wire.contexts import HubContexts
from mezite.wire.credentials import Credentials
from mezite.wire.error import AlpnLost, HubUnreachable, NotThisHub
from mezite.wire.forwardproxy import ProxyRefused
from mezite.wire.handshake import Handshake
from mezite.wire.trust import (
    _authority_in,
    _PublicTrust,
    fetch_authority,
    presented_authority,
    publicly_trusted_pin,
)
from tests.doubles.certificates import CLUSTER, HUB_NAME, certificate_set, leaf_of
from tests.doubles.link import link
from tests.wire.test_transport import Speaker, TLSTransport

HUB = HostPort(HUB_NAME, 3080)
NOW = time.time()
ADDRESS = HostPort("192.0.2.2", 3080)


class PresentedTestCase(SynchronousTestCase):
    """Something answers at the hub's address."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.ours = certificate_set()
        self.theirs = certificate_set("theirs")
        self.served = Speaker()

    def meet(self, looking: Any, *, hub: Credentials | None = None, ca: bytes | None = None) -> Any:
        """Run one of the functions against a port with these certificates."""
        result = Deferred.fromCoroutine(looking)
        self.served = Speaker()
        self.reactor.advance(0)
        client = self.reactor.tcpClients[-1][2].buildProtocol(None)
        contexts = HubContexts(
            hub_names=[HUB_NAME],
            authorities_pem=ca or self.ours.ca_pem,
            hub=hub or self.ours.hub,
        )
        server = TLSTransport(
            contexts.serverConnectionForTLS(self),
            self.reactor,
            Handshake(lambda transport: transport.attach(self.served), lambda failure: None),
        )
        link(client, server, self.reactor)
        return result


class DamagedTests(SynchronousTestCase):
    """Whoever answers may present anything."""

    @settings(max_examples=50, deadline=None)
    @given(place=st.integers(0, 10_000), octet=st.integers(0, 255), which=st.integers(0, 3))
    def test_certificates(self, place: int, octet: int, which: int) -> None:
        """However a certificate of the chain is damaged, there is an authority or a refusal."""
        chain = [leaf_of(certificate_set().hub)]
        chain += [
            x509.load_pem_x509_certificate(pem)
            for pem in (certificate_set().ca_pem, certificate_set("theirs").ca_pem)
        ]
        chain.append(chain[1])
        damaged = bytearray(chain[which].public_bytes(Encoding.DER))
        damaged[place % len(damaged)] = octet
        try:
            chain[which] = x509.load_der_x509_certificate(bytes(damaged))
        except (ValueError, x509.InvalidVersion):
            return
        for pin in (None, *(pin_of(each) for each in chain[1:3] if each is not chain[which])):
            try:
                _authority_in(tuple(chain), ADDRESS, pin)
            except NotThisHub:
                pass

    def test_key_that_nobody_knows(self) -> None:
        """A key of a kind that is not known here is no authority's."""
        leaf = leaf_of(certificate_set().hub)
        octets = x509.load_pem_x509_certificate(certificate_set().ca_pem).public_bytes(Encoding.DER)
        # id-ecPublicKey of RFC 5480, and what it becomes with another first octet.
        known = bytes.fromhex("06072a8648ce3d0201")
        self.assertIn(known, octets)
        other = x509.load_der_x509_certificate(octets.replace(known, b"\x06\x07\x00" + known[3:]))
        self.assertFalse(is_signed_by(leaf, other))
        for pin in (None, certificate_set().authority.pin):
            self.assertRaises(NotThisHub, _authority_in, (leaf, other), ADDRESS, pin)


class PinTests(PresentedTestCase):
    """Trust by a pin."""

    def fetch(self, pin: str, **options: Any) -> Any:
        return self.meet(fetch_authority(self.reactor, ADDRESS, pin=pin), **options)

    def test_right(self) -> None:
        """The authority with the pin is handed out, and the hub hears nothing."""
        fetched = self.fetch(self.ours.authority.pin)
        self.assertEqual(self.successResultOf(fetched), self.ours.ca_pem)
        self.assertEqual(self.served.received, b"")

    def test_wrong(self) -> None:
        """A hub of another authority is refused, and what it presents is named."""
        fetched = self.fetch(self.theirs.authority.pin)
        error = self.failureResultOf(fetched, NotThisHub).value
        self.assertIn(self.ours.authority.pin, str(error))

    def test_borrowed_authority(self) -> None:
        """Presenting the right authority is nothing without a certificate from it."""
        for impostor in (
            Credentials(
                self.theirs.hub.certificate_pem + self.ours.ca_pem, self.theirs.hub.key_pem
            ),
            Credentials(
                self.theirs.node.certificate_pem + self.ours.ca_pem, self.theirs.node.key_pem
            ),
        ):
            fetched = self.fetch(self.ours.authority.pin, hub=impostor, ca=self.theirs.ca_pem)
            self.failureResultOf(fetched, NotThisHub)

    def test_no_hub(self) -> None:
        """Neither a node nor a user of the right authority is a hub."""
        for impostor in (self.ours.node, self.ours.user):
            self.failureResultOf(self.fetch(self.ours.authority.pin, hub=impostor), NotThisHub)

    def test_leaf_as_authority(self) -> None:
        """A certificate that is no authority is not trusted as one, even by its pin."""
        leaf = self.ours.hub
        doubled = Credentials(leaf.certificate_pem * 2, leaf.key_pem)
        pin = pin_of(leaf_of(leaf))
        self.failureResultOf(self.fetch(pin, hub=doubled, ca=self.theirs.ca_pem), NotThisHub)

    def test_bad_pin(self) -> None:
        """Text that is no pin is refused before anything is dialed."""
        fetched = Deferred.fromCoroutine(fetch_authority(self.reactor, ADDRESS, pin="sha1:00"))
        self.failureResultOf(fetched, BadPin)
        self.assertEqual(self.reactor.tcpClients, [])


class SuccessionTests(PresentedTestCase):
    """Trust by a pin while one authority takes over from another."""

    def setUp(self) -> None:
        super().setUp()
        self.successor = certificate_set("successor")
        self.both = self.ours.ca_pem + self.successor.ca_pem
        # Of the old one's and of the new one's, which says that the other is the same.
        self.links = [
            one.authority.vouch_for(other.authority).public_bytes(Encoding.PEM)
            for one, other in ((self.ours, self.successor), (self.successor, self.ours))
        ]

    def fetch(self, pin: str, hub: Credentials, *links: bytes, ca: bytes | None = None) -> Any:
        served = Credentials(hub.certificate_pem + b"".join(links), hub.key_pem)
        looking = fetch_authority(self.reactor, ADDRESS, pin=pin)
        return self.meet(looking, hub=served, ca=ca or self.both)

    def test_both_pins(self) -> None:
        """The old pin and the new one are both good, whichever authority signs."""
        old, new = self.ours, self.successor
        for hub, pin, expected in (
            (old.hub, old.authority.pin, old.ca_pem),
            (old.hub, new.authority.pin, new.ca_pem + old.ca_pem),
            (new.hub, old.authority.pin, old.ca_pem + new.ca_pem),
            (new.hub, new.authority.pin, new.ca_pem),
        ):
            fetched = self.fetch(pin, hub, *self.links)
            self.assertEqual(self.successResultOf(fetched), expected)

    def test_no_word(self) -> None:
        """Without the old authority's word its pin does not lead to the new one."""
        for links in ((), self.links[1:]):
            fetched = self.fetch(self.ours.authority.pin, self.successor.hub, *links)
            self.failureResultOf(fetched, NotThisHub)

    def test_foreign_word(self) -> None:
        """The word of a third authority is worth nothing."""
        word = self.theirs.authority.vouch_for(self.successor.authority)
        fetched = self.fetch(
            self.ours.authority.pin, self.successor.hub, word.public_bytes(Encoding.PEM)
        )
        self.failureResultOf(fetched, NotThisHub)

    def test_user_as_authority(self) -> None:
        """A user's certificate, over a key of theirs, vouches for no authority of theirs."""
        key = self.successor.authority.private_key.public_key()
        for lies in (
            issue_user(
                self.ours.authority,
                key,
                UserIdentity(CLUSTER, UserName("eve")),
                now=NOW,
                lifetime=3600,
            ),
            issue_hub(
                self.ours.authority,
                key,
                HubIdentity(CLUSTER),
                names=[HUB_NAME],
                addresses=[],
                now=NOW,
                lifetime=3600,
            ),
        ):
            fetched = self.fetch(
                self.ours.authority.pin, self.successor.hub, lies.public_bytes(Encoding.PEM)
            )
            self.failureResultOf(fetched, NotThisHub)

    def test_expired_word(self) -> None:
        """A word that has ended with its authority counts no more."""
        old = X509Authority.generate(CLUSTER, NOW - 86400 * 30, 86400.0 * 25)
        word = old.vouch_for(self.successor.authority).public_bytes(Encoding.PEM)
        fetched = self.fetch(
            old.pin,
            self.successor.hub,
            word,
            old.certificate_pem,
        )
        self.failureResultOf(fetched, NotThisHub)


class PresentedTests(PresentedTestCase):
    """Trust by a person who compares fingerprints."""

    def test_presented(self) -> None:
        """The authority, its pin and the cluster's name are handed out for confirmation."""
        presented = self.successResultOf(self.meet(presented_authority(self.reactor, ADDRESS)))
        self.assertEqual(presented.certificate_pem, self.ours.ca_pem)
        self.assertEqual(presented.pin, self.ours.authority.pin)
        self.assertEqual(presented.cluster, CLUSTER)

    def test_inconsistent(self) -> None:
        """A chain whose certificates do not belong together is not even shown."""
        impostor = Credentials(
            self.theirs.hub.certificate_pem + self.ours.ca_pem, self.theirs.hub.key_pem
        )
        looking = presented_authority(self.reactor, ADDRESS)
        self.failureResultOf(self.meet(looking, hub=impostor, ca=self.ours.ca_pem), NotThisHub)

    def test_web_server(self) -> None:
        """A web server of somebody else's is told apart by its ALPN."""
        looking = Deferred.fromCoroutine(presented_authority(self.reactor, ADDRESS))
        self.reactor.advance(0)
        client = self.reactor.tcpClients[-1][2].buildProtocol(None)
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.use_certificate(leaf_of(self.ours.hub))
        context.use_privatekey(load_pem_private_key(self.ours.hub.key_pem, None))
        connection = SSL.Connection(context, None)
        connection.set_accept_state()
        server = TLSTransport(
            connection,
            self.reactor,
            Handshake(lambda transport: transport.attach(self.served), lambda failure: None),
        )
        link(client, server, self.reactor)
        # Nor does it upgrade.
        self.reactor.advance(0)
        again = self.reactor.tcpClients[-1][2]
        again.clientConnectionFailed(None, Failure(ConnectionRefusedError()))
        self.reactor.advance(30)
        self.failureResultOf(looking, AlpnLost)

    def test_unreachable(self) -> None:
        """Nothing there is an unreachable hub."""
        looking = Deferred.fromCoroutine(presented_authority(self.reactor, ADDRESS))
        self.reactor.advance(0)
        self.reactor.tcpClients[-1][2].clientConnectionFailed(
            None, Failure(ConnectionRefusedError())
        )
        self.reactor.advance(30)
        self.failureResultOf(looking, HubUnreachable)


@implementer(IAgent)
class Answering:
    """An agent whose every request has the same outcome."""

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.asked: list[bytes] = []

    def request(self, method: bytes, uri: bytes, *args: Any, **kwargs: Any) -> Deferred[Any]:
        self.asked.append(uri)
        if isinstance(self.outcome, Exception):
            return fail(self.outcome)
        return self.outcome if isinstance(self.outcome, Deferred) else succeed(self.outcome)


class Answer:
    """A response with this body."""

    def __init__(self, body: bytes, code: int = 200) -> None:
        self.body, self.code = body, code

    def deliverBody(self, protocol: Protocol) -> None:
        for start in range(0, len(self.body), 50_000):
            protocol.dataReceived(self.body[start : start + 50_000])
        protocol.connectionLost(Failure(ConnectionDone()))


class TcpTransport(StringTransport):
    """With what Twisted's TLS asks of TCP."""

    protocol: Any = None

    def setTcpNoDelay(self, enabled: bool) -> None:
        """It never waits."""


class PublicTests(SynchronousTestCase):
    """Trust by a publicly trusted certificate."""

    def ask(self, outcome: Any) -> Any:
        self.reactor = MemoryReactorClock()
        self.agent = Answering(outcome)
        return Deferred.fromCoroutine(publicly_trusted_pin(self.reactor, HUB, agent=self.agent))

    def test_pin(self) -> None:
        """The pin on the hub's page is handed out."""
        pin = certificate_set().authority.pin
        asked = self.ask(Answer(json.dumps({"ca_pin": pin, "more": 1}).encode()))
        self.assertEqual(self.successResultOf(asked), pin)
        self.assertEqual(self.agent.asked, [b"https://hub.example.com:3080/v1/webapi/ping"])

    def test_not_a_hub(self) -> None:
        """Any other answer is no pin."""
        for answer in (
            Answer(b""),
            Answer(b"<html>"),
            Answer(b"[]"),
            Answer(b"null"),
            Answer(b"[" * 60_000),
            Answer(b"\\xff"),
            Answer(b"{}"),
            Answer(b'{"ca_pin": 7}'),
            Answer(b'{"ca_pin": "sha256:00"}'),
            Answer(b"x" * 200_000),
            Answer(json.dumps({"ca_pin": certificate_set().authority.pin}).encode(), 404),
        ):
            self.assertIsNone(self.successResultOf(self.ask(answer)))

    def test_not_trusted(self) -> None:
        """A certificate that the world does not trust is no pin."""
        for error in (
            SSL.Error([("SSL routines", "", "certificate verify failed")]),
            ResponseFailed([Failure(SSL.Error([]))]),
        ):
            self.assertIsNone(self.successResultOf(self.ask(error)))

    def test_unreachable(self) -> None:
        """Nothing there is an unreachable hub, and so is one that never answers."""
        self.failureResultOf(self.ask(ConnectionRefusedError()), HubUnreachable)
        asked = self.ask(Deferred())
        self.reactor.advance(11)
        self.failureResultOf(asked, HubUnreachable)

    def test_by_proxy(self) -> None:
        """The page is asked for by the way that the environment names, as all else is."""
        self.patch(os, "environ", {"HTTPS_PROXY": "http://192.0.2.9:3128"})
        reactor = MemoryReactorClock()
        asked = Deferred.fromCoroutine(publicly_trusted_pin(reactor, HUB))
        reactor.advance(0)
        # The memory's resolver has one address for all.
        _, port, factory, *_ = reactor.tcpClients[-1]
        self.assertEqual(port, 3128)
        proxy, transport = factory.buildProtocol(None), TcpTransport()
        proxy.makeConnection(transport)
        self.assertTrue(transport.value().startswith(b"CONNECT hub.example.com:3080 HTTP/1.1"))
        transport.clear()
        proxy.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n")
        # TLS begins behind it, and asks for the hub.
        self.assertEqual(transport.value()[:1], b"\x16")
        self.assertIn(b"hub.example.com", transport.value())
        asked.cancel()

    def test_proxy_refuses(self) -> None:
        """A proxy that says no is named."""
        self.patch(os, "environ", {"HTTPS_PROXY": "http://192.0.2.9:3128"})
        reactor = MemoryReactorClock()
        asked = Deferred.fromCoroutine(publicly_trusted_pin(reactor, HUB))
        reactor.advance(0)
        proxy = reactor.tcpClients[-1][2].buildProtocol(None)
        proxy.makeConnection(StringTransport())
        proxy.dataReceived(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        self.assertIn("192.0.2.9", str(self.failureResultOf(asked, ProxyRefused).value))

    def test_nothing_is_left(self) -> None:
        """A connection on which a page drips ends with the question."""
        reactor = MemoryReactorClock()
        way = _PublicTrust(reactor)
        way.end()
        uri = URI.fromBytes(b"https://192.0.2.2:3080/v1/webapi/ping")
        connecting = way.endpointForURI(uri).connect(Factory.forProtocol(Speaker))
        reactor.advance(0)
        client, transport = reactor.tcpClients[-1][2].buildProtocol(None), TcpTransport()
        client.makeConnection(transport)
        self.successResultOf(connecting)
        way.end()
        self.assertTrue(transport.disconnected)
