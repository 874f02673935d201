"""
What every store does, whatever keeps its records.

A test case inherits the contracts and says how a store is made; nothing here
knows more than :mod:`mezite.store.interfaces`.
"""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.error import MeziteError
from mezite.identity.roles import LabelSelector
from mezite.identity.rolesdoc import parse_role
from mezite.names import AgentId, LoginName, NodeName, RoleName, UserName
from mezite.store.error import (
    NodeNameTaken,
    NoSuchBearer,
    NoSuchNode,
    NoSuchRole,
    NoSuchToken,
    NoSuchUser,
    StoreUnavailable,
    TokenExists,
    TokenRefused,
    UserExists,
)
from mezite.store.interfaces import (
    BEARERS_PER_USER,
    IBearers,
    IJoining,
    IJoinTokens,
    INodes,
    ISerials,
    IStore,
    IUsers,
)
from mezite.store.records import (
    BearerRecord,
    JoinTokenRecord,
    NodeRecord,
    NodeWord,
    RoleRecord,
    UserRecord,
)

ADA = UserRecord(
    name=UserName("ada"),
    password_hash="$argon2id$1",
    logins=(LoginName("ada"), LoginName("root")),
    node_labels=LabelSelector.parse(["env=dev", "env=staging", "rack=*"]),
    is_admin=True,
    must_change_password=False,
    created=1000.25,
    roles=(RoleName("admin"), RoleName("access")),
    traits={"team": ("blue", "\N{SNOWMAN}"), "cc": ("1",)},
)
BOB = attrs.evolve(ADA, name=UserName("bob"), logins=(), is_admin=False, disabled=True)
DB1 = NodeRecord(
    agent_id=AgentId("00000000-0000-4000-8000-000000000001"),
    name=NodeName("db1"),
    labels={"env": "dev", "note": 'ü "quoted"'},
    version="0.1",
    joined=1000.5,
)
TOKEN = JoinTokenRecord(
    token_id="3f2a",
    secret_hash=b"\x00\xff" * 16,
    created_by="ada",
    created=1000.0,
    expires=2000.0,
    uses_left=1,
    max_uses=1,
)
DEVELOPER = RoleRecord(
    parse_role(
        {
            "kind": "role",
            "version": "v1",
            "metadata": {"name": "developer", "description": "\N{SNOWMAN}"},
            "spec": {
                "options": {"max_session_ttl": "90m", "record_session": "required"},
                "allow": {
                    "node_labels": {"env": ["dev", "^st.*$", "*", "{{user.name}}"]},
                    "logins": ["a{{user.traits.team}}", "root"],
                    "request_roles": ["ops"],
                    "review_roles": ["ops"],
                },
                "deny": {"node_labels": {"*": "*"}, "logins": ["*"]},
            },
        }
    ),
    created=1000.25,
    changed=1001.25,
)
NOW = 1500.0


class StoreContract(SynchronousTestCase):
    """The ways in which the contracts use a store."""

    def make_store(self) -> Any:
        raise NotImplementedError

    def setUp(self) -> None:
        self.store: IStore = self.make_store()

    def answer(self, deferred: Deferred[Any]) -> Any:
        return self.successResultOf(deferred)

    def refusal(self, deferred: Deferred[Any], kind: type[MeziteError]) -> str:
        return str(self.failureResultOf(deferred, kind).value)


