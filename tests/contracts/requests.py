"""
What every store does with access requests.
"""

from __future__ import annotations

import attrs
from zope.interface.verify import verifyObject

from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.identity.error import NotPossible
from mezite.identity.requests import PENDING_SECONDS, AccessRequest, State, Step
from mezite.names import RoleName, UserName
from mezite.store.error import NoSuchRequest, NoSuchUser, RequestExists, TooManyRequests
from mezite.store.requests import (
    APPROVED_PER_USER,
    OVER_PER_USER,
    PENDING_PER_USER,
    IAccessRequests,
    RequestQuery,
)
from tests.contracts.store import ADA, BOB, StoreContract

CAROL = attrs.evolve(BOB, name=UserName("carol"), disabled=False)
START = 1000.25
ALL = RequestQuery()


def request(number: int = 0, user: UserName = ADA.name) -> AccessRequest:
    """A request whose id and age follow from the number."""
    return AccessRequest.create(
        f"{number:04}",
        user,
        roles=[RoleName("ops"), RoleName("dba")],
        nodes=["db1"],
        reason="an incident \N{SNOWMAN}",
        now=START + number,
    )


class RequestsContract(StoreContract):
    """What :class:`IAccessRequests` promises."""

    def setUp(self) -> None:
        super().setUp()
        for user in (ADA, BOB, CAROL):
            self.answer(self.store.users.create(user))

    def add(self, *requests: AccessRequest) -> None:
        for each in requests:
            self.answer(self.store.requests.add(each))

    def step(self, request_id: str, step: Step, now: float = START + 1) -> AccessRequest:
        changing = self.store.requests.change(
            request_id, lambda found: found.step(step, now=now, by="carol", reason="so")
        )
        changed: AccessRequest = self.answer(changing)
        return changed

    def listed(self, query: RequestQuery = ALL, limit: int = 100) -> list[str]:
        return [each.id for each in self.answer(self.store.requests.list(query, limit))]

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IAccessRequests, self.store.requests)

    def test_round_trip(self) -> None:
        """A request is kept with everything in it, before and after a change."""
        self.assertIsNone(self.answer(self.store.requests.get("0000")))
        self.add(request())
        self.assertEqual(self.answer(self.store.requests.get("0000")), request())
        changed = self.step("0000", Step.APPROVE)
        self.assertEqual(
            changed, request().step(Step.APPROVE, now=START + 1, by="carol", reason="so")
        )
        self.assertEqual(self.answer(self.store.requests.get("0000")), changed)

    def test_who_asks(self) -> None:
        """Only a user who is there, and not disabled, has requests."""
        for user in (UserName("nobody"), BOB.name):
            self.refusal(self.store.requests.add(request(user=user)), NoSuchUser)
        self.add(request())
        self.refusal(self.store.requests.add(request(user=CAROL.name)), RequestExists)

    def test_gone_with_their_user(self) -> None:
        """Whoever gets the name of somebody removed does not get their requests."""
        self.add(request(1), request(2, CAROL.name))
        self.step("0001", Step.APPROVE)
        self.answer(self.store.users.remove(ADA.name))
        self.answer(self.store.users.create(ADA))
        self.assertEqual(self.answer(self.store.requests.approved(ADA.name, START)), ())
        self.assertEqual(self.listed(), ["0002"])

    def test_one_decision(self) -> None:
        """Of two who decide at once, one does; the other changes nothing."""
        self.add(request())
        approving = self.store.requests.change(
            "0000", lambda found: found.step(Step.APPROVE, now=START, by="bob")
        )
        denying = self.store.requests.change(
            "0000", lambda found: found.step(Step.DENY, now=START, by="carol")
        )
        self.answer(approving)
        self.assertIn("is approved", self.refusal(denying, NotPossible))
        kept = self.answer(self.store.requests.get("0000"))
        self.assertEqual([each.by for each in kept.changes], ["ada", "bob"])
        self.refusal(self.store.requests.change("none", lambda found: found), NoSuchRequest)

    def test_event(self) -> None:
        """A change and its event are both kept, or neither is."""
        event = AuditEvent(EventType.ACCESS_REQUEST_CREATED, START, Actor("ada"))
        self.answer(self.store.requests.add(request(), event=event))
        self.refusal(self.store.requests.add(request(), event=event), RequestExists)
        step = {"change": lambda found: found.step(Step.CANCEL, now=START, by="ada")}
        self.answer(self.store.requests.change("0000", **step, event=event))
        self.refusal(self.store.requests.change("0000", **step, event=event), NotPossible)
        self.assertEqual(len(self.answer(self.store.audit.lines(0, 10))), 2)

    def test_approved(self) -> None:
        """Rights come of what is approved, is the user's, and has not ended."""
        self.add(*(request(number) for number in range(4)), request(4, CAROL.name))
        for number in (3, 1, 2, 4):
            approved = self.step(f"000{number}", Step.APPROVE, START + 10)
        self.step("0002", Step.REVOKE, START + 11)

        def found(now: float) -> list[str]:
            return [each.id for each in self.answer(self.store.requests.approved(ADA.name, now))]

        self.assertEqual(found(START + 11), ["0001", "0003"])
        self.assertEqual(found(approved.expires - 0.01), ["0001", "0003"])
        self.assertEqual(found(approved.expires), [])

    def test_list(self) -> None:
        """Lists begin with the newest, select, and go on where they ended."""
        self.add(*(request(number) for number in range(5)), request(5, CAROL.name))
        self.step("0003", Step.DENY)
        self.assertEqual(self.listed(limit=2), ["0005", "0004"])
        after = RequestQuery(before=(START + 4, "0004"))
        self.assertEqual(self.listed(after), ["0003", "0002", "0001", "0000"])
        self.assertEqual(self.listed(RequestQuery(user=CAROL.name)), ["0005"])
        over = frozenset([State.DENIED, State.REVOKED])
        self.assertEqual(self.listed(RequestQuery(states=over)), ["0003"])
        self.assertEqual(self.listed(RequestQuery(user=CAROL.name, states=over)), [])

    def test_due(self) -> None:
        """What has ended and is not written down as ended is found, the first to end first."""
        self.add(request(0), request(1), request(2))
        self.step("0001", Step.APPROVE)
        self.step("0002", Step.CANCEL)
        end = START + 1 + PENDING_SECONDS

        def found(now: float, limit: int = 10) -> list[str]:
            return [each.id for each in self.answer(self.store.requests.due(now, limit))]

        self.assertEqual(found(START + 2), [])
        self.assertEqual(found(end), ["0001", "0000"])
        self.assertEqual(found(end, 1), ["0001"])
        self.step("0001", Step.EXPIRE, end)
        self.assertEqual(found(end), ["0000"])

    def test_bounds(self) -> None:
        """A user has so many that wait, that are approved, and that are over."""
        for number in range(PENDING_PER_USER):
            self.add(request(number))
        self.refusal(self.store.requests.add(request(50)), TooManyRequests)
        self.add(request(50, CAROL.name))
        # What has expired does not count, though nobody wrote it down.
        later = request(51)
        last = later.created + PENDING_SECONDS
        self.add(attrs.evolve(later, changes=(attrs.evolve(later.changes[0], time=last),)))
        for number in range(APPROVED_PER_USER + 1):
            made = attrs.evolve(request(100 + number, CAROL.name), expires=1e9)
            self.add(made)
            approving = self.store.requests.change(
                made.id, lambda found: found.step(Step.APPROVE, now=START + 200, by="carol")
            )
            if number == APPROVED_PER_USER:
                self.refusal(approving, TooManyRequests)
            else:
                self.answer(approving)

    def test_forgotten(self) -> None:
        """Of those that are over, the oldest are forgotten."""
        for number in range(OVER_PER_USER + 3):
            self.add(request(number))
            self.step(f"{number:04}", Step.CANCEL, START + number)
        kept = self.listed(limit=1000)
        self.assertEqual(len(kept), OVER_PER_USER + 1)
        self.assertNotIn("0000", kept)
