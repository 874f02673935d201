"""Tests of access requests as people make, decide and use them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.audit.events import Actor, EventType
from mezite.auth.error import RequestRefused, ReviewRefused
from mezite.auth.people import UserChange
from mezite.auth.requesting import IRequestWatcher, Party
from mezite.config.roles import parse_role_text
from mezite.error import BadInput
from mezite.identity import sshcert
from mezite.identity.error import BadRequestText, NotPossible
from mezite.identity.requests import PENDING_SECONDS, AccessRequest, State, Step
from mezite.identity.roles import LabelSelector
from mezite.names import AgentId, LoginName, NodeName, RoleName, UserName
from mezite.store.error import NoSuchRequest, NoSuchRole, NoSuchUser, TooManyRequests
from mezite.store.records import NodeRecord
from mezite.store.requests import RequestQuery
from tests.auth.world import ADA, AUTHORITIES, SSH_LINE, START, TLS_PEM, World

T = TypeVar("T")
BOB, CAROL, EVE = UserName("bob"), UserName("carol"), UserName("eve")
PROD, DBA = RoleName("prod"), RoleName("dba")
ROOT = LoginName("root")
LOCAL = Party(Actor("local", "unix"), None, sees_all=True)
HOURS = 3600.0

ROLES = (
    """
kind: role
version: v1
metadata: {name: prod}
spec:
  options: {port_forwarding: true}
  allow: {node_labels: {env: prod}, logins: [root]}
""",
    """
kind: role
version: v1
metadata: {name: dba}
spec:
  allow: {node_labels: {env: prod}, logins: [postgres]}
""",
    """
kind: role
version: v1
metadata: {name: developer}
spec:
  options: {port_forwarding: false}
  allow: {node_labels: {env: dev}, logins: [dev], request_roles: [prod, "^db.$", gone]}
""",
    """
kind: role
version: v1
metadata: {name: lead}
spec:
  allow: {request_roles: [prod], review_roles: [prod]}
