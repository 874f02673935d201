"""
One stream: its state, its two windows, and the bytes that wait to be sent.

The table is the protocol: a pair that is missing from it is an error, ours or
the peer's, and leaves the stream as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from attrs import define, field

from mezite.mux.bytequeue import ByteQueue
from mezite.mux.error import LocalMuxError, RemoteMuxError
from mezite.mux.window import ReceiveWindow, SendWindow


class State(Enum):
    """Where a stream is between SYN and its end."""

    IDLE = auto()
    SYN_SENT = auto()
    SYN_RECEIVED = auto()
    OPEN = auto()
    # finish() was called, and bytes or the FIN itself wait to be sent.
    FINISHING = auto()
    LOCAL_CLOSED = auto()
    REMOTE_CLOSED = auto()
    # As FINISHING, after the peer's FIN.
    CLOSING = auto()
    CLOSED = auto()
    RESET = auto()


class Input(Enum):
    """What can happen to a stream; RECV_ inputs are the peer's doing."""

    SEND_SYN = auto()
    SEND_ACK = auto()
    SEND_DATA = auto()
    FINISH = auto()
    SEND_FIN = auto()
    SEND_RST = auto()
    RECV_SYN = auto()
    RECV_ACK = auto()
    RECV_DATA = auto()
    RECV_WINDOW = auto()
    RECV_FIN = auto()
    RECV_RST = auto()


_OF_PEER: Final = frozenset(
    {
        Input.RECV_SYN,
        Input.RECV_ACK,
        Input.RECV_DATA,
        Input.RECV_WINDOW,
        Input.RECV_FIN,
        Input.RECV_RST,
    }
)

