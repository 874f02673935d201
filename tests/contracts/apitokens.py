"""
What every store does with API tokens.
"""

from __future__ import annotations

import attrs
from zope.interface.verify import verifyObject

from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.identity.tokens import ApiAccess
from mezite.names import UserName
from mezite.store.apitokens import API_TOKENS_PER_USER, ApiTokenRecord, IApiTokens
from mezite.store.error import NoSuchApiToken, NoSuchUser, TokenExists, TooManyApiTokens
from tests.contracts.store import ADA, BOB, StoreContract

START = 1000.25


def token(number: int = 0, user: UserName = ADA.name, lifetime: float = 60.0) -> ApiTokenRecord:
    """A token whose id, secret and age follow from the number."""
    return ApiTokenRecord(
        token_id=f"{number:012}",
        secret_hash=f"{number}".encode() * 8,
        name="ci \N{SNOWMAN}",
        user=user,
        access=ApiAccess.READ_ONLY,
        created_by="local",
        created=START + number,
        expires=START + number + lifetime,
    )


class ApiTokensContract(StoreContract):
    """What :class:`IApiTokens` promises."""

    def setUp(self) -> None:
        super().setUp()
        for user in (ADA, BOB):
            self.answer(self.store.users.create(user))

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IApiTokens, self.store.api_tokens)

    def test_round_trip(self) -> None:
        """A token is kept with everything in it, and found by its secret until it expires."""
        first = token()
        self.answer(self.store.api_tokens.add(first))
        self.answer(self.store.api_tokens.add(token(1, BOB.name)))
        self.assertEqual(self.answer(self.store.api_tokens.list()), (first, token(1, BOB.name)))
        found = self.store.api_tokens.find(first.secret_hash, START)
        self.assertEqual(self.answer(found), first)
        found = self.store.api_tokens.find(first.secret_hash, first.expires)
        self.assertIsNone(self.answer(found))
        self.assertIsNone(self.answer(self.store.api_tokens.find(b"x", START)))

    def test_refused(self) -> None:
        """A token belongs to a user who is there, and its id and secret to it alone."""
        nobody = token(user=UserName("nobody"))
        self.refusal(self.store.api_tokens.add(nobody), NoSuchUser)
        self.answer(self.store.api_tokens.add(token()))
        for other in (
            attrs.evolve(token(1), token_id=token().token_id),
            attrs.evolve(token(1), secret_hash=token().secret_hash),
        ):
            self.refusal(self.store.api_tokens.add(other), TokenExists)

    def test_bound(self) -> None:
        """A user has no more than somebody can oversee; what has expired is not counted."""
        for number in range(API_TOKENS_PER_USER):
            self.answer(self.store.api_tokens.add(token(number, lifetime=1000.0)))
        late = token(API_TOKENS_PER_USER)
        self.refusal(self.store.api_tokens.add(late), TooManyApiTokens)
        self.answer(self.store.api_tokens.add(attrs.evolve(late, user=BOB.name)))
        later = attrs.evolve(token(200), created=START + 1000.0)
        self.answer(self.store.api_tokens.add(later))

    def test_used(self) -> None:
        """When a token was used is noted; one that is gone meanwhile is no error."""
        self.answer(self.store.api_tokens.add(token()))
        self.answer(self.store.api_tokens.used(token().token_id, START + 5))
        self.answer(self.store.api_tokens.used("gone", START + 5))
        (record,) = self.answer(self.store.api_tokens.list())
        self.assertEqual(record.last_used, START + 5)

    def test_remove(self) -> None:
        """A token is removed once, with its event."""
        event = AuditEvent(EventType.API_TOKEN_REVOKED, 1.0, Actor("local"))
        self.answer(self.store.api_tokens.add(token()))
        self.answer(self.store.api_tokens.remove(token().token_id, event=event))
        again = self.store.api_tokens.remove(token().token_id, event=event)
        self.refusal(again, NoSuchApiToken)
        self.assertEqual(self.answer(self.store.audit.chain()).last_seq, 1)

    def test_with_the_user(self) -> None:
        """A user who is removed takes their tokens along."""
        self.answer(self.store.api_tokens.add(token()))
        self.answer(self.store.api_tokens.add(token(1, BOB.name)))
        self.answer(self.store.users.remove(ADA.name))
        self.assertEqual(self.answer(self.store.api_tokens.list()), (token(1, BOB.name),))

    def test_purge(self) -> None:
        """What has expired is forgotten."""
        for number in range(3):
            self.answer(self.store.api_tokens.add(token(number)))
        self.assertEqual(self.answer(self.store.api_tokens.purge(token(1).expires)), 2)
        self.assertEqual(self.answer(self.store.api_tokens.list()), (token(2),))