""",
)


def node(number: int, name: str, env: str) -> NodeRecord:
    agent_id = AgentId(f"00000000-0000-4000-8000-00000000000{number}")
    return NodeRecord(agent_id, NodeName(name), {"env": env}, "0.1", START)


DB1, DB2, DEV1 = node(1, "db1", "prod"), node(2, "db2", "prod"), node(3, "dev1", "dev")


def party(user: UserName, *, sees_all: bool = False) -> Party:
    return Party(Actor(user.text, "192.0.2.7:1"), user, sees_all)


class RequestTests(SynchronousTestCase):
    """ada is a developer, bob a lead, carol an administrator, eve nobody much."""

    def setUp(self) -> None:
        self.world = World()
        for text in ROLES:
            self.did(self.world.roles.put(parse_role_text(text), by=LOCAL.actor))
        self.add(ADA, "developer")
        self.add(BOB, "lead")
        self.add(CAROL, admin=True)
        self.add(EVE)
        nodes = self.world.store._tables.nodes
        nodes.update({each.agent_id: each for each in (DB1, DB2, DEV1)})

    def did(self, work: Awaitable[T]) -> T:
        async def run() -> T:
            return await work

        answer: T = self.successResultOf(Deferred.fromCoroutine(run()))
        return answer

    def refused(self, kind: type[Exception], work: Awaitable[object]) -> str:
        async def run() -> object:
            return await work

        return str(self.failureResultOf(Deferred.fromCoroutine(run()), kind).value)

    def add(self, name: UserName, *roles: str, admin: bool = False) -> None:
        self.did(
            self.world.logins.create_user(
                name,
                logins=[],
                node_labels=LabelSelector(),
                is_admin=admin,
                password="correct horse battery",
                roles=[RoleName(role) for role in roles],
                by=LOCAL.actor,
            )
        )

    def change(self, name: UserName, **change: object) -> None:
        self.did(self.world.people.change(name, UserChange(**change), by=LOCAL.actor))

    def ask(self, user: UserName = ADA, *roles: RoleName, **more: object) -> AccessRequest:
        values: dict[str, object] = {"reason": "an incident", **more}
        return self.did(self.world.requests.create(party(user), roles=roles or [PROD], **values))

    def approved(self, **more: object) -> AccessRequest:
        asked = self.ask(**more)
        return self.did(self.world.requests.review(party(BOB), asked.id, Step.APPROVE, "go"))

    def state(self, request: AccessRequest) -> State:
        return self.did(self.world.requests.get(LOCAL, request.id)).state_at(self.world.now)

    def types(self) -> list[str]:
        return [
            event.type.text
            for event in self.world.audited()
            if event.type.text.startswith("access_request")
        ]


class AskingTests(RequestTests):
    """Who may ask for what."""

    def test_created(self) -> None:
        """What a role names may be asked for, and that is on record and told."""
        verifyObject(IRequestWatcher, self.world)
        asked = self.ask(nodes=["db1"], window=HOURS)
        self.assertEqual(asked.state, State.PENDING)
        self.assertEqual(self.world.told, [asked])
        event = self.world.audited()[-1]
        self.assertEqual(event.type, EventType.ACCESS_REQUEST_CREATED)
        self.assertEqual((event.actor.name, event.target), ("ada", asked.id))
        self.assertEqual(
            dict(event.details),
            {
                "user": "ada",
                "roles": ("prod",),
                "nodes": ("db1",),
                "window": 3600,
                "reason": "an incident",
            },
        )

    def test_refused(self) -> None:
        """Nobody asks for what no role of theirs names, nor for a role that is not there."""
        create = self.world.requests.create
        for user, role in ((EVE, "prod"), (ADA, "lead"), (ADA, "nothing"), (CAROL, "prod")):
            asking = create(party(user), roles=[RoleName(role)], reason="x")
            self.assertIn(f"may not request the role {role}", self.refused(RequestRefused, asking))
        asking = create(party(ADA), roles=[RoleName("gone")], reason="x")
        self.refused(NoSuchRole, asking)
        asking = create(party(ADA), roles=[PROD], reason=" ")
        self.refused(BadRequestText, asking)
        self.refused(BadRequestText, create(LOCAL, roles=[PROD], reason="x"))
        self.assertEqual((self.types(), self.world.told), ([], []))

    def test_held_already(self) -> None:
        """A role that one has is not asked for."""
        self.change(ADA, roles=(RoleName("developer"), PROD))
        asking = self.world.requests.create(party(ADA), roles=[PROD], reason="x")
        self.assertIn("already", self.refused(RequestRefused, asking))

    def test_bound(self) -> None:
        """One person has so many requests that wait."""
        for _ in range(10):
            self.ask()
        asking = self.world.requests.create(party(ADA), roles=[PROD], reason="x")
        self.refused(TooManyRequests, asking)

    def test_window_capped(self) -> None:
        """A longer wish than the hub's bound is shortened to it."""
        self.assertEqual(self.ask(window=20 * HOURS).window, 8 * HOURS)

    def test_deaf_watcher(self) -> None:
        """Who fails to hear of a change does not undo it."""

        class Deaf:
            def request_changed(self, request: AccessRequest) -> None:
                raise ValueError("deaf")

        self.world.requests._watchers = [Deaf(), self.world]
        asked = self.ask()
        self.assertEqual(self.world.told, [asked])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class ReviewTests(RequestTests):
    """Who decides, and when."""

    def review(
        self, user: UserName, asked: AccessRequest, step: Step = Step.APPROVE
    ) -> Awaitable[AccessRequest]:
        return self.world.requests.review(party(user), asked.id, step, "because")

    def test_approved(self) -> None:
        """A reviewer approves; who and why is on record, and told."""
        asked = self.ask()
        decided = self.did(self.review(BOB, asked))
        self.assertEqual(decided.state, State.APPROVED)
        self.assertEqual((decided.changes[-1].by, decided.changes[-1].reason), ("bob", "because"))
        self.assertEqual(decided.expires, self.world.now + 4 * HOURS)
        self.assertEqual(self.types(), ["access_request.created", "access_request.approved"])
        event = self.world.audited()[-1]
        self.assertEqual((event.actor.name, event.details["user"]), ("bob", "ada"))
        self.assertEqual(self.world.told, [asked, decided])

    def test_denied(self) -> None:
        """Denied is denied."""
        asked = self.ask()
        self.did(self.review(BOB, asked, Step.DENY))
        again = self.refused(NotPossible, self.review(CAROL, asked))
        self.assertIn("is denied", again)
        self.assertEqual(self.types()[1:], ["access_request.denied"])

    def test_never_ones_own(self) -> None:
        """Not as a reviewer, not as an administrator, and not with one request for another."""
        self.change(CAROL, roles=(RoleName("lead"),))
        for user in (BOB, CAROL):
            refused = self.refused(ReviewRefused, self.review(user, self.ask(user)))
            self.assertIn("their own", refused)
        first = self.did(self.review(BOB, self.ask()))
        self.assertEqual(first.state, State.APPROVED)
        own = self.ask(ADA, DBA)
        self.refused(ReviewRefused, self.review(ADA, own))

    def test_not_by_what_was_requested(self) -> None:
        """A requested role that may review does not make a reviewer."""
        reviewing = parse_role_text(
            ROLES[3].replace("lead", "captain").replace("request_roles: [prod], ", "")
        )
        asking = parse_role_text(ROLES[3].replace("lead", "asker").replace("[prod],", "[captain],"))
        self.did(self.world.roles.put(reviewing, by=LOCAL.actor))
        self.did(self.world.roles.put(asking, by=LOCAL.actor))
        self.change(EVE, roles=(RoleName("asker"),))
        raised = self.ask(EVE, RoleName("captain"))
        self.did(self.review(CAROL, raised))
        # By her own role she reviews prod; by the requested one, nothing more.
        self.did(self.review(EVE, self.ask()))
        self.change(EVE, roles=())
        self.refused(NoSuchRequest, self.review(EVE, self.ask()))

    def test_every_role(self) -> None:
        """A reviewer of one role does not decide about two."""
        asked = self.ask(ADA, PROD, DBA)
        # Nor do they see it.
        self.refused(NoSuchRequest, self.review(BOB, asked))
        self.did(self.review(CAROL, asked))

    def test_strangers(self) -> None:
        """Who may not review does not learn that there is a request."""
        asked = self.ask()
        self.refused(NoSuchRequest, self.review(EVE, asked))
        auditor = self.world.requests.review(party(EVE, sees_all=True), asked.id, Step.APPROVE)
        self.refused(ReviewRefused, auditor)

    def test_socket(self) -> None:
        """The admin socket decides, and is on record as local."""
        asked = self.ask()
        decided = self.did(self.world.requests.review(LOCAL, asked.id, Step.APPROVE))
        self.assertEqual(decided.changes[-1].by, "local")

    def test_requester_is_looked_at_again(self) -> None:
        """Who may not ask any more is not given what they asked for."""
        asked = self.ask()
        self.change(ADA, roles=())
        self.refused(RequestRefused, self.review(BOB, asked))
        self.assertEqual(self.state(asked), State.PENDING)

    def test_disabled(self) -> None:
        """With a user their requests end, and stay ended when they come back."""
        waiting, given = self.ask(), self.approved()
        self.change(ADA, disabled=True)
        self.refused(NotPossible, self.review(BOB, waiting, Step.DENY))
        self.change(ADA, disabled=False)
        self.assertEqual(self.state(waiting), State.CANCELLED)
        self.assertEqual(self.state(given), State.REVOKED)
        self.assertEqual(
            sorted(self.types()[-2:]), ["access_request.cancelled", "access_request.revoked"]
        )

    def test_disabled_meanwhile(self) -> None:
        """A request of somebody who is disabled is not approved, whatever became of it."""
        asked = self.ask()
        users = self.world.store._tables.users
        users[ADA] = attrs.evolve(users[ADA], disabled=True)
        self.refused(NoSuchUser, self.review(BOB, asked))

    def test_withdrawn(self) -> None:
        """One takes back one's own, before the review and after it; nobody else's."""
        asked = self.ask()
        withdraw = self.world.requests.withdraw
        for other in (BOB, CAROL, EVE):
            self.refused(NoSuchRequest, withdraw(party(other), asked.id))
        self.refused(NoSuchRequest, withdraw(LOCAL, asked.id))
        self.assertEqual(self.did(withdraw(party(ADA), asked.id)).state, State.CANCELLED)
        self.refused(NotPossible, withdraw(party(ADA), asked.id))
        given = self.approved()
        self.assertEqual(self.did(withdraw(party(ADA), given.id)).state, State.REVOKED)

    def test_sweep(self) -> None:
        """What ended by itself is written down once, by the hub, and told."""
        waiting, given = self.ask(), self.approved(window=HOURS)
        self.world.now += HOURS
        self.assertEqual(self.state(given), State.EXPIRED)
        self.refused(NotPossible, self.review(BOB, given, Step.REVOKE))
        self.did(self.world.requests.sweep())
        self.did(self.world.requests.sweep())
        self.assertEqual(self.types()[3:], ["access_request.expired"])
        self.assertEqual(self.world.audited()[-1].actor.name, "hub")
        self.world.now += PENDING_SECONDS
        self.did(self.world.requests.sweep())
        self.assertEqual(self.types()[4:], ["access_request.expired"])
        self.assertEqual(self.world.told[-1].id, waiting.id)


