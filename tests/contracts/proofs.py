"""
What every store does with invites and second factors.
"""

from __future__ import annotations

import attrs
from zope.interface.verify import verifyObject

from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.names import UserName
from mezite.store.error import InviteRefused, KeyExists, NoSuchFactor, NoSuchUser, TooManyKeys
from mezite.store.proofs import (
    KEYS_PER_USER,
    IInvites,
    InviteRecord,
    ISecondFactors,
    ProofsRecord,
    SecurityKeyRecord,
    TotpRecord,
)
from mezite.store.records import BearerRecord
from tests.contracts.store import ADA, BOB, NOW, StoreContract

INVITE = InviteRecord(b"\x01" * 32, ADA.name, "local", NOW - 10, NOW + 10)
TOTP = TotpRecord(ADA.name, b"s" * 20, NOW, 50)
KEY = SecurityKeyRecord(b"\x00id", ADA.name, "blue \N{SNOWMAN}", b"public", 7, NOW)
CODES = (b"a" * 32, b"b" * 32)
EVENT = AuditEvent(EventType.USER_INVITED, NOW, Actor("local"), target="ada")


class _ProofsContract(StoreContract):
    def setUp(self) -> None:
        super().setUp()
        self.answer(self.store.users.create(ADA))

    def bearer(self) -> None:
        self.answer(self.store.bearers.add(BearerRecord(b"bearer", ADA.name, NOW + 100)))

    def has_bearer(self) -> bool:
        return self.answer(self.store.bearers.find(b"bearer", NOW)) is not None

    def password_hash(self) -> str:
        user = self.answer(self.store.users.get(ADA.name))
        return str(user.password_hash)

    def proofs(self) -> ProofsRecord:
        record: ProofsRecord = self.answer(self.store.second_factors.get(ADA.name))
        return record

    def events(self) -> int:
        chain = self.answer(self.store.audit.chain())
        return int(chain.last_seq)


class InvitesContract(_ProofsContract):
    """What :class:`IInvites` promises."""

    def put(self, record: InviteRecord = INVITE, *, void_password: bool = False) -> None:
        self.answer(self.store.invites.put(record, void_password=void_password, event=EVENT))

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IInvites, self.store.invites)

    def test_found(self) -> None:
        """An invite is found until it expires, by its secret's hash."""
        self.put()
        self.assertEqual(self.answer(self.store.invites.find(INVITE.secret_hash, NOW)), INVITE)
        self.assertIsNone(self.answer(self.store.invites.find(INVITE.secret_hash, NOW + 10)))
        self.assertIsNone(self.answer(self.store.invites.find(b"\x02" * 32, NOW)))

    def test_one_each(self) -> None:
        """The newest invite of a user counts; others' stay until they expire."""
        self.put()
        self.answer(self.store.users.create(attrs.evolve(BOB, disabled=False)))
        self.put(attrs.evolve(INVITE, secret_hash=b"\x03" * 32, user=BOB.name))
        second = attrs.evolve(INVITE, secret_hash=b"\x02" * 32)
        self.put(second)
        self.assertIsNone(self.answer(self.store.invites.find(INVITE.secret_hash, NOW)))
        self.assertEqual(self.answer(self.store.invites.find(second.secret_hash, NOW)), second)
        self.assertIsNotNone(self.answer(self.store.invites.find(b"\x03" * 32, NOW)))
        self.put(attrs.evolve(second, created=NOW + 10, expires=NOW + 20))
        self.assertIsNone(self.answer(self.store.invites.find(b"\x03" * 32, NOW)))

    def test_nobody(self) -> None:
        """Who is not there is not invited, and nothing is on record."""
        other = attrs.evolve(INVITE, user=UserName("eve"))
        self.refusal(self.store.invites.put(other, void_password=False, event=EVENT), NoSuchUser)
        self.assertEqual(self.events(), 0)

    def test_void_password(self) -> None:
        """A reset leaves no password and no bearer; an invite alone leaves both."""
        self.bearer()
        self.put()
        self.assertTrue(self.has_bearer())
        self.assertEqual(self.password_hash(), ADA.password_hash)
        self.put(void_password=True)
        self.assertFalse(self.has_bearer())
        self.assertEqual(self.password_hash(), "")
        self.assertEqual(self.events(), 2)

    def test_accept(self) -> None:
        """An invite is accepted once, and sets password, app and codes together."""
        self.put()
        self.bearer()
        accepting = self.store.invites.accept(
            INVITE.secret_hash,
            NOW,
            password_hash="new",
            totp=TOTP,
            recovery_hashes=CODES,
            event=EVENT,
        )
        self.answer(accepting)
        self.assertEqual(self.password_hash(), "new")
        self.assertFalse(self.has_bearer())
        self.assertEqual(self.proofs(), ProofsRecord(TOTP, (), 2))
        again = self.store.invites.accept(
            INVITE.secret_hash, NOW, password_hash="other", event=EVENT
        )
        self.assertIn("invite is not valid", self.refusal(again, InviteRefused))
        self.assertEqual(self.password_hash(), "new")
        self.assertEqual(self.events(), 2)

    def test_accept_keeps_factors(self) -> None:
        """Without a new app the one that is there stays, with the codes."""
        self.answer(self.store.second_factors.set_totp(TOTP, recovery_hashes=CODES))
        self.put()
        self.answer(self.store.invites.accept(INVITE.secret_hash, NOW, password_hash="new"))
        self.assertEqual(self.proofs(), ProofsRecord(TOTP, (), 2))

    def test_accept_refused(self) -> None:
        """Expired, unknown and a disabled user's read the same, and change nothing."""
        self.put()
        for secret_hash, now in ((INVITE.secret_hash, NOW + 10), (b"\x02" * 32, NOW)):
            self.refusal(
                self.store.invites.accept(secret_hash, now, password_hash="new"), InviteRefused
            )
        self.answer(
            self.store.users.change(ADA.name, lambda user: attrs.evolve(user, disabled=True))
        )
        self.assertIsNone(self.answer(self.store.invites.find(INVITE.secret_hash, NOW)))
        self.refusal(
            self.store.invites.accept(INVITE.secret_hash, NOW, password_hash="new"), InviteRefused
        )
        self.assertEqual(self.password_hash(), ADA.password_hash)

    def test_goes_with_user(self) -> None:
        """A removed user's invite makes nobody; not even the next of that name."""
        self.put()
        self.answer(self.store.users.remove(ADA.name))
        self.answer(self.store.users.create(ADA))
        self.refusal(
            self.store.invites.accept(INVITE.secret_hash, NOW, password_hash="new"), InviteRefused
        )


