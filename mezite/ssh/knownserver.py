"""
Trust in a server that has no certificate of ours: by fingerprints, or by an authority of its own.

A server shows one host key, of a kind that it is asked for, and a fingerprint
does not say of which kind a key is. So :func:`questions` gives one
:class:`KnownServer` after the other, to be asked on a new connection each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import frozen

from mezite.error import Denied
from mezite.identity import sshcert
from mezite.identity.hostproof import SshdFacts, fingerprint_of_blob
from mezite.ssh import algorithms
from mezite.ssh.error import HostNotVerified

# The kinds of keys, each with the signatures that it makes, most usual first.
_KINDS: Final = (
    (b"ssh-ed25519",),
    (b"ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp521"),
    (b"rsa-sha2-512", b"rsa-sha2-256"),
)


class WrongHostKey(HostNotVerified):
    """The server showed another key than it is known by; ``shown`` is its fingerprint."""

    def __init__(self, sentence: str, shown: str) -> None:
        super().__init__(sentence)
        self.shown = shown


@frozen
class ProvedKey:
    """A host key that is the server's."""

    public_blob: bytes


@frozen
class KnownServer:
    """
    One question to a server: to prove itself by one of these algorithms.

    ``names`` are those that a certificate may be for.
    """

    facts: SshdFacts
    names: Sequence[str]
    wall_clock: Callable[[], float]
    algorithms: tuple[bytes, ...]

    def check(self, blob: bytes) -> ProvedKey:
        """:raises WrongHostKey:"""
        shown = fingerprint_of_blob(blob)
        if not self.algorithms[0].endswith(algorithms.CERTIFICATE):
            if shown in self.facts.host_keys:
                return ProvedKey(blob)
            known = " or ".join(self.facts.host_keys)
            raise WrongHostKey(f"it showed the host key {shown}, and is known by {known}", shown)
        try:
            key = sshcert.check_server(
                blob,
                trusted=self.facts.authority_blobs,
                now=self.wall_clock(),
                principals=self.names,
            )
        except Denied as error:
            raise WrongHostKey(f"its host certificate is refused: {error}", shown) from error
        return ProvedKey(key)


def questions(
    facts: SshdFacts, names: Sequence[str], wall_clock: Callable[[], float]
) -> tuple[KnownServer, ...]:
    """What to ask a server for, in turn, until it proves itself."""
    asked = []
    if facts.authorities:
        asked.append(tuple(name + algorithms.CERTIFICATE for name in algorithms.SIGNATURES))
    if facts.host_keys:
        asked += _KINDS
    return tuple(KnownServer(facts, names, wall_clock, each) for each in asked)