class ListTests(RequestTests):
    """Who sees what."""

    def seen(self, by: Party, query: RequestQuery = RequestQuery(), size: int = 50) -> list[str]:  # noqa: B008
        found, rest = self.did(self.world.requests.list(by, query, size))
        ids = [each.id for each in found]
        if rest is None:
            return ids
        return ids + self.seen(by, RequestQuery(query.user, query.states, rest), size)

    def test_own_and_reviewable(self) -> None:
        """One sees one's own and what one may review; auditors see all."""
        one, two, three = self.ask(), self.ask(ADA, DBA), self.ask(BOB)
        every = sorted([one.id, two.id, three.id])
        for by, expected in (
            (party(ADA), [one.id, two.id]),
            (party(BOB), [one.id, three.id]),
            (party(CAROL), every),
            (party(EVE), []),
            (party(EVE, sees_all=True), every),
            (LOCAL, every),
        ):
            self.assertEqual(sorted(self.seen(by)), sorted(expected))
            for each in (one, two, three):
                if each.id in expected:
                    self.did(self.world.requests.get(by, each.id))
                else:
                    self.refused(NoSuchRequest, self.world.requests.get(by, each.id))

    def test_pages(self) -> None:
        """Pages of any size show each request once, the newest first."""
        asked = []
        for _ in range(7):
            self.world.now += 1
            asked.append(self.ask().id)
        for size in (1, 2, 3, 7, 50):
            self.assertEqual(self.seen(LOCAL, size=size), asked[::-1])

    def test_states_of_now(self) -> None:
        """Lists by state follow the clock, not what is written down."""
        given = self.approved(window=HOURS)
        approved = RequestQuery(states=frozenset([State.APPROVED]))
        self.assertEqual(self.seen(LOCAL, approved), [given.id])
        self.world.now += HOURS
        self.assertEqual(self.seen(LOCAL, approved), [])


