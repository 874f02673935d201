"""A node's SFTP server without a node: the real one's files, asked directly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from mezite.agent.sftpfiles import EXTENSIONS, Files
from mezite.client.sftpchannel import ISftp
from mezite.ssh import sftpwire as wire


@implementer(ISftp)
class DirectSftp:
    """
    Answers at once, with this machine's files.

    What is in ``instead`` is answered by that, for a kind of request; an
    exception is how the session ended.
    """

    def __init__(self) -> None:
        self.files = Files()
        self.extensions: Mapping[bytes, bytes] = dict(EXTENSIONS)
        self.asked: list[wire.Request] = []
        self.instead: dict[type[Any], Callable[[Any], wire.Reply | Exception]] = {}

    def ask(self, request: wire.Request) -> Deferred[wire.Reply]:
        self.asked.append(request)
        special = self.instead.get(type(request))
        reply = self.files.answer(request) if special is None else special(request)
        return fail(reply) if isinstance(reply, Exception) else succeed(reply)


def at_once(function: Callable[[], Any]) -> Deferred[Any]:
    """What a thread for files does, without one."""
    try:
        return succeed(function())
    except Exception as error:
        return fail(error)
