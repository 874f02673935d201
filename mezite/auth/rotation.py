"""
The rotation of the authorities: begun, moved on, rolled back.

A :class:`RotationService` owns the authorities as they are now. Each step is
in the audit and on the disk before anybody is told of it. When a step is due
is :mod:`mezite.identity.succession`'s; who must hear of it, the hub's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth.error import BadRequest
from mezite.auth.trail import AuditTrail
from mezite.error import MeziteError
from mezite.identity.authorities import Authorities, fingerprint_of
from mezite.identity.authority import SshAuthority, X509Authority
from mezite.identity.error import NotInThisPhase
from mezite.identity.succession import Kind, Phase, Step, Succession

# A third for everybody to learn of the new authority: users log in once in 24 hours
# (LONGEST_LIFETIME of mezite.auth.issuing). Two thirds for old certificates to end.
GRACE_DEFAULT: Final = 72 * 3600.0
# A third is then one heartbeat of the agents, by which they learn of it.
GRACE_SHORTEST: Final = 30.0
GRACE_LONGEST: Final = 90 * 86400.0
# After a start agents need up to half of it to come back; none is late before.
SETTLING: Final = 60.0
# Between two looks at whether everybody is ready.
_POLL: Final = 2.0
_BY_ITSELF: Final = Actor("hub", "")


class RotationService:
    """Makes the steps, and holds what they lead to."""

    _log = Logger()

    def __init__(
        self,
        authorities: Authorities,
        files: Any,
        trail: AuditTrail,
        *,
        wall_clock: Callable[[], float],
        run_in_thread: Callable[..., Deferred[Any]],
        is_everybody_ready: Callable[[int], bool],
        on_change: Callable[[Authorities], None],
    ) -> None:
        """
        :param files: an :class:`~mezite.store.keyfiles.IAuthorityFiles`.
        :param is_everybody_ready: whether all connected nodes have certificates
            of this generation, or of a later one.
        :param on_change: told of the new authorities after each step.
        """
        self._current = authorities
        self._files = files
        self._trail = trail
        self._wall_clock = wall_clock
        self._run_in_thread = run_in_thread
        self._is_everybody_ready = is_everybody_ready
        self._on_change = on_change
        self._started = wall_clock()
        self._lock = DeferredLock()

    @property
    def authorities(self) -> Authorities:
        """Those that count now."""
        return self._current

    async def begin(self, kinds: Collection[Kind], by: Actor, *, grace: float | None) -> None:
        """
        Make new authorities, which everybody learns to trust.

        :param grace: seconds from now until the old ones are forgotten; None,
            if a person makes each step.
        :raises BadRequest: the grace period is too short or too long.
        :raises NotInThisPhase: one of them is being rotated.
        """
        if grace is not None and not GRACE_SHORTEST <= grace <= GRACE_LONGEST:
            raise BadRequest(
                f"a grace period lasts {GRACE_SHORTEST:.0f} s to {GRACE_LONGEST / 86400:.0f} days:"
                " in a third of it every agent and every user must learn of the new authority"
            )

        async def begun(kind: Kind, now: float) -> Succession[Any]:
            succession = self._current.of(kind)
            fresh = await self._run_in_thread(self._files.fresh_number, kind)
            new: SshAuthority | X509Authority
            if kind is Kind.TLS:
                new = X509Authority.generate(self._current.cluster, now)
            else:
                new = SshAuthority.generate()
            return succession.begin(new, now, grace or 0.0, fresh)

        await self._change(kinds, by, begun)

    async def advance(self, kinds: Collection[Kind], by: Actor, to: Phase) -> None:
        """
        Make the step to this phase now, whoever is ready.

        :raises NotInThisPhase: no step leads there.
        """
        step = Step.FINISH if to is Phase.STANDBY else Step.SWITCH
        await self._step(kinds, by, step)

    async def roll_back(self, kinds: Collection[Kind], by: Actor) -> None:
        """
        Let the old authorities sign again.

        :raises NotInThisPhase: there is nothing to be rolled back.
        """
        await self._step(kinds, by, Step.ROLL_BACK)

    async def make_due_steps(self) -> None:
        """Make what is due by now; called again at :meth:`next_look`."""
        for kind in Kind:
            step = self._due(kind)
            if step is not None:
                await self._step([kind], _BY_ITSELF, step)

    def next_look(self) -> float | None:
        """When something may be due, in POSIX seconds; None if nothing is to come."""
        now = self._wall_clock()
        windows = [self._current.of(kind).window() for kind in Kind]
        times = [max(window[0], now + _POLL) for window in windows if window is not None]
        return min(times, default=None)

    def _due(self, kind: Kind) -> Step | None:
        succession, now = self._current.of(kind), self._wall_clock()
        if now < self._started + min(SETTLING, succession.grace / 3):
            return None
        is_ready = self._is_everybody_ready(succession.generation)
        return succession.due(now, is_everybody_ready=is_ready)

    async def _step(self, kinds: Collection[Kind], by: Actor, step: Step) -> None:
        async def stepped(kind: Kind, now: float) -> Succession[Any]:
            return self._current.of(kind).stepped(step, now)

        await self._change(kinds, by, stepped)

    async def _change(
        self,
        kinds: Collection[Kind],
        by: Actor,
        make: Callable[[Kind, float], Awaitable[Succession[Any]]],
    ) -> None:
        """All of these kinds, or none; also when whoever asked has gone meanwhile."""
        if not kinds:
            raise BadRequest(f"which authority? {', '.join(kind.value for kind in Kind)}")
        told: Deferred[None] = Deferred()
        changing = Deferred.fromCoroutine(self._change_now(kinds, by, make))
        changing.addCallbacks(told.callback, told.errback)
        # A cancellation ends this wait only: what is on the disk must be what is in memory.
        await told

    async def _change_now(
        self,
        kinds: Collection[Kind],
        by: Actor,
        make: Callable[[Kind, float], Awaitable[Succession[Any]]],
    ) -> None:
        await self._lock.acquire()
        try:
            before = after = self._current
            now = self._wall_clock()
            for kind in Kind:
                if kind in kinds:
                    try:
                        after = after.replaced(kind, await make(kind, now))
                    except NotInThisPhase as error:
                        raise BadRequest(f"{kind.value}: {error}") from error
            changed = [kind for kind in Kind if after.of(kind) is not before.of(kind)]
            for kind in changed:
                await self._trail.record(self._event(by, kind, before, after))
            try:
                await self._run_in_thread(self._files.keep, after)
            except MeziteError as error:
                for kind in changed:
                    await self._trail.record(self._event(by, kind, before, after, str(error)))
                raise
            self._current = after
            for kind in changed:
                self._log.info(
                    "the {kind} authority is in the phase {phase}, signed by {fingerprint}",
                    kind=kind.value,
                    phase=after.of(kind).phase.value,
                    fingerprint=fingerprint_of(after.of(kind).signing),
                )
            self._on_change(after)
        finally:
            self._lock.release()

    def _event(
        self, by: Actor, kind: Kind, before: Authorities, after: Authorities, error: str = ""
    ) -> Any:
        was, becomes = before.of(kind), after.of(kind)
        both = was if becomes.other is None else becomes
        # Numbers only grow, so the lower one is of the old authority.
        authorities = {both.number: both.signing, both.other_number: both.other}
        return self._trail.event(
            EventType.CA_ROTATED,
            by,
            target=kind.value,
            success=not error,
            error=error,
            phase=becomes.phase.value,
            previous_phase=was.phase.value,
            old=fingerprint_of(authorities[min(authorities)]),
            new=fingerprint_of(authorities[max(authorities)]),
            signing=fingerprint_of(becomes.signing),
        )