class UsersContract(StoreContract):
    """What :class:`IUsers` promises."""

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IUsers, self.store.users)

    def test_round_trip(self) -> None:
        """A user is kept with every field."""
        self.answer(self.store.users.create(ADA))
        self.assertEqual(self.answer(self.store.users.get(ADA.name)), ADA)

    def test_empty_selector(self) -> None:
        """A user who may reach nothing does not come to reach everything."""
        nobody = attrs.evolve(ADA, node_labels=LabelSelector())
        self.answer(self.store.users.create(nobody))
        kept = self.answer(self.store.users.get(ADA.name))
        self.assertFalse(kept.node_labels.matches({"env": "dev"}))

    def test_unknown(self) -> None:
        """There is no user before one was created, and names are told apart by case."""
        self.assertIsNone(self.answer(self.store.users.get(ADA.name)))
        self.answer(self.store.users.create(ADA))
        self.assertIsNone(self.answer(self.store.users.get(UserName("Ada"))))

    def test_create_twice(self) -> None:
        """A name that is taken is refused, and its user stays."""
        self.answer(self.store.users.create(ADA))
        other = attrs.evolve(ADA, password_hash="other")
        self.assertIn("ada", self.refusal(self.store.users.create(other), UserExists))
        self.assertEqual(self.answer(self.store.users.get(ADA.name)), ADA)

    def test_list(self) -> None:
        """Users are listed by name."""
        self.assertEqual(self.answer(self.store.users.list()), ())
        self.answer(self.store.users.create(BOB))
        self.answer(self.store.users.create(ADA))
        self.assertEqual(self.answer(self.store.users.list()), (ADA, BOB))

    def test_remove(self) -> None:
        """A removed user is gone, and so is what they hold."""
        self.answer(self.store.users.create(ADA))
        self.answer(self.store.bearers.add(BearerRecord(b"1", ADA.name, 2000.0)))
        self.answer(self.store.users.remove(ADA.name))
        self.assertIsNone(self.answer(self.store.users.get(ADA.name)))
        self.answer(self.store.users.create(ADA))
        self.assertIsNone(self.answer(self.store.bearers.find(b"1", NOW)))

    def test_remove_unknown(self) -> None:
        """Who is not there cannot be removed."""
        self.assertIn("ada", self.refusal(self.store.users.remove(ADA.name), NoSuchUser))

    def test_set_password(self) -> None:
        """A password's hash is replaced, and nothing else."""
        self.answer(self.store.users.create(ADA))
        self.answer(self.store.users.set_password(ADA.name, "new", True))
        self.assertEqual(
            self.answer(self.store.users.get(ADA.name)),
            attrs.evolve(ADA, password_hash="new", must_change_password=True),
        )
        self.refusal(self.store.users.set_password(BOB.name, "new", True), NoSuchUser)

    def test_change(self) -> None:
        """A user is changed in all but name, password and age."""
        self.answer(self.store.users.create(ADA))
        wanted = attrs.evolve(
            ADA, logins=(), node_labels=LabelSelector(), is_admin=False, disabled=True, roles=()
        )
        other = attrs.evolve(
            wanted, name=BOB.name, password_hash="x", must_change_password=True, created=1.0
        )
        self.assertEqual(self.answer(self.store.users.change(ADA.name, lambda _: other)), wanted)
        self.assertEqual(self.answer(self.store.users.list()), (wanted,))

    def test_change_of_what_is(self) -> None:
        """A change begins with the user as they are at that moment."""
        self.answer(self.store.users.create(ADA))
        seen: list[UserRecord] = []

        def change(record: UserRecord) -> UserRecord:
            seen.append(record)
            return attrs.evolve(record, disabled=True)

        first = self.store.users.change(ADA.name, change)
        second = self.store.users.change(ADA.name, lambda record: record)
        self.answer(first)
        self.assertTrue(self.answer(second).disabled)
        self.assertEqual(seen, [ADA])

    def test_change_unknown(self) -> None:
        """Who is not there is not changed."""
        self.refusal(self.store.users.change(ADA.name, lambda record: record), NoSuchUser)

    def test_unknown_roles(self) -> None:
        """Nobody has a role that is neither written nor built in."""
        developer = attrs.evolve(ADA, roles=(RoleName("access"), RoleName("developer")))
        creating = self.store.users.create(developer)
        self.assertIn("there is no role developer", self.refusal(creating, NoSuchRole))
        self.assertEqual(self.answer(self.store.users.list()), ())
        self.answer(self.store.users.create(ADA))
        self.refusal(self.store.users.change(ADA.name, lambda _: developer), NoSuchRole)
        self.assertEqual(self.answer(self.store.users.get(ADA.name)), ADA)
        self.answer(self.store.roles.put(DEVELOPER, replace=False))
        self.answer(self.store.users.change(ADA.name, lambda _: developer))
        self.assertEqual(self.answer(self.store.users.get(ADA.name)), developer)


