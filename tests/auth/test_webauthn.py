"""Tests of security keys: what is accepted, and everything else."""

from __future__ import annotations

import json
from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.error import BadSecurityKey, LoginRefused, NoSecurityKeysHere
from mezite.auth.pending import LIFETIME, LIMIT, Pending
from mezite.auth.webauthn import NAME_LENGTH, RESPONSE_LENGTH, SecurityKeys, key_id
from mezite.names import HostPort, UserName
from mezite.store.proofs import SecurityKeyRecord
from tests.auth.world import ADA, START
from tests.doubles.authenticator import Authenticator, challenge_of

BOB = UserName("bob")
ORIGIN = "https://hub.example.com"


class SecurityKeyTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = START
        self.address = HostPort("hub.example.com", 443)
        self.keys = SecurityKeys(lambda: self.address, "prod", lambda: self.now)
        self.authenticator = Authenticator(ORIGIN)

    def register(self, name: str = "blue", user: UserName = ADA) -> SecurityKeyRecord:
        options = self.keys.begin_registration(user, ())
        return self.keys.finish_registration(user, self.authenticator.create(options), name)


class RegistrationTests(SecurityKeyTestCase):
    def test_registered(self) -> None:
        """A key that signs with the right challenge, name and origin is registered."""
        for attestation in ("none", "packed"):
            self.authenticator = Authenticator(ORIGIN, attestation=attestation)
            key = self.register()
            self.assertEqual(key.credential_id, self.authenticator.credential_id)
            self.assertEqual((key.user, key.name, key.created), (ADA, "blue", START))
            self.assertRegex(key_id(key), "^[0-9a-f]{12}$")

    def test_options(self) -> None:
        """The options name the hub and no person, and keys that are there already."""
        key = self.register()
        first = json.loads(self.keys.begin_registration(ADA, [key]))
        self.assertEqual(first["rp"]["id"], "hub.example.com")
        self.assertEqual(len(first["excludeCredentials"]), 1)
        self.assertNotIn("ada", first["user"]["id"])
        second = json.loads(self.keys.begin_registration(ADA, [key]))
        self.assertEqual(first["user"]["id"], second["user"]["id"])
        self.assertNotEqual(first["challenge"], second["challenge"])

    def test_name(self) -> None:
        """What a key is called is text of a bounded length."""
        self.assertEqual(self.register(" blue\x1b[1m\n").name, "blue[1m")
        self.assertEqual(self.register("").name, "security key")
        self.assertEqual(len(self.register("x" * 1000).name), NAME_LENGTH)

    def test_port(self) -> None:
        """The origin has the port, unless it is the usual one."""
        self.assertEqual(self.keys.origin, ORIGIN)
        self.address = HostPort("hub.example.com", 3080)
        self.assertEqual(self.keys.origin, f"{ORIGIN}:3080")
        self.authenticator.origin = f"{ORIGIN}:3080"
        self.register()

    def test_address(self) -> None:
        """Where the hub has no name there are no keys."""
        self.address = HostPort("192.0.2.1", 443)
        self.assertRaises(NoSecurityKeysHere, self.keys.begin_registration, ADA, ())

    def test_refused(self) -> None:
        """Another page, another hub, another challenge and another purpose are refused."""
        changes: tuple[dict[str, Any], ...] = (
            {"origin": "https://evil.example.com"},
            {"origin": "http://hub.example.com"},
            {"rp_id": "evil.example.com"},
            {"challenge": "AAAA"},
            {"type": "webauthn.get"},
        )
        for change in changes:
            options = self.keys.begin_registration(ADA, ())
            answer = self.authenticator.create(options, **change)
            self.assertRaises(BadSecurityKey, self.keys.finish_registration, ADA, answer, "x")

    def test_challenges(self) -> None:
        """A challenge is for one user, once, for some minutes; the newest counts."""
        options = self.keys.begin_registration(ADA, ())
        answer = self.authenticator.create(options)
        self.assertRaises(BadSecurityKey, self.keys.finish_registration, BOB, answer, "x")
        self.keys.finish_registration(ADA, answer, "x")
        self.assertRaises(BadSecurityKey, self.keys.finish_registration, ADA, answer, "x")
        options = self.keys.begin_registration(ADA, ())
        self.keys.begin_registration(ADA, ())
        answer = self.authenticator.create(options)
        self.assertRaises(BadSecurityKey, self.keys.finish_registration, ADA, answer, "x")
        answer = self.authenticator.create(self.keys.begin_registration(ADA, ()))
        self.now += LIFETIME
        self.assertRaises(BadSecurityKey, self.keys.finish_registration, ADA, answer, "x")

    def test_hostile(self) -> None:
        """Whatever is no answer is refused, truncated ones at every length among them."""
        answer = self.authenticator.create(self.keys.begin_registration(ADA, ()))
        values = json.loads(answer)
        made = values["response"]["attestationObject"]
        texts = [
            "",
            "null",
            "[]",
            "{}",
            "[" * 10_000,
            "x" * (RESPONSE_LENGTH + 1),
            "\ud800",
            "1e999",
        ]
        texts += [answer[:end] for end in range(0, len(answer), 40)]
        for end in range(0, len(made), 7):
            values["response"]["attestationObject"] = made[:end]
            texts.append(json.dumps(values))
        for text in texts:
            self.keys.begin_registration(ADA, ())
            self.assertRaises(BadSecurityKey, self.keys.finish_registration, ADA, text, "x")


