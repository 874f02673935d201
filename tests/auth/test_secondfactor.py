"""Tests of second factors: enrolled, asked for, used once, lost and removed."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from webauthn.helpers import bytes_to_base64url

from mezite.auth.enrolment import RECOVERY_CODES
from mezite.auth.error import (
    BadSecurityKey,
    LastSecondFactor,
    SecondFactorMissing,
    SecondFactorRequired,
    SecondFactorsOff,
    TooManyFailures,
    WrongCode,
)
from mezite.auth.limiter import FREE_FAILURES
from mezite.auth.webauthn import key_id
from mezite.identity.secondfactor import SecondFactorPolicy
from mezite.identity.totp import STEP_SECONDS, code_at
from mezite.store.error import KeyExists, NoSuchFactor
from tests.auth.people import ADDRESS, BOB, PeopleTestCase, secret_of
from tests.auth.threads import HeldThreads
from tests.auth.world import ADA, LOCAL, PASSWORD, World


class TotpTests(PeopleTestCase):
    def test_not_enrolled(self) -> None:
        """Who has nothing is asked for nothing, and a code does no harm."""
        self.log_in()
        self.log_in(code="123456")

    def test_enrolled(self) -> None:
        """Once an app is enrolled, a password alone is not enough."""
        codes = self.enrol()
        self.assertEqual(len(set(codes)), RECOVERY_CODES)
        wanted = self.asked_for()
        self.assertEqual(wanted.kinds, ("totp", "recovery_code"))
        self.assertEqual(wanted.webauthn_request, "")
        login = self.log_in(self.code())
        self.assertEqual(login.user, ADA)
        (event,) = self.events("user.totp.enrolled")
        self.assertEqual(event.details, {"recovery_codes": RECOVERY_CODES})
        (event,) = self.events("user.login")
        self.assertEqual(event.details, {"second_factor": "totp"})

    def test_wrong_password_first(self) -> None:
        """A right code with a wrong password tells nothing, and is not spent."""
        self.enrol()
        login = Deferred.fromCoroutine(self.logging_in(self.code(), password="wrong"))
        self.failureResultOf(login)
        self.log_in(self.code())

    def test_once(self) -> None:
        """A code is accepted once, and none of an earlier step after it."""
        self.enrol()
        code = self.code()
        self.log_in(code)
        self.assertEqual(self.login_refused(code), "wrong code")
        self.assertEqual(self.login_refused(self.code(steps=-1)), "wrong code")
        self.log_in(self.code(steps=1))
        self.assertEqual(self.login_refused(self.code(steps=2)), "wrong code")

    def test_enrolment_spends_the_code(self) -> None:
        """The code that enrolled the app does not log in as well."""
        secret = secret_of(self.world.enrolment.begin_totp(ADA).secret)
        code = code_at(secret, self.world.now)
        self.result(self.world.enrolment.confirm_totp(ADA, code, by=LOCAL))
        self.assertEqual(self.login_refused(code), "wrong code")

    def test_once_at_the_same_time(self) -> None:
        """Of many who come with one code at once, one gets in."""
        self.enrol()
        threads = HeldThreads()
        world = World(threads, now=self.world.now, store=self.world.store)
        self.world = world
        tries = [
            Deferred.fromCoroutine(self.logging_in(self.code(), address=f"10.0.0.{n}"))
            for n in range(10)
        ]
        while threads.held:
            threads.finish()
        outcomes: list[object] = []
        for each in tries:
            each.addBoth(outcomes.append)
        logins = [each for each in outcomes if hasattr(each, "bearer")]
        self.assertEqual((len(outcomes), len(logins)), (10, 1))

    def test_as_typed(self) -> None:
        """A code may be typed with the space that apps show in it."""
        self.enrol()
        code = self.code()
        self.log_in(f" {code[:3]} {code[3:]} ")

    def test_enrolment_refused(self) -> None:
        """Without the right code, or after some minutes, nothing is enrolled."""
        enrolment = self.world.enrolment
        self.refusal(enrolment.confirm_totp(ADA, "000000", by=LOCAL), WrongCode)
        secret = secret_of(enrolment.begin_totp(ADA).secret)
        code = code_at(secret, self.world.now)
        self.refusal(enrolment.confirm_totp(BOB, code, by=LOCAL), WrongCode)
        for wrong in ("", "x" * 10_000, "\ud800", code_at(secret, 0.0)):
            self.refusal(enrolment.confirm_totp(ADA, wrong, by=LOCAL), WrongCode)
        newer = secret_of(enrolment.begin_totp(ADA).secret)
        self.refusal(enrolment.confirm_totp(ADA, code, by=LOCAL), WrongCode)
        self.world.now += 600
        code = code_at(newer, self.world.now)
        self.refusal(enrolment.confirm_totp(ADA, code, by=LOCAL), WrongCode)
        self.log_in()

    def test_replaced(self) -> None:
        """Another app takes the place of the first, and the recovery codes stay."""
        codes = self.enrol()
        old = self.code(steps=3)
        self.assertEqual(self.enrol(), ())
        self.world.now += STEP_SECONDS
        self.assertEqual(self.login_refused(old), "wrong code")
        self.log_in(codes[0])

    def test_removed(self) -> None:
        """Without the app the password is enough again, and the codes are gone."""
        self.enrol()
        self.result(self.world.enrolment.remove_totp(ADA, by=LOCAL))
        self.log_in()
        self.assertEqual(self.proofs().recovery_codes, 0)
        self.refusal(self.world.enrolment.remove_totp(ADA, by=LOCAL), NoSuchFactor)
        self.assertEqual(len(self.events("user.totp.removed")), 1)

    def test_guessed(self) -> None:
        """Who knows the password does not try all codes: wrong ones count, asking does not help."""
        self.enrol()
        for number in range(FREE_FAILURES):
            self.asked_for()
            self.login_refused(f"{number:06}")
        self.refusal(self.logging_in(self.code()), TooManyFailures)
        events = self.events("user.login.failed")
        self.assertEqual([event.error for event in events], ["wrong code"] * FREE_FAILURES)
        self.assertEqual({event.actor.name for event in events}, {"ada"})

    def test_asking_is_no_failure(self) -> None:
        """Whoever is asked for a code, however often, has failed at nothing."""
        self.enrol()
        for _ in range(10 * FREE_FAILURES):
            self.asked_for()
        self.log_in(self.code())

    def test_password_change(self) -> None:
        """A password is changed with the second factor as well."""
        self.enrol()
        changing = self.world.logins.change_password("ada", PASSWORD, "battery staple")
        self.refusal(changing, SecondFactorRequired)
        self.log_in(self.code())


class RecoveryCodeTests(PeopleTestCase):
    def test_once(self) -> None:
        """Each code lets in once, however it is typed; it is on record how many are left."""
        codes = self.enrol()
        self.log_in(codes[0].upper().replace("-", " "))
        self.assertEqual(self.login_refused(codes[0]), "wrong recovery code")
        self.log_in(codes[1])
        self.assertEqual(self.proofs().recovery_codes, RECOVERY_CODES - 2)
        left = [event.details["codes_left"] for event in self.events("user.recovery_code.used")]
        self.assertEqual(left, [9, 8])
        self.assertEqual(
            [event.details["second_factor"] for event in self.events("user.login")],
            ["recovery_code"] * 2,
        )

    def test_not_stored(self) -> None:
        """The store holds hashes, from which no code can be made; nor has the audit any."""
        codes = self.enrol()
        stored = repr(self.world.store._tables.recovery_codes) + repr(self.world.audited())
        self.assertFalse([code for code in codes if code in stored])

    def test_renewed(self) -> None:
        """New codes end the old ones."""
        codes = self.enrol()
        new = self.result(self.world.enrolment.new_recovery_codes(ADA, by=LOCAL))
        self.assertEqual(self.login_refused(codes[0]), "wrong recovery code")
        self.log_in(new[0])
        self.assertEqual(len(self.events("user.recovery_codes.created")), 1)

    def test_need_a_factor(self) -> None:
        """Who has no second factor needs no codes for its loss."""
        self.refusal(self.world.enrolment.new_recovery_codes(ADA, by=LOCAL), NoSuchFactor)


class SecurityKeyTests(PeopleTestCase):
    def test_login(self) -> None:
        """A key is asked for and lets in, once for each request."""
        key = self.add_key()
        wanted = self.asked_for()
        self.assertEqual(wanted.kinds, ("webauthn", "recovery_code"))
        answer = key.get(wanted.webauthn_request)
        self.log_in(assertion=answer)
        self.assertEqual(self.login_refused(assertion=answer), "no challenge for a security key")
        (kept,) = self.proofs().keys
        self.assertEqual((kept.sign_count, kept.last_used), (1, self.world.now))
        (event,) = self.events("user.webauthn.added")
        self.assertEqual(event.details["name"], "blue")

    def test_copied(self) -> None:
        """A key whose count falls back is refused."""
        key = self.add_key()
        for _ in range(3):
            self.log_in(assertion=key.get(self.asked_for().webauthn_request))
        key.sign_count = 1
        refused = self.login_refused(assertion=key.get(self.asked_for().webauthn_request))
        self.assertIn("sign count", refused)

    def test_uncounting(self) -> None:
        """Keys that count nothing are accepted, as many browsers' own are."""
        key = self.add_key()
        key.counts = False
        for _ in range(2):
            self.log_in(assertion=key.get(self.asked_for().webauthn_request))

    def test_of_another(self) -> None:
        """The key of somebody else is none."""
        self.create(BOB, PASSWORD)
        bobs = self.add_key(BOB)
        self.add_key()
        (kept,) = self.proofs().keys
        mine, theirs = map(bytes_to_base64url, (kept.credential_id, bobs.credential_id))
        request = self.asked_for().webauthn_request.replace(mine, theirs)
        self.assertIn("somebody else", self.login_refused(assertion=bobs.get(request)))

    def test_added_twice(self) -> None:
        """A key is added once."""
        key = self.add_key()
        options = self.result(self.world.enrolment.begin_key(BOB))
        self.create(BOB, PASSWORD)
        adding = self.world.enrolment.finish_key(BOB, key.create(options), "x", by=LOCAL)
        self.refusal(adding, KeyExists)
        adding = self.world.enrolment.finish_key(ADA, "{}", "x", by=LOCAL)
        self.refusal(adding, BadSecurityKey)

    def test_removed(self) -> None:
        """A key is removed by its id."""
        self.add_key()
        (kept,) = self.proofs().keys
        remove = self.world.enrolment.remove_key
        self.refusal(remove(ADA, "000000000000", by=LOCAL), NoSuchFactor)
        self.refusal(remove(BOB, key_id(kept), by=LOCAL), NoSuchFactor)
        self.result(remove(ADA, key_id(kept), by=LOCAL))
        self.log_in()
        self.assertEqual(len(self.events("user.webauthn.removed")), 1)

    def test_reset(self) -> None:
        """An administrator's reset leaves nothing, and ends the bearers."""
        self.enrol()
        self.add_key()
        login = self.log_in(self.code())
        self.result(self.world.enrolment.reset(ADA, by=LOCAL))
        self.assertIsNone(self.result(self.world.logins.caller_of(login.bearer)))
        self.log_in()
        self.refusal(self.world.enrolment.reset(ADA, by=LOCAL), NoSuchFactor)
        (event,) = self.events("user.totp.removed")
        self.assertEqual(event.details, {"security_keys": 1, "recovery_codes": RECOVERY_CODES})