class NodesContract(StoreContract):
    """What :class:`INodes` promises."""

    def join(self, node: NodeRecord) -> None:
        token = attrs.evolve(TOKEN, token_id=node.name.text, secret_hash=node.name.text.encode())
        self.answer(self.store.join_tokens.add(token))
        self.answer(self.store.joining.admit(token.secret_hash, node, NOW))

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(INodes, self.store.nodes)

    def test_round_trip(self) -> None:
        """A node is found by its agent's id and by its name, with every field."""
        self.join(DB1)
        self.assertEqual(self.answer(self.store.nodes.get(DB1.agent_id)), DB1)
        self.assertEqual(self.answer(self.store.nodes.by_name(DB1.name)), DB1)

    def test_unknown(self) -> None:
        """A node that never joined is not found."""
        self.assertIsNone(self.answer(self.store.nodes.get(DB1.agent_id)))
        self.assertIsNone(self.answer(self.store.nodes.by_name(DB1.name)))

    def test_list(self) -> None:
        """Nodes are listed by name."""
        first = attrs.evolve(DB1, agent_id=AgentId.new(), name=NodeName("app1"))
        self.join(DB1)
        self.join(first)
        self.assertEqual(self.answer(self.store.nodes.list()), (first, DB1))

    def test_remove(self) -> None:
        """A removed node's name is free for another."""
        self.join(DB1)
        self.answer(self.store.nodes.remove(DB1.agent_id))
        self.assertIsNone(self.answer(self.store.nodes.get(DB1.agent_id)))
        other = attrs.evolve(DB1, agent_id=AgentId.new())
        self.answer(self.store.join_tokens.add(TOKEN))
        self.answer(self.store.joining.admit(TOKEN.secret_hash, other, NOW))
        self.refusal(self.store.nodes.remove(DB1.agent_id), NoSuchNode)

    def test_touch(self) -> None:
        """A heartbeat replaces what it carries, and nothing else."""
        self.join(DB1)
        word = NodeWord({"env": "prod"}, "0.2")
        touched = self.store.nodes.touch(
            DB1.agent_id, word, last_seen=1600.5, address="192.0.2.1:1"
        )
        self.answer(touched)
        self.assertEqual(
            self.answer(self.store.nodes.get(DB1.agent_id)),
            attrs.evolve(
                DB1,
                last_seen=1600.5,
                labels={"env": "prod"},
                version="0.2",
                address="192.0.2.1:1",
            ),
        )

    def test_touch_unknown(self) -> None:
        """A removed node does not come back by a heartbeat."""
        touched = self.store.nodes.touch(DB1.agent_id, NodeWord({}, ""), last_seen=1.0, address="")
        self.assertIn(str(DB1.agent_id), self.refusal(touched, NoSuchNode))
        self.assertEqual(self.answer(self.store.nodes.list()), ())

    def test_see(self) -> None:
        """When nodes were last seen is noted for many together, and makes none."""
        self.join(DB1)
        gone = AgentId.new()
        self.answer(self.store.nodes.see({DB1.agent_id: 1700.5, gone: 1700.5}))
        self.answer(self.store.nodes.see({}))
        self.assertEqual(
            self.answer(self.store.nodes.list()), (attrs.evolve(DB1, last_seen=1700.5),)
        )


class JoinTokensContract(StoreContract):
    """What :class:`IJoinTokens` promises."""

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IJoinTokens, self.store.join_tokens)

    def test_list(self) -> None:
        """Tokens are listed by age, with every field."""
        younger = attrs.evolve(TOKEN, token_id="0", secret_hash=b"0", created=1001.0, max_uses=5)
        self.answer(self.store.join_tokens.add(younger))
        self.answer(self.store.join_tokens.add(TOKEN))
        self.assertEqual(self.answer(self.store.join_tokens.list()), (TOKEN, younger))

    def test_add_twice(self) -> None:
        """Neither an id nor a secret is given twice."""
        self.answer(self.store.join_tokens.add(TOKEN))
        for other in (
            attrs.evolve(TOKEN, secret_hash=b"other"),
            attrs.evolve(TOKEN, token_id="other"),
        ):
            self.refusal(self.store.join_tokens.add(other), TokenExists)
        self.assertEqual(self.answer(self.store.join_tokens.list()), (TOKEN,))

    def test_expired_are_forgotten(self) -> None:
        """What had expired when another token was created is not kept."""
        self.answer(self.store.join_tokens.add(TOKEN))
        later = attrs.evolve(
            TOKEN, token_id="later", secret_hash=b"l", created=2000.0, expires=3000.0
        )
        self.answer(self.store.join_tokens.add(later))
        self.assertEqual(self.answer(self.store.join_tokens.list()), (later,))

    def test_remove(self) -> None:
        """A removed token is refused."""
        self.answer(self.store.join_tokens.add(TOKEN))
        self.answer(self.store.join_tokens.remove(TOKEN.token_id))
        self.assertIsNone(self.answer(self.store.join_tokens.find(TOKEN.secret_hash, NOW)))
        self.refusal(self.store.joining.admit(TOKEN.secret_hash, DB1, NOW), TokenRefused)
        self.refusal(self.store.join_tokens.remove(TOKEN.token_id), NoSuchToken)

    def test_find(self) -> None:
        """A token is found until its last second, and asking does not use it."""
        find = self.store.join_tokens.find
        self.assertIsNone(self.answer(find(TOKEN.secret_hash, NOW)))
        self.answer(self.store.join_tokens.add(TOKEN))
        for _ in range(2):
            self.assertEqual(self.answer(find(TOKEN.secret_hash, 1999.9)), TOKEN)
        self.assertIsNone(self.answer(find(TOKEN.secret_hash, 2000.0)))

    def test_purge(self) -> None:
        """What has expired is forgotten, and counted."""
        younger = attrs.evolve(TOKEN, token_id="2", secret_hash=b"2", expires=2000.5)
        self.answer(self.store.join_tokens.add(TOKEN))
        self.answer(self.store.join_tokens.add(younger))
        self.assertEqual(self.answer(self.store.join_tokens.purge(2000.0)), 1)
        self.assertEqual(self.answer(self.store.join_tokens.purge(2000.0)), 0)
        self.assertEqual(self.answer(self.store.join_tokens.list()), (younger,))


