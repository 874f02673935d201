"""Tests of looking up many nodes in one read."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.names import AgentId, NodeName
from mezite.store import nodelookups
from mezite.store.error import StoreUnavailable
from mezite.store.nodelookups import Found, NodeLookups
from mezite.store.records import NodeRecord


def node(number: int) -> NodeRecord:
    """One of some nodes."""
    agent_id = AgentId.parse(f"00000000-0000-4000-8000-{number:012}")
    return NodeRecord(agent_id, NodeName(f"db{number}"), {}, "1", 0.0)


class NodeLookupsTests(SynchronousTestCase):
    """Lookups, on a store that answers when the test says so."""

    def setUp(self) -> None:
        self.reads: list[tuple[Sequence[AgentId], Deferred[Found]]] = []
        self.lookups = NodeLookups(self.read)

    def read(self, agent_ids: Sequence[AgentId]) -> Deferred[Found]:
        answer: Deferred[Found] = Deferred()
        self.reads.append((agent_ids, answer))
        return answer

    def asked(self) -> list[list[str]]:
        """The ids of each read, by their last digits."""
        return [[each.text[-1] for each in ids] for ids, _ in self.reads]

    def answer(self, *nodes: NodeRecord) -> None:
        """The last read ends with these."""
        self.reads[-1][1].callback({each.agent_id: each for each in nodes})

    def test_one(self) -> None:
        """The first question is read at once, and what was not found is None."""
        first = self.lookups.get(node(1).agent_id)
        self.answer(node(1))
        second = self.lookups.get(node(2).agent_id)
        self.answer()
        self.assertEqual(self.successResultOf(first), node(1))
        self.assertIsNone(self.successResultOf(second))

    def test_together(self) -> None:
        """What is asked while a read is under way comes in one read after it."""
        answers = [self.lookups.get(node(number).agent_id) for number in (1, 2, 3, 2)]
        self.assertEqual(self.asked(), [["1"]])
        self.answer(node(1))
        self.assertEqual(self.asked(), [["1"], ["2", "3"]])
        self.assertEqual(self.successResultOf(answers[0]), node(1))
        self.assertNoResult(answers[1])
        self.answer(node(2))
        found = [self.successResultOf(answer) for answer in answers[1:]]
        self.assertEqual(found, [node(2), None, node(2)])

    def test_never_from_before(self) -> None:
        """The same node asked for again is read again: it may have been removed meanwhile."""
        first, second = (self.lookups.get(node(1).agent_id) for _ in range(2))
        self.answer(node(1))
        self.assertEqual(self.successResultOf(first), node(1))
        self.answer()
        self.assertIsNone(self.successResultOf(second))

    def test_failure(self) -> None:
        """A read that fails fails for those who wait for it, and for nobody else."""
        answers = [self.lookups.get(node(number).agent_id) for number in (1, 2)]
        self.reads[0][1].errback(StoreUnavailable("the disk is full"))
        self.failureResultOf(answers[0], StoreUnavailable)
        self.answer(node(2))
        self.assertEqual(self.successResultOf(answers[1]), node(2))

    def test_cancelled(self) -> None:
        """Who gives up is not in the way of the others."""
        answers = [self.lookups.get(node(1).agent_id) for _ in range(2)]
        answers[0].cancel()
        self.failureResultOf(answers[0], CancelledError)
        self.answer(node(1))
        self.answer(node(1))
        self.assertEqual(self.successResultOf(answers[1]), node(1))

    def test_bounds(self) -> None:
        """One read has so many rows, and only so many wait."""
        self.patch(nodelookups, "TOGETHER", 2)
        self.patch(nodelookups, "WAITING", 3)
        answers = [self.lookups.get(node(number).agent_id) for number in range(5)]
        self.failureResultOf(answers.pop(), StoreUnavailable)
        for _ in range(3):
            self.answer()
        self.assertEqual(self.asked(), [["0"], ["1", "2"], ["3"]])
        self.assertEqual([self.successResultOf(answer) for answer in answers], [None] * 4)
