"""Tests of the rows in which nodes are shown."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.client.listing import node_rows
from mezite.rpc.proto import auth_pb2 as pb


class NodeRowsTests(SynchronousTestCase):
    def test_rows(self) -> None:
        """Nodes come in the order of their names, with what is known of each."""
        rows = node_rows(
            [
                pb.Node(
                    hostname="web1",
                    agent_id="2",
                    status=pb.NODE_STATUS_OFFLINE,
                    offline_since=1_800_000_001,
                ),
                pb.Node(
                    hostname="db1",
                    agent_id="1",
                    status=pb.NODE_STATUS_ONLINE,
                    labels={"env": "dev"},
                    last_seen=1_800_000_000,
                    online_since=1_799_996_400,
                ),
            ]
        )
        self.assertEqual(
            rows,
            [
                {
                    "hostname": "db1",
                    "agent_id": "1",
                    "status": "online",
                    "labels": {"env": "dev"},
                    "last_seen": "2027-01-15T08:00:00Z",
                    "online_since": "2027-01-15T07:00:00Z",
                    "offline_since": None,
                },
                {
                    "hostname": "web1",
                    "agent_id": "2",
                    "status": "offline",
                    "labels": {},
                    "last_seen": None,
                    "online_since": None,
                    "offline_since": "2027-01-15T08:00:01Z",
                },
            ],
        )

    def test_unknown_status(self) -> None:
        """A status of a later version is not taken for one that is known."""
        (row,) = node_rows([pb.Node(hostname="db1", status=99)])  # type: ignore[arg-type]
        self.assertEqual(row["status"], "unknown")
