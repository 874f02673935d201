"""Tests of the decision about access over what is stored."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.access import Ruling
from mezite.identity.roles import Decision, LabelSelector
from mezite.identity.tokens import hash_token
from mezite.names import AgentId, LoginName, NodeName, UserName
from mezite.store.records import JoinTokenRecord, NodeRecord
from tests.auth.world import ADA, LOCAL, PASSWORD, ROOT, World


class AccessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = World()
        creating = self.world.logins.create_user(
            ADA,
            logins=[ROOT],
            node_labels=LabelSelector.parse(["env=dev"]),
            password=PASSWORD,
            by=LOCAL,
        )
        self.successResultOf(Deferred.fromCoroutine(creating))
        secret = hash_token("t")
        token = JoinTokenRecord("t", secret, "test", 0.0, 1e10, 9, 9)
        self.successResultOf(self.world.store.join_tokens.add(token))
        self.dev, self.prod = (
            NodeRecord(AgentId.new(), NodeName(env), {"env": env}, "1.0", 0.0)
            for env in ("dev", "prod")
        )
        for node in (self.dev, self.prod):
            self.successResultOf(self.world.store.joining.admit(secret, node, 1.0))

    def authorize(
        self, user: UserName = ADA, login: LoginName = ROOT, agent_id: AgentId | None = None
    ) -> Ruling:
        asking = self.world.access.authorize_session(user, login, agent_id or self.dev.agent_id)
        return self.successResultOf(Deferred.fromCoroutine(asking))

    def may_reach(self, node: NodeRecord, user: UserName = ADA) -> bool:
        asking = self.world.access.may_reach(user, node)
        return self.successResultOf(Deferred.fromCoroutine(asking)).allowed

    def test_authorize(self) -> None:
        """A session needs a login that the user has, on a node that they may reach."""
        self.assertTrue(self.authorize().allowed)
        self.assertFalse(self.authorize(login=LoginName("ada")).allowed)
        self.assertFalse(self.authorize(agent_id=self.prod.agent_id).allowed)

    def test_unknown(self) -> None:
        """Users and nodes that are not there have no sessions."""
        self.assertFalse(self.authorize(UserName("bob")).allowed)
        decision = self.authorize(agent_id=AgentId.new())
        self.assertEqual(
            decision, Ruling(Decision(False, "this node is not part of the cluster any more"))
        )

    def test_reach(self) -> None:
        """Reaching a node takes any login there."""
        self.assertTrue(self.may_reach(self.dev))
        self.assertFalse(self.may_reach(self.prod))
        self.assertFalse(self.may_reach(self.dev, UserName("bob")))
        asking = self.world.access.reachable(ADA, [self.prod, self.dev])
        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(asking)), [self.dev])

    def test_disabled(self) -> None:
        """A disabled user has no rights."""
        users = self.world.store._tables.users
        users[ADA] = attrs.evolve(users[ADA], disabled=True)
        self.assertFalse(self.authorize().allowed)
        self.assertFalse(self.may_reach(self.dev))
