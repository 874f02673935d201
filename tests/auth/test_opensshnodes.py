"""Tests of servers without an agent, as administrators add them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.audit.events import Actor, EventType
from mezite.auth.error import BadRequest
from mezite.auth.opensshnodes import OpenSshNodeService
from mezite.auth.trail import AuditTrail
from mezite.identity.error import BadPublicKey
from mezite.names import ClusterName, InvalidName
from mezite.store.error import NodeExists
from mezite.store.memory import MemoryStore
from mezite.store.records import AuditQuery, NodeRecord

PRINT = "SHA256:" + "A" * 43


class OpenSshNodeServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryStore()
        self.service = OpenSshNodeService(
            self.store.nodes,
            AuditTrail(self.store.audit, wall_clock=lambda: 1000.0),
            ClusterName("example.com"),
            ("hub.example.com",),
            lambda: 1000.0,
        )

    def create(self, name: str = "db9", **changes: Any) -> Deferred[NodeRecord]:
        facts: dict[str, Any] = {
            "address": "10.0.0.9",
            "labels": {"env": "prod"},
            "host_keys": [PRINT],
            "host_authorities": [],
            **changes,
        }
        work = self.service.create(name, by=Actor("ada"), **facts)
        return Deferred.fromCoroutine(work)

    def test_create(self) -> None:
        """It is there, with labels that nobody else gives, and in the audit."""
        record = self.successResultOf(self.create())
        self.assertEqual(self.successResultOf(self.store.nodes.get(record.agent_id)), record)
        self.assertFalse(record.has_agent)
        self.assertEqual((record.hub_labels, record.address), (record.labels, "10.0.0.9:22"))
        (kept,) = self.successResultOf(self.store.audit.search(AuditQuery(), limit=5))
        self.assertIs(kept.event.type, EventType.NODE_CREATED)
        self.assertEqual((kept.event.actor.name, kept.event.node), ("ada", "db9"))

    def test_no_key_is_its_own(self) -> None:
        """Nobody can come as this node's agent, since it has none."""
        record = self.successResultOf(self.create())
        self.assertFalse(record.accepts(b"any key"))

    def test_refused(self) -> None:
        """Names of others, and what says nothing; nothing is kept."""
        for name in ("hub.example.com", "db1.hub.example.com", "localhost"):
            self.failureResultOf(self.create(name), BadRequest)
        self.failureResultOf(self.create("a b"), InvalidName)
        self.failureResultOf(self.create(address="h:99999"), InvalidName)
        self.failureResultOf(self.create(labels={"a b": "c"}), InvalidName)
        self.failureResultOf(self.create(host_keys=[]), BadPublicKey)
        self.assertEqual(self.successResultOf(self.store.nodes.list()), ())
        self.successResultOf(self.create())
        self.failureResultOf(self.create(), NodeExists)
