"""Tests of which of the hub's addresses are tried, and when."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.error import NoAddress
from mezite.agent.hubaddresses import ADDRESSES, LOOKUP_SECONDS, HubAddresses, in_order
from mezite.agent.resolvers import SrvAnswer
from mezite.config.hubplaces import HubPlace, SrvName
from mezite.error import TimedOut
from mezite.names import HostPort

ONE, TWO, THREE = (HostPort(f"hub{number}.example.com", 443) for number in (1, 2, 3))
NAME = SrvName("_mezite._tcp.example.com")


class OrderTests(SynchronousTestCase):
    @given(
        st.lists(
            st.builds(
                SrvAnswer, st.integers(0, 3), st.integers(0, 65535), st.just("h"), st.integers(1, 9)
            ),
            max_size=8,
        ),
        st.integers(),
    )
    @settings(max_examples=100, deadline=None)
    def test_priority(self, answers: list[SrvAnswer], seed: int) -> None:
        """Each answer comes once, and none before one of a lower priority."""
        found = in_order(answers, random.Random(seed))
        self.assertEqual(Counter(found), Counter(answers))
        self.assertEqual(
            [answer.priority for answer in found], sorted(answer.priority for answer in answers)
        )

    def test_weight(self) -> None:
        """Within a priority, the share of being first is the weight's."""
        heavy, light, never = (
            SrvAnswer(1, 75, "a", 1),
            SrvAnswer(1, 25, "b", 1),
            SrvAnswer(2, 99, "c", 1),
        )
        draw = random.Random(7)
        first = Counter(in_order([light, never, heavy], draw)[0].target for _ in range(1000))
        self.assertEqual(first["c"], 0)
        self.assertTrue(700 < first["a"] < 800, first)


class RoundTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        # None is one that never comes.
        self.answer: Sequence[SrvAnswer] | Exception | None = ()
        self.asked: list[str] = []

    async def lookup(self, name: str) -> Sequence[SrvAnswer]:
        self.asked.append(name)
        if self.answer is None:
            return await Deferred()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def addresses(self, *places: HubPlace) -> HubAddresses:
        return HubAddresses(places, self.lookup, self.clock, random.Random(1))

    def round(self, addresses: HubAddresses) -> list[HostPort]:
        return self.successResultOf(Deferred.fromCoroutine(addresses.round()))

    def test_every_order(self) -> None:
        """Each address is in each round once, and any may be the first."""
        addresses = self.addresses(ONE, TWO, THREE)
        rounds = [self.round(addresses) for _ in range(50)]
        for found in rounds:
            self.assertEqual(set(found), {ONE, TWO, THREE})
        self.assertEqual({found[0] for found in rounds}, {ONE, TWO, THREE})

    def test_asked_each_round(self) -> None:
        """What a name means is asked anew, so that a change in DNS is followed."""
        addresses = self.addresses(NAME)
        self.answer = [SrvAnswer(1, 1, "hub1.example.com.", 443)]
        self.assertEqual(self.round(addresses), [ONE])
        self.answer = [
            SrvAnswer(2, 1, "hub1.example.com", 443),
            SrvAnswer(1, 1, "HUB2.example.com", 443),
        ]
        self.assertEqual(self.round(addresses), [TWO, ONE])
        self.assertEqual(self.asked, [NAME.text] * 2)

    def test_dns_is_away(self) -> None:
        """Without DNS the answer of before is used, and addresses that were given."""
        addresses = self.addresses(NAME, TWO)
        self.answer = [SrvAnswer(1, 1, "hub1.example.com", 443)]
        self.round(addresses)
        self.answer = TimedOut("no resolver answers")
        self.assertEqual(set(self.round(addresses)), {ONE, TWO})

    def test_nothing(self) -> None:
        """A name that leads nowhere is a sentence."""
        for answer, words in (
            ([], "name no hub"),
            ([SrvAnswer(0, 0, ".", 443)], "name no hub"),
            ([SrvAnswer(0, 0, "a b\x1b", 443), SrvAnswer(0, 0, "h", 0)], "name no hub"),
            # A label of DNS may hold any octet.
            ([SrvAnswer(0, 0, "[fe80::1%x\ntunnel up]", 443)], "name no hub"),
            (NoAddress("there is no name"), "there is no name"),
        ):
            self.answer = answer  # type: ignore[assignment]
            failed = Deferred.fromCoroutine(self.addresses(NAME).round())
            self.assertIn(words, str(self.failureResultOf(failed, NoAddress).value))

    def test_silence(self) -> None:
        """A look-up that nobody answers ends."""
        self.answer = None
        failed = Deferred.fromCoroutine(self.addresses(NAME).round())
        self.clock.advance(LOOKUP_SECONDS)
        self.failureResultOf(failed, NoAddress)

    def test_at_once(self) -> None:
        """Names that nobody answers about are waited for together, and not in turn."""
        self.answer = None
        names = [SrvName(f"_mezite._tcp.{label}.example") for label in "abcdefg"]
        asked = Deferred.fromCoroutine(self.addresses(ONE, *names).round())
        self.assertEqual(len(self.asked), len(names))
        self.clock.advance(LOOKUP_SECONDS)
        self.assertEqual(self.successResultOf(asked), [ONE])

    def test_given_up(self) -> None:
        """Who does not wait for the round any more leaves nothing to be waited for."""
        self.answer = None
        asked = Deferred.fromCoroutine(self.addresses(NAME, TWO).round())
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_bug(self) -> None:
        """Whatever a look-up ends in, addresses that need none are tried."""
        self.answer = KeyError("x")
        self.assertEqual(self.round(self.addresses(NAME, TWO)), [TWO])
        failed = Deferred.fromCoroutine(self.addresses(NAME).round())
        self.assertIn("the log says how", str(self.failureResultOf(failed, NoAddress).value))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)

    def test_many(self) -> None:
        """An answer with thousands of records makes a round of some."""
        self.answer = [SrvAnswer(1, 1, f"h{number}.example", 443) for number in range(5000)]
        self.assertEqual(len(self.round(self.addresses(NAME))), ADDRESSES)
