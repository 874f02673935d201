"""
What happened on a tunnel, in the order it happened.
"""

from __future__ import annotations

from attrs import frozen

from mezite.mux.frames import GoAwayCode


@frozen
class StreamOpened:
    """The peer offers a stream, which waits to be accepted or reset."""

    stream_id: int


@frozen
class StreamAccepted:
    """The peer acknowledged a stream of ours."""

    stream_id: int


@frozen
class DataReceived:
    """
    Bytes arrived on a stream.

    They count against its window until
    :meth:`~mezite.mux.connection.Connection.consumed` says otherwise.
    """

    stream_id: int
    data: bytes


@frozen
class StreamEnded:
    """The peer finished its direction: no more bytes will arrive."""

    stream_id: int


@frozen
class StreamReset:
    """The peer tore the stream down; what it had not yet taken is lost."""

    stream_id: int


@frozen
class StreamOverflowed:
    """We reset the stream, which held the most, because too much was left unread."""

    stream_id: int


@frozen
class SendBufferDrained:
    """A stream that was full has room again."""

    stream_id: int


@frozen
class FinishSent:
    """The end of our direction has been handed out, and all bytes before it."""

    stream_id: int


@frozen
class PingAnswered:
    """The peer echoed this opaque value."""

    opaque: int


@frozen
class GoAwayReceived:
    """The peer takes no further streams; those that exist go on."""

    code: GoAwayCode


Event = (
    StreamOpened
    | StreamAccepted
    | DataReceived
    | StreamEnded
    | StreamReset
    | StreamOverflowed
    | SendBufferDrained
    | FinishSent
    | PingAnswered
    | GoAwayReceived
)
