"""
Coming to trust a hub that has never been met.

A hub's authority is found in the chain that it presents, and believed only for
a reason from outside: a pin that a person was given, a fingerprint that a
person confirms, or a publicly trusted certificate that vouches for the pin.
Nothing is sent on a connection that is only looked at.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from attrs import define, field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from OpenSSL import SSL, crypto
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, ResponseFailed
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IResponse
from zope.interface import implementer

from mezite.error import TimedOut
from mezite.identity.authority import parse_pin, pin_of
from mezite.identity.error import BadCertificate, BadPin
from mezite.identity.x509 import HubIdentity, identity_of, is_signed_by
from mezite.names import ClusterName, HostPort, is_address
from mezite.tasks import within
from mezite.wire.alpn import MEZITE_AUTH
from mezite.wire.contexts import unverified_context
from mezite.wire.endpoint import TlsClientEndpoint
from mezite.wire.error import HubUnreachable, NotThisHub, why_unreachable
from mezite.wire.outbound import way_to

# Seconds for each of these conversations.
_TIMEOUT: Final = 10.0
# A hub presents five at most: its own, two authorities, and their word for each other.
_CHAIN_LENGTH: Final = 8
# The answer to a ping has a few hundred bytes.
_PING_LENGTH: Final = 64 * 1024


@frozen
class PresentedAuthority:
    """
    The authority that a hub says is its own; nobody has vouched for it yet.

    With a second certificate, if it vouches for the one that takes over from it.
    """

    certificate_pem: bytes
    pin: str
    cluster: ClusterName


async def fetch_authority(reactor: Any, hub: HostPort, *, pin: str) -> bytes:
    """
    The certificate of the authority with this pin, in PEM.

    Also the one of the authority that takes over from it, or that it takes over
    from, if the hub's certificate is from that one.

    :raises NotThisHub: the hub presents no such authority, or has no
        certificate from it; a wrong pin and an impostor look alike.
    :raises BadPin: the text is not a pin.
    """
    wanted = parse_pin(pin)
    presented = _authority_in(await _chain_of(reactor, hub), hub, wanted)
    return presented.certificate_pem


async def presented_authority(reactor: Any, hub: HostPort) -> PresentedAuthority:
    """
    The authority that the hub presents, for a person to compare its pin.

    :raises NotThisHub: it presents none, or has no certificate from it.
    """
    return _authority_in(await _chain_of(reactor, hub), hub, None)


async def publicly_trusted_pin(
    reactor: Any, hub: HostPort, *, agent: IAgent | None = None
) -> str | None:
    """
    The pin that the hub's page names, if its certificate is publicly trusted.

    ``None`` if it is not, or if no hub answers there.

    :raises HubUnreachable: nothing answers at all.
    :raises ProxyRefused: the proxy on the way has other ideas; or ProxyBroken.
    """
    way = _PublicTrust(reactor)
    agent = agent or Agent.usingEndpointFactory(reactor, way)
    url = f"https://{hub}/v1/webapi/ping".encode("ascii")
    try:
        body = await within(reactor, _TIMEOUT, _get(agent, url), doing=f"asking {hub} for its pin")
    except (ConnectError, DNSLookupError, TimedOut) as error:
        raise HubUnreachable(hub, why_unreachable(error)) from error
    except (ResponseFailed, SSL.Error):
        # The certificate is not publicly trusted, or it is no web server.
        return None
    finally:
        way.end()
    try:
        return parse_pin(json.loads(body)["ca_pin"])
    except (ValueError, KeyError, TypeError, AttributeError, BadPin, RecursionError):
        return None


@implementer(IAgentEndpointFactory)
@define(eq=False)
class _PublicTrust:
    """By the way that the environment names, to whom browsers would trust."""

    _reactor: Any
    _connected: list[Any] = field(init=False, factory=list)

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        way = way_to(self._reactor, HostPort(uri.host.decode("ascii"), uri.port), timeout=_TIMEOUT)
        browser = BrowserLikePolicyForHTTPS().creatorForNetloc(uri.host, uri.port)
        return wrapClientTLS(browser, _Kept(way, self._connected))

    def end(self) -> None:
        """Drop what has been connected: a page may drip for ever, to who asks again and again."""
        for each in self._connected:
            each.transport.abortConnection()


@implementer(IStreamClientEndpoint)
@frozen(eq=False)
class _Kept:
    """A way on which each connection is kept in a list."""

    _way: IStreamClientEndpoint
    _connected: list[Any]

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        def keep(protocol: IProtocol) -> IProtocol:
            self._connected.append(protocol)
            return protocol

        return self._way.connect(protocolFactory).addCallback(keep)


async def _get(agent: IAgent, url: bytes) -> bytes:
    response: IResponse = await agent.request(b"GET", url)
    body = _Body()
    response.deliverBody(body)
    whole: bytes = await body.done
    return whole if response.code == 200 else b""


@define(eq=False)
class _Body(Protocol):
    """The beginning of a page, and the rest of it not."""

    done: Deferred[bytes] = field(init=False, factory=Deferred)
    _received: bytearray = field(init=False, factory=bytearray)

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > _PING_LENGTH and self.transport is not None:
            self._received.clear()
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.callback(bytes(self._received))


class _Look(Protocol):
    """Sees what the hub presents, says nothing, and goes."""

    transport: Any
    chain: tuple[x509.Certificate, ...] = ()

    def connectionMade(self) -> None:
        try:
            self.chain = self.transport.peer_chain()
        except (ValueError, x509.InvalidVersion):
            pass  # what OpenSSL takes for a certificate, and cryptography does not
        self.transport.loseConnection()


async def _chain_of(reactor: Any, hub: HostPort) -> tuple[x509.Certificate, ...]:
    endpoint = TlsClientEndpoint(
        reactor,
        hub,
        unverified_context(MEZITE_AUTH),
        server_name=None if is_address(hub.host) else hub.host,
        timeout=_TIMEOUT,
    )
    factory = Factory.forProtocol(_Look)
    factory.noisy = False
    look: Any = await endpoint.connect(factory)
    chain: tuple[x509.Certificate, ...] = look.chain
    return chain


def _authority_in(
    chain: tuple[x509.Certificate, ...], hub: HostPort, pin: str | None
) -> PresentedAuthority:
    """
    The authority that is looked for, in what anybody may present.

    :raises NotThisHub: it is not there.
    """
    try:
        return _found_in(chain, hub, pin)
    except (ValueError, UnsupportedAlgorithm, crypto.Error):
        # Keys, names and signatures of a certificate are read when they are used.
        raise NotThisHub(f"{hub} presents a damaged certificate: it is not your hub") from None


def _found_in(
    chain: tuple[x509.Certificate, ...], hub: HostPort, pin: str | None
) -> PresentedAuthority:
    """
    The authority with this pin, or any, that has signed the hub's certificate.

    While one authority takes over from another, the hub's certificate is from
    one of them, and each vouches for the other: the pin may be either's, and
    both are given then, the one with the pin first.
    """
    if len(chain) < 2:
        raise NotThisHub(f"{hub} presents no authority: it is not a Mezite hub")
    leaf, *others = chain[:_CHAIN_LENGTH]
    authorities = [each for each in others if is_signed_by(each, each)]
    for authority in authorities:
        found = pin_of(authority)
        if pin is not None and found != pin:
            continue
        if is_signed_by(leaf, authority):
            trusted = [authority]
        else:
            successors = [
                each
                for each in authorities
                if is_signed_by(leaf, each) and _vouches(authority, each, others)
            ]
            trusted = [authority, *successors]
        cluster = _check_leaf(leaf, trusted[-1], hub)
        pem = b"".join(each.public_bytes(Encoding.PEM) for each in trusted)
        return PresentedAuthority(pem, found, cluster)
    presented = ", ".join(pin_of(authority) for authority in authorities) or "none"
    raise NotThisHub(
        f"{hub} is not the hub that was meant, or the pin is wrong: it presents {presented}"
    )


def _vouches(
    authority: x509.Certificate, other: x509.Certificate, links: Iterable[x509.Certificate]
) -> bool:
    """
    Whether one of these certificates is the authority's word for the other's key.

    It must be a certificate of an authority: the same key signs those of users,
    over keys that are theirs.
    """
    return any(
        link.public_key() == other.public_key()
        and link.subject == other.subject
        and _is_authority(link)
        and _is_verified(link, authority)
        for link in links
    )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return False
    return found.value.ca


def _is_verified(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    """Whether it is from this authority, and both are in time."""
    store = crypto.X509Store()
    store.add_cert(crypto.X509.from_cryptography(authority))
    try:
        crypto.X509StoreContext(
            store, crypto.X509.from_cryptography(certificate)
        ).verify_certificate()
    except crypto.X509StoreContextError:
        return False
    return True


def _check_leaf(leaf: x509.Certificate, authority: x509.Certificate, hub: HostPort) -> ClusterName:
    if not _is_verified(leaf, authority):
        raise NotThisHub(f"{hub} has no certificate from the authority it presents")
    try:
        identity = identity_of(leaf)
    except BadCertificate as error:
        raise NotThisHub(f"{hub} has no certificate from the authority it presents") from error
    if not isinstance(identity, HubIdentity):
        raise NotThisHub(f"{hub} has no hub's certificate")
    return identity.cluster
