"""
An agent's resumable sessions, and what stands around them: a hub that answers what the
test says, SSH servers that only talk, and people who are in.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed

from mezite.agent.error import TunnelDown
from mezite.agent.hubcalls import Living
from mezite.agent.permit import SessionPermit
from mezite.names import LoginName, UserName
from tests.doubles.legs import Talker


@define(eq=False)
class PlayedHub:
    """Answers what the test says, and notes what it was told."""

    answer: Any = field(factory=lambda: SessionPermit(True, ""))
    is_there: bool = True
    asked: list[tuple[str, Living]] = field(factory=list)
    reports: list[list[str]] = field(factory=list)
    beginning: list[list[str]] = field(factory=list)
    # What becomes of the next reports, if it is not their answer.
    failures: list[Any] = field(factory=list)
    ended: list[tuple[str, str]] = field(factory=list)

    def calls(self) -> Any:
        if not self.is_there:
            raise TunnelDown()
        return self

    async def resume(self, session_id: str, living: Living) -> SessionPermit:
        self.asked.append((session_id, living))
        answer: SessionPermit = await (
            self.answer if isinstance(self.answer, Deferred) else succeed(self.answer)
        )
        return answer

    async def report(self, living: list[Living], beginning: list[str]) -> list[tuple[str, str]]:
        self.reports.append([each.session_id for each in living])
        self.beginning.append(beginning)
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, Deferred):
            await failure
        elif failure is not None:
            raise failure
        return self.ended


class Server(Talker):
    """An SSH server that was ended with a sentence, perhaps."""

    disconnecting = False
    sentence = ""
    service = None

    def disconnect(self, code: int, sentence: str) -> None:
        self.disconnecting = True
        self.sentence = sentence
        self.transport.loseConnection()


@define
class Certificate:
    user: UserName = field(factory=lambda: UserName("ada"))
    requests: tuple[str, ...] = ()
    valid_before: int = 1_900_000_000


@define
class PlayedAccount:
    login: LoginName = field(factory=lambda: LoginName("root"))


@define
class Avatar:
    session_id: str
    certificate: Certificate = field(factory=Certificate)
    account: PlayedAccount = field(factory=PlayedAccount)
