"""
Tests that each method, in gRPC and in REST, refuses without what it needs, and admits with it.

Behind the gate stands, in place of every method, one that only says that it was
reached: so the walk is over all methods there are, and none of them does anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from mezite.auth.login import PROOF_LIFETIME
from mezite.error import Denied, NotFound
from mezite.hub import authservice
from mezite.hub.callers import NOT_BY_TOKEN, PERMISSIONS, READS, Permission
from mezite.hub.web.cookies import csrf_token
from mezite.hub.web.routes import ROUTES
from mezite.identity.tokens import ApiAccess, hash_token
from mezite.identity.x509 import NodeIdentity, UserIdentity
from mezite.names import AgentId, ClusterName, NodeName, UserName
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from mezite.store.apitokens import ApiTokenRecord
from mezite.store.records import BearerRecord
from tests.doubles.hubworld import CLUSTER
from tests.doubles.webclient import WebClient, filled
from tests.hub.test_service import HubTests

NOTHING = frozenset({Permission.NOTHING})
USER = NOTHING | {Permission.USER}
AUDITOR = USER | {Permission.AUDITOR}
ADMIN = AUDITOR | {Permission.ADMIN}
PASSWORD = frozenset({Permission.PASSWORD_LOGIN})
PROVED = PASSWORD | {Permission.PROVED}
REACHED: Final = "the method was reached"


class PermissionProof(HubTests):
    """Whoever there is: ada, carol the auditor, grace the administrator, a node, and others."""

    def setUp(self) -> None:
        guarded = authservice._guarded

        def watched(callers: Any, trail: Any, name: str, handler: Any) -> Any:
            async def reached(subject: object, call: object, request: object) -> Any:
                raise NotFound(REACHED)

            return guarded(callers, trail, name, reached)

        self.patch(authservice, "_guarded", watched)
        super().setUp()
        self.world.add_user("carol", "root", roles=["auditor"])
        self.world.add_user("dave", "root", roles=["admin"])
        self.world.add_user("fresh", "root", must_change=True, admin=True)
        self.world.add_user("gone", "root", admin=True)
        for user in ("ada", "carol", "grace", "dave", "fresh", "gone"):
            self.bearer_of(user)
        now = self.world.clock.seconds()
        self.bearer("expired", "grace", -1.0, proved=now)
        self.bearer("of old", "grace", 60.0, proved=None)
        self.bearer("long ago", "grace", 60.0, proved=now - PROOF_LIFETIME)
        self.bearer("tomorrow", "grace", 60.0, proved=now + 86400)
        self.token("full", ApiAccess.FULL)
        self.token("reads", ApiAccess.READ_ONLY)
        self.token("certificates", ApiAccess.CERTIFICATES)
        self.token("old", ApiAccess.FULL, -1.0)
        self.world.done(self.world.store.users.remove(UserName("gone")))

    def bearer(self, secret: str, user: str, left: float, proved: float | None) -> None:
        expires = self.world.clock.seconds() + left
        record = BearerRecord(hash_token(secret), UserName(user), expires, proved)
        self.world.done(self.world.store.bearers.add(record))

    def token(self, name: str, access: ApiAccess, left: float = 60.0) -> None:
        now = self.world.clock.seconds()
        self.world.done(
            self.world.store.api_tokens.add(
                ApiTokenRecord(
                    token_id=name,
                    secret_hash=hash_token(f"mza_{name}"),
                    name=name,
                    user=UserName("grace"),
                    access=access,
                    created_by="local",
                    created=now,
                    expires=now + left,
                )
            )
        )

    def bearers(self) -> Mapping[str, frozenset[Permission]]:
        """What each bearer may."""
        return {
            "garbage": NOTHING,
            "x" * 5000: NOTHING,
            "mza_garbage": NOTHING,
            "mza_old": NOTHING,
            "expired": NOTHING,
            "bearer of gone": NOTHING,
            "bearer of fresh": NOTHING,
            "of old": ADMIN | PASSWORD,
            "long ago": ADMIN | PASSWORD,
            "tomorrow": ADMIN | PASSWORD,
            "bearer of ada": USER | PROVED,
            "bearer of carol": AUDITOR | PROVED,
            "bearer of grace": ADMIN | PROVED,
            "bearer of dave": ADMIN | PROVED,
        }


class GrpcPermissionTests(PermissionProof):
    """In gRPC, over TLS and HTTP/2 in memory."""

    def reaches(self, client: AuthClient, name: str) -> bool:
        request = getattr(pb, f"{name}Request")()
        calling = client._call(request, getattr(pb, f"{name}Response"))
        try:
            self.world.done(calling)
        except Denied:
            return False
        except NotFound as error:
            self.assertEqual(str(error), REACHED)
            return True
        raise AssertionError("the method answered")

    def walk(self, client: AuthClient, allowed: frozenset[Permission], who: str) -> None:
        for name, permission in PERMISSIONS.items():
            self.assertEqual(self.reaches(client, name), permission in allowed, f"{who}: {name}")

    def test_nobody(self) -> None:
        """Who shows nothing calls what needs nothing."""
        self.walk(self.client(), NOTHING, "nobody")

    def test_bearers(self) -> None:
        """A bearer gives what its user may, and a certificate besides; a bad one gives nothing."""
        for bearer, allowed in self.bearers().items():
            self.walk(self.client(bearer=bearer), allowed, bearer[:30])

    def test_certificates(self) -> None:
        """A certificate gives what its user may, and no certificates."""
        other = ClusterName("other.example.com")
        for identity, allowed in (
            (self.world.user("ada"), USER),
            (self.world.user("carol"), AUDITOR),
            (self.world.user("grace"), ADMIN),
            (self.world.user("dave"), ADMIN),
            (self.world.user("gone"), NOTHING),
            (self.world.user("fresh"), NOTHING),
            (UserIdentity(other, UserName("grace")), NOTHING),
            (self.db1, NOTHING | {Permission.NODE}),
            (NodeIdentity(CLUSTER, AgentId.new(), NodeName("db1")), NOTHING),
            (NodeIdentity(CLUSTER, self.db1.agent_id, NodeName("db2")), NOTHING),
            (NodeIdentity(other, self.db1.agent_id, self.db1.node), NOTHING),
        ):
            self.walk(self.client(identity), allowed, str(identity))

    def test_tokens(self) -> None:
        """An API token gives what it is for, and never more than its user has."""
        tokens = ("full", "reads", "certificates")
        clients = {token: self.client(bearer=f"mza_{token}") for token in tokens}
        for name, permission in PERMISSIONS.items():
            shows = permission is Permission.AUDITOR or name in READS
            for token, is_allowed in (
                ("full", permission in ADMIN and name not in NOT_BY_TOKEN),
                ("reads", shows),
                ("certificates", name in ("IssueUserCerts", "WhoAmI")),
            ):
                wanted = is_allowed or permission is Permission.NOTHING
                reached = self.reaches(clients[token], name)
                self.assertEqual(reached, wanted, f"{token}: {name}")

    def test_all_named(self) -> None:
        """What is named beside the table is in it."""
        self.assertLessEqual(READS | NOT_BY_TOKEN, PERMISSIONS.keys())
        for name in READS:
            self.assertIs(PERMISSIONS[name], Permission.USER)


class RestPermissionTests(PermissionProof):
    """In REST, by bearer and by cookie."""

    def walk(self, headers: Mapping[str, str], allowed: frozenset[Permission], who: str) -> None:
        client = WebClient(self.world, dict(headers))
        for route in ROUTES:
            path = re.sub(r"\{[^}]*\}", "x", route.path)
            fields = filled(route)
            if fields and not route.has_body:
                path += "?" + "&".join(f"{name}=x" for name in fields)
            answer = client.ask(route.method, path, fields if route.has_body else None)
            place = f"{who}: {route.method} {route.path}"
            if PERMISSIONS[route.rpc] in allowed:
                self.assertEqual((answer.status, answer.sentence), (404, REACHED), place)
            else:
                self.assertIn(answer.status, (401, 403), place)

    def test_nobody(self) -> None:
        """Who shows nothing calls what needs nothing; nor does another scheme or cookie help."""
        for headers in (
            {},
            {"Authorization": "Basic Z3JhY2U6eA=="},
            {"Authorization": "Bearer"},
            {"Cookie": "session=bearer of grace"},
        ):
            self.walk(headers, NOTHING, str(headers))

    def test_bearers(self) -> None:
        """A bearer gives what it gives in gRPC."""
        for bearer, allowed in self.bearers().items():
            self.walk({"Authorization": f"Bearer {bearer}"}, allowed, bearer[:30])

    def test_cookies(self) -> None:
        """A cookie with its CSRF token gives what its bearer does; API tokens are no cookies."""
        for bearer, allowed in (*self.bearers().items(), ("mza_full", NOTHING)):
            cookie = {"Cookie": f"mezite_session={bearer}", "X-CSRF-Token": csrf_token(bearer)}
            self.walk(cookie, allowed, bearer[:30])

    def test_cookies_alone(self) -> None:
        """Without its CSRF token a cookie changes nothing."""
        client = WebClient(self.world, {"Cookie": "mezite_session=bearer of grace"})
        for route in ROUTES:
            if route.changes and PERMISSIONS[route.rpc] is not Permission.NOTHING:
                path = re.sub(r"\{[^}]*\}", "x", route.path)
                answer = client.ask(route.method, path, filled(route) if route.has_body else None)
                self.assertEqual(answer.status, 403, route.path)
                self.assertIn("X-CSRF-Token", answer.sentence)
