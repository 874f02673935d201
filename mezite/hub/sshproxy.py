"""
The virtual listener of ``mezite-ssh``: to a node if SNI names one, else to the
jump host.

The user was proved by their X.509 certificate in the handshake. The SSH
inside is end to end between user and node; the hub opens the way and splices.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IProtocolFactory,
    IReactorTime,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.error import MeziteError, Unavailable
from mezite.hub.error import AccessRefused
from mezite.hub.livesessions import LiveSession, Visitor
from mezite.hub.sessions import SessionOpener
from mezite.identity.x509 import UserIdentity, check_source, identity_of, issued_at
from mezite.names import ClusterName
from mezite.resume import frames
from mezite.resume.error import RemoteResumeError
from mezite.resume.frames import GreetingReader, Hello
from mezite.ssh.refusal import refusal
from mezite.tasks import background
from mezite.wire.alpn import MEZITE_SSH_RESUME, node_part

# How long a client that was refused may take to read why.
_GOODBYE_SECONDS: Final = 5.0
# A client that can resume says so in the first bytes that it sends.
_HELLO_SECONDS: Final = 10.0
_NOT_RESUMED: Final = "the session cannot be taken up again: the node resumes none any more"


class SshProxyFactory(Factory):
    """Tells connections to nodes from connections to the hub itself."""

    noisy = False

    def __init__(
        self,
        *,
        cluster: ClusterName,
        hub_names: Collection[str],
        opener: SessionOpener,
        jump_host: IProtocolFactory,
        clock: IReactorTime,
    ) -> None:
        self.clock = clock
        self.cluster = cluster
        self.hub_names = hub_names
        self.opener = opener
        self.jump_host = jump_host

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _Connection(self, addr)


@define(eq=False)
class _Connection(Protocol):
    """A user's connection, until it is spliced or given to the jump host."""

    _factory: SshProxyFactory
    _address: Any
    transport: Any = field(init=False, default=None)
    _opening: Deferred[None] | None = field(init=False, default=None)
    _goodbye: IDelayedCall | None = field(init=False, default=None)

    _log = Logger()

    @property
    def _can_resume(self) -> bool:
        return bool(self.transport.negotiatedProtocol == MEZITE_SSH_RESUME)

    def connectionMade(self) -> None:
        wanted = node_part(self.transport.server_name, self._factory.hub_names)
        if wanted is None and self._can_resume:
            self._refuse(AccessRefused("a connection to the hub itself cannot be resumed"))
            return
        if wanted is None:
            jump_host = self._factory.jump_host.buildProtocol(self._address)
            self.transport.attach(jump_host)
            return
        # Nothing is read before there is a place to put it.
        self.transport.pauseProducing()
        self._opening = background(self._open(wanted), doing=f"opening a session to {wanted}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._opening is not None:
            self._opening.cancel()
        if self._goodbye is not None and self._goodbye.active():
            self._goodbye.cancel()

    async def _open(self, wanted: str) -> None:
        try:
            session = await self._factory.opener.open(
                self._visitor(), wanted, can_resume=self._can_resume
            )
        except MeziteError as error:
            self._refuse(error)
            return
        except CancelledError:
            raise
        except Exception:
            # A bug, which is logged: nobody would ever speak on this connection.
            self.transport.abortConnection()
            raise
        self._opening = None
        if self._can_resume and not session.is_resumable:
            self.transport.attach(_PlainAnswer(self._factory, session))
            self.transport.resumeProducing()
            return
        await self._factory.opener.carry(session, self.transport)

    def _visitor(self) -> Visitor:
        certificate = self.transport.peer_certificate
        identity = identity_of(certificate)
        if not isinstance(identity, UserIdentity) or identity.cluster != self._factory.cluster:
            raise AccessRefused("this needs the certificate of one of this cluster's users")
        check_source(certificate, getattr(self._address, "host", None))
        return Visitor(
            user=identity.user,
            address=self._place(),
            issued=issued_at(certificate),
            ends=certificate.not_valid_after_utc.timestamp(),
        )

    def _refuse(self, error: MeziteError) -> None:
        """
        Say why, in SSH's own words where every ssh client may listen, and hang up.

        Only our half is closed at first: a client that finds the connection
        gone while it still says hello would report that, and not the sentence.
        """
        self.transport.resumeProducing()
        self.transport.write(_refused(error) if self._can_resume else refusal(str(error)))
        self.transport.loseWriteConnection()
        self._goodbye = self._factory.clock.callLater(
            _GOODBYE_SECONDS, self.transport.loseConnection
        )

    def _place(self) -> str:
        host = getattr(self._address, "host", "?")
        port = getattr(self._address, "port", 0)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@define(eq=False)
class _PlainAnswer(Protocol):
    """
    A client that could resume, and a way that cannot: the hub answers in the node's place.

    What the client said is read here, and nothing more than that.
    """

    _factory: SshProxyFactory
    _session: LiveSession
    transport: Any = field(init=False, default=None)
    _reader: GreetingReader | None = field(init=False, factory=GreetingReader)
    _deadline: IDelayedCall | None = field(init=False, default=None)

    _log = Logger()

    def connectionMade(self) -> None:
        self._deadline = self._factory.clock.callLater(_HELLO_SECONDS, self._too_late)

    def dataReceived(self, data: bytes) -> None:
        if self._reader is None:
            return
        try:
            complete = self._reader.receive(data)
        except RemoteResumeError as error:
            self._log.warn("a client broke the protocol: {error}", error=error)
            self._reader = None
            self.transport.abortConnection()
            return
        if complete is None:
            return
        self._reader = None
        self._stop_waiting()
        hello, rest = complete
        if not isinstance(hello, Hello) or rest:
            self._log.warn("a client does not begin with a hello alone")
            self.transport.abortConnection()
        elif hello.token:
            self.transport.write(frames.refused(frames.GONE, _NOT_RESUMED))
            self.transport.loseConnection()
        else:
            self.transport.pauseProducing()
            self.transport.write(frames.plain())
            background(
                self._factory.opener.carry(self._session, self.transport),
                doing="carrying a session's bytes",
            )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        self._factory.opener.abandon(self._session)

    def _too_late(self) -> None:
        self._deadline = None
        self.transport.abortConnection()

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _refused(error: MeziteError) -> bytes:
    """The same refusal, for a client that can resume."""
    reason = frames.NOT_NOW if isinstance(error, Unavailable) else frames.DENIED
    return frames.refused(reason, str(error))