class JoiningContract(StoreContract):
    """What :class:`IJoining` promises."""

    def setUp(self) -> None:
        super().setUp()
        self.answer(self.store.join_tokens.add(TOKEN))

    def another(self, name: str = "db2") -> NodeRecord:
        return attrs.evolve(DB1, agent_id=AgentId.new(), name=NodeName(name))

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IJoining, self.store.joining)

    def test_one_use(self) -> None:
        """A token for one use admits one node."""
        self.answer(self.store.joining.admit(TOKEN.secret_hash, DB1, NOW))
        self.assertEqual(self.answer(self.store.join_tokens.list()), ())
        self.refusal(self.store.joining.admit(TOKEN.secret_hash, self.another(), NOW), TokenRefused)
        self.assertEqual(self.answer(self.store.nodes.list()), (DB1,))

    def test_several_uses(self) -> None:
        """A token for several uses shows how many are left."""
        token = attrs.evolve(TOKEN, token_id="3", secret_hash=b"3", uses_left=3, max_uses=3)
        self.answer(self.store.join_tokens.add(token))
        for name, left in (("db1", 2), ("db2", 1)):
            self.answer(self.store.joining.admit(b"3", self.another(name), NOW))
            kept = self.answer(self.store.join_tokens.list())
            self.assertIn(attrs.evolve(token, uses_left=left), kept)
        self.answer(self.store.joining.admit(b"3", self.another("db3"), NOW))
        self.refusal(self.store.joining.admit(b"3", self.another("db4"), NOW), TokenRefused)

    def test_one_sentence(self) -> None:
        """Unknown, used up and expired are refused in the same words."""
        unknown = self.refusal(self.store.joining.admit(b"?", DB1, NOW), TokenRefused)
        expired = self.refusal(
            self.store.joining.admit(TOKEN.secret_hash, DB1, 2000.0), TokenRefused
        )
        self.answer(self.store.joining.admit(TOKEN.secret_hash, DB1, NOW))
        spent = self.refusal(self.store.joining.admit(TOKEN.secret_hash, DB1, NOW), TokenRefused)
        self.assertEqual({unknown, expired, spent}, {unknown})

    def test_name_taken(self) -> None:
        """A second claim to a name is told who holds it, and spends nothing."""
        self.answer(self.store.joining.admit(TOKEN.secret_hash, DB1, NOW))
        token = attrs.evolve(TOKEN, token_id="2", secret_hash=b"2")
        self.answer(self.store.join_tokens.add(token))
        sentence = self.refusal(
            self.store.joining.admit(b"2", self.another("db1"), NOW), NodeNameTaken
        )
        self.assertIn("db1", sentence)
        self.assertIn(str(DB1.agent_id), sentence)
        self.assertEqual(self.answer(self.store.join_tokens.list()), (token,))
        self.assertEqual(self.answer(self.store.nodes.list()), (DB1,))
        self.answer(self.store.joining.admit(b"2", self.another("db2"), NOW))

    def test_names_are_for_those_with_a_token(self) -> None:
        """Who holds no token does not learn which names are taken."""
        self.answer(self.store.joining.admit(TOKEN.secret_hash, DB1, NOW))
        self.refusal(self.store.joining.admit(b"?", self.another("db1"), NOW), TokenRefused)


