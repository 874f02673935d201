"""
What is typed in a session: keys for the node, and wishes that msh itself fulfils.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from mezite.client.escapes import EscapeReader, Wish, explained, visible
from mezite.error import MeziteError


class EndedByEscape(MeziteError):
    """The person wanted the connection to end."""


class ISession(Protocol):
    """What wishes are about."""

    def write(self, data: bytes) -> None: ...
    def fail(self, error: BaseException) -> None: ...
    def send_break(self) -> None: ...


class Keyboard:
    """
    Keys on their way from a raw terminal to a session.

    :param suspend: stops this process, and returns when it goes on.
    :param show: writes on the terminal, which is raw.
    :param connections: the connections that are forwarded now.
    """

    def __init__(
        self,
        character: bytes,
        session: ISession,
        *,
        suspend: Callable[[], None],
        show: Callable[[bytes], None],
        connections: Callable[[], list[str]],
    ) -> None:
        self._reader = EscapeReader(character)
        self._session = session
        self._suspend = suspend
        self._show = show
        self._connections = connections

    def typed(self, data: bytes) -> None:
        for each in self._reader.receive(data):
            if isinstance(each, bytes):
                self._session.write(each)
            else:
                self._fulfil(each)

    def _fulfil(self, wish: Wish) -> None:
        typed = visible(self._reader.character) + visible(wish.value)
        match wish:
            case Wish.DISCONNECT:
                self._say(typed)
                self._session.fail(EndedByEscape(f"the connection was ended by {typed}"))
            case Wish.SUSPEND:
                self._say(f"{typed} [suspended: fg continues]")
                self._suspend()
            case Wish.SEND_BREAK:
                self._session.send_break()
            case Wish.LIST_CONNECTIONS:
                lines = self._connections() or ["no connections are forwarded"]
                self._say("\n".join([typed, *(f" {line}" for line in lines)]))
            case Wish.HELP:
                self._say(f"{typed}\n{explained(self._reader.character)}")

    def _say(self, text: str) -> None:
        lines = "".join(f"{line}\r\n" for line in text.split("\n"))
        self._show(lines.encode("utf-8", "replace"))
