"""
Nodes looked up by their agent ids, many in one read.

A read costs a change of threads and a statement, whatever it finds, and when ten
thousand agents come back each is looked up twice. :class:`NodeLookups` owns the
order: what is asked first is read at once, and what is asked while a read is under
way comes together in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from attrs import define, field
from twisted.internet.defer import Deferred, fail
from twisted.python.failure import Failure

from mezite.names import AgentId
from mezite.store.error import StoreUnavailable
from mezite.store.records import NodeRecord

Found = Mapping[AgentId, NodeRecord]
# Rows of one read, which takes some milliseconds and holds up whoever comes meanwhile.
TOGETHER: Final = 256
# As many as reads may wait (mezite.store.transactions).
WAITING: Final = 16_384


@define(eq=False)
class NodeLookups:
    """Who waits to hear of which node."""

    _read: Callable[[Sequence[AgentId]], Deferred[Found]]
    _waiting: list[tuple[AgentId, Deferred[NodeRecord | None]]] = field(init=False, factory=list)
    _is_reading: bool = field(init=False, default=False)

    def get(self, agent_id: AgentId) -> Deferred[NodeRecord | None]:
        """The node as it is in the store now, or at a moment after now; None if there is none."""
        if len(self._waiting) >= WAITING:
            return fail(StoreUnavailable("too many reads wait already"))
        answer: Deferred[NodeRecord | None] = Deferred()
        self._waiting.append((agent_id, answer))
        if not self._is_reading:
            self._read_next()
        return answer

    def _read_next(self) -> None:
        asked, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
        self._is_reading = True
        found = self._read(tuple({agent_id: None for agent_id, _ in asked}))
        found.addBoth(self._answer, asked)

    def _answer(
        self,
        found: Found | Failure,
        asked: Sequence[tuple[AgentId, Deferred[NodeRecord | None]]],
    ) -> None:
        self._is_reading = False
        if self._waiting:
            # Before the answers are used, which takes time in which it can be read.
            self._read_next()
        for agent_id, answer in asked:
            if isinstance(found, Failure):
                answer.errback(found)
            else:
                answer.callback(found.get(agent_id))