class AssertionTests(SecurityKeyTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.key = self.register()

    def refused(self, answer: str, *keys: SecurityKeyRecord, user: UserName = ADA) -> str:
        refusal = self.assertRaises(
            LoginRefused, self.keys.finish_assertion, user, answer, keys or [self.key]
        )
        self.assertEqual(str(refusal), "the user name or the password is wrong")
        return refusal.reason

    def test_signed(self) -> None:
        """A key proves itself by signing the challenge, and says how often it has signed."""
        answer = self.authenticator.get(self.keys.begin_assertion(ADA, [self.key]))
        signed = self.keys.finish_assertion(ADA, answer, [self.key])
        self.assertEqual((signed.credential_id, signed.sign_count), (self.key.credential_id, 1))

    def test_nothing_to_ask(self) -> None:
        """Without a key there is no request."""
        self.assertEqual(self.keys.begin_assertion(ADA, []), "")

    def test_refused(self) -> None:
        """Another page, hub, challenge or purpose is refused with the sentence of all."""
        changes: tuple[dict[str, Any], ...] = (
            {"origin": "https://evil.example.com"},
            {"rp_id": "evil.example.com"},
            {"challenge": "AAAA"},
            {"type": "webauthn.create"},
        )
        for change in changes:
            options = self.keys.begin_assertion(ADA, [self.key])
            self.assertIn(
                "security key blue", self.refused(self.authenticator.get(options, **change))
            )

    def test_another_key(self) -> None:
        """A key of somebody else, or of nobody, is refused, and so is a wrong signature."""
        options = self.keys.begin_assertion(ADA, [self.key])
        other = attrs.evolve(self.key, credential_id=b"other")
        self.assertIn("somebody else", self.refused(self.authenticator.get(options), other))
        stranger = Authenticator(ORIGIN, credential_id=self.key.credential_id)
        options = self.keys.begin_assertion(ADA, [self.key])
        self.assertIn("blue", self.refused(stranger.get(options)))

    def test_copied(self) -> None:
        """A count that does not grow is a copy of the key."""
        counted = attrs.evolve(self.key, sign_count=5)
        answer = self.authenticator.get(self.keys.begin_assertion(ADA, [counted]))
        self.assertIn("sign count", self.refused(answer, counted))

    def test_challenges(self) -> None:
        """A challenge is for one user, once, for some minutes, and for one purpose."""
        options = self.keys.begin_assertion(ADA, [self.key])
        answer = self.authenticator.get(options)
        self.assertIn("no challenge", self.refused(answer, user=BOB))
        self.keys.finish_assertion(ADA, answer, [self.key])
        self.assertIn("no challenge", self.refused(answer))
        answer = self.authenticator.get(self.keys.begin_assertion(ADA, [self.key]))
        self.now += LIFETIME
        self.assertIn("no challenge", self.refused(answer))
        self.assertEqual(len(challenge_of(options)), 32)
        self.keys.begin_registration(ADA, ())
        self.assertIn("no challenge", self.refused(answer))

    @settings(max_examples=100, deadline=None)
    @given(
        st.one_of(
            st.text(max_size=200),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=20),
                lambda inner: (
                    st.lists(inner, max_size=3)
                    | st.dictionaries(
                        st.sampled_from(
                            ["id", "rawId", "type", "response", "clientDataJSON", "signature"]
                        )
                        | st.text(max_size=5),
                        inner,
                        max_size=5,
                    )
                ),
                max_leaves=10,
            ).map(json.dumps),
        )
    )
    def test_anything(self, answer: str) -> None:
        """Whatever is sent is refused as a wrong login."""
        self.keys.begin_assertion(ADA, [self.key])
        self.refused(answer)


class PendingTests(SynchronousTestCase):
    def test_bounded(self) -> None:
        """No more is kept than the bound, and the newest stay."""
        pending: Pending[int] = Pending()
        for number in range(LIMIT + 5):
            pending.put(str(number), number, 0.0)
        self.assertEqual(len(pending), LIMIT)
        self.assertIsNone(pending.get("4", 0.0))
        self.assertEqual(pending.take("5", 0.0), 5)
        self.assertIsNone(pending.take("5", 0.0))

    def test_clock_set_back(self) -> None:
        """What seems to be from the future is as good as expired."""
        pending: Pending[int] = Pending()
        pending.put("a", 1, 100.0)
        self.assertIsNone(pending.get("a", 99.0))
