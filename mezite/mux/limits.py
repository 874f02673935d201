"""
The bounds that keep one tunnel from using up the process it lives in.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

# The specification fixes it: each direction of a stream begins with this much.
INITIAL_WINDOW: Final = 256 * 1024


@frozen
class MuxLimits:
    """
    What one tunnel may use; both ends choose their own.

    The worst a peer can make us hold is ``tunnel_received`` bytes that nobody
    reads, and ``tunnel_unsent`` bytes that it does not take.
    """

    # Fifty people at work on one node need a few hundred; a thousand of the
    # first windows are 256 MiB, which tunnel_received cuts to a quarter.
    streams: int = 1024
    # As hashicorp's AcceptBacklog: streams offered and not yet accepted, per direction.
    backlog: int = 256
    # The longest frame any peer can send into a window that we grew to its maximum.
    frame_length: int = 4 * 1024 * 1024
    # A stream that keeps up may have this much on its way: 40 MB/s at 100 ms.
    window: int = 4 * 1024 * 1024
    # What all windows of a tunnel together may have above the first 256 KiB each.
    window_growth: int = 32 * 1024 * 1024
    # Received and not yet consumed: 256 streams that are stuck with full first windows.
    tunnel_received: int = 64 * 1024 * 1024
    # A producer is paused here: two of the largest reads of a TLS transport.
    unsent_high: int = 256 * 1024
    # and goes on here: a quantum, so that the wire does not run dry meanwhile.
    unsent_low: int = 64 * 1024
    # Above this sum, producers are paused at unsent_low already.
    tunnel_unsent_high: int = 16 * 1024 * 1024
    # Writers that ignore being paused lose their stream.
    stream_unsent: int = 16 * 1024 * 1024
    tunnel_unsent: int = 64 * 1024 * 1024
    # Bytes of one stream before another one's turn: 5 ms on a line of 100 Mbit/s.
    quantum: int = 64 * 1024
    # Frames without use (pings, resets, refused and empty ones) in one keepalive
    # interval. A reset costs us a stream set up for nothing (HTTP/2's "rapid reset").
    nuisances: int = 4096
    # Control frames that wait because the peer reads nothing: 96 KiB.
    control_frames: int = 8192


# One for all tunnels.
DEFAULT_LIMITS: Final = MuxLimits()
