"""Tests of the REST API through the hub's port."""

from __future__ import annotations

import re

from argon2 import PasswordHasher
from twisted.internet.defer import Deferred, fail

from mezite.error import Unavailable
from mezite.hub import services
from mezite.hub.callers import PERMISSIONS, Permission
from mezite.hub.web import rest
from mezite.hub.web.cookies import csrf_token
from mezite.hub.web.routes import ROUTES, WITHOUT_ROUTE
from mezite.names import UserName
from mezite.store.memory import MemoryUsers
from mezite.store.records import AuditQuery
from tests.doubles.webclient import Answer, WebClient, filled
from tests.hub.test_service import HubTests

PASSWORD = "correct horse battery"


class RestTests(HubTests):
    """What all of them begin with: an anonymous client, and an administrator with a bearer."""

    def setUp(self) -> None:
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self.patch(services, "PasswordHasher", lambda: cheap)
        super().setUp()
        self.anybody = WebClient(self.world)
        self.admin = self.with_bearer("grace")

    def with_bearer(self, user: str) -> WebClient:
        return WebClient(self.world, {"Authorization": f"Bearer {self.bearer_of(user)}"})

    def create_eve(self) -> Answer:
        return self.admin.ask(
            "POST", "/users", {"name": "eve", "logins": ["eve"], "password": PASSWORD}
        )

    def log_in(self, user: str = "eve", password: str = PASSWORD) -> Answer:
        return self.anybody.ask("POST", "/login", {"user": user, "password": password})


class TableTests(RestTests):
    """The table of routes."""

    def test_complete(self) -> None:
        """Every method but those of nodes has a route, or a reason to have none."""
        routed = {route.rpc for route in ROUTES}
        for name, permission in PERMISSIONS.items():
            if permission is not Permission.NODE:
                self.assertTrue((name in routed) != (name in WITHOUT_ROUTE), name)
        self.assertLessEqual(WITHOUT_ROUTE.keys(), PERMISSIONS.keys())

    def test_reading(self) -> None:
        """Lists and single things are answered as the messages have them, with numbers."""
        nodes = self.admin.ask("GET", "/nodes").json
        self.assertEqual(nodes["next_page_token"], "")
        (node,) = nodes["nodes"]
        self.assertEqual((node["hostname"], node["status"]), ("db1", "NODE_STATUS_OFFLINE"))
        self.assertEqual(node["labels"], {"env": "prod"})
        self.assertIsInstance(node["joined"], int)
        status = self.admin.ask("GET", "/status").json
        self.assertEqual((status["users"], status["nodes_known"]), (2, 1))
        ping = self.anybody.ask("GET", "/ping")
        self.assertEqual(ping.status, 200)
        self.assertEqual(ping.json["ca_pin"], self.world.hub.facts.ca_pin)

    def test_pages(self) -> None:
        """A query asks for a page, and for what is repeated."""
        self.world.add_node("db2", env="dev")
        first = self.admin.ask("GET", "/nodes?page_size=1").json
        second = self.admin.ask("GET", f"/nodes?page_token={first['next_page_token']}").json
        self.assertEqual([each["hostname"] for each in second["nodes"]], ["db2"])
        chosen = self.admin.ask("GET", "/nodes?labels=env%3Ddev&labels=env%3Ddev").json
        self.assertEqual([each["hostname"] for each in chosen["nodes"]], ["db2"])

    def test_a_users_life(self) -> None:
        """A user is made, changed by what the body names, and removed."""
        made = self.create_eve()
        self.assertEqual((made.status, made.json["user"]["logins"]), (201, ["eve"]))
        self.assertEqual(self.create_eve().kind, "already_exists")
        changed = self.admin.ask("PATCH", "/users/eve", {"logins": ["root"]})
        self.assertEqual(changed.status, 200)
        self.assertEqual((changed.json["logins"], changed.json["node_labels"]), (["root"], []))
        self.assertEqual(self.admin.ask("PATCH", "/users/eve", {}).status, 400)
        refused = self.admin.ask("PATCH", "/users/eve", {"created": 1})
        self.assertIn("cannot be changed", refused.sentence)
        gone = self.admin.ask("DELETE", "/users/eve")
        self.assertEqual((gone.status, gone.body), (204, b""))
        self.assertEqual(self.admin.ask("DELETE", "/users/eve").kind, "not_found")

    def test_names_in_paths(self) -> None:
        """What is in a path is decoded once, and a slash in it is part of the name."""
        refused = self.admin.ask("DELETE", "/users/a%2Fb%20c")
        self.assertEqual(refused.status, 400)
        self.assertIn("a/b c", refused.sentence)
        self.assertEqual(self.admin.ask("DELETE", "/users/%ff").kind, "bad_input")
        self.assertEqual(self.admin.ask("DELETE", "/users/").status, 404)


