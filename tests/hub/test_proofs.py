"""Tests of invites and second factors through the hub's port."""

from __future__ import annotations

import base64
import json
from collections.abc import Coroutine, Iterable
from typing import Any

from argon2 import PasswordHasher

from mezite.auth.login import PROOF_LIFETIME
from mezite.error import BadInput, Denied, NotAuthenticated, NotFound, ProofNeeded
from mezite.hub import services
from mezite.identity.totp import STEP_SECONDS, code_at
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from mezite.store.records import AuditQuery
from tests.doubles.authenticator import Authenticator
from tests.doubles.hubworld import ssh_public_line, tls_public_pem
from tests.hub.test_service import HubTests

CHOSEN = "battery staple"


class ProofTests(HubTests):
    def setUp(self) -> None:
        cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
        self.patch(services, "PasswordHasher", lambda: cheap)
        super().setUp()
        self.admin = self.client(self.world.user("grace"))
        self.stranger = self.client()

    def created(self) -> pb.Invite:
        made = self.world.done(self.admin.create_user("eve", logins=["eve"], node_labels=["*=*"]))
        self.assertFalse(made.user.has_password)
        return made.invite

    def login(self, code: str = "", assertion: str = "") -> pb.AuthenticateLocalResponse:
        return self.world.done(self.stranger.authenticate_local("eve", CHOSEN, code, assertion))

    def eve(self) -> AuthClient:
        """Eve, as she is once she accepted her invite."""
        accepted = self.world.done(self.stranger.accept_invite(self.created().token, CHOSEN))
        return self.client(bearer=accepted.token)

    def code(self, secret: str) -> str:
        """The next code that nobody has used."""
        self.world.clock.advance(2 * STEP_SECONDS)
        octets = base64.b32decode(secret.replace(" ", ""))
        return code_at(octets, self.world.clock.seconds())


class InviteTests(ProofTests):
    def test_invite(self) -> None:
        """An invite is a page and a command; whoever accepts it gets certificates."""
        invite = self.created()
        self.assertEqual(invite.url, f"https://hub.example.com/web/invite/{invite.token}")
        self.assertEqual(
            invite.login_command,
            f"msh login --proxy=hub.example.com:443 --user=eve --invite={invite.token}"
            f" --ca-pin={self.world.authorities.cluster_ca.pin}",
        )
        found = self.world.done(self.stranger.get_invite(invite.token))
        self.assertEqual((found.user, found.expires), ("eve", invite.expires))
        self.assertEqual((found.must_enrol, found.second_factor_required), (False, False))
        self.assertIn("<svg", found.totp.qr_svg)
        self.assertEqual(found.shortest_password, 8)
        accepted = self.world.done(self.stranger.accept_invite(invite.token, CHOSEN))
        self.assertEqual(list(accepted.recovery_codes), [])
        eve = self.client(bearer=accepted.token)
        self.world.done(
            eve.issue_user_certs(ssh_public_key=ssh_public_line(), tls_public_key=tls_public_pem())
        )
        again = self.stranger.accept_invite(invite.token, CHOSEN)
        self.assertRaises(Denied, self.world.done, again)

    def test_with_app(self) -> None:
        """An app is enrolled in the same step."""
        invite = self.created()
        offer = self.world.done(self.stranger.get_invite(invite.token)).totp
        code = self.code(offer.secret)
        accepted = self.world.done(self.stranger.accept_invite(invite.token, CHOSEN, code))
        self.assertEqual(len(accepted.recovery_codes), 10)
        self.assertTrue(self.login().second_factor_required)
        self.assertTrue(self.login(self.code(offer.secret)).token)
        self.assertTrue(self.login(accepted.recovery_codes[3]).token)

    def test_lists(self) -> None:
        """Administrators see who has what."""
        eve = self.eve()
        offer = self.world.done(eve.begin_totp())
        self.world.done(eve.confirm_totp(self.code(offer.secret)))
        listed = {user.name: user for user in self.world.done(self.admin.list_users())}
        self.assertTrue(listed["eve"].has_password)
        self.assertTrue(listed["eve"].has_second_factor)
        self.assertFalse(listed["ada"].has_second_factor)

    def test_reset(self) -> None:
        """A reset ends the password; the new invite has the wished lifetime."""
        eve = self.eve()
        made = self.world.done(self.admin.reset_user("eve", ttl_seconds=120))
        self.assertEqual(made.expires, int(self.world.clock.seconds() + 120))
        self.assertRaises(NotAuthenticated, self.world.done, eve.list_nodes())
        self.assertRaises(NotAuthenticated, self.login)
        self.world.done(self.stranger.accept_invite(made.token, CHOSEN))
        self.login()
        newer = self.world.done(self.admin.create_invite("eve"))
        self.assertNotEqual(newer.token, made.token)
        self.login()
        for call in (
            self.admin.reset_user("nobody"),
            self.admin.create_invite("nobody"),
            self.admin.reset_second_factors("nobody"),
        ):
            self.assertRaises(NotFound, self.world.done, call)
        for ttl in (1, -5, 10**9):
            call = self.admin.create_invite("eve", ttl_seconds=ttl)
            self.assertRaises(BadInput, self.world.done, call)
            making = self.admin.create_user("x", logins=["x"], invite_ttl_seconds=ttl)
            self.assertRaises(BadInput, self.world.done, making)
        self.assertNotIn("x", {user.name for user in self.world.done(self.admin.list_users())})

    def test_not_valid(self) -> None:
        """What is no invite is refused in one sentence."""
        sentences = set()
        for token in ("", "mzi_", "x" * 5000, "\0", self.created().token + "x"):
            for call in (
                self.stranger.get_invite(token),
                self.stranger.accept_invite(token, CHOSEN),
            ):
                sentences.add(str(self.assertRaises(Denied, self.world.done, call)))
                self.world.clock.advance(60)
        self.assertEqual(len(sentences), 1)


