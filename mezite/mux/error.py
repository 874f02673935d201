"""
What can go wrong with a tunnel and its streams.

Reasons for which a stream ends travel as Twisted's own ``ConnectionDone`` and
``ConnectionLost``, since the protocols on streams know those.
"""

from __future__ import annotations

from mezite.error import LimitReached, LocalError, RemoteError, Unavailable


class LocalMuxError(LocalError):
    """A call that the state of the tunnel or the stream does not allow."""


class RemoteMuxError(RemoteError):
    """The peer broke the protocol, or one of its limits; the tunnel cannot go on."""


class MuxClosed(Unavailable):
    """The tunnel is down, going down, or has used up its stream ids."""


class TooManyStreams(LimitReached):
    """No further stream is opened before another one ends or is acknowledged."""


class StreamOverflow(LimitReached):
    """More was waiting on a stream than may be kept, so the stream was reset."""