class RefusalTests(RestTests):
    """What is not understood is refused in JSON, by its name."""

    def test_paths_and_methods(self) -> None:
        """A path that is none is 404; one that takes other methods is 405 with Allow."""
        for path in ("/x", "/users/a/b", "", "/"):
            answer = self.admin.ask("GET", path)
            self.assertEqual((answer.status, answer.kind), (404, "not_found"), path)
        answer = self.admin.ask("PUT", "/users", {})
        self.assertEqual((answer.status, answer.kind), (405, "method_not_allowed"))
        self.assertEqual(answer.header("allow"), "GET, HEAD, POST")
        self.assertEqual(self.admin.ask("OPTIONS", "/users/ada").status, 405)

    def test_head(self) -> None:
        """HEAD is GET without its body."""
        answer = self.admin.ask("HEAD", "/users")
        self.assertEqual((answer.status, answer.body), (200, b""))

    def test_bodies(self) -> None:
        """A body is one object in JSON, and says that it is."""
        json = {"Content-Type": "application/json; charset=utf-8"}
        for raw, words in (
            (b"", "a body is expected"),
            (b"{", "not JSON"),
            (b"\xff", "not JSON"),
            (b"[]", "not an object"),
            (b"[" * 60_000, "nested deeper"),
            (b'{"name": NaN}', "NaN"),
            (b'{"name": "a", "name": "b"}', "'name' is there twice"),
            (b'{"name": "\\ud800"}', "surrogate"),
            (b'{"name": 1}', "name is not text"),
            (b'{"name": null}', "name is not text"),
            (b'{"logins": "root", "name": "a"}', "logins is not a list"),
            (b'{"logins": [1], "name": "a"}', "logins[0] is not text"),
            (b'{"is_admin": 1, "name": "a"}', "is_admin is not true or false"),
            (b'{"traits": [{"x": 1}], "name": "a"}', "'traits[0].x' is not known"),
            (b'{"isAdmin": true, "name": "a"}', "'isAdmin' is not known"),
            (b'{"logins": []}', "name is missing"),
        ):
            answer = self.admin.ask("POST", "/users", raw=raw, headers=json)
            self.assertEqual((answer.status, answer.kind), (400, "bad_input"), raw[:40])
            self.assertIn(words, answer.sentence)
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
            answer = self.admin.ask("POST", "/users", raw=b"x=1", headers={"Content-Type": kind})
            self.assertIn(answer.status, (400, 415), kind)
        answer = self.admin.ask("POST", "/users", raw=b"{}")
        self.assertEqual((answer.status, answer.kind), (415, "not_json"))

    def test_numbers(self) -> None:
        """Numbers are whole, and in their bounds."""
        for value, words in (
            ("1", "not a whole number"),
            (1.5, "not a whole number"),
            (True, "not a whole number"),
            (2**31, "not between"),
            (1e300, "not between"),
        ):
            answer = self.admin.ask("POST", "/tokens", {"uses": value})
            self.assertEqual(answer.status, 400, value)
            self.assertIn(words, answer.sentence)
        self.assertEqual(self.admin.ask("POST", "/tokens", {"uses": 2.0}).json["uses"], 2)

    def test_queries(self) -> None:
        """Parameters are known, given once and of their kind."""
        for query, words in (
            ("x=1", "'x' is not known"),
            ("page_size=a", "page_size is not a whole number"),
            ("page_size=99999999999", "not between"),
            ("page_size=1&page_size=2", "given 2 times"),
            ("labels=%ff", "not understood"),
            ("&".join(["labels=a"] * 200), "not understood"),
        ):
            answer = self.admin.ask("GET", f"/nodes?{query}")
            self.assertEqual(answer.status, 400, query)
            self.assertIn(words, answer.sentence)
        answer = self.admin.ask("GET", "/access/explain?user=ada")
        self.assertIn("node is missing", answer.sentence)
        answer = self.admin.ask("DELETE", "/users/ada?x=1")
        self.assertIn("known is nothing", answer.sentence)

    def test_body_where_none_is(self) -> None:
        """What takes no body refuses one."""
        self.assertEqual(self.admin.ask("DELETE", "/users/ada", {"x": 1}).status, 400)
        self.assertEqual(self.admin.ask("GET", "/nodes", {}).status, 400)

    def test_too_large(self) -> None:
        """A body beyond the bound is refused in JSON as well."""
        answer = self.admin.ask("POST", "/users", {"name": "x" * 70_000})
        self.assertEqual((answer.status, answer.kind), (413, "body_too_large"))

    def test_headers(self) -> None:
        """Every answer has the headers of the site, and is not kept."""
        for answer in (self.admin.ask("GET", "/nodes"), self.anybody.ask("GET", "/nodes")):
            self.assertEqual(answer.header("cache-control"), "no-store")
            self.assertEqual(answer.header("x-content-type-options"), "nosniff")
            self.assertEqual(answer.header("content-type"), "application/json")
            self.assertIn("default-src 'none'", answer.header("content-security-policy") or "")

    def test_failures(self) -> None:
        """A bug is 500 and says nothing; what can be tried again is 503."""

        def broken(error: Exception) -> None:
            self.patch(MemoryUsers, "list", lambda _: fail(error))

        broken(ZeroDivisionError("a secret"))
        answer = self.admin.ask("GET", "/users")
        self.assertEqual((answer.status, answer.kind), (500, "internal"))
        self.assertNotIn("secret", answer.sentence)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        broken(Unavailable("the database is locked"))
        self.assertEqual(self.admin.ask("GET", "/users").kind, "unavailable")

    def test_under_way(self) -> None:
        """No more calls are begun than there may be; one that is given up is cancelled."""
        cancelled: list[Deferred[None]] = []

        def wait(_: MemoryUsers) -> Deferred[None]:
            return Deferred(cancelled.append)

        self.patch(MemoryUsers, "list", wait)
        self.patch(rest, "CALLS_AT_ONCE", 4)
        self.assertRaises(AssertionError, self.admin.ask, "GET", "/users")
        answer = self.admin.ask("GET", "/users")
        self.assertEqual((answer.status, answer.header("retry-after")), (429, "1"))
        self.world.clock.advance(rest.CALL_SECONDS)
        self.world.flush()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(self.admin.ask("GET", "/nodes").status, 200)


