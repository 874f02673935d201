"""
Sessions that the hub has ended.

:class:`OpenSessions` knows the SSH connection of each session. The person reads
why it ends, on the terminal and in SSH's goodbye.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

from twisted.internet.protocol import Protocol
from twisted.logger import Logger

from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.ssh.fields import printable
from mezite.ssh.sessionwatch import say_goodbye


class OpenSessions:
    """The SSH connections of this node's sessions, for as long as these are anybody's."""

    _log = Logger()

    def __init__(self) -> None:
        self._transports: WeakValueDictionary[str, Any] = WeakValueDictionary()

    def __len__(self) -> int:
        return sum(not each.disconnecting for each in self._transports.values())

    def add(self, session_id: str, transport: Any) -> None:
        """The latest of one id is the one that can be ended; no honest hub gives one twice."""
        self._transports[session_id] = transport

    def end(self, session_id: str, sentence: str) -> bool:
        """End a session, with this sentence; False if it is not there any more."""
        transport = self._transports.get(session_id)
        if transport is None or transport.disconnecting:
            return False
        self._log.info(
            "session {session_id} ended: {sentence}", session_id=session_id, sentence=sentence
        )
        say_goodbye(transport, sentence)
        return True

    def serve(self, header: StreamHeader) -> Protocol:
        """Do what a stream for the service ``end-session`` asks for; it carries no more."""
        self.end(header.session_id, printable(header.reason.encode()))
        return _Answered()


class _Answered(Protocol):
    """A stream that has said all in its header."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()
