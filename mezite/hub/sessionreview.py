"""
Live sessions and tunnels that would not be begun any more, and so must end.

A :class:`SessionReview` is told when locks or rights have changed. Locks are
looked at in the same moment; rights must be read from the store first.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import define, evolve, field
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from mezite.audit.events import HUB, EventType
from mezite.auth.access import AccessService
from mezite.auth.locking import LockService
from mezite.auth.requesting import IRequestWatcher
from mezite.auth.trail import AuditTrail
from mezite.error import MeziteError
from mezite.hub.livesessions import GOODBYE_SECONDS, LiveSession, LiveSessions
from mezite.hub.tunnels import Tunnel, TunnelRegistry
from mezite.identity.locks import Attempt
from mezite.identity.requests import AccessRequest
from mezite.names import UserName
from mezite.rpc.calls import Call, Method
from mezite.tasks import background

# The store did not answer; what it knows may take access away.
_RETRY_SECONDS: Final = 2.0
# Methods whose success may have taken somebody's access away.
CHANGES_RIGHTS: Final = frozenset({"UpdateUser", "DeleteUser", "CreateRole", "DeleteRole"})


@implementer(IRequestWatcher)
@define(eq=False)
class SessionReview:
    """Ends what is not allowed any more."""

    _log = Logger()

    live: LiveSessions
    registry: TunnelRegistry
    access: AccessService
    locks: LockService
    trail: AuditTrail
    clock: IReactorTime
    _is_running: bool = field(init=False, default=False)
    _is_wanted: bool = field(init=False, default=False)

    def locks_changed(self) -> None:
        """End what is locked now, and close the tunnels of nodes that are."""
        for session in self.live:
            lock = self.locks.find(session.attempt)
            if lock is not None:
                self._end(session, lock.sentence)
        for tunnel in self.registry:
            identity = tunnel.identity
            lock = self.locks.find(Attempt(node=identity.node, agent_id=identity.agent_id))
            if lock is not None:
                self._log.warn("closing the tunnel: {sentence}", sentence=lock.sentence)
                # Its sessions end over it: they have the time to say goodbye.
                self.clock.callLater(GOODBYE_SECONDS, self._close, tunnel)

    def _close(self, tunnel: Tunnel) -> None:
        if self.registry.find(tunnel.identity.agent_id) is tunnel:
            tunnel.close()

    def rights_changed(self) -> None:
        """Decide about every live session anew, soon; what is asked for meanwhile, after that."""
        self._is_wanted = True
        if not self._is_running:
            background(self._review(), doing="deciding about live sessions anew")

    def request_changed(self, request: AccessRequest) -> None:
        if request.state.is_final:
            self.rights_changed()

    async def _review(self) -> None:
        self._is_running = True
        try:
            while self._is_wanted:
                self._is_wanted = False
                # One reading of the store for all sessions of one login.
                logins = {(each.user, each.visitor.issued, each.carried) for each in self.live}
                for user, issued, carried in logins:
                    await self._review_login(user, issued, carried)
        except MeziteError as error:
            self._log.warn("live sessions could not be decided about anew: {error}", error=error)
            self.clock.callLater(_RETRY_SECONDS, self.rights_changed)
        finally:
            self._is_running = False

    async def _review_login(
        self, user: UserName, issued: float, carried: frozenset[str] | None
    ) -> None:
        rights = await self.access.rights_of(user, carried, issued=issued)
        for session in self.live.of(user):
            if (session.visitor.issued, session.carried) != (issued, carried):
                continue
            node = evolve(session.node, labels=dict(session.way.labels))
            ruling = self.access.judge(rights, node, session.login, address=session.visitor.address)
            if ruling.allowed:
                session.roles = ruling.roles
            else:
                self._end(session, f"your access has ended: {ruling.reason}")

    def _end(self, session: LiveSession, reason: str) -> None:
        if not self.live.end(session, reason):
            return
        event = self.trail.event(
            EventType.SESSION_TERMINATED,
            HUB,
            target=session.user,
            node=session.node.name,
            login=session.login or "",
            session_id=session.session_id,
            reason=reason,
        )
        background(self.trail.record(event), doing="noting that a session was ended")

    def watching(self, table: Mapping[str, Method]) -> dict[str, Method]:
        """These methods, each with a review after it if it may have taken access away."""
        return {
            path: self._watched(method) if path.rpartition("/")[2] in CHANGES_RIGHTS else method
            for path, method in table.items()
        }

    def _watched(self, method: Method) -> Method:
        async def handle(call: Call, request: Any) -> Any:
            answer = await method.handle(call, request)
            self.rights_changed()
            return answer

        return evolve(method, handle=handle)
