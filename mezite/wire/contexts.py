"""
TLS contexts of the hub's port and of those who dial it.

They own what the handshake demands: versions, certificates, whose certificate
is admitted on which route. What a route is stands in :mod:`mezite.wire.alpn`;
moving bytes is :mod:`mezite.wire.transport`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from attrs import define, evolve, frozen
from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from zope.interface import implementer

from mezite.identity.x509 import HubIdentity, Identity, NodeIdentity, UserIdentity, identity_of
from mezite.names import ClusterName
from mezite.wire import alpn
from mezite.wire.alpn import Demand, Role
from mezite.wire.credentials import (
    Credentials,
    PortCredentials,
    load_certificates,
    trust,
    use_credentials,
)
from mezite.wire.error import BadCredentials, HandshakeFailed

# SSL_MODE_ENABLE_PARTIAL_WRITE of openssl/ssl.h, which pyOpenSSL sets and does not name. With it
# SSL_write returns after every 16 KiB record, and each record costs a round through Python.
_MODE_ENABLE_PARTIAL_WRITE: Final = 0x1
# What browsers of this decade speak in TLS 1.2: forward secrecy and authenticated encryption.
_TLS_1_2_CIPHERS: Final = b"ECDHE+AESGCM:ECDHE+CHACHA20"
# AES-128 first: it costs a relay a fifth less than AES-256 and is not the weak part of anything.
_TLS_1_3_CIPHERS: Final = (
    b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
)
# Certificates of nodes and users are signed by the cluster CA itself, with nothing between.
_VERIFY_DEPTH: Final = 1

_VERIFY: Final = {
    Demand.NOT_ASKED: SSL.VERIFY_NONE,
    Demand.ACCEPTED: SSL.VERIFY_PEER,
    Demand.DEMANDED: SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}
_WHY_UNTRUSTED: Final = {
    SSL.X509VerificationCodes.ERR_CERT_HAS_EXPIRED: "the certificate has expired",
    SSL.X509VerificationCodes.ERR_CERT_NOT_YET_VALID: (
        "the certificate is not valid yet, or this machine's clock is wrong"
    ),
    SSL.X509VerificationCodes.ERR_INVALID_PURPOSE: "the certificate is not for this use",
}
_log = Logger()
# bytes, or SSL.NO_OVERLAPPING_PROTOCOLS, whose class pyOpenSSL keeps to itself.
AlpnAnswer = Any


@define(eq=False)
class Verdict:
    """What one handshake has decided so far; it hangs on the connection as its app data."""

    # Kept alive here: OpenSSL may still call into the context that it has been switched from.
    began_with: SSL.Context
    admitted: frozenset[Role] = frozenset()
    # Why the peer's certificate was refused, in words; for whoever reports the failure.
    refusal: str | None = None


def refusal_of(connection: SSL.Connection) -> str | None:
    """Why our side refused the peer's certificate, if it did."""
    verdict = connection.get_app_data()
    return verdict.refusal if isinstance(verdict, Verdict) else None


@frozen
class _Contexts:
    web: SSL.Context
    mezite: SSL.Context