class RequiredTests(PeopleTestCase):
    policy = SecondFactorPolicy.REQUIRED

    def test_missing(self) -> None:
        """Who has none is told what to do, with the right password only; it counts as no guess."""
        for _ in range(2 * FREE_FAILURES):
            refused = self.refusal(self.logging_in(), SecondFactorMissing)
            self.assertIn("mezctl users reset ada", refused)
        login = Deferred.fromCoroutine(self.logging_in(password="wrong"))
        self.assertNotIsInstance(self.failureResultOf(login).value, SecondFactorMissing)

    def test_last(self) -> None:
        """The last factor is not removed; one of two is."""
        self.enrol()
        remove = self.world.enrolment.remove_totp
        self.refusal(remove(ADA, by=LOCAL), LastSecondFactor)
        self.add_key()
        self.result(remove(ADA, by=LOCAL))
        (kept,) = self.proofs().keys
        self.refusal(self.world.enrolment.remove_key(ADA, key_id(kept), by=LOCAL), LastSecondFactor)


class OffTests(PeopleTestCase):
    policy = SecondFactorPolicy.OFF

    def test_nothing(self) -> None:
        """Nobody is asked, and nothing is enrolled."""
        self.assertRaises(SecondFactorsOff, self.world.enrolment.begin_totp, ADA)
        self.refusal(self.world.enrolment.begin_key(ADA), SecondFactorsOff)
        self.log_in()

    def test_enrolled_before(self) -> None:
        """What was enrolled before waits until it is wanted again."""
        other = World(store=self.world.store)
        secret = secret_of(other.enrolment.begin_totp(ADA).secret)
        code = code_at(secret, other.now)
        self.result(other.enrolment.confirm_totp(ADA, code, by=LOCAL))
        self.log_in()
        login = other.logins.authenticate("ada", PASSWORD, ADDRESS)
        self.refusal(login, SecondFactorRequired)
