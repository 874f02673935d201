"""
What listeners may expect of a TLS connection that has finished its handshake.
"""

from __future__ import annotations

from typing import Any
from typing import Protocol as TypingProtocol

from cryptography import x509
from twisted.internet.interfaces import ISSLTransport

from mezite.wire.splice import Spliceable


class ISecured(ISSLTransport):
    """
    A finished TLS connection, whose protocol may be changed by ``attach``.

    Between programs it is a :class:`~mezite.wire.transport.TLSTransport`; in a hub of
    several processes another one may have ended TLS.
    """


class Secured(Spliceable, TypingProtocol):
    """The same for the type checker: what the handshake has settled, and a transport."""

    negotiatedProtocol: bytes | None
    server_name: str | None
    peer_certificate: x509.Certificate | None

    def getPeer(self) -> Any: ...