@implementer(IOpenSSLServerConnectionCreator)
class HubContexts:
    """
    How the hub's port shakes hands.

    Browsers get the web certificate, where there is one; who offers a Mezite
    name, or asks for ``auth.`` before the hub's name, gets the hub's own
    certificate and the authority that signed it. Certificates may be replaced
    at any time: later handshakes use the new ones, and no connection drops.

    Nothing is resumed: no tickets, no session ids. A resumed session would
    skip the demand for a certificate that its ALPN name makes.
    """

    def __init__(
        self,
        *,
        hub_names: Iterable[str],
        authorities_pem: bytes,
        hub: Credentials,
        web: Credentials | None = None,
        links_pem: bytes = b"",
    ) -> None:
        """
        The rest is what :class:`PortCredentials` have.

        :raises BadCredentials: something of this cannot be used.
        """
        self.hub_names = frozenset(name.lower().rstrip(".") for name in hub_names)
        self._watchers: list[Callable[[], None]] = []
        self.use(PortCredentials(hub, web, authorities_pem, links_pem))

    def replace(self, *, hub: Credentials | None = None, web: Credentials | None = None) -> None:
        """
        Use these certificates from the next handshake on.

        :raises BadCredentials: they cannot be used; the present ones stay.
        """
        now = self.credentials
        self.use(evolve(now, hub=hub or now.hub, web=web or now.web))

    def rotate(self, *, hub: Credentials, authorities_pem: bytes, links_pem: bytes) -> None:
        """
        Trust these authorities, and show a certificate from one of them, from now on.

        :raises BadCredentials: they cannot be used.
        """
        web = self.credentials.web
        self.use(PortCredentials(hub, web, authorities_pem, links_pem))

    def use(self, credentials: PortCredentials) -> None:
        """
        Show and believe these from the next handshake on.

        :raises BadCredentials: they cannot be used; the present ones stay.
        """
        self._contexts = self._build(credentials)
        self.credentials = credentials
        for watcher in self._watchers:
            watcher()

    def when_changed(self, call: Callable[[], None]) -> None:
        """Call this whenever there are other :attr:`credentials`."""
        self._watchers.append(call)

    def serverConnectionForTLS(self, protocol: object) -> SSL.Connection:
        context = self._contexts.web
        connection = SSL.Connection(context, None)
        connection.set_app_data(Verdict(began_with=context))
        connection.set_accept_state()
        return connection

    def _build(self, credentials: PortCredentials) -> _Contexts:
        trusted = load_certificates(credentials.authorities_pem)
        links = load_certificates(credentials.links_pem) if credentials.links_pem else ()
        mezite = _server_context(credentials.hub, trusted, (*trusted, *links))
        web = mezite if credentials.web is None else _server_context(credentials.web, trusted, ())
        contexts = _Contexts(web=web, mezite=mezite)

        def select(connection: SSL.Connection, offered: list[bytes]) -> AlpnAnswer:
            return self._select(contexts.mezite, connection, offered)

        # On both: a client that must say hello twice is asked twice, and the second time
        # its connection has been switched already.
        for context in {contexts.web, contexts.mezite}:
            context.set_alpn_select_callback(select)
        return contexts

    def _select(
        self, mezite: SSL.Context, connection: SSL.Connection, offered: list[bytes]
    ) -> AlpnAnswer:
        """
        Choose, demand and switch; what is raised here ends the handshake with an alert.

        In TLS 1.3 OpenSSL asks before it chooses the certificate, and the
        context may be switched; in TLS 1.2 it asks after that, and must not be.
        """
        chosen = alpn.choose(offered)
        if chosen is None:
            return SSL.NO_OVERLAPPING_PROTOCOLS
        server_name = alpn.parse_server_name(connection.get_servername())
        route = alpn.route_of(chosen, server_name, self.hub_names)
        if route is alpn.Route.WEB:
            return chosen
        if connection.get_protocol_version() < SSL.TLS1_3_VERSION:
            raise HandshakeFailed(f"{chosen.decode('ascii')} needs TLS 1.3")
        demand = alpn.certificate_demand(chosen, server_name, self.hub_names)
        connection.get_app_data().admitted = alpn.admitted_roles(route)
        connection.set_verify(_VERIFY[demand])
        connection.set_context(mezite)
        return chosen


class ClientContext:
    """How one kind of connection to a hub shakes hands; used for many of them."""

    def __init__(
        self, context: SSL.Context, protocol: bytes, preferred: bytes | None = None
    ) -> None:
        self.protocol = protocol
        self._preferred = preferred
        self._context = context

    def is_agreed(self, protocol: bytes | None) -> bool:
        """Whether this outcome of ALPN is what is needed."""
        if protocol is None:
            return self.protocol == alpn.HTTP_1_1
        return protocol in (self.protocol, self._preferred)

    def connection(self, server_name: str | None) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        connection.set_app_data(Verdict(began_with=self._context))
        if server_name is not None:
            connection.set_tlsext_host_name(server_name.encode("ascii"))
        connection.set_connect_state()
        return connection