class SecondFactorTests(ProofTests):
    def test_app(self) -> None:
        """An app is enrolled, listed, asked for, and removed."""
        eve = self.eve()
        offer = self.world.done(eve.begin_totp())
        self.assertTrue(offer.uri.startswith("otpauth://totp/Mezite%20example.com:eve?"))
        self.assertEqual(len(self.world.done(eve.confirm_totp(self.code(offer.secret)))), 10)
        listed = self.world.done(eve.list_second_factors())
        self.assertEqual([each.kind for each in listed.second_factors], ["totp"])
        self.assertEqual((listed.recovery_codes_left, listed.policy), (10, "optional"))
        wanted = self.login()
        self.assertEqual((wanted.token, wanted.expires), ("", 0))
        self.assertEqual(list(wanted.second_factors), ["totp", "recovery_code"])
        self.assertRaises(NotAuthenticated, self.login, "000000")
        self.login(self.code(offer.secret))
        changing = self.stranger.change_password("eve", CHOSEN, "another staple")
        self.assertIn("second factor", str(self.assertRaises(Denied, self.world.done, changing)))
        self.world.done(eve.remove_totp())
        self.assertFalse(self.login().second_factor_required)

    def test_password_change(self) -> None:
        """A password is changed with a code."""
        eve = self.eve()
        offer = self.world.done(eve.begin_totp())
        self.world.done(eve.confirm_totp(self.code(offer.secret)))
        code = self.code(offer.secret)
        self.world.done(self.stranger.change_password("eve", CHOSEN, "another staple", code))
        self.assertRaises(NotAuthenticated, self.login)

    def test_recovery_codes(self) -> None:
        """New recovery codes end the old ones."""
        eve = self.eve()
        self.assertRaises(NotFound, self.world.done, eve.create_recovery_codes())
        offer = self.world.done(eve.begin_totp())
        first = self.world.done(eve.confirm_totp(self.code(offer.secret)))
        second = self.world.done(eve.create_recovery_codes())
        self.assertRaises(NotAuthenticated, self.login, first[0])
        self.login(second[0])

    def test_security_key(self) -> None:
        """A security key is added, asked for, listed, and removed by its id."""
        eve = self.eve()
        key = Authenticator("https://hub.example.com")
        options = self.world.done(eve.begin_webauthn())
        added = self.world.done(eve.finish_webauthn(key.create(options), "blue"))
        self.assertEqual((added.second_factor.name, len(added.recovery_codes)), ("blue", 10))
        wanted = self.login()
        self.assertEqual(json.loads(wanted.webauthn_request)["rpId"], "hub.example.com")
        self.assertTrue(self.login(assertion=key.get(wanted.webauthn_request)).token)
        (listed,) = self.world.done(eve.list_second_factors()).second_factors
        self.assertEqual((listed.kind, listed.id), ("webauthn", added.second_factor.id))
        self.assertGreater(listed.last_used, 0)
        self.assertRaises(BadInput, self.world.done, eve.finish_webauthn("{}", "x"))
        self.assertRaises(NotFound, self.world.done, eve.remove_webauthn("0"))
        self.world.done(eve.remove_webauthn(listed.id))
        self.assertFalse(self.login().second_factor_required)

    def test_reset(self) -> None:
        """An administrator takes away all second factors, and the bearers with them."""
        eve = self.eve()
        offer = self.world.done(eve.begin_totp())
        self.world.done(eve.confirm_totp(self.code(offer.secret)))
        self.world.done(self.admin.reset_second_factors("eve"))
        self.assertRaises(NotAuthenticated, self.world.done, eve.list_nodes())
        self.assertTrue(self.login().token)

    def later(self, who: AuthClient) -> AuthClient:
        """The same login after ten minutes, on a new connection, since an idle one is ended."""
        self.world.clock.advance(PROOF_LIFETIME)
        self.admin, self.stranger = self.client(self.world.user("grace")), self.client()
        return self.client(bearer=who.bearer)

    def changes(self, who: AuthClient) -> Iterable[Coroutine[Any, Any, Any]]:
        """A call of each method that changes second factors."""
        yield who.begin_totp()
        yield who.confirm_totp("000000")
        yield who.remove_totp()
        yield who.create_recovery_codes()
        yield who.begin_webauthn()
        yield who.finish_webauthn("{}", "x")
        yield who.remove_webauthn("x")

    def test_proof_too_old(self) -> None:
        """Ten minutes after a login nothing is changed, and nothing lost, until a new proof."""
        eve = self.eve()
        offer = self.world.done(eve.begin_totp())
        self.world.done(eve.confirm_totp(self.code(offer.secret)))
        eve = self.later(eve)
        for call in self.changes(eve):
            error = self.assertRaises(ProofNeeded, self.world.done, call)
            self.assertIn("prove once more who you are", str(error))
        listed = self.world.done(eve.list_second_factors())
        self.assertEqual((len(listed.second_factors), listed.recovery_codes_left), (1, 10))
        for password, code in (("wrong", ""), (CHOSEN, "000000")):
            proving = eve.prove_again(password, code)
            self.assertRaises(NotAuthenticated, self.world.done, proving)
        self.assertRaises(ProofNeeded, self.world.done, eve.remove_totp())

        before = eve.bearer
        wanted = self.world.done(eve.prove_again(CHOSEN))
        self.assertEqual((wanted.token, wanted.second_factor_required), ("", True))
        self.assertEqual(list(wanted.second_factors), ["totp", "recovery_code"])
        self.assertEqual(eve.bearer, before)
        self.world.done(eve.prove_again(CHOSEN, self.code(offer.secret)))
        self.assertNotEqual(eve.bearer, before)
        self.world.done(eve.remove_totp())
        self.assertRaises(NotAuthenticated, self.world.done, self.client(bearer=before).who_am_i())

    def test_proof_by_key(self) -> None:
        """A security key proves it as well."""
        eve = self.eve()
        key = Authenticator("https://hub.example.com")
        options = self.world.done(eve.begin_webauthn())
        added = self.world.done(eve.finish_webauthn(key.create(options), "blue"))
        eve = self.later(eve)
        wanted = self.world.done(eve.prove_again(CHOSEN))
        assertion = key.get(wanted.webauthn_request)
        self.world.done(eve.prove_again(CHOSEN, assertion=assertion))
        self.world.done(eve.remove_webauthn(added.second_factor.id))

    def test_refusals_are_audited(self) -> None:
        """What somebody asks for with an old proof is on record, with who asked and for what."""
        eve = self.eve()
        eve = self.later(eve)
        self.assertRaises(ProofNeeded, self.world.done, eve.begin_totp())
        self.world.done(eve.prove_again(CHOSEN))
        query = AuditQuery(types=("authz.denied", "user.proved"))
        denied, proved = self.world.done(self.world.store.audit.search(query, limit=10))
        self.assertEqual((denied.event.actor.name, denied.event.success), ("eve", False))
        self.assertEqual(denied.event.details, {"method": "BeginTotp"})
        self.assertEqual(proved.event.actor.name, "eve")

    def test_tokens_do_not_do(self) -> None:
        """An API token changes no second factors, and proves nothing."""
        made = self.world.done(
            self.admin.create_api_token("ada", "ci", access=pb.API_ACCESS_FULL, ttl_seconds=0)
        )
        program = self.client(bearer=made.secret)
        for call in (*self.changes(program), program.prove_again(CHOSEN)):
            error = self.assertRaises(Denied, self.world.done, call)
            self.assertNotIsInstance(error, ProofNeeded)
            self.assertEqual(str(error), "this is not for API tokens")

    def test_certificates_do_not_do(self) -> None:
        """Who finds a certificate changes nothing about how its owner logs in."""
        ada = self.client(self.world.user("ada"))
        for call in (*self.changes(ada), ada.prove_again(CHOSEN)):
            self.assertRaises(NotAuthenticated, self.world.done, call)
        self.assertEqual(list(self.world.done(ada.list_second_factors()).second_factors), [])
