"""
The states of a TLS connection, and what moves it from one to the next.

It is the table that :mod:`mezite.wire.transport` obeys; it moves no bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final


class State(enum.Enum):
    """How far a TLS connection has come."""

    HANDSHAKING = "handshaking"
    OPEN = "open"
    LOCAL_CLOSED = "local closed"  # our close_notify is out, theirs may still come
    REMOTE_CLOSED = "remote closed"  # theirs is in, we may still write
    CLOSING = "closing"  # nothing more goes in or out; the TCP connection is ending
    LOST = "lost"


class Input(enum.Enum):
    """What moves a TLS connection on."""

    HANDSHAKE_DONE = "handshake done"
    SEND_CLOSE = "send close"
    RECEIVE_CLOSE = "receive close"
    HANG_UP = "hang up"
    TCP_LOST = "TCP lost"


TRANSITIONS: Final[Mapping[tuple[State, Input], State]] = {
    (State.HANDSHAKING, Input.HANDSHAKE_DONE): State.OPEN,
    (State.HANDSHAKING, Input.HANG_UP): State.CLOSING,
    (State.HANDSHAKING, Input.TCP_LOST): State.LOST,
    (State.OPEN, Input.SEND_CLOSE): State.LOCAL_CLOSED,
    (State.OPEN, Input.RECEIVE_CLOSE): State.REMOTE_CLOSED,
    (State.OPEN, Input.HANG_UP): State.CLOSING,
    (State.OPEN, Input.TCP_LOST): State.LOST,
    (State.LOCAL_CLOSED, Input.RECEIVE_CLOSE): State.CLOSING,
    (State.LOCAL_CLOSED, Input.HANG_UP): State.CLOSING,
    (State.LOCAL_CLOSED, Input.TCP_LOST): State.LOST,
    (State.REMOTE_CLOSED, Input.SEND_CLOSE): State.CLOSING,
    (State.REMOTE_CLOSED, Input.HANG_UP): State.CLOSING,
    (State.REMOTE_CLOSED, Input.TCP_LOST): State.LOST,
    (State.CLOSING, Input.TCP_LOST): State.LOST,
}
WRITABLE: Final = frozenset({State.OPEN, State.REMOTE_CLOSED})
READABLE: Final = frozenset({State.OPEN, State.LOCAL_CLOSED})