class RightsTests(RequestTests):
    """What an approved request opens."""

    def may(
        self, node: NodeRecord, *carried: str, login: LoginName = ROOT
    ) -> tuple[bool, str, frozenset[str]]:
        decision = self.did(
            self.world.access.authorize_session(ADA, login, node.agent_id, carried=carried)
        )
        return decision.allowed, decision.sentence, decision.withheld

    def issue(self, *requests: str, ttl: float | None = None) -> sshcert.UserCertificate:
        issued = self.did(
            self.world.issuing.issue_user_certs(
                ADA,
                ssh_public_line=SSH_LINE,
                tls_public_key_pem=TLS_PEM,
                ttl=ttl,
                requests=requests,
                by=Actor("ada"),
            )
        )
        self.valid_before = issued.valid_before
        return sshcert.check_user(
            sshcert.blob_of(issued.ssh_certificate),
            trusted=AUTHORITIES.user_blobs,
            now=self.world.now,
            login=None,
            source_address=None,
        )

    def test_only_with_the_certificate(self) -> None:
        """A session has the requested role if its certificate carries the request."""
        given = self.approved()
        self.assertTrue(self.may(DB1, given.id)[0])
        allowed, sentence, _ = self.may(DB1)
        self.assertFalse(allowed)
        self.assertIn(f"msh login --request {given.id}", sentence)
        self.assertFalse(self.may(DB1, "ffff")[0])

    def test_only_for_the_window(self) -> None:
        """When the window ends, so does the right, however long a certificate lives."""
        given = self.approved(window=HOURS)
        self.world.now += HOURS - 1
        self.assertTrue(self.may(DB1, given.id)[0])
        self.world.now += 1
        self.assertFalse(self.may(DB1, given.id)[0])

    def test_only_when_approved(self) -> None:
        """Neither a request that waits, nor one that was revoked or denied, opens anything."""
        asked = self.ask()
        self.assertFalse(self.may(DB1, asked.id)[0])
        given = self.approved()
        self.did(self.world.requests.review(party(BOB), given.id, Step.REVOKE))
        self.assertFalse(self.may(DB1, given.id)[0])

    def test_nobody_elses(self) -> None:
        """A certificate that names another's request gets nothing of it."""
        self.add(UserName("dave"), "developer")
        theirs = self.ask(UserName("dave"))
        self.did(self.world.requests.review(party(BOB), theirs.id, Step.APPROVE))
        self.assertFalse(self.may(DB1, theirs.id)[0])
        issuing = self.world.issuing.issue_user_certs(
            ADA,
            ssh_public_line=SSH_LINE,
            tls_public_key_pem=TLS_PEM,
            requests=[theirs.id],
            by=Actor("ada"),
        )
        self.assertIn("gives you nothing", self.refused(RequestRefused, issuing))

    def test_on_its_nodes(self) -> None:
        """A request for nodes opens these, by name or id, and no other."""
        for names in (["db1"], [DB1.agent_id.text]):
            given = self.approved(nodes=names)
            self.assertTrue(self.may(DB1, given.id)[0])
            self.assertFalse(self.may(DB2, given.id)[0])
        reachable = self.did(self.world.access.reachable(ADA, [DB1, DB2, DEV1]))
        self.assertEqual(reachable, [DB1, DEV1])
        self.assertTrue(self.did(self.world.access.may_reach(ADA, DB1)).allowed)
        self.assertFalse(self.did(self.world.access.may_reach(ADA, DB2)).allowed)

    def test_withheld_elsewhere(self) -> None:
        """What a role permits on its nodes is withheld on others."""
        given = self.approved(nodes=["db1"])
        self.assertIn("permit-port-forwarding", self.issue(given.id).extensions)
        self.assertEqual(self.may(DB1, given.id)[2], frozenset())
        allowed, _, withheld = self.may(DEV1, given.id, login=LoginName("dev"))
        self.assertEqual((allowed, withheld), (True, frozenset({"permit-port-forwarding"})))

    def test_certificate(self) -> None:
        """A certificate carries the request's logins and its id, and ends with it."""
        plain = self.issue()
        self.assertEqual((plain.principals, plain.requests), ({"dev"}, ()))
        given = self.approved(window=HOURS)
        self.assertEqual(self.issue().principals, {"dev"})
        carrying = self.issue(given.id, given.id)
        self.assertEqual((carrying.principals, carrying.requests), ({"dev", "root"}, (given.id,)))
        self.assertLessEqual(self.valid_before, given.expires)
        self.assertGreater(self.valid_before, given.expires - 2)
        self.issue(given.id, ttl=600.0)
        self.assertLessEqual(self.valid_before, self.world.now + 600)

    def test_not_issued(self) -> None:
        """A request that gives nothing now is named, not passed over."""
        asked = self.ask()
        given = self.approved(window=HOURS)
        self.world.now += HOURS
        for request_id in (asked.id, given.id, "ffff", "", "x" * 500):
            issuing = self.world.issuing.issue_user_certs(
                ADA,
                ssh_public_line=SSH_LINE,
                tls_public_key_pem=TLS_PEM,
                requests=[request_id],
                by=Actor("ada"),
            )
            self.refused(RequestRefused, issuing)

    def test_role_gone(self) -> None:
        """A request of which a role was removed gives none of them."""
        asked = self.ask(ADA, PROD, DBA)
        self.did(self.world.requests.review(LOCAL, asked.id, Step.APPROVE))
        self.assertTrue(self.may(DB1, asked.id)[0])
        self.did(self.world.roles.remove(DBA, by=LOCAL.actor))
        self.assertFalse(self.may(DB1, asked.id)[0])

    def test_explained(self) -> None:
        """An explanation names the request that a role comes from."""
        given = self.approved(nodes=["db1"])
        explained = self.did(self.world.access.explain(ADA, ROOT, DB1))
        self.assertIn(f"prod by request {given.id}, until 2027-", explained.sentence)
        self.assertEqual(self.did(self.world.access.explain(ADA, ROOT, DB2)).deciding, None)

    def test_hints(self) -> None:
        """Who may ask for a role that opens the node is told so, and nobody else."""
        decision = self.did(self.world.access.may_reach(ADA, DB1))
        self.assertIn("msh request create --roles dba --nodes db1", decision.hint)
        self.assertIn("(or prod)", decision.hint)
        self.assertIn("--roles prod", self.may(DB1)[1])
        login = LoginName("postgres")
        self.assertIn("--roles dba", self.may(DB1, login=login)[1])
        self.assertEqual(self.did(self.world.access.may_reach(EVE, DB1)).hint, "")
        self.assertEqual(self.did(self.world.access.may_reach(CAROL, DB1)).hint, "")
        decision = self.did(self.world.access.may_reach(BOB, DB1))
        self.assertIn("--roles prod", decision.hint)
        self.assertNotIn("dba", decision.hint)
        self.assertEqual(self.did(self.world.access.may_reach(BOB, DEV1)).hint, "")
        self.assertNotIn("msh request", self.may(DB1, login=LoginName("nobody"))[1])


class HostileTests(RequestTests):
    def test_reasons(self) -> None:
        """A reviewer's reason is as bounded as the requester's."""
        asked = self.ask()
        for reason in ("x" * 1001, "a\nb", "\x1b[31m"):
            reviewing = self.world.requests.review(party(BOB), asked.id, Step.DENY, reason)
            self.refused(BadInput, reviewing)
        self.assertEqual(self.state(asked), State.PENDING)
