"""
The way to a node's SSH server, for a user whose identity is proved.

Decides first and acts after: finds the node, asks the access rules, takes the
live tunnel and opens a stream in it. The doors by which users come are
:mod:`mezite.hub.sshproxy` (SNI names the node) and :mod:`mezite.hub.jumphost`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Final

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from mezite.auth.access import AccessService
from mezite.error import MeziteError
from mezite.hub.error import UnknownNode
from mezite.hub.metrics import HubMetrics
from mezite.hub.nodes import NodeDirectory, did_you_mean, shown
from mezite.mux.transport import StreamTransport
from mezite.names import UserName
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode
from mezite.store.records import NodeRecord
from mezite.tasks import within

# Three look-ups in the database; whoever waits longer is told so.
_OPENING_SECONDS: Final = 10.0


@frozen
class OpenedSession:
    """A stream that leads to a node's SSH server, its header already sent."""

    session_id: str
    node: NodeRecord
    stream: StreamTransport


class SessionOpener:
    """Opens streams to nodes for users who may reach them."""

    _log = Logger()

    def __init__(
        self,
        *,
        directory: NodeDirectory,
        access: AccessService,
        metrics: HubMetrics,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
    ) -> None:
        self._directory = directory
        self._access = access
        self._metrics = metrics
        self._clock = clock
        self._wall_clock = wall_clock

    async def open(self, user: UserName, wanted: str, client_address: str) -> OpenedSession:
        """
        A stream to the SSH server of the node that is wanted, by name or agent id.

        :raises UnknownNode: there is none, or the user may not reach it; which
            of the two is in the log, and not told.
        :raises NodeOffline:
        :raises TimedOut:
        """
        try:
            opened = await within(
                self._clock,
                _OPENING_SECONDS,
                self._open(user, wanted, client_address),
                doing="finding the node",
            )
        except MeziteError as error:
            self._metrics.sessions.labels(type(error).__name__).inc()
            self._log.info(
                "{user} from {client} does not reach {node}: {error}",
                user=user,
                client=client_address,
                node=wanted[:80],
                error=error,
            )
            raise
        self._metrics.sessions.labels("opened").inc()
        self._log.info(
            "session {session_id}: {user} from {client} to {node}",
            session_id=opened.session_id,
            user=user,
            client=client_address,
            node=opened.node.name,
        )
        return opened

    async def _open(self, user: UserName, wanted: str, client_address: str) -> OpenedSession:
        record = await self._directory.find_exactly(wanted)
        decision = (
            None
            if record is None
            else await self._access.may_reach(user, record, address=client_address)
        )
        if record is None or decision is None or not decision.allowed:
            # The same way for both, that it may not be seen from the time that it takes.
            others = await self._access.reachable(user, await self._directory.stored())
            raise out_of_reach(wanted, others, "" if decision is None else decision.hint)
        stream = self._directory.tunnel_to(record, self._wall_clock()).open_stream(user)
        session_id = str(uuid.uuid4())
        header = StreamHeader(
            service="ssh",
            session_id=session_id,
            user=str(user),
            client_address=client_address,
        )
        stream.write(encode(header))
        return OpenedSession(session_id, record, stream)


def out_of_reach(wanted: str, reachable: Iterable[NodeRecord], hint: str = "") -> UnknownNode:
    """
    One sentence for nodes that are not there and those that are not for this user.

    It names those within their reach that may have been meant. Only who may ask
    for access to the node gets a hint, which says that it is there.
    """
    told = f"; {hint}" if hint else did_you_mean(wanted, reachable) or "; msh ls shows yours"
    return UnknownNode(f"there is no node {shown(wanted)} that you may reach{told}")
