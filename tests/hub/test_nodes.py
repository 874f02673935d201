"""Tests of nodes as a person asks for them, and of what the store learns of their life."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mezite.hub.error import NodeOffline, UnknownNode
from mezite.hub.nodes import NodeDirectory, did_you_mean, last_seen
from mezite.hub.presence import NEWS_SECONDS, SAVE_SECONDS, Presence
from mezite.hub.tunnels import Tunnel, TunnelRegistry
from mezite.identity.tokens import hash_token
from mezite.identity.x509 import NodeIdentity
from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.names import AgentId, ClusterName, NodeName
from mezite.store.memory import MemoryStore
from mezite.store.records import JoinTokenRecord, NodeRecord, NodeWord

NOW = 1_000_000.0
DB1 = NodeRecord(AgentId.new(), NodeName("db1"), {"env": "prod"}, "0.1", NOW - 60)


class LastSeenTests(SynchronousTestCase):
    def test_words(self) -> None:
        """The largest unit of which there are two is said."""
        for before, said in (
            (None, "it has never been seen"),
            (0, "it was last seen 0 s ago"),
            (119, "it was last seen 119 s ago"),
            (120, "it was last seen 2 minutes ago"),
            (3 * 3600, "it was last seen 3 hours ago"),
            (49 * 3600, "it was last seen 2 days ago"),
            (-5, "it was last seen 0 s ago"),
        ):
            seen = None if before is None else NOW - before
            self.assertEqual(last_seen(evolve(DB1, last_seen=seen), NOW), said)


class DidYouMeanTests(SynchronousTestCase):
    def said(self, wanted: str, *names: str) -> str:
        records = [
            evolve(DB1, agent_id=AgentId(f"{number:08x}-0000-4000-8000-000000000001"), name=each)
            for number, each in enumerate(map(NodeName, names), 0xABCD0000)
        ]
        return did_you_mean(wanted, records)

    def names(self, wanted: str, *names: str) -> list[str]:
        return [name for name in names if f"{name} (" in self.said(wanted, *names)]

    def test_candidates(self) -> None:
        """Names that begin so, short names of long ones, and beginnings of ids are told."""
        for wanted, names, meant in (
            ("db", ("db1", "db2", "web1"), ["db1", "db2"]),
            ("DB", ("db1",), ["db1"]),
            ("db1", ("db1.eu", "db1.us"), ["db1.eu", "db1.us"]),
            ("db1.eu", ("db1", "db1.us"), ["db1"]),
            ("abcd0001", ("db1", "db2"), ["db2"]),
            ("abcd", ("db1", "db2"), []),
            ("xyz", ("db1",), []),
            ("", ("db1",), []),
        ):
            self.assertEqual(self.names(wanted, *names), meant, wanted)

    def test_sentence(self) -> None:
        """It ends in a question, and is of a bounded length however many there are."""
        one = "db1 (abcd0000-0000-4000-8000-000000000001)"
        self.assertEqual(self.said("db", "db1"), f"; did you mean {one}?")
        many = self.said("db", *(f"db{number}" for number in range(100)))
        self.assertTrue(many.endswith(" or one of 96 more?"), many)
        self.assertLess(len(many), 300)
        self.assertEqual(self.said("db"), "")


class NodesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = NOW
        self.clock = Clock()
        self.store = MemoryStore()
        self.registry = TunnelRegistry()
        self.directory = NodeDirectory(self.store.nodes, self.registry, lambda: self.now)
        self.presence = Presence(self.store.nodes, self.registry, lambda: self.now)
        secret = hash_token("x")
        token = JoinTokenRecord("t", secret, "test", NOW - 60, NOW + 60, 1, 1)
        self.successResultOf(self.store.join_tokens.add(token))
        self.successResultOf(self.store.joining.admit(secret, DB1, NOW))

    def mux(self) -> MuxProtocol:
        mux = MuxProtocol(role=Role.SERVER, clock=self.clock, accept=lambda stream: None)
        mux.makeConnection(StringTransport())
        return mux

    def connect(self) -> Tunnel:
        tunnel = Tunnel(
            identity=NodeIdentity(ClusterName("c"), DB1.agent_id, DB1.name),
            mux=self.mux(),
            address="192.0.2.1:1",
            since=self.now,
            labels=DB1.labels,
            version=DB1.version,
            last_seen=self.now,
            last_saved=self.now,
        )
        self.registry.add(tunnel)
        return tunnel

    def find(self, wanted: str) -> NodeRecord:
        return self.successResultOf(Deferred.fromCoroutine(self.directory.find(wanted)))

    def hear(self, **labels: str) -> None:
        self.successResultOf(
            Deferred.fromCoroutine(self.presence.heard(self.stored(), NodeWord(labels, "0.1")))
        )

    def look(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.presence.look()))

    def stored(self) -> NodeRecord:
        record = self.successResultOf(self.store.nodes.get(DB1.agent_id))
        assert record is not None
        return record

    def test_by_name_and_id(self) -> None:
        """A node is found by its name in any case, and by its id."""
        for wanted in ("db1", "DB1", str(DB1.agent_id)):
            self.assertEqual(self.find(wanted).agent_id, DB1.agent_id)

    def test_by_the_beginning_of_an_id(self) -> None:
        """Eight letters of an id find the node, if no other begins so; fewer do not."""
        self.assertEqual(self.find(str(DB1.agent_id)[:8]).agent_id, DB1.agent_id)
        for wanted in (str(DB1.agent_id)[:7], "0" * 8):
            self.failureResultOf(Deferred.fromCoroutine(self.directory.find(wanted)), UnknownNode)

    def test_unknown(self) -> None:
        """What cannot be a name is not there either, and is not echoed at length."""
        for wanted in ("db2", str(AgentId.new()), "", "a b", "\x1b[2J", "x" * 5000):
            failure = self.failureResultOf(
                Deferred.fromCoroutine(self.directory.find(wanted)), UnknownNode
            )
            self.assertLess(len(str(failure.value)), 120)
            self.assertNotIn("\x1b", str(failure.value))

    def test_offline(self) -> None:
        """A node without a tunnel is offline, and the sentence says since when."""
        error = self.assertRaises(NodeOffline, self.directory.tunnel_to, DB1, NOW)
        self.assertEqual(str(error), "db1 is not connected; it has never been seen")

    def test_live_labels(self) -> None:
        """What a live tunnel says of its node counts at once, stored or not."""
        self.connect()
        self.hear(env="dev")
        self.assertEqual(self.find("db1").labels, {"env": "dev"})

    def test_saved_seldom(self) -> None:
        """That a node is there is stored now and then only, heartbeat or not."""
        self.connect()
        self.now += SAVE_SECONDS - 1
        self.hear(env="prod")
        self.look()
        self.assertIsNone(self.stored().last_seen)
        self.now += 1
        self.look()
        self.assertEqual(self.stored().last_seen, self.now)

    def test_seen_by_its_tunnel(self) -> None:
        """A node was last seen when its tunnel spoke, without any heartbeat."""
        tunnel = self.connect()
        self.now += 40
        self.assertEqual(self.find("db1").last_seen, self.now)
        self.now += 40
        self.clock.advance(20)
        self.successResultOf(Deferred.fromCoroutine(self.presence.went(tunnel)))
        self.assertEqual(self.stored().last_seen, self.now - 20)

    def test_late_news(self) -> None:
        """News that came too soon after others are stored when the tunnels are looked at."""
        self.connect()
        self.hear(env="dev")
        self.assertEqual(self.stored().labels, DB1.labels)
        self.now += NEWS_SECONDS
        self.look()
        self.assertEqual(self.stored().labels, {"env": "dev"})

    def test_news_are_saved(self) -> None:
        """A changed label is stored with the heartbeat that brought it."""
        self.connect()
        self.now += NEWS_SECONDS
        self.hear(env="dev")
        self.assertEqual(self.stored().labels, {"env": "dev"})

    def test_flapping(self) -> None:
        """Labels that change with every call are stored now and then, and not forgotten."""
        self.connect()
        self.now += NEWS_SECONDS
        self.hear(env="dev")
        self.hear(env="test")
        self.assertEqual(self.stored().labels, {"env": "dev"})
        self.now += NEWS_SECONDS
        self.hear(env="test")
        self.assertEqual(self.stored().labels, {"env": "test"})

    def test_clock_set_back(self) -> None:
        """Where the clock is set back news are stored all the same, and nodes seen now."""
        self.connect()
        self.now += NEWS_SECONDS
        self.hear(env="dev")
        self.now -= 86400
        self.hear(env="test")
        self.assertEqual(self.stored().labels, {"env": "test"})
        self.assertEqual(self.stored().last_seen, self.now)
        self.assertEqual(self.find("db1").last_seen, self.now)

    def test_removed_meanwhile(self) -> None:
        """Saving what was removed in between changes nothing and fails nothing."""
        tunnel = self.connect()
        self.successResultOf(self.store.nodes.remove(DB1.agent_id))
        self.successResultOf(Deferred.fromCoroutine(self.presence.save(tunnel)))
        self.assertIsNone(self.successResultOf(self.store.nodes.get(DB1.agent_id)))

    def test_replaced_tunnel_is_not_removed_twice(self) -> None:
        """The end of a tunnel that was replaced leaves the new one where it is."""
        first, second = self.connect(), self.connect()
        self.assertFalse(self.registry.remove(first, "late"))
        self.assertIs(self.registry.find_name(DB1.name), second)
        self.assertTrue(self.registry.remove(second, "done"))
        self.assertEqual(len(self.registry), 0)