class BearersContract(StoreContract):
    """What :class:`IBearers` promises."""

    def setUp(self) -> None:
        super().setUp()
        self.answer(self.store.users.create(ADA))
        self.answer(self.store.users.create(BOB))

    def add(self, secret_hash: bytes, user: UserRecord = ADA, expires: float = 2000.0) -> None:
        self.answer(self.store.bearers.add(BearerRecord(secret_hash, user.name, expires)))

    def record(self, secret_hash: bytes, now: float = NOW) -> BearerRecord | None:
        record: BearerRecord | None = self.answer(self.store.bearers.find(secret_hash, now))
        return record

    def found(self, secret_hash: bytes, now: float = NOW) -> UserName | None:
        record = self.record(secret_hash, now)
        return None if record is None else record.user

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IBearers, self.store.bearers)

    def test_find(self) -> None:
        """A secret is its user's until it expires."""
        self.add(b"\x00\xff")
        self.assertEqual(self.found(b"\x00\xff", 1999.9), ADA.name)
        self.assertIsNone(self.found(b"\x00\xff", 2000.0))
        self.assertIsNone(self.found(b"other"))

    def test_proved(self) -> None:
        """A proof puts another secret in the place of one, with the same end, once."""
        self.answer(self.store.bearers.add(BearerRecord(b"1", ADA.name, 2000.0, NOW - 5)))
        self.add(b"2")
        self.assertEqual(self.record(b"1"), BearerRecord(b"1", ADA.name, 2000.0, NOW - 5))
        self.assertEqual(self.record(b"2"), BearerRecord(b"2", ADA.name, 2000.0, None))
        event = AuditEvent(EventType.USER_PROVED, NOW, Actor("ada"))
        kept = self.answer(self.store.bearers.prove(b"1", b"new", NOW, event=event))
        self.assertEqual(kept, BearerRecord(b"new", ADA.name, 2000.0, NOW))
        self.assertEqual([self.record(b"1"), self.record(b"new")], [None, kept])
        self.assertIsNotNone(self.found(b"2"))
        for secret_hash, now in ((b"1", NOW), (b"other", NOW), (b"2", 2000.0)):
            proving = self.store.bearers.prove(secret_hash, b"newer", now, event=event)
            self.refusal(proving, NoSuchBearer)
        self.assertIsNone(self.found(b"newer"))
        self.assertEqual(self.answer(self.store.audit.chain()).last_seq, 1)

    def test_unknown_user(self) -> None:
        """Who was removed while they logged in is not logged in."""
        record = BearerRecord(b"1", UserName("eve"), 2000.0)
        self.refusal(self.store.bearers.add(record), NoSuchUser)
        self.assertIsNone(self.found(b"1"))

    def test_remove(self) -> None:
        """A removed secret is nobody's; removing it again is no error."""
        self.add(b"1")
        self.add(b"2")
        for _ in range(2):
            self.answer(self.store.bearers.remove(b"1"))
        self.assertIsNone(self.found(b"1"))
        self.assertEqual(self.found(b"2"), ADA.name)

    def test_remove_for(self) -> None:
        """All of a user's secrets go at once, and nobody else's."""
        self.add(b"1")
        self.add(b"2")
        self.add(b"3", BOB)
        self.answer(self.store.bearers.remove_for(ADA.name))
        self.assertEqual(
            [self.found(b"1"), self.found(b"2"), self.found(b"3")], [None, None, BOB.name]
        )

    def test_purge(self) -> None:
        """What has expired is forgotten, and counted."""
        self.add(b"1", expires=1400.0)
        self.add(b"2", expires=1500.0)
        self.add(b"3", expires=1600.0)
        self.assertEqual(self.answer(self.store.bearers.purge(NOW)), 2)
        self.assertEqual(self.answer(self.store.bearers.purge(NOW)), 0)
        self.assertEqual(self.found(b"3"), ADA.name)

    def test_bound(self) -> None:
        """Beyond the bound, the user's soonest to expire go; others' stay."""
        self.add(b"bob", BOB, expires=1600.0)
        for number in range(BEARERS_PER_USER + 1):
            self.add(b"%d" % number, expires=2000.0 + number)
        self.assertIsNone(self.found(b"0"))
        self.assertEqual(self.found(b"1"), ADA.name)
        self.assertEqual(self.found(b"%d" % BEARERS_PER_USER), ADA.name)
        self.assertEqual(self.found(b"bob"), BOB.name)


class SerialsContract(StoreContract):
    """What :class:`ISerials` promises."""

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(ISerials, self.store.serials)

    def test_unique(self) -> None:
        """No number comes twice, and all are positive."""
        numbers = [self.answer(self.store.serials.next()) for _ in range(5)]
        self.assertEqual(len(set(numbers)), 5)
        self.assertGreater(min(numbers), 0)


class WholeStoreContract(StoreContract):
    """What :class:`IStore` promises."""

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IStore, self.store)

    def test_check(self) -> None:
        """An open store answers."""
        self.assertIsNone(self.answer(self.store.check()))

    def test_closed(self) -> None:
        """A closed store answers no more; closing it again is no error."""
        self.answer(self.store.close())
        self.answer(self.store.close())
        self.refusal(self.store.check(), StoreUnavailable)
        self.refusal(self.store.users.create(ADA), StoreUnavailable)