class SessionTests(RestTests):
    """Sessions by cookie."""

    def setUp(self) -> None:
        super().setUp()
        self.create_eve()
        answer = self.log_in()
        self.assertEqual(answer.status, 200)
        self.login = answer
        self.cookie = (answer.header("set-cookie") or "").partition(";")[0]
        self.eve = WebClient(self.world, {"Cookie": self.cookie})
        self.csrf = {"X-CSRF-Token": answer.json["csrf_token"]}

    def test_cookie(self) -> None:
        """The cookie is the bearer, for this site's pages only, for 12 hours; nothing tells it."""
        cookie = self.login.header("set-cookie") or ""
        self.assertTrue(re.fullmatch(r"mezite_session=mzb_[A-Za-z0-9_-]{43}; .*", cookie))
        for attribute in ("HttpOnly", "Secure", "SameSite=Strict", "Path=/", "Max-Age=43199"):
            self.assertIn(f"; {attribute}", cookie.replace("=43200;", "=43199;"))
        self.assertEqual(self.login.json["user"], "eve")
        self.assertNotIn("mzb_", self.login.body.decode())
        self.assertEqual(self.eve.ask("GET", "/nodes").status, 200)

    def test_wrong_password(self) -> None:
        """A login that fails says one sentence, and after some a time to wait."""
        sentences = {self.log_in("eve", "wrong").sentence, self.log_in("nobody", "x").sentence}
        self.assertEqual(len(sentences), 1)
        answers = [self.log_in("eve", "wrong") for _ in range(6)]
        self.assertEqual((answers[0].status, answers[0].kind), (401, "not_authenticated"))
        self.assertIsNone(answers[0].header("set-cookie"))
        self.assertEqual((answers[-1].status, answers[-1].kind), (429, "limit_reached"))
        self.assertGreaterEqual(int(answers[-1].header("retry-after") or 0), 1)

    def test_who_am_i(self) -> None:
        """A page that was loaded again learns who it is, and its token."""
        answer = self.eve.ask("GET", "/session").json
        self.assertEqual((answer["name"], answer["is_admin"]), ("eve", False))
        self.assertEqual(answer["csrf_token"], self.csrf["X-CSRF-Token"])
        self.assertEqual(self.admin.ask("GET", "/session").json["csrf_token"], "")

    def test_csrf(self) -> None:
        """What changes something needs the session's own token, and a page of this site."""
        self.make_eve_admin()
        token = ("POST", "/tokens", {})
        origin = {"Origin": "https://hub.example.com", "Sec-Fetch-Site": "same-origin"}
        for headers, words in (
            ({}, "X-CSRF-Token is missing"),
            ({"X-CSRF-Token": ""}, "not this session's"),
            ({"X-CSRF-Token": "\xff"}, "not this session's"),
            ({"X-CSRF-Token": csrf_token("another")}, "not this session's"),
            ({**self.csrf, "Origin": "https://evil.example.com"}, "Origin"),
            ({**self.csrf, "Origin": "http://hub.example.com"}, "Origin"),
            ({**self.csrf, "Origin": "null"}, "Origin"),
            ({**self.csrf, "Sec-Fetch-Site": "cross-site"}, "Sec-Fetch-Site"),
            ({**self.csrf, "Sec-Fetch-Site": "same-site"}, "Sec-Fetch-Site"),
        ):
            answer = self.eve.ask(*token, headers=headers)
            self.assertEqual((answer.status, answer.kind), (403, "denied"), headers)
            self.assertIn(words, answer.sentence)
        self.assertEqual(self.eve.ask(*token, headers=self.csrf).status, 201)
        self.assertEqual(self.eve.ask(*token, headers={**self.csrf, **origin}).status, 201)
        self.assertEqual(self.eve.ask("GET", "/users").status, 200)

    def test_login_by_another_site(self) -> None:
        """Another site's page logs nobody in."""
        login = {"user": "eve", "password": PASSWORD}
        for headers in ({"Origin": "https://evil.example.com"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = self.anybody.ask("POST", "/login", login, headers=headers)
            self.assertEqual(answer.status, 403)
            self.assertIsNone(answer.header("set-cookie"))

    def test_bearer_needs_no_csrf(self) -> None:
        """A bearer in the header is no browser's doing; a cookie beside it counts for nothing."""
        headers = {"Cookie": self.cookie, "Origin": "https://elsewhere.example.com"}
        answer = self.admin.ask("POST", "/tokens", {}, headers=headers)
        self.assertEqual(answer.status, 201)
        wrong = {"Authorization": "Bearer x", "Cookie": self.cookie}
        answer = self.anybody.ask("GET", "/nodes", headers=wrong)
        self.assertEqual((answer.status, answer.kind), (401, "not_authenticated"))
        self.assertIn("Bearer", answer.header("www-authenticate") or "")

    def test_logout(self) -> None:
        """A session that was ended is worth nothing, and its cookie is taken back."""
        self.assertEqual(self.eve.ask("DELETE", "/session").status, 403)
        answer = self.eve.ask("DELETE", "/session", headers=self.csrf)
        self.assertEqual(answer.status, 204)
        self.assertIn("Max-Age=0", answer.header("set-cookie") or "")
        (event,) = self.world.done(
            self.world.store.audit.search(AuditQuery(types=("user.logout",)), limit=10)
        )
        self.assertEqual(event.event.actor.name, "eve")
        self.assertEqual(self.eve.ask("GET", "/nodes").status, 401)
        self.assertEqual(self.eve.ask("DELETE", "/session", headers=self.csrf).status, 401)

    def test_expired(self) -> None:
        """A session lasts for 12 hours."""
        self.world.clock.advance(12 * 3600 + 1)
        self.assertEqual(self.eve.ask("GET", "/nodes").status, 401)

    def test_two_cookies(self) -> None:
        """Of two cookies of a session none counts."""
        answer = self.anybody.ask(
            "GET", "/nodes", headers={"Cookie": f"mezite_session=x; {self.cookie}"}
        )
        self.assertEqual(answer.status, 401)
        self.assertIn("two cookies", answer.sentence)
        both = {"Cookie": f"theme=dark; {self.cookie}; lang=en"}
        self.assertEqual(self.anybody.ask("GET", "/nodes", headers=both).status, 200)

    def test_one_time_password(self) -> None:
        """Whoever has a one-time password changes it first."""
        made = self.admin.ask("POST", "/users", {"name": "kim", "one_time_password": True})
        made = made.json["one_time_password"]
        answer = self.log_in("kim", made)
        self.assertTrue(answer.json["must_change_password"])
        kim = WebClient(
            self.world, {"Cookie": (answer.header("set-cookie") or "").partition(";")[0]}
        )
        self.assertEqual(kim.ask("GET", "/nodes").status, 403)
        change = {"user": "kim", "old_password": made, "new_password": PASSWORD}
        self.assertEqual(kim.ask("POST", "/password", change).status, 204)
        self.assertEqual(self.log_in("kim").status, 200)

    def make_eve_admin(self) -> None:
        self.assertEqual(self.admin.ask("PATCH", "/users/eve", {"is_admin": True}).status, 200)

    def test_disabled(self) -> None:
        """Who is disabled is logged out everywhere."""
        self.admin.ask("PATCH", "/users/eve", {"disabled": True})
        self.assertEqual(self.eve.ask("GET", "/nodes").status, 401)
        self.assertEqual(self.log_in().status, 401)
        self.world.done(self.world.store.users.remove(UserName("eve")))
        self.assertEqual(self.log_in().status, 401)


class StrangerTests(RestTests):
    """Every route without proof, and with the wrong one."""

    def ask(self, client: WebClient, method: str, path: str) -> Answer:
        return client.ask(method, path, {} if method in ("POST", "PATCH") else None)

    def test_gate(self) -> None:
        """No route that needs something does anything for whoever shows nothing, or too little."""
        self.world.add_user("carol", roles=["auditor"])
        strangers = (self.anybody, WebClient(self.world, {"Authorization": "Bearer mzb_x"}))
        user, auditor = self.with_bearer("ada"), self.with_bearer("carol")
        for route in ROUTES:
            permission = PERMISSIONS[route.rpc]
            path = re.sub(r"\{[^}]*\}", "x", route.path)
            fields = filled(route)
            body = fields if route.has_body else None
            if not route.has_body and fields:
                path += "?" + "&".join(f"{name}=x" for name in fields)
            if permission is Permission.NOTHING:
                continue
            for client in strangers:
                answer = client.ask(route.method, path, body)
                self.assertEqual(answer.status, 401, route.path)
            refused = []
            if permission in (Permission.AUDITOR, Permission.ADMIN):
                refused.append(user)
            if permission is Permission.ADMIN:
                refused.append(auditor)
            for client in refused:
                answer = client.ask(route.method, path, body)
                self.assertEqual((answer.status, answer.kind), (403, "denied"), route.path)
