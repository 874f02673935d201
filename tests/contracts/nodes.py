"""
What every store does with nodes that join once more, and with whose labels are whose.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred

from mezite.audit.events import HUB, AuditEvent, EventType
from mezite.identity.hostproof import SshdFacts
from mezite.names import AgentId, HostPort, NodeName
from mezite.store.error import (
    NodeExists,
    NodeKeyReplaced,
    NodeNameTaken,
    NoSuchNode,
    TokenRefused,
)
from mezite.store.records import AuditQuery, JoinTokenRecord, MachineFacts, NodeRecord, NodeWord
from tests.contracts.store import DB1, NOW, TOKEN, StoreContract

CALLERS = 50
WHOLE = attrs.evolve(
    DB1,
    labels={"env": "prod", "rack": "7"},
    hub_labels={"env": "prod"},
    command_labels=("rack",),
    facts=MachineFacts(("192.0.2.1", "2001:db8::1"), "Debian \N{SNOWMAN}", "x86_64"),
    address="192.0.2.1:4711",
    token_id="3f2a",
    rejoined=1400.5,
    tls_key=b"\x00\xff" * 16,
)
REJOIN = JoinTokenRecord(
    token_id="4",
    secret_hash=b"4",
    created_by="ada",
    created=1000.0,
    expires=2000.0,
    uses_left=1,
    max_uses=1,
    rejoins=DB1.agent_id,
)


def event(kind: EventType) -> AuditEvent:
    return AuditEvent(kind, NOW, HUB)


class RejoiningContract(StoreContract):
    """Nodes as they are kept, and as they join once more."""

    def setUp(self) -> None:
        super().setUp()
        self.answer(self.store.join_tokens.add(TOKEN))
        self.answer(self.store.joining.admit(TOKEN.secret_hash, WHOLE, NOW))

    def node(self) -> NodeRecord:
        record: NodeRecord = self.answer(self.store.nodes.get(DB1.agent_id))
        return record

    def readmit(
        self, key: bytes = b"new", secret_hash: bytes = b"4", **changes: Any
    ) -> Deferred[None]:
        return self.store.joining.readmit(
            secret_hash, DB1.agent_id, NOW, tls_key=key, version="0.3", **changes
        )

    def kinds(self) -> list[EventType]:
        found = self.answer(self.store.audit.search(AuditQuery(), limit=10))
        return [record.event.type for record in found]

    def test_round_trip(self) -> None:
        """A node is kept with every field, and so is a token."""
        self.assertEqual(self.node(), WHOLE)
        token = attrs.evolve(
            TOKEN,
            labels={"env": "\N{SNOWMAN}"},
            hostnames=("db1", "web-*"),
            description="rack 7",
        )
        self.answer(self.store.join_tokens.add(token))
        self.answer(self.store.join_tokens.add(REJOIN))
        self.assertEqual(self.answer(self.store.join_tokens.list()), (token, REJOIN))

    def test_without_agent(self) -> None:
        """A machine without an agent is kept with what it is known by, under a name of its own."""
        line = "ssh-ed25519 AAAA"
        facts = SshdFacts(HostPort("2001:db8::9", 2222), ("SHA256:x",), (line,))
        plain = attrs.evolve(WHOLE, agent_id=AgentId.new(), name=NodeName("plain"), sshd=facts)
        made = event(EventType.NODE_CREATED)
        self.answer(self.store.nodes.add(plain, event=made))
        self.assertEqual(self.answer(self.store.nodes.by_name(plain.name)), plain)
        self.assertIn(EventType.NODE_CREATED, self.kinds())
        for name in (plain.name, DB1.name):
            other = attrs.evolve(plain, agent_id=AgentId.new(), name=name)
            self.refusal(self.store.nodes.add(other, event=made), NodeExists)
        self.assertEqual(self.kinds().count(EventType.NODE_CREATED), 1)

    def test_labels_of_the_hub(self) -> None:
        """What the hub gave stays, whatever the agent says; the rest is the agent's word."""
        word = NodeWord({"env": "dev", "kernel": "6"}, "0.2", ("env", "kernel", "other"))
        self.answer(self.store.nodes.touch(DB1.agent_id, word, last_seen=1.0, address="a"))
        node = self.node()
        self.assertEqual(node.labels, {"env": "prod", "kernel": "6"})
        self.assertEqual((node.hub_labels, node.command_labels), ({"env": "prod"}, ("kernel",)))
        self.assertEqual((node.facts, node.address), (WHOLE.facts, "a"))
        facts = MachineFacts(("192.0.2.9",))
        word = attrs.evolve(word, facts=facts)
        self.answer(self.store.nodes.touch(DB1.agent_id, word, last_seen=1.0, address="a"))
        self.assertEqual(self.node().facts, facts)

    def test_readmit(self) -> None:
        """A node that joins once more has another key and is otherwise as it was."""
        self.answer(self.store.join_tokens.add(REJOIN))
        self.answer(self.readmit(event=event(EventType.NODE_REJOINED)))
        self.assertEqual(
            self.node(), attrs.evolve(WHOLE, tls_key=b"new", version="0.3", rejoined=NOW)
        )
        self.assertEqual(self.answer(self.store.join_tokens.list()), ())
        self.assertEqual(self.kinds(), [EventType.NODE_REJOINED])
        self.refusal(self.readmit(), TokenRefused)

    def test_one_token_for_one_door(self) -> None:
        """A token for a node that is there lets in no other, and an ordinary one not that."""
        self.answer(self.store.join_tokens.add(REJOIN))
        self.answer(self.store.join_tokens.add(TOKEN))
        other = attrs.evolve(DB1, agent_id=AgentId.new(), name=NodeName("db2"))
        self.refusal(self.store.joining.admit(b"4", other, NOW), TokenRefused)
        refused = self.readmit(secret_hash=TOKEN.secret_hash, event=event(EventType.NODE_REJOINED))
        self.refusal(refused, TokenRefused)
        self.refusal(
            self.store.joining.readmit(b"4", other.agent_id, NOW, tls_key=b"x", version=""),
            TokenRefused,
        )
        self.assertEqual(self.node(), WHOLE)
        self.assertEqual(len(self.answer(self.store.join_tokens.list())), 2)
        self.assertEqual(self.kinds(), [])

    def test_newest_token(self) -> None:
        """Of the tokens for one node to join once more, the newest counts."""
        self.answer(self.store.join_tokens.add(REJOIN))
        newer = attrs.evolve(REJOIN, token_id="5", secret_hash=b"5")
        self.answer(self.store.join_tokens.add(newer))
        self.assertEqual(self.answer(self.store.join_tokens.list()), (newer,))
        self.refusal(self.readmit(), TokenRefused)
        self.answer(self.readmit(secret_hash=b"5"))

    def test_removed(self) -> None:
        """With a node goes the token for it; for a node that is not there none is kept."""
        self.answer(self.store.join_tokens.add(REJOIN))
        self.answer(self.store.nodes.remove(DB1.agent_id))
        self.assertEqual(self.answer(self.store.join_tokens.list()), ())
        self.refusal(self.store.join_tokens.add(REJOIN), NoSuchNode)
        self.refusal(self.readmit(), TokenRefused)

    def test_bind_key(self) -> None:
        """A key takes the place of the one that is meant, and of no other."""
        bind = self.store.nodes.bind_key
        refused = bind(DB1.agent_id, None, b"x", event=event(EventType.NODE_CERT_ISSUED))
        self.assertIn("db1", self.refusal(refused, NodeKeyReplaced))
        self.answer(bind(DB1.agent_id, WHOLE.tls_key, b"x"))
        self.assertEqual(self.node(), attrs.evolve(WHOLE, tls_key=b"x"))
        self.refusal(bind(DB1.agent_id, WHOLE.tls_key, b"y"), NodeKeyReplaced)
        self.refusal(bind(AgentId.new(), None, b"y"), NoSuchNode)
        self.assertEqual(self.kinds(), [])

    def test_race(self) -> None:
        """Of 50 who redeem a one-use token at once, one is admitted; so with joining once more."""
        self.answer(self.store.join_tokens.add(TOKEN))
        self.answer(self.store.join_tokens.add(REJOIN))
        admitted = [
            self.store.joining.admit(
                TOKEN.secret_hash,
                attrs.evolve(DB1, agent_id=AgentId.new(), name=NodeName(f"web{number}")),
                NOW,
                event=event(EventType.NODE_JOINED),
            )
            for number in range(CALLERS)
        ]
        readmitted = [self.readmit(key=b"%d" % number) for number in range(CALLERS)]
        for answers in (admitted, readmitted):
            self.answer(answers[0])
            for refused in answers[1:]:
                self.refusal(refused, TokenRefused)
        self.assertEqual(len(self.answer(self.store.nodes.list())), 2)
        self.assertEqual(self.node().tls_key, b"0")
        self.assertEqual(self.kinds(), [EventType.NODE_JOINED])

    def test_name_taken(self) -> None:
        """Who claims a name that is taken is told of the way back in."""
        self.answer(self.store.join_tokens.add(TOKEN))
        other = attrs.evolve(DB1, agent_id=AgentId.new())
        refused = self.store.joining.admit(TOKEN.secret_hash, other, NOW)
        self.assertIn("mezctl nodes allow-rejoin db1", self.refusal(refused, NodeNameTaken))
