"""
What an SSH server proves itself with: keys, and certificates over them.

A connection keeps the host key it began with, also when it exchanges keys
again, since clients refuse a server that changes under their hands.
:class:`ReplaceableHostKey` is where a renewed one reaches new connections.
"""

from __future__ import annotations

from attrs import define, field, frozen

from mezite.error import BadInput
from mezite.identity import sshcert
from mezite.ssh import algorithms, signatures
from mezite.ssh.fields import FieldReader


@frozen
class HostKey:
    """A host key, with its certificate if there is one."""

    key: signatures.PrivateKey = field(repr=False)
    certificate: bytes | None = field(repr=False, default=None)

    @classmethod
    def of(cls, key: signatures.PrivateKey, certificate_line: str | None = None) -> HostKey:
        """
        :param certificate_line: as in ``ssh_host_ed25519_key-cert.pub``.
        :raises BadInput: if the certificate is not one for this key.
        :raises CertificateRefused: if the line has none.
        """
        if certificate_line is None:
            return cls(key)
        certificate = sshcert.blob_of(certificate_line.strip())
        mine = FieldReader(signatures.public_blob(key))
        kind = mine.string() + algorithms.CERTIFICATE
        reader = FieldReader(certificate)
        if reader.string() != kind:
            raise BadInput("the host certificate is for another kind of key than the host key")
        reader.string()  # the nonce
        if not reader.rest().startswith(mine.rest()):
            raise BadInput("the host certificate is for another key than the host key")
        return cls(key, certificate)

    @property
    def algorithms(self) -> tuple[bytes, ...]:
        """What we can prove ourselves by, best first."""
        plain = signatures.algorithms_of(self.key)
        if self.certificate is None:
            return plain
        return (*(name + algorithms.CERTIFICATE for name in plain), *plain)

    def presented_as(self, algorithm: bytes) -> PresentedKey:
        """What is shown when this algorithm, one of :attr:`algorithms`, was chosen."""
        name = algorithm.removesuffix(algorithms.CERTIFICATE)
        if name != algorithm and self.certificate is not None:
            return PresentedKey(self.key, self.certificate, name)
        return PresentedKey(self.key, signatures.public_blob(self.key), name)


@frozen
class HostKeys:
    """Several host keys of different kinds; the client says which it wants to see."""

    keys: tuple[HostKey, ...] = field(converter=tuple)

    @property
    def algorithms(self) -> tuple[bytes, ...]:
        listed = [name for key in self.keys for name in key.algorithms]
        # Whoever knows certificates should see one, of whatever kind.
        listed.sort(key=lambda name: not name.endswith(algorithms.CERTIFICATE))
        return tuple(listed)

    def presented_as(self, algorithm: bytes) -> PresentedKey:
        for key in self.keys:
            if algorithm in key.algorithms:
                return key.presented_as(algorithm)
        raise AssertionError("an algorithm was chosen that was not offered")


@frozen(repr=False)
class PresentedKey:
    """A host key in the form that Conch asks for; its two methods are Conch's."""

    key: signatures.PrivateKey
    shown: bytes
    algorithm: bytes

    def blob(self) -> bytes:
        return self.shown

    def sign(self, data: bytes, signatureType: bytes | None = None) -> bytes:
        return signatures.sign(self.key, data, algorithm=self.algorithm)


@define(eq=False)
class ReplaceableHostKey:
    """The host key that new connections get."""

    current: HostKey | HostKeys

    def replace(self, host_key: HostKey | HostKeys) -> None:
        """New connections prove themselves with this one."""
        self.current = host_key
