"""
How a server without an agent proves itself: by the fingerprints of its keys, or by an authority.

Fingerprints are written as ``ssh-keygen -l`` writes them, ``SHA256:`` and base64.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from typing import Final

from attrs import frozen

from mezite.identity.error import BadPublicKey
from mezite.identity.sshkeys import LINE_LIMIT, blob_of_key, load_public_line
from mezite.names import HostPort

# A server has a key of each kind; while it replaces them, twice as many.
HOST_KEYS: Final = 16
# One, and its successor; some have one for each region.
HOST_AUTHORITIES: Final = 8
_FINGERPRINT: Final = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")


@frozen
class SshdFacts:
    """
    Where a plain sshd is, and what it is known by.

    ``host_keys`` are fingerprints; ``authorities`` lines of the public keys that
    sign its host certificates.
    """

    address: HostPort
    host_keys: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()

    @property
    def authority_blobs(self) -> tuple[bytes, ...]:
        return tuple(base64.b64decode(line.split()[1]) for line in self.authorities)


def fingerprint_of_blob(blob: bytes) -> str:
    """A public key's name for people."""
    digest = hashlib.sha256(blob).digest()
    return f"SHA256:{base64.b64encode(digest).decode().rstrip('=')}"


def parse_host_key(text: str) -> str:
    """
    A fingerprint, from itself or from a line of the public key.

    :raises BadPublicKey: it is neither.
    """
    text = text.strip()
    if _FINGERPRINT.fullmatch(text):
        return text
    if " " not in text:
        raise BadPublicKey(
            f"{text[:80]!r} is no fingerprint of a host key: it reads SHA256: and 43 letters,"
            " as ssh-keygen -l prints it"
        )
    return fingerprint_of_blob(blob_of_key(load_public_line(text)))


def parse_authority(text: str) -> str:
    """
    The type and the key of a host authority, from its line, with ``@cert-authority`` or without.

    :raises BadPublicKey:
    """
    words = text[: LINE_LIMIT + 1].split()
    if words[:1] == ["@cert-authority"]:
        # As in known_hosts: what hosts it is for stands before the key.
        words = words[2:]
    line = " ".join(words[:2])
    load_public_line(line)
    return line


def parse_facts(address: str, host_keys: Iterable[str], authorities: Iterable[str]) -> SshdFacts:
    """
    What an administrator says of a server.

    :raises BadPublicKey: a key cannot be read, there is none, or there are too many.
    :raises InvalidName: the address is none.
    """
    place = HostPort.parse(address.strip(), default_port=22)
    keys = tuple(dict.fromkeys(map(parse_host_key, host_keys)))
    signers = tuple(dict.fromkeys(map(parse_authority, authorities)))
    if not keys and not signers:
        raise BadPublicKey(
            "without a fingerprint of its host key, or an authority that has signed it, the server"
            " could be anybody: give --host-key or --host-ca"
        )
    if len(keys) > HOST_KEYS or len(signers) > HOST_AUTHORITIES:
        raise BadPublicKey(
            f"a server has at most {HOST_KEYS} host keys and {HOST_AUTHORITIES} host authorities"
        )
    return SshdFacts(place, keys, signers)
