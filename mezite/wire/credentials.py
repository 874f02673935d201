"""
Certificates, their keys, and who is trusted, as they come and as OpenSSL takes them.

When which of them is shown, and demanded, is :mod:`mezite.wire.contexts`'s.
"""

from __future__ import annotations

from collections.abc import Iterable

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto

from mezite.wire.error import BadCredentials


@frozen
class Credentials:
    """A certificate, with what is to be sent after it, and its private key; all in PEM."""

    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


@frozen
class PortCredentials:
    """
    What a hub's port shows and whom it believes.

    ``authorities_pem`` are the cluster's authorities, which are sent after the
    hub's certificate; where there are two, ``links_pem`` is their word for each
    other, which is sent as well (:mod:`mezite.wire.trust`). ``web`` is for
    browsers, who get the hub's own where there is none.
    """

    hub: Credentials
    web: Credentials | None
    authorities_pem: bytes
    links_pem: bytes


def load_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """
    The certificates in this PEM, at least one.

    :raises BadCredentials: there is none, or one cannot be read.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise BadCredentials("this is not a certificate in PEM") from error


def use_credentials(
    context: SSL.Context, credentials: Credentials, authorities: Iterable[x509.Certificate]
) -> None:
    """
    Show this certificate, and behind it those authorities of which it is.

    :raises BadCredentials:
    """
    leaf, *chain = load_certificates(credentials.certificate_pem)
    try:
        key = load_pem_private_key(credentials.key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadCredentials("this is not a private key in PEM without a passphrase") from error
    if not isinstance(
        key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
    ):
        raise BadCredentials("the private key is of a kind that TLS does not use")
    for authority in authorities:
        if authority not in chain and authority.subject == leaf.issuer:
            chain.append(authority)
    try:
        context.use_certificate(leaf)
        context.use_privatekey(key)
        context.check_privatekey()
        for certificate in chain:
            context.add_extra_chain_cert(certificate)
    except SSL.Error as error:
        raise BadCredentials("the private key does not belong to the certificate") from error


def trust(context: SSL.Context, authorities: Iterable[x509.Certificate]) -> None:
    """Believe these."""
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))
