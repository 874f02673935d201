"""
The nodes that a person may reach, as rows to be shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

from mezite.rpc.proto import auth_pb2 as pb

_STATUS: Final = {
    pb.NODE_STATUS_ONLINE: "online",
    pb.NODE_STATUS_OFFLINE: "offline",
    pb.NODE_STATUS_AGENTLESS: "agentless",
}


def node_rows(nodes: Iterable[pb.Node]) -> list[dict[str, object]]:
    """One row for each node, ordered by host name; times as RFC 3339, or None."""
    return [
        {
            "hostname": node.hostname,
            "agent_id": node.agent_id,
            "status": _STATUS.get(node.status, "unknown"),
            "labels": dict(node.labels),
            "last_seen": _timestamp(node.last_seen),
            "online_since": _timestamp(node.online_since),
            "offline_since": _timestamp(node.offline_since),
        }
        for node in sorted(nodes, key=lambda node: (node.hostname, node.agent_id))
    ]


def _timestamp(moment: int) -> str | None:
    if not moment:
        return None
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
