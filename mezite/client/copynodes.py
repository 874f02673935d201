"""
The nodes that a command copies from and to: one connection to each.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from mezite.client.node import NodeConnection
from mezite.client.sftpchannel import begin_sftp
from mezite.client.sftpfiles import RemoteFiles
from mezite.names import AgentId, LoginName, NodeName
from mezite.tasks import within

# A node starts a process for it, and a busy one takes its time.
BEGIN_SECONDS: Final = 30.0
Dial = Callable[["NodeName | AgentId", LoginName], Awaitable[NodeConnection]]


@define(eq=False)
class CopyNodes:
    """:param dial: logs in on a node; called once for each node and login."""

    _clock: IReactorTime
    _dial: Dial
    _files: dict[tuple[str, str], RemoteFiles] = field(factory=dict)
    _connections: list[NodeConnection] = field(factory=list)

    async def files(self, node: NodeName | AgentId, login: LoginName) -> RemoteFiles:
        """
        The files of this node, as this login.

        :raises MeziteError: if they cannot be reached.
        """
        key = node.text, login.text
        if key not in self._files:
            connected = await self._dial(node, login)
            self._connections.append(connected)
            begun = self._begin(node, connected)
            doing = f"starting SFTP on {node}"
            self._files[key] = await within(self._clock, BEGIN_SECONDS, begun, doing=doing)
        return self._files[key]

    async def _begin(self, node: NodeName | AgentId, connected: NodeConnection) -> RemoteFiles:
        sftp = await begin_sftp(connected.connection, connected.lost_because)
        files = RemoteFiles(sftp, node.text)
        await files.learn_limits()
        return files

    def lost_because(self) -> Exception | None:
        """Why one of the connections is gone, if one is."""
        reasons = (each.lost_because() for each in self._connections)
        return next((reason for reason in reasons if reason is not None), None)

    def close(self) -> None:
        """Say goodbye to all of them."""
        while self._connections:
            self._connections.pop().close()


class FileThread:
    """
    A thread for what may block, which does one thing after another.

    Nobody waits for it when the program ends: a file system that hangs must
    not keep a person who pressed Ctrl-C.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._work: queue.SimpleQueue[tuple[Deferred[Any], Callable[[], Any]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def run(self, function: Callable[[], Any]) -> Deferred[Any]:
        """Fires with what the function returns; what it raises is the failure."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._loop, name="files", daemon=True)
            self._thread.start()
        done: Deferred[Any] = Deferred()
        self._work.put((done, function))
        return done

    def _loop(self) -> None:
        while True:
            done, function = self._work.get()
            try:
                result = function()
            except BaseException:
                result = Failure()
            self._reactor.callFromThread(done.callback, result)
