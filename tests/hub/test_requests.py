"""Tests of access requests through the hub's port: asked, decided, carried and ended."""

from __future__ import annotations

from attrs import evolve
from twisted.internet.defer import Deferred

from mezite.error import BadInput, Denied, MeziteError, NotAuthenticated, NotFound
from mezite.identity import sshcert
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from tests.doubles.hubworld import Heard, ssh_public_line, tls_public_pem
from tests.doubles.playednode import PlayedNode
from tests.hub.test_service import HubTests

PROD = """\
kind: role
version: v1
metadata: {name: ssh-production}
spec:
  allow: {node_labels: {env: prod}, logins: [deploy]}
"""
ASKS = """\
kind: role
version: v1
metadata: {name: asks}
spec:
  allow: {request_roles: ["^ssh-.*$"]}
"""
REVIEWS = """\
kind: role
version: v1
metadata: {name: reviews}
spec:
  allow: {review_roles: [ssh-production]}
"""
APPROVE = pb.ACCESS_REQUEST_DECISION_APPROVE
DENY = pb.ACCESS_REQUEST_DECISION_DENY
REVOKE = pb.ACCESS_REQUEST_DECISION_REVOKE


class RequestTests(HubTests):
    """dan may ask, rex reviews, grace administers; ada has nothing to do with it."""

    def setUp(self) -> None:
        super().setUp()
        self.admin = self.client(self.world.user("grace"))
        for document in (PROD, ASKS, REVIEWS):
            self.world.done(self.admin.create_role(document))
        self.world.add_user("dan", labels="env=none", roles=["asks"])
        self.world.add_user("rex", labels="env=none", roles=["reviews"])
        self.dan = self.client(self.world.user("dan"))
        self.rex = self.client(self.world.user("rex"))
        self.node = self.client(self.db1)
        PlayedNode(self.world, self.db1)

    def ask(self, **more: object) -> pb.AccessRequest:
        return self.world.done(
            self.dan.create_access_request(["ssh-production"], "disk full", **more)  # type: ignore[arg-type]
        )

    def approve(self, asked: pb.AccessRequest) -> pb.AccessRequest:
        return self.world.done(self.rex.review_access_request(asked.id, APPROVE, "go"))

    def refused(self, kind: type[MeziteError], call: object) -> str:
        return str(self.assertRaises(kind, self.world.done, call))

    def certificates(self, *request_ids: str) -> pb.IssueUserCertsResponse:
        client = self.client(bearer=self.bearer_of("dan"))
        return self.world.done(
            client.issue_user_certs(
                ssh_public_key=ssh_public_line(),
                tls_public_key=tls_public_pem(),
                request_ids=request_ids,
            )
        )

    def may(self, *carried: str) -> pb.AuthorizeSessionResponse:
        session = self.world.opened("dan", self.db1)
        asking = self.node.authorize_session("dan", "deploy", session.session_id, carried)
        return self.world.done(asking)

    def test_whole(self) -> None:
        """Asked, approved, carried by a certificate, used, and over when the window is."""
        self.assertEqual(self.world.done(self.dan.list_nodes()), [])
        asked = self.ask(nodes=["db1"], window_seconds=3600)
        self.assertEqual(asked.state, pb.ACCESS_REQUEST_STATE_PENDING)
        self.assertEqual(self.world.done(self.rex.list_access_requests()), [asked])
        self.assertFalse(self.may(asked.id).allowed)
        approved = self.approve(asked)
        self.assertEqual([each.by for each in approved.changes], ["dan", "rex"])
        self.assertEqual(self.world.done(self.dan.get_access_request(asked.id)), approved)
        issued = self.certificates(asked.id)
        self.assertEqual(list(issued.logins), ["deploy"])
        self.assertLessEqual(issued.valid_before, approved.expires)
        certificate = sshcert.check_user(
            sshcert.blob_of(issued.ssh_certificate),
            trusted=[self.world.authorities.user_ca.public_blob],
            now=self.world.clock.seconds(),
            login=None,
            source_address=None,
        )
        self.assertEqual(
            [each.hostname for each in self.world.done(self.dan.list_nodes())], ["db1"]
        )
        self.assertTrue(self.may(*certificate.requests).allowed)
        explained = self.world.done(self.admin.explain_access("dan", "deploy", "db1"))
        self.assertIn(f"ssh-production by request {asked.id}, until ", explained.role)
        # TLS looks at the real clock, so the window ends instead of time going on.
        now = self.world.clock.seconds()
        self.world.done(
            self.world.store.requests.change(asked.id, lambda found: evolve(found, expires=now))
        )
        answer = self.may(*certificate.requests)
        self.assertFalse(answer.allowed)
        self.assertIn("msh request create --roles ssh-production", answer.reason)
        over = self.world.done(self.dan.get_access_request(asked.id))
        self.assertEqual(over.state, pb.ACCESS_REQUEST_STATE_EXPIRED)
        self.assertEqual(self.world.done(self.dan.list_nodes()), [])

    def test_refused_at_the_door(self) -> None:
        """Who may ask is told how; who may not learns nothing of the node."""
        for user, words in (("dan", b"msh request create --roles ssh-production"), ("rex", None)):
            heard = Heard()
            self.world.dial(
                heard,
                b"mezite-ssh",
                identity=self.world.user(user),
                server_name="db1.hub.example.com",
            )
            self.world.flush()
            self.assertIn(words or b"msh ls shows yours", heard.data)
            self.assertEqual(b"msh request" in heard.data, words is not None)

    def test_who_decides(self) -> None:
        """Reviewers and administrators decide; the requester and strangers do not."""
        asked = self.ask()
        ada = self.client(self.world.user("ada"))
        self.refused(NotFound, ada.review_access_request(asked.id, APPROVE))
        self.refused(Denied, self.dan.review_access_request(asked.id, APPROVE))
        self.world.add_user("carol", roles=["auditor"])
        carol = self.client(self.world.user("carol"))
        self.assertEqual(len(self.world.done(carol.list_access_requests())), 1)
        self.refused(Denied, carol.review_access_request(asked.id, APPROVE))
        denied = self.world.done(self.admin.review_access_request(asked.id, DENY, "no"))
        self.assertEqual(denied.state, pb.ACCESS_REQUEST_STATE_DENIED)
        again = self.refused(BadInput, self.rex.review_access_request(asked.id, APPROVE))
        self.assertIn("is denied", again)

    def test_two_at_once(self) -> None:
        """Of two reviewers at once, one decides."""
        asked = self.ask()
        outcomes: list[object] = []
        for client, decision in ((self.rex, APPROVE), (self.admin, DENY)):
            reviewing = Deferred.fromCoroutine(client.review_access_request(asked.id, decision))
            reviewing.addBoth(outcomes.append)
        self.world.flush()
        self.assertEqual(sum(isinstance(each, pb.AccessRequest) for each in outcomes), 1)
        changes = self.world.done(self.dan.get_access_request(asked.id)).changes
        self.assertEqual(len(changes), 2)

    def test_revoked(self) -> None:
        """A reviewer takes back, the requester gives back, and both ends at once."""
        for client in (self.rex, self.dan):
            asked = self.ask()
            self.approve(asked)
            self.assertTrue(self.may(asked.id).allowed)
            ending = (
                client.cancel_access_request(asked.id)
                if client is self.dan
                else client.review_access_request(asked.id, REVOKE, "done")
            )
            self.assertEqual(self.world.done(ending).state, pb.ACCESS_REQUEST_STATE_REVOKED)
            self.assertFalse(self.may(asked.id).allowed)

    def test_with_their_user(self) -> None:
        """Requests end with their user, and the name does not bring them back."""
        asked = self.ask()
        self.approve(asked)
        disabling = pb.User(name="dan", disabled=True)
        self.world.done(self.admin.update_user(disabling, ["disabled"]))
        self.assertFalse(self.may(asked.id).allowed)
        self.refused(NotAuthenticated, self.dan.list_access_requests())
        self.world.done(self.admin.update_user(pb.User(name="dan"), ["disabled"]))
        self.assertFalse(self.may(asked.id).allowed)
        asked = self.ask()
        self.approve(asked)
        self.world.done(self.admin.delete_user("dan"))
        self.world.add_user("dan", labels="env=none", roles=["asks"])
        self.assertFalse(self.may(asked.id).allowed)
        self.refused(NotFound, self.rex.get_access_request(asked.id))

    def test_pages_and_filters(self) -> None:
        """Lists select by user and state, and their pages join."""
        ids = [self.ask().id for _ in range(3)]
        self.world.done(self.dan.cancel_access_request(ids[0]))
        call, answer = self.rex._call, pb.ListAccessRequestsResponse
        pages, token = [], ""
        for _ in range(10):
            request = pb.ListAccessRequestsRequest(page_size=1, page_token=token)
            page = self.world.done(call(request, answer))
            pages.extend(each.id for each in page.requests)
            token = page.next_page_token
            if not token:
                break
        self.assertEqual(sorted(pages), sorted(ids))
        listing = self.rex.list_access_requests(states=[pb.ACCESS_REQUEST_STATE_CANCELLED])
        self.assertEqual([each.id for each in self.world.done(listing)], ids[:1])
        self.assertEqual(self.world.done(self.rex.list_access_requests(user="rex")), [])

    def test_malformed(self) -> None:
        """What makes no sense is refused with a sentence."""
        create = self.dan.create_access_request
        for call in (
            create([], "x"),
            create(["ssh-production"], ""),
            create(["ssh-production"], "x" * 1001),
            create(["ssh-production"], "x\x07"),
            create(["A b"], "x"),
            create(["ssh-production"], "x", nodes=["a b"]),
            create(["ssh-production"], "x", nodes=[f"n{number}" for number in range(65)]),
            create([f"ssh-{number}" for number in range(17)], "x"),
            create(["ssh-production"], "x", window_seconds=-1),
            create(["ssh-production"], "x", window_seconds=59),
            self.rex.review_access_request(self.ask().id, 0),  # type: ignore[arg-type]
            self.rex.review_access_request(self.ask().id, 99),  # type: ignore[arg-type]
            self.rex.list_access_requests(user="a b"),
            self.rex.list_access_requests(states=[0]),  # type: ignore[list-item]
            self.rex.list_access_requests(states=[99]),  # type: ignore[list-item]
        ):
            self.refused(BadInput, call)
        for request_id in ("", "x", "\x00", "x" * 10_000, "' OR 1=1"):
            self.refused(NotFound, self.dan.get_access_request(request_id))
        for token in ("x", "nan x", "1.0", "inf x", "1e999 x", "1.0 " + "x" * 65, " "):
            request = pb.ListAccessRequestsRequest(page_token=token)
            self.refused(BadInput, self.dan._call(request, pb.ListAccessRequestsResponse))

    def test_clients_of_strangers(self) -> None:
        """Nodes ask for nothing, and nobody without a login."""
        stranger: AuthClient = self.client()
        for client in (stranger, self.node):
            self.refused(NotAuthenticated, client.list_access_requests())
            self.refused(NotAuthenticated, client.create_access_request(["ssh-production"], "x"))
