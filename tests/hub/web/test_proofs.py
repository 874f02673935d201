"""Tests of proving once more who one is, in a session of the REST API."""

from __future__ import annotations

import base64

from mezite.auth.login import BEARER_LIFETIME, PROOF_LIFETIME
from mezite.identity.totp import STEP_SECONDS, code_at
from tests.doubles.webclient import Answer, WebClient
from tests.hub.web.test_rest import PASSWORD, RestTests

CHANGES = (
    ("POST", "/factors/totp", {}),
    ("POST", "/factors/totp/confirm", {"code": "000000"}),
    ("DELETE", "/factors/totp", None),
    ("POST", "/factors/recovery-codes", {}),
    ("POST", "/factors/webauthn", {}),
    ("POST", "/factors/webauthn/confirm", {"credential": "{}"}),
    ("DELETE", "/factors/webauthn/x", None),
)


class ProofTests(RestTests):
    """eve, whose session began ten minutes ago."""

    def setUp(self) -> None:
        super().setUp()
        self.create_eve()
        self.eve = WebClient(self.world)
        self.take(self.log_in())
        self.wait(PROOF_LIFETIME)

    def wait(self, seconds: float) -> None:
        """Longer than a connection without a request is kept."""
        self.world.clock.advance(seconds)
        self.world.flush()

    def take(self, answer: Answer) -> None:
        """Take the cookie, as a browser does, and the token, as the page does."""
        cookie = (answer.header("set-cookie") or "").partition(";")[0]
        self.eve.headers = {"Cookie": cookie, "X-CSRF-Token": answer.json["csrf_token"]}

    def prove(self, password: object = PASSWORD) -> Answer:
        return self.eve.ask("POST", "/session/proof", {"password": password})

    def test_needed(self) -> None:
        """Every change is refused by a kind that nothing else has; the rest goes on."""
        for change in CHANGES:
            answer = self.eve.ask(*change)
            self.assertEqual((answer.status, answer.kind), (403, "proof_needed"), change)
            self.assertIn("prove once more who you are", answer.sentence)
        self.assertEqual(self.eve.ask("GET", "/factors").status, 200)

    def test_wrong(self) -> None:
        """A wrong password proves nothing, sets no cookie, and is delayed as at a login."""
        before = self.eve.headers["Cookie"]
        answers = [self.prove("wrong") for _ in range(5)]
        self.assertEqual(
            {(each.status, each.kind) for each in answers}, {(401, "not_authenticated")}
        )
        self.assertEqual({each.header("set-cookie") for each in answers}, {None})
        self.assertEqual((self.prove().status, self.log_in().status), (429, 429))
        self.assertEqual(self.eve.ask("POST", "/factors/totp", {}).kind, "proof_needed")
        self.assertEqual(self.eve.headers["Cookie"], before)

    def test_right(self) -> None:
        """A proof lets go on, with another cookie, which ends when the first would have."""
        before = dict(self.eve.headers)
        proved = self.prove()
        self.assertEqual(proved.status, 200)
        self.assertNotIn("mzb_", proved.body.decode())
        self.assertNotIn("token", proved.json)
        left = int(BEARER_LIFETIME - PROOF_LIFETIME)
        cookie = proved.header("set-cookie") or ""
        self.assertIn(f"; Max-Age={left}; ", cookie.replace(f"={left - 1};", f"={left};"))
        self.assertIn("; HttpOnly; Secure; SameSite=Strict", cookie)
        self.take(proved)
        self.assertNotEqual(self.eve.headers["Cookie"], before["Cookie"])
        self.assertEqual(self.eve.ask("POST", "/factors/totp", {}).status, 200)
        self.assertEqual(WebClient(self.world, before).ask("GET", "/session").status, 401)

    def test_second_factor(self) -> None:
        """Who has a second factor is asked for it, and has the cookie of before until then."""
        self.take(self.prove())
        totp = self.eve.ask("POST", "/factors/totp", {}).json["totp"]
        code = self.code_of(totp["secret"])
        self.eve.ask("POST", "/factors/totp/confirm", {"code": code})
        self.wait(PROOF_LIFETIME)
        wanted = self.prove()
        self.assertEqual(wanted.json["second_factors"], ["totp", "recovery_code"])
        self.assertEqual((wanted.json["csrf_token"], wanted.header("set-cookie")), ("", None))
        code = self.code_of(totp["secret"])
        body = {"password": PASSWORD, "second_factor_code": code}
        self.take(self.eve.ask("POST", "/session/proof", body))
        self.assertEqual(self.eve.ask("DELETE", "/factors/totp").status, 204)

    def test_by_another_site(self) -> None:
        """Another site's page proves nothing, whatever it knows."""
        body = {"password": PASSWORD}
        for headers in (
            {"X-CSRF-Token": ""},
            {"Origin": "https://evil.example.com"},
            {"Sec-Fetch-Site": "cross-site"},
        ):
            answer = self.eve.ask("POST", "/session/proof", body, headers=headers)
            self.assertEqual((answer.status, answer.kind), (403, "denied"))
        self.assertEqual(self.eve.ask("POST", "/factors/totp", {}).kind, "proof_needed")

    def test_not_understood(self) -> None:
        """What is no proof is refused by name."""
        for body in ({}, {"password": 7}, {"password": None}, {"password": "x", "user": "ada"}):
            answer = self.eve.ask("POST", "/session/proof", body)
            self.assertEqual((answer.status, answer.kind), (400, "bad_input"), body)
        self.assertEqual(self.prove("x" * 5000).status, 401)
        self.assertEqual(self.prove("x" * 70_000).status, 413)

    def code_of(self, secret: str) -> str:
        """The next code that nobody has used."""
        self.wait(2 * STEP_SECONDS)
        octets = base64.b32decode(secret.replace(" ", ""))
        return code_at(octets, self.world.clock.seconds())
