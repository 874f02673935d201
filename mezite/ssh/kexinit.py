"""
The KEXINIT message of RFC 4253, section 7.1: written, read, and agreed on.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from attrs import frozen

from mezite.ssh import algorithms
from mezite.ssh.ciphers import Suite
from mezite.ssh.error import KEY_EXCHANGE_FAILED, SshProtocolError
from mezite.ssh.fields import FieldReader, string, uint32

_KEXINIT: Final = 20
_COOKIE: Final = 16


def kexinit(exchanges: Sequence[bytes], host_keys: Sequence[bytes]) -> bytes:
    """Our message: these, and the ciphers and MACs that are the same for all."""
    both_ways = (algorithms.CIPHERS, algorithms.MACS, algorithms.COMPRESSIONS, ())
    lists = [exchanges, host_keys, *(names for names in both_ways for _ in range(2))]
    return b"".join(
        (
            bytes([_KEXINIT]),
            os.urandom(_COOKIE),
            *(string(b",".join(names)) for names in lists),
            b"\0",
            uint32(0),
        )
    )


@frozen
class Offer:
    """A peer's message; for ciphers and MACs, first what goes to the server."""

    exchanges: tuple[bytes, ...]
    host_keys: tuple[bytes, ...]
    ciphers: tuple[tuple[bytes, ...], tuple[bytes, ...]]
    macs: tuple[tuple[bytes, ...], tuple[bytes, ...]]
    compressions: tuple[tuple[bytes, ...], tuple[bytes, ...]]
    guesses: bool

    @classmethod
    def read(cls, packet: bytes) -> Offer:
        """:raises MalformedMessage: if it ends too early."""
        reader = FieldReader(packet, _COOKIE)
        lists = [reader.names() for _ in range(10)]
        guesses = reader.boolean()
        reader.uint32()
        return cls(
            lists[0],
            lists[1],
            (lists[2], lists[3]),
            (lists[4], lists[5]),
            (lists[6], lists[7]),
            guesses,
        )


@frozen
class Agreement:
    """What both sides compute from the two messages."""

    exchange: bytes
    host_key: bytes
    to_server: Suite
    to_client: Suite


def agree(
    offer: Offer,
    exchanges: Sequence[bytes],
    host_keys: Sequence[bytes],
    *,
    we_are_client: bool,
    is_strict: bool,
) -> Agreement:
    """:raises SshProtocolError: if there is no agreement."""

    def choose(what: str, ours: Sequence[bytes], theirs: Sequence[bytes]) -> bytes:
        return algorithms.choose(what, *((ours, theirs) if we_are_client else (theirs, ours)))

    def suite(direction: int) -> Suite:
        cipher = choose("cipher", algorithms.CIPHERS, offer.ciphers[direction])
        choose("compression", algorithms.COMPRESSIONS, offer.compressions[direction])
        if cipher == algorithms.CHACHA20_POLY1305 and not is_strict:
            # Of our ciphers the one that CVE-2023-48795 (Terrapin) breaks. Choosing
            # another alone is not possible: both sides compute the same choice.
            raise SshProtocolError(
                "chacha20-poly1305 is not safe without strict key exchange: update the"
                " SSH client, or choose another cipher, as ssh does with -c aes256-ctr",
                KEY_EXCHANGE_FAILED,
            )
        if cipher in algorithms.AEAD_CIPHERS:
            return Suite(cipher, b"")
        return Suite(cipher, choose("MAC", algorithms.MACS, offer.macs[direction]))

    return Agreement(
        choose("key exchange", exchanges, offer.exchanges),
        choose("kind of host key", host_keys, offer.host_keys),
        suite(0),
        suite(1),
    )
