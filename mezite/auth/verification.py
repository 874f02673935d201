"""
Whether the audit is as it was written, found out a page at a time.

A million events are neither one transaction nor one call: a verification
pauses when its time is up, and goes on from a :class:`Progress`. What is
right about a line is :mod:`mezite.audit.chain`'s to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from attrs import evolve, field, frozen
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime

from mezite.audit.chain import ChainVerifier
from mezite.audit.events import EventType
from mezite.error import BadInput
from mezite.store.interfaces import IAuditLog
from mezite.store.records import AuditChain, AuditQuery

# Some tens of milliseconds in a thread, which others of this process feel as slowness.
PAGE: Final = 1000
# Well below the ten seconds that our own clients wait for an answer.
_SECONDS: Final = 3.0
# A chain whose beginning moves more often than this between two reads is not one of ours.
_TRIES: Final = 5
# The least number that a database has.
_BEFORE_ALL: Final = -(2**63)
_PRUNED: Final = AuditQuery(types=(EventType.AUDIT_PRUNED.text,))
_PROGRESS: Final = re.compile(r"([0-9]{1,18})-([0-9]{1,18})-([0-9a-f]{64})-([0-9]{1,18})")


@frozen
class Progress:
    """
    How far a verification has come: all after ``start`` and up to ``seq`` is right.

    Its text goes to the caller and comes back. Whoever changes it deceives
    nobody but themselves.
    """

    start: int
    seq: int
    hash: bytes
    found: int = 0

    @property
    def text(self) -> str:
        return f"{self.start}-{self.seq}-{self.hash.hex()}-{self.found}"

    @classmethod
    def parse(cls, text: str) -> Progress:
        """
        :raises BadInput:
        """
        matched = _PROGRESS.fullmatch(text)
        if matched is None:
            raise BadInput("that is no page token of a verification")
        start, seq, hashed, found = matched.groups()
        return cls(int(start), int(seq), bytes.fromhex(hashed), int(found))


@frozen
class Verdict:
    """
    What was found so far; the end of it, unless ``is_done`` is false.

    ``broken`` is a sentence about the event ``broken_seq``, the first that is
    not as it was written.
    """

    progress: Progress
    is_done: bool = True
    broken: str = ""
    broken_seq: int = 0

    @property
    def count(self) -> int:
        """How many events are right."""
        return self.progress.seq - self.progress.start


@frozen
class Verification:
    """Verifies the chain of one store; ``run_in_thread`` is where it computes."""

    _log: IAuditLog
    _clock: IReactorTime
    _run_in_thread: Callable[..., Deferred[Any]]
    # However many ask, one page at a time is computed.
    _turn: DeferredLock = field(init=False, factory=DeferredLock)

    async def verify(self, progress: Progress | None = None, wanted: bytes = b"") -> Verdict:
        """
        Verify from the beginning, or go on, for a few seconds.

        :param wanted: a hash that was written down elsewhere, and must be
            that of an event, or of the last that retention removed.
        """
        chain: AuditChain = await self._log.chain()
        end = self._clock.seconds() + _SECONDS
        if progress is None or progress.seq < chain.first_seq:
            progress = _beginning(chain, wanted)
        while progress.seq < chain.last_seq:
            if self._clock.seconds() >= end:
                return Verdict(progress, is_done=False)
            verdict = await self._page(progress, chain.last_seq, wanted)
            if verdict.broken:
                chain = await self._log.chain()
                if verdict.progress.seq >= chain.first_seq:
                    return verdict
                # Retention was faster, and the page began before the chain does.
                verdict = Verdict(_beginning(chain, wanted))
            progress = verdict.progress
        return await self._ended(progress, chain, wanted)

    async def _page(self, progress: Progress, last: int, wanted: bytes) -> Verdict:
        await self._turn.acquire()
        try:
            lines = await self._log.lines(progress.seq, PAGE)
            shown = [each for each in lines if each.seq <= last]
            verifier = ChainVerifier(progress.seq, progress.hash, wanted, progress.found)
            await self._run_in_thread(verifier.check, shown)
        finally:
            self._turn.release()
        reached = evolve(progress, seq=verifier.seq, hash=verifier.hash, found=verifier.found)
        if verifier.broken is not None:
            return Verdict(reached, broken=verifier.broken, broken_seq=verifier.seq + 1)
        if not shown:
            first, rest = progress.seq + 1, f" to {last}" if last > progress.seq + 1 else ""
            return Verdict(
                progress,
                broken=f"event {first}{rest} is missing at the end",
                broken_seq=first,
            )
        return Verdict(reached)

    async def _ended(self, progress: Progress, chain: AuditChain, wanted: bytes) -> Verdict:
        """The verdict about a chain whose lines are right: both ends, and a wanted hash."""
        if (progress.seq, progress.hash) != (chain.last_seq, chain.last_hash):
            return Verdict(
                progress,
                broken=f"event {progress.seq} is not the one that the hub wrote last",
                broken_seq=progress.seq,
            )
        beyond = await self._log.lines(progress.seq, 1)
        before = await self._log.lines(_BEFORE_ALL, 1)
        newer: AuditChain = await self._log.chain()
        for each in (*before, *beyond):
            if each.seq > newer.last_seq or each.seq <= chain.first_seq:
                return Verdict(
                    progress,
                    broken=f"event {each.seq} was added: it is none that the hub wrote",
                    broken_seq=each.seq,
                )
        if not await self._begins_rightly():
            return Verdict(
                progress,
                broken=f"the events up to {newer.first_seq} are gone, and no audit.pruned says so",
                broken_seq=newer.first_seq,
            )
        if wanted and not progress.found:
            return Verdict(
                progress,
                broken="no event has the hash that was written down: it is older than what is"
                " kept, or the audit was written anew",
            )
        return Verdict(progress)

    async def _begins_rightly(self) -> bool:
        """Whether the last event of retention tells where the chain begins."""
        for _ in range(_TRIES):
            chain: AuditChain = await self._log.chain()
            if not chain.first_seq:
                return True
            found = await self._log.search(_PRUNED, limit=1, newest_first=True)
            event = found[0].event if found else None
            if event is not None and (
                event.details.get("last_seq") == chain.first_seq
                and event.details.get("hash") == chain.first_hash.hex()
            ):
                return True
            if await self._log.chain() == chain:
                return False
        return False


def _beginning(chain: AuditChain, wanted: bytes) -> Progress:
    found = chain.first_seq if wanted and wanted == chain.first_hash else 0
    return Progress(chain.first_seq, chain.first_seq, chain.first_hash, found)