class SecondFactorsContract(_ProofsContract):
    """What :class:`ISecondFactors` promises."""

    def setUp(self) -> None:
        super().setUp()
        self.factors = self.store.second_factors

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(ISecondFactors, self.factors)

    def test_nothing(self) -> None:
        """There is nothing at first, nor of anybody who is not there."""
        self.assertEqual(self.proofs(), ProofsRecord())
        self.assertFalse(self.proofs().is_enrolled)
        self.assertEqual(self.answer(self.factors.get(UserName("eve"))), ProofsRecord())
        self.assertEqual(self.answer(self.factors.enrolled()), frozenset())

    def test_totp(self) -> None:
        """An app is kept, replaced and removed; the last factor takes the codes along."""
        self.answer(self.factors.set_totp(TOTP, recovery_hashes=CODES))
        self.assertEqual(self.answer(self.factors.enrolled()), {ADA.name})
        other = attrs.evolve(TOTP, secret=b"t" * 20)
        self.answer(self.factors.set_totp(other))
        self.assertEqual(self.proofs(), ProofsRecord(other, (), 2))
        self.answer(self.factors.remove_totp(ADA.name, event=EVENT))
        self.assertEqual(self.proofs(), ProofsRecord())
        self.refusal(self.factors.remove_totp(ADA.name, event=EVENT), NoSuchFactor)
        self.assertEqual(self.events(), 1)

    def test_step_once(self) -> None:
        """A step is used once, and none before it is used after."""
        self.answer(self.factors.set_totp(TOTP))
        self.assertEqual(
            [self.answer(self.factors.use_step(TOTP, step)) for step in (50, 51, 51, 49, 52)],
            [False, True, False, False, True],
        )
        replaced = attrs.evolve(TOTP, secret=b"t" * 20)
        self.assertFalse(self.answer(self.factors.use_step(replaced, 60)))

    def test_recovery_codes(self) -> None:
        """Each code is used once, by its user; a new set ends the old one."""
        self.answer(self.factors.set_totp(TOTP, recovery_hashes=CODES))
        use = self.factors.use_recovery_code
        self.refusal(use(BOB.name, CODES[0]), NoSuchFactor)
        self.assertEqual(self.answer(use(ADA.name, CODES[0], event=EVENT)), 1)
        self.refusal(use(ADA.name, CODES[0], event=EVENT), NoSuchFactor)
        self.assertEqual(self.events(), 1)
        self.answer(self.factors.set_recovery_codes(ADA.name, [b"c" * 32]))
        self.refusal(use(ADA.name, CODES[1]), NoSuchFactor)
        self.assertEqual(self.answer(use(ADA.name, b"c" * 32)), 0)

    def test_keys(self) -> None:
        """Keys are kept as they are, each for one user, and removed by that one."""
        second = attrs.evolve(KEY, credential_id=b"\xff", created=NOW - 5, last_used=1.5)
        self.answer(self.factors.add_key(KEY, recovery_hashes=CODES))
        self.answer(self.factors.add_key(second))
        self.assertEqual(self.proofs(), ProofsRecord(None, (second, KEY), 2))
        self.answer(self.store.users.create(BOB))
        self.refusal(self.factors.add_key(attrs.evolve(KEY, user=BOB.name)), KeyExists)
        self.refusal(self.factors.remove_key(BOB.name, KEY.credential_id), NoSuchFactor)
        self.answer(self.factors.remove_key(ADA.name, second.credential_id))
        self.assertEqual(self.proofs(), ProofsRecord(None, (KEY,), 2))
        self.answer(self.factors.remove_key(ADA.name, KEY.credential_id))
        self.assertEqual(self.proofs(), ProofsRecord())

    def test_too_many_keys(self) -> None:
        """A user has no more keys than can be overseen."""
        for number in range(KEYS_PER_USER):
            self.answer(self.factors.add_key(attrs.evolve(KEY, credential_id=bytes([number]))))
        self.refusal(self.factors.add_key(KEY), TooManyKeys)
        self.assertEqual(len(self.proofs().keys), KEYS_PER_USER)

    def test_sign_count(self) -> None:
        """A count that does not grow is a copied key; keys that do not count say 0."""
        self.answer(self.factors.add_key(KEY))
        uses = [
            self.answer(self.factors.use_key(KEY.credential_id, count, NOW + count))
            for count in (7, 8, 8, 0, 2**32 - 1)
        ]
        self.assertEqual(uses, [False, True, False, False, True])
        self.assertEqual(self.proofs().keys[0].last_used, NOW + 2**32 - 1)
        self.answer(self.factors.add_key(attrs.evolve(KEY, credential_id=b"0", sign_count=0)))
        uses = [self.answer(self.factors.use_key(b"0", count, NOW)) for count in (0, 0, 1, 0)]
        self.assertEqual(uses, [True, True, True, False])
        self.assertFalse(self.answer(self.factors.use_key(b"none", 9, NOW)))

    def test_nobody(self) -> None:
        """Who is not there gets nothing."""
        eve = UserName("eve")
        for adding in (
            self.factors.set_totp(attrs.evolve(TOTP, user=eve)),
            self.factors.add_key(attrs.evolve(KEY, user=eve)),
            self.factors.set_recovery_codes(eve, CODES),
        ):
            self.refusal(adding, NoSuchUser)

    def test_clear(self) -> None:
        """All of it can be forgotten at once, and bearers end."""
        self.refusal(self.factors.clear(ADA.name), NoSuchFactor)
        self.answer(self.factors.set_totp(TOTP, recovery_hashes=CODES))
        self.answer(self.factors.add_key(KEY))
        self.bearer()
        self.answer(self.factors.clear(ADA.name, event=EVENT))
        self.assertEqual(self.proofs(), ProofsRecord())
        self.assertFalse(self.has_bearer())

    def test_go_with_user(self) -> None:
        """The next user of that name begins with nothing."""
        self.answer(self.factors.set_totp(TOTP, recovery_hashes=CODES))
        self.answer(self.factors.add_key(KEY))
        self.answer(self.store.users.remove(ADA.name))
        self.answer(self.store.users.create(ADA))
        self.assertEqual(self.proofs(), ProofsRecord())
