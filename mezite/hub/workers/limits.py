"""
The bounds of the mux between two processes of one hub.
"""

from __future__ import annotations

from typing import Final

from mezite.mux.limits import MuxLimits

# One socket carries what all connections of a worker have to do with control. Each end trusts
# the other not to flood it, so that these bound what strangers on slow lines make both hold.
LINK_LIMITS: Final = MuxLimits(
    # Ten thousand tunnels with two streams each beside their own, and as many connections.
    streams=131_072,
    backlog=131_072,
    # 1,024 streams that are stuck with full first windows, and twice that.
    tunnel_received=512 * 1024 * 1024,
    tunnel_unsent_high=64 * 1024 * 1024,
    tunnel_unsent=512 * 1024 * 1024,
    # A storm of tunnels that are replaced is a storm of resets.
    nuisances=1_048_576,
    control_frames=1_048_576,
)