TRANSITIONS: Final[Mapping[tuple[State, Input], State]] = {
    (State.IDLE, Input.SEND_SYN): State.SYN_SENT,
    (State.IDLE, Input.RECV_SYN): State.SYN_RECEIVED,
    # Data may follow the SYN at once. The peer's bytes or FIN may overtake its
    # ACK: hashicorp's implementation sends them from different goroutines.
    (State.SYN_SENT, Input.SEND_DATA): State.SYN_SENT,
    (State.SYN_SENT, Input.FINISH): State.FINISHING,
    (State.SYN_SENT, Input.SEND_RST): State.RESET,
    (State.SYN_SENT, Input.RECV_ACK): State.OPEN,
    (State.SYN_SENT, Input.RECV_DATA): State.SYN_SENT,
    (State.SYN_SENT, Input.RECV_WINDOW): State.SYN_SENT,
    (State.SYN_SENT, Input.RECV_FIN): State.REMOTE_CLOSED,
    (State.SYN_SENT, Input.RECV_RST): State.RESET,
    # Only accepting or refusing comes first here.
    (State.SYN_RECEIVED, Input.SEND_ACK): State.OPEN,
    (State.SYN_RECEIVED, Input.SEND_RST): State.RESET,
    (State.SYN_RECEIVED, Input.RECV_DATA): State.SYN_RECEIVED,
    (State.SYN_RECEIVED, Input.RECV_WINDOW): State.SYN_RECEIVED,
    (State.SYN_RECEIVED, Input.RECV_FIN): State.REMOTE_CLOSED,
    (State.SYN_RECEIVED, Input.RECV_RST): State.RESET,
    (State.OPEN, Input.SEND_DATA): State.OPEN,
    (State.OPEN, Input.FINISH): State.FINISHING,
    (State.OPEN, Input.SEND_RST): State.RESET,
    (State.OPEN, Input.RECV_ACK): State.OPEN,
    (State.OPEN, Input.RECV_DATA): State.OPEN,
    (State.OPEN, Input.RECV_WINDOW): State.OPEN,
    (State.OPEN, Input.RECV_FIN): State.REMOTE_CLOSED,
    (State.OPEN, Input.RECV_RST): State.RESET,
    (State.FINISHING, Input.SEND_FIN): State.LOCAL_CLOSED,
    (State.FINISHING, Input.SEND_RST): State.RESET,
    (State.FINISHING, Input.RECV_ACK): State.FINISHING,
    (State.FINISHING, Input.RECV_DATA): State.FINISHING,
    (State.FINISHING, Input.RECV_WINDOW): State.FINISHING,
    (State.FINISHING, Input.RECV_FIN): State.CLOSING,
    (State.FINISHING, Input.RECV_RST): State.RESET,
    (State.LOCAL_CLOSED, Input.SEND_RST): State.RESET,
    (State.LOCAL_CLOSED, Input.RECV_ACK): State.LOCAL_CLOSED,
    (State.LOCAL_CLOSED, Input.RECV_DATA): State.LOCAL_CLOSED,
    (State.LOCAL_CLOSED, Input.RECV_WINDOW): State.LOCAL_CLOSED,
    (State.LOCAL_CLOSED, Input.RECV_FIN): State.CLOSED,
    (State.LOCAL_CLOSED, Input.RECV_RST): State.RESET,
    (State.REMOTE_CLOSED, Input.SEND_ACK): State.REMOTE_CLOSED,
    (State.REMOTE_CLOSED, Input.SEND_DATA): State.REMOTE_CLOSED,
    (State.REMOTE_CLOSED, Input.FINISH): State.CLOSING,
    (State.REMOTE_CLOSED, Input.SEND_RST): State.RESET,
    (State.REMOTE_CLOSED, Input.RECV_ACK): State.REMOTE_CLOSED,
    (State.REMOTE_CLOSED, Input.RECV_WINDOW): State.REMOTE_CLOSED,
    (State.REMOTE_CLOSED, Input.RECV_RST): State.RESET,
    (State.CLOSING, Input.SEND_FIN): State.CLOSED,
    (State.CLOSING, Input.SEND_RST): State.RESET,
    (State.CLOSING, Input.RECV_ACK): State.CLOSING,
    (State.CLOSING, Input.RECV_WINDOW): State.CLOSING,
    (State.CLOSING, Input.RECV_RST): State.RESET,
    # Closed, and still here because bytes wait to be read. The peer may have
    # sent these before our FIN reached it.
    (State.CLOSED, Input.SEND_RST): State.RESET,
    (State.CLOSED, Input.RECV_ACK): State.CLOSED,
    (State.CLOSED, Input.RECV_WINDOW): State.CLOSED,
    (State.CLOSED, Input.RECV_RST): State.RESET,
}

_MAY_RECEIVE: Final = frozenset({State.SYN_SENT, State.OPEN, State.FINISHING, State.LOCAL_CLOSED})


@define(eq=False)
class Stream:
    """
    One stream of a tunnel.

    Only :meth:`move` changes its state; the connection does the counting.
    """

    stream_id: int
    receiving: ReceiveWindow
    sending: SendWindow = field(factory=SendWindow)
    unsent: ByteQueue = field(factory=ByteQueue)
    state: State = State.IDLE
    # Stands in the queue of streams that have something to send.
    is_queued: bool = False
    # Its writer was told to wait, and will be told to go on.
    is_full: bool = False
    # Nobody reads it any more: what arrives is dropped, and the window stays shut.
    is_unread: bool = False

    def move(self, by: Input) -> None:
        """
        Change the state.

        :raises LocalMuxError: if this was our doing and is not allowed now.
        :raises RemoteMuxError: the same for the peer.
        """
        after = TRANSITIONS.get((self.state, by))
        if after is None:
            kind = RemoteMuxError if by in _OF_PEER else LocalMuxError
            raise kind(
                f"{by.name} is not allowed while stream {self.stream_id} is {self.state.name}"
            )
        self.state = after

    @property
    def has_output(self) -> bool:
        """Whether a frame could be sent for it right now."""
        if self.unsent.size:
            return self.sending.left > 0
        return self.state is State.FINISHING or self.state is State.CLOSING

    @property
    def may_receive(self) -> bool:
        """Whether a window update still has a meaning to the peer."""
        return self.state in _MAY_RECEIVE and not self.is_unread
