"""
In which order the messages of a key exchange may come, strict or not.

Strict key exchange is OpenSSH's answer to prefix truncation (CVE-2023-48795):
between the first KEXINIT and the first NEWKEYS nothing else may come, and the
packets are counted from 0 after every NEWKEYS. Both peers must offer it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from mezite.ssh.error import KEY_EXCHANGE_FAILED, SshProtocolError

STRICT_CLIENT: Final = b"kex-strict-c-v00@openssh.com"
STRICT_SERVER: Final = b"kex-strict-s-v00@openssh.com"

_DISCONNECT: Final = 1


class Phase(enum.Enum):
    """How far a key exchange has come."""

    SETTLED = enum.auto()
    OURS_SENT = enum.auto()
    THEIRS_READ = enum.auto()
    EXCHANGING = enum.auto()
    NEW_KEYS_SENT = enum.auto()


class Step(enum.Enum):
    """What moves a key exchange on."""

    SEND_KEXINIT = enum.auto()
    READ_KEXINIT = enum.auto()
    READ_METHOD = enum.auto()
    SEND_NEWKEYS = enum.auto()
    READ_NEWKEYS = enum.auto()


TRANSITIONS: Final[Mapping[tuple[Phase, Step], Phase]] = {
    (Phase.SETTLED, Step.SEND_KEXINIT): Phase.OURS_SENT,
    (Phase.SETTLED, Step.READ_KEXINIT): Phase.THEIRS_READ,
    (Phase.OURS_SENT, Step.READ_KEXINIT): Phase.EXCHANGING,
    (Phase.THEIRS_READ, Step.SEND_KEXINIT): Phase.EXCHANGING,
    (Phase.EXCHANGING, Step.READ_METHOD): Phase.EXCHANGING,
    (Phase.EXCHANGING, Step.SEND_NEWKEYS): Phase.NEW_KEYS_SENT,
    (Phase.NEW_KEYS_SENT, Step.READ_NEWKEYS): Phase.SETTLED,
}


class KeyExchangeOrder:
    """The place of one connection in that table, from its first byte on."""

    def __init__(self) -> None:
        self.phase = Phase.SETTLED
        self.is_strict = False
        self._first_done = False
        self._packets_read = 0

    @property
    def holds_data(self) -> bool:
        """Whether only messages of the key exchange may be sent now."""
        return self.phase in (Phase.OURS_SENT, Phase.THEIRS_READ, Phase.EXCHANGING)

    @property
    def is_first(self) -> bool:
        """Whether the first exchange is not over."""
        return not self._first_done

    def take(self, step: Step) -> None:
        """
        Move on.

        :raises SshProtocolError: if this may not come now; nothing moved.
        """
        following = TRANSITIONS.get((self.phase, step))
        if following is None:
            raise SshProtocolError(
                "a message of the key exchange came out of order", KEY_EXCHANGE_FAILED
            )
        self.phase = following
        if step is Step.READ_NEWKEYS:
            self._first_done = True

    def peer_offers_strict(self) -> None:
        """
        The peer's first KEXINIT has the marker, as ours has.

        :raises SshProtocolError: if anything came before that KEXINIT.
        """
        if not self._first_done:
            if self._packets_read != 1:
                raise SshProtocolError(
                    "something came before the key exchange", KEY_EXCHANGE_FAILED
                )
            self.is_strict = True

    def read(self, message: int) -> None:
        """
        A packet with this message number has arrived.

        :raises SshProtocolError: if it may not come now.
        """
        self._packets_read += 1
        if 20 <= message < 50 or message == _DISCONNECT:
            return
        if not self._first_done and (self.is_strict or message > 4):
            raise SshProtocolError(
                "only a key exchange may come before the first keys", KEY_EXCHANGE_FAILED
            )
        if message > 4 and self.phase in (Phase.EXCHANGING, Phase.NEW_KEYS_SENT):
            raise SshProtocolError("only a key exchange may come during one", KEY_EXCHANGE_FAILED)