def client_context(
    protocol: bytes,
    ca_pems: bytes,
    certificate_pem: bytes | None = None,
    key_pem: bytes | None = None,
    *,
    cluster: ClusterName | None = None,
    preferred: bytes | None = None,
) -> ClientContext:
    """
    Dial a Mezite name, and trust only a hub that these authorities vouch for.

    The hub proves itself by the ``mezite://`` name in its certificate, not by
    its DNS name, since the server name asked for may be a node's.

    :param cluster: the cluster that it must be, if that is known.
    :param preferred: a name that would be better, and that the hub may not know.
    :raises BadCredentials: a PEM cannot be used.
    """
    context = _client_context(*([preferred] if preferred else []), protocol)
    if certificate_pem is not None:
        if key_pem is None:
            raise BadCredentials("the certificate has no private key beside it")
        use_credentials(context, Credentials(certificate_pem, key_pem), ())
    trust(context, load_certificates(ca_pems))

    def admit_hub(
        connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
    ) -> bool:
        return _admit(connection, certificate, code, depth, ok, frozenset({Role.HUB}), cluster)

    context.set_verify(SSL.VERIFY_PEER, admit_hub)
    return ClientContext(context, protocol, preferred)


def unverified_context(protocol: bytes) -> ClientContext:
    """
    Dial a Mezite name and trust nothing: for looking at what is presented.

    Only :mod:`mezite.wire.trust` has a use for it; nothing may be sent on such
    a connection, and nothing read from it believed.
    """
    context = _client_context(protocol)
    context.set_verify(SSL.VERIFY_NONE)
    return ClientContext(context, protocol)


def outer_context() -> ClientContext:
    """
    Dial whatever ends TLS before the hub, which is trusted with nothing.

    Inside it goes the TLS of one of the contexts above, which trusts the hub
    and nobody on the way (:mod:`mezite.wire.upgrade`).
    """
    context = _new_context(SSL.TLS_CLIENT_METHOD)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_alpn_protos([alpn.HTTP_1_1])
    context.set_verify(SSL.VERIFY_NONE)
    return ClientContext(context, alpn.HTTP_1_1)


def _server_context(
    credentials: Credentials,
    trusted: Iterable[x509.Certificate],
    sent: Iterable[x509.Certificate],
) -> SSL.Context:
    context = _new_context(SSL.TLS_SERVER_METHOD)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_CIPHER_SERVER_PREFERENCE)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    use_credentials(context, credentials, sent)
    trust(context, trusted)
    # No certificate is asked for until the ALPN name says so; the callback stays in force.
    context.set_verify(SSL.VERIFY_NONE, _admit_client)
    context.set_verify_depth(_VERIFY_DEPTH)
    return context


def _new_context(method: int) -> SSL.Context:
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    # An idle connection then takes 26 KB instead of 47.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.clear_mode(_MODE_ENABLE_PARTIAL_WRITE)
    context.set_cipher_list(_TLS_1_2_CIPHERS)
    context.set_tls13_ciphersuites(_TLS_1_3_CIPHERS)
    return context


def _client_context(*protocols: bytes) -> SSL.Context:
    context = _new_context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_alpn_protos(list(protocols))
    return context


def _admit_client(
    connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int
) -> bool:
    verdict = connection.get_app_data()
    admitted = verdict.admitted if isinstance(verdict, Verdict) else frozenset()
    return _admit(connection, certificate, code, depth, ok, admitted, None)


def _admit(
    connection: SSL.Connection,
    certificate: crypto.X509,
    code: int,
    depth: int,
    ok: int,
    admitted: frozenset[Role],
    cluster: ClusterName | None,
) -> bool:
    """
    Whether the chain holds up to here and, at its end, names one who is admitted.

    It never raises: pyOpenSSL keeps what a callback raises on the context, and
    would raise it again on somebody else's connection.
    """
    verdict = connection.get_app_data()
    try:
        if not ok:
            verdict.refusal = _WHY_UNTRUSTED.get(
                code, "the certificate is not from an authority that is trusted here"
            )
            return False
        if depth > 0:
            return True
        identity = identity_of(certificate.to_cryptography())
        if _role_of(identity) not in admitted:
            verdict.refusal = f"a {_role_of(identity).value}'s certificate has no use here"
            return False
        if cluster is not None and identity.cluster != cluster:
            verdict.refusal = f"this is cluster {identity.cluster}, not {cluster}"
            return False
    except Exception as error:  # see above: fails closed
        _log.debug("certificate refused: {error}", error=error)
        verdict.refusal = str(error)
        return False
    return True


def _role_of(identity: Identity) -> Role:
    match identity:
        case NodeIdentity():
            return Role.NODE
        case UserIdentity():
            return Role.USER
        case HubIdentity():
            return Role.HUB
