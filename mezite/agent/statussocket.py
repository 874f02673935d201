"""
Where an agent tells on its own machine what it is doing, hub or no hub.

Whoever connects to the unix socket in the data directory reads one JSON object
and the end; nothing is read from them. Its mode lets in the agent's own account
and root.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IDelayedCall, IListeningPort, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite import __version__
from mezite.agent.condition import Condition
from mezite.agent.membership import Membership

SOCKET_NAME: Final = "status.sock"
# sun_path of unix(7) has 108 octets, the last of them zero.
_PATH_LENGTH: Final = 107
# People and monitoring ask one after the other.
READERS: Final = 16
# The answer fits into the socket's buffer; who has not taken it by then never will.
_READER_SECONDS: Final = 5.0


def status_of(
    condition: Condition, membership: Membership | None, sessions: int
) -> Mapping[str, Any]:
    """What an agent tells; moments are POSIX seconds, and lengths of time seconds."""
    trouble, identity = condition.trouble, None if membership is None else membership.identity
    return {
        "version": __version__,
        "state": condition.state.value,
        "since": condition.since,
        "sentence": condition.sentence(),
        "hub": condition.hub or None,
        "next_dial_in": condition.seconds_to_dial(),
        "error": None if trouble is None else trouble.sentence,
        "error_since": None if trouble is None else trouble.since,
        "cluster": None if identity is None else identity.cluster.text,
        "node": None if identity is None else identity.node.text,
        "agent_id": None if identity is None else identity.agent_id.text,
        "certificates_end": None if membership is None else membership.expires,
        "tls_certificate_ends": None if membership is None else membership.tls_expires,
        "sessions": sessions,
    }


class StatusFactory(Factory):
    """Tells each who connects, so many at once."""

    noisy = False

    def __init__(self, status: Callable[[], Mapping[str, Any]], clock: IReactorTime) -> None:
        self.status = status
        self.clock = clock
        self.readers = 0

    def buildProtocol(self, addr: IAddress | None) -> Protocol | None:
        return _Telling(self) if self.readers < READERS else None


@define(eq=False)
class _Telling(Protocol):
    """One reader."""

    _told_by: StatusFactory
    _deadline: IDelayedCall = field(init=False)

    def connectionMade(self) -> None:
        transport: Any = self.transport
        self._told_by.readers += 1
        self._deadline = self._told_by.clock.callLater(_READER_SECONDS, transport.abortConnection)
        transport.write(json.dumps(self._told_by.status()).encode() + b"\n")
        transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._told_by.readers -= 1
        if self._deadline.active():
            self._deadline.cancel()


@define(eq=False)
class StatusSocket(Service):
    """The socket in this directory, whose lock this process holds."""

    _log = Logger()

    directory: Path
    status: Callable[[], Mapping[str, Any]] = field(repr=False)
    reactor: Any
    _port: IListeningPort | None = field(init=False, default=None)

    def startService(self) -> None:
        super().startService()
        path = self.directory / SOCKET_NAME
        try:
            if len(os.fsencode(path)) > _PATH_LENGTH:
                raise OSError(0, f"its name is longer than {_PATH_LENGTH} bytes")
            # Of an agent that was killed; no living one has this directory.
            path.unlink(missing_ok=True)
            factory = StatusFactory(self.status, self.reactor)
            self._port = self.reactor.listenUNIX(str(path), factory, mode=0o600)
        except (OSError, CannotListenError) as error:
            cause = error.socketError if isinstance(error, CannotListenError) else error
            # No reason to keep people from the node.
            self._log.warn(
                "mezctl agent status will not work: {path} cannot be opened: {why}",
                path=str(path),
                why=getattr(cause, "strerror", None) or cause,
            )

    def stopService(self) -> Deferred[Any]:
        super().stopService()
        port, self._port = self._port, None
        return maybeDeferred(lambda: None if port is None else port.stopListening())
