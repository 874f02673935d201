"""Tests of API tokens through the hub's port."""

from __future__ import annotations

from mezite.auth.apitokens import LONGEST_LIFETIME
from mezite.error import BadInput, Denied, MeziteError, NotAuthenticated, NotFound
from mezite.hub.callers import NOT_BY_TOKEN, PERMISSIONS, READS, Permission
from mezite.names import UserName
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from mezite.store.records import AuditQuery
from tests.doubles.hubworld import ssh_public_line, tls_public_pem
from tests.doubles.webclient import WebClient
from tests.hub.test_service import HubTests


class ApiTokenTests(HubTests):
    def setUp(self) -> None:
        super().setUp()
        self.admin = self.client(self.world.user("grace"))

    def create(
        self, user: str = "grace", access: pb.ApiAccess.ValueType = pb.API_ACCESS_FULL, ttl: int = 0
    ) -> pb.CreateApiTokenResponse:
        return self.world.done(
            self.admin.create_api_token(user, "ci", access=access, ttl_seconds=ttl)
        )

    def program(
        self, user: str = "grace", access: pb.ApiAccess.ValueType = pb.API_ACCESS_FULL
    ) -> AuthClient:
        return self.client(bearer=self.create(user, access).secret)

    def call(self, client: AuthClient, name: str) -> None:
        request = getattr(pb, f"{name}Request")()
        self.world.done(client._call(request, getattr(pb, f"{name}Response")))

    def is_admitted(self, client: AuthClient, name: str) -> bool:
        try:
            self.call(client, name)
        except Denied:
            return False
        except MeziteError:
            pass
        return True

    def test_life(self) -> None:
        """A token is made, listed without its secret, used, and revoked; the audit has it all."""
        made = self.create("ada")
        self.assertTrue(made.secret.startswith("mza_"))
        (listed,) = self.world.done(self.admin.list_api_tokens())
        self.assertEqual(listed, made.api_token)
        self.assertEqual(
            (listed.name, listed.user, listed.created_by, listed.last_used),
            ("ci", "ada", "grace", 0),
        )
        self.assertEqual(listed.expires - listed.created, 30 * 86400)
        self.assertNotIn(made.secret, str(listed))
        program = self.client(bearer=made.secret)
        self.assertEqual(self.world.done(program.who_am_i()).name, "ada")
        (listed,) = self.world.done(self.admin.list_api_tokens())
        self.assertGreater(listed.last_used, 0)
        self.world.done(self.admin.delete_api_token(listed.token_id))
        self.assertRaises(NotAuthenticated, self.world.done, program.who_am_i())
        again = self.admin.delete_api_token(listed.token_id)
        self.assertRaises(NotFound, self.world.done, again)
        query = AuditQuery(types=("api_token.*",))
        events = self.world.done(self.world.store.audit.search(query, limit=10))
        self.assertEqual(
            [(each.event.type.text, each.event.actor.name) for each in events],
            [("api_token.created", "grace"), ("api_token.revoked", "grace")],
        )
        self.assertNotIn(made.secret, str(events))

    def test_last_used(self) -> None:
        """When a token was used is noted once a minute, not for each call."""
        program = self.program()

        def noted() -> int:
            return self.world.done(self.admin.list_api_tokens())[0].last_used

        self.world.done(program.who_am_i())
        first = noted()
        self.world.clock.advance(30)
        self.world.done(program.who_am_i())
        self.assertEqual(noted(), first)
        self.world.clock.advance(31)
        self.world.done(program.who_am_i())
        self.assertGreaterEqual(noted(), first + 61)

    def test_full(self) -> None:
        """A token may what its user may, but for certificates and more tokens."""
        program = self.program()
        for name, permission in PERMISSIONS.items():
            if permission in (Permission.USER, Permission.AUDITOR, Permission.ADMIN):
                self.assertEqual(self.is_admitted(program, name), name not in NOT_BY_TOKEN, name)
        self.assertFalse(self.is_admitted(program, "IssueUserCerts"))

    def test_no_more_than_the_user(self) -> None:
        """A token gives nothing that its user has not."""
        program = self.program("ada")
        for name, permission in PERMISSIONS.items():
            if permission in (Permission.AUDITOR, Permission.ADMIN):
                self.assertFalse(self.is_admitted(program, name), name)
        self.assertTrue(self.is_admitted(program, "ListNodes"))

    def test_read_only(self) -> None:
        """A token that only reads changes nothing, even for an administrator."""
        program = self.program(access=pb.API_ACCESS_READ_ONLY)
        for name, permission in PERMISSIONS.items():
            if permission is Permission.AUDITOR:
                self.assertTrue(self.is_admitted(program, name), name)
            elif permission in (Permission.ADMIN, Permission.PASSWORD_LOGIN, Permission.PROVED):
                self.assertFalse(self.is_admitted(program, name), name)
            elif permission is Permission.USER:
                self.assertEqual(self.is_admitted(program, name), name in READS, name)

    def test_certificates(self) -> None:
        """A token for certificates gets them, and nothing else."""
        program = self.program("ada", pb.API_ACCESS_CERTIFICATES)
        issued = self.world.done(
            program.issue_user_certs(
                ssh_public_key=ssh_public_line(), tls_public_key=tls_public_pem()
            )
        )
        self.assertEqual(list(issued.logins), ["root"])
        program = self.program("grace", pb.API_ACCESS_CERTIFICATES)
        for name, permission in PERMISSIONS.items():
            if permission in (Permission.USER, Permission.AUDITOR, Permission.ADMIN):
                self.assertEqual(self.is_admitted(program, name), name == "WhoAmI", name)

    def test_refused(self) -> None:
        """Names, lifetimes and users have bounds."""
        long = int(LONGEST_LIFETIME) + 1
        for name, ttl in (("", 0), ("x" * 65, 0), ("a\nb", 0), (" a", 0), ("a", long), ("a", -1)):
            making = self.admin.create_api_token(
                "ada", name, access=pb.API_ACCESS_FULL, ttl_seconds=ttl
            )
            self.assertRaises(BadInput, self.world.done, making)
        making = self.admin.create_api_token("nobody", "a", access=pb.API_ACCESS_FULL)
        self.assertRaises(NotFound, self.world.done, making)

    def test_ends(self) -> None:
        """A token ends with its time, and is of no use while its user is disabled."""
        secret = self.create("ada", ttl=60).secret
        program = self.client(bearer=secret)
        for disabled in (True, False):
            user = pb.User(name="ada", disabled=disabled)
            self.world.done(self.admin.update_user(user, ["disabled"]))
            if disabled:
                self.assertRaises(NotAuthenticated, self.world.done, program.who_am_i())
        self.world.done(program.who_am_i())
        self.world.clock.advance(61)
        self.assertRaises(NotAuthenticated, self.world.done, program.who_am_i())
        self.assertEqual(self.world.done(self.admin.list_api_tokens()), [])

    def test_accounts_of_programs(self) -> None:
        """A user who never logged in, and so never chose a password, has tokens that work."""
        self.world.add_user("robot", must_change=True, roles=["auditor"])
        self.assertTrue(self.is_admitted(self.program("robot"), "ListUsers"))
        self.assertFalse(self.is_admitted(self.program("robot"), "CreateUser"))
        program = self.program("robot", pb.API_ACCESS_CERTIFICATES)
        self.world.done(
            program.issue_user_certs(
                ssh_public_key=ssh_public_line(), tls_public_key=tls_public_pem()
            )
        )

    def test_removed_user(self) -> None:
        """Tokens go with their user."""
        program = self.program("ada")
        self.world.done(self.world.store.users.remove(UserName("ada")))
        self.assertRaises(NotAuthenticated, self.world.done, program.who_am_i())

    def test_rest(self) -> None:
        """REST makes, lists and revokes tokens, and takes them as bearers."""
        admin = WebClient(self.world, {"Authorization": f"Bearer {self.bearer_of('grace')}"})
        wanted = {"user": "ada", "name": "ci", "access": "API_ACCESS_READ_ONLY"}
        made = admin.ask("POST", "/api-tokens", wanted)
        self.assertEqual((made.status, made.json["api_token"]["created_by"]), (201, "grace"))
        program = WebClient(self.world, {"Authorization": f"Bearer {made.json['secret']}"})
        self.assertEqual(program.ask("GET", "/session").json["name"], "ada")
        self.assertEqual(program.ask("DELETE", "/session").status, 403)
        cookie = {"Cookie": f"mezite_session={made.json['secret']}"}
        self.assertEqual(WebClient(self.world).ask("GET", "/nodes", headers=cookie).status, 401)
        token_id = made.json["api_token"]["token_id"]
        self.assertEqual(len(admin.ask("GET", "/api-tokens").json["api_tokens"]), 1)
        self.assertEqual(admin.ask("DELETE", f"/api-tokens/{token_id}").status, 204)
        self.assertEqual(program.ask("GET", "/session").status, 401)
