"""
Whether a session may begin, as the hub decides it.

No answer means no.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from mezite.agent.hubcalls import HubCalls
from mezite.agent.permit import SessionPermit
from mezite.agent.sshd import ISessionAuthorizer
from mezite.error import MeziteError
from mezite.names import LoginName, UserName


@implementer(ISessionAuthorizer)
@frozen
class HubAuthorizer:
    """Asks over the tunnel that is up now; ``calls`` raises when there is none."""

    _log = Logger()

    calls: Callable[[], HubCalls] = field(repr=False)

    def authorize(
        self, user: UserName, login: LoginName, session_id: str, requests: Sequence[str] = ()
    ) -> Deferred[SessionPermit]:
        return Deferred.fromCoroutine(self._ask(user, login, session_id, requests))

    async def _ask(
        self, user: UserName, login: LoginName, session_id: str, requests: Sequence[str]
    ) -> SessionPermit:
        try:
            return await self.calls().authorize(user, login, session_id, requests)
        except MeziteError as error:
            self._log.warn(
                "session {session_id} of {user} as {login} refused: the hub was not heard: {error}",
                session_id=session_id,
                user=user,
                login=login,
                error=error,
            )
            return SessionPermit(
                False, "the hub could not be asked whether this is allowed; try again"
            )
