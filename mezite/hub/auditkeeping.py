"""
What the hub does with its audit by itself: copies, retention, and the word that it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from attrs import define, evolve, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mezite import __version__
from mezite.audit.events import HUB, AuditEvent, EventType
from mezite.auth.trail import AuditTrail
from mezite.config.hub import HubConfig
from mezite.error import MeziteError
from mezite.hub.auditcopying import AuditCopy, CopyStatus, ICopyTarget
from mezite.hub.auditfile import AuditFile
from mezite.hub.auditsyslog import AuditSyslog
from mezite.store.interfaces import IAuditLog
from mezite.store.records import AuditChain
from mezite.tasks import within

# Upkeep comes by each hour; retention leaves an event each time that it removes some.
_RETENTION_SECONDS: Final = 86400.0
# Of a cluster whose retention was just made shorter, so much goes at a time.
_STEPS: Final = 200
_STOP_SECONDS: Final = 5.0
SYSLOG_STATE: Final = "audit-syslog.json"


@define(eq=False)
class AuditKeeping:
    """The copies of one audit, and for how long (``keep``, in seconds) its events are kept."""

    _audit: IAuditLog
    _trail: AuditTrail
    copies: Sequence[AuditCopy]
    _keep: float | None
    _clock: IReactorTime
    _wall_clock: Callable[[], float]
    _pruned: float | None = field(init=False, default=None)

    _log = Logger()

    def start(self) -> None:
        for copy in self.copies:
            copy.start()

    async def stop(self) -> None:
        """Say that the hub ends, and let the copies have that, too."""
        stopped = self._trail.event(EventType.HUB_STOPPED, HUB, version=__version__)
        try:
            await within(
                self._clock, _STOP_SECONDS, self._trail.record(stopped), doing="writing the audit"
            )
        except MeziteError as error:
            self._log.warn("that the hub ends is not in the audit: {error}", error=error)
        for copy in self.copies:
            await copy.stop()

    def statuses(self) -> Sequence[CopyStatus]:
        """How the copies were when they were last tried."""
        return [copy.status for copy in self.copies]

    async def statuses_now(self) -> Sequence[CopyStatus]:
        """How the copies are."""
        if not self.copies:
            return ()
        chain: AuditChain = await self._audit.chain()
        return [
            evolve(status, behind=max(0, chain.last_seq - status.copied))
            for status in self.statuses()
        ]

    async def upkeep(self) -> None:
        """Forget what is older than events are kept, about once a day."""
        now = self._wall_clock()
        if self._keep is None or (
            self._pruned is not None and 0 <= now - self._pruned < _RETENTION_SECONDS
        ):
            return
        removed = 0
        for _ in range(_STEPS):
            event = self._trail.event(
                EventType.AUDIT_PRUNED, HUB, kept_days=int(self._keep / 86400)
            )
            number = await self._audit.prune(now - self._keep, event=event)
            if not number:
                self._pruned = now
                break
            removed += number
        if removed:
            self._log.info("{number} old events were removed from the audit", number=removed)


def make_copies(
    config: HubConfig,
    audit: IAuditLog,
    clock: IReactorTime,
    run_in_thread: Callable[..., Deferred[Any]],
) -> Sequence[AuditCopy]:
    """The copies that the settings ask for."""
    wanted = config.audit
    targets: list[ICopyTarget] = []
    if wanted.file is not None:
        targets.append(AuditFile(wanted.file, wanted.file_max_size, wanted.file_keep))
    if wanted.syslog is not None:
        state = config.data_dir / SYSLOG_STATE
        targets.append(AuditSyslog(wanted.syslog, config.hub_name, state))
    return [AuditCopy(target, audit, clock, run_in_thread) for target in targets]


def started(now: float) -> AuditEvent:
    """The event of a hub that begins; the store adds how the one before it ended."""
    return AuditEvent(
        type=EventType.HUB_STARTED, time=now, actor=HUB, details={"version": __version__}
    )


def failed(now: float, reason: str) -> AuditEvent:
    """The event of a hub that could not begin, after all."""
    return AuditEvent(
        type=EventType.HUB_STOPPED,
        time=now,
        actor=HUB,
        success=False,
        error=reason,
        details={"version": __version__},
    )
