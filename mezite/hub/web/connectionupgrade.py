"""
The way into the hub's port through what ends TLS before it: ``/v1/webapi/connectionupgrade``.

A request becomes a WebSocket, and what is in it a connection of the port's
(``docs/protocols/connection-upgrade.rst``). Owns what must be in the request,
and from where it counts as coming; the frames are wsproto's, and the rest is
:mod:`mezite.wire.upgraded`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    TextMessage,
)

from mezite.error import BadInput, LimitReached, MeziteError, NotFound
from mezite.hub.web.answers import answer_failure, answer_json
from mezite.hub.web.cookies import check_origin
from mezite.hub.web.forwarding import client_of
from mezite.identity.networks import Networks
from mezite.rpc.httpstatus import MethodNotAllowed
from mezite.wire.secured import ISecured
from mezite.wire.upgraded import UpgradedConnection
from mezite.wire.websocket import (
    BINARY,
    CLOSE,
    MESSAGE_LENGTH,
    PATH,
    PING,
    PONG,
    SUBPROTOCOL,
    TOO_BIG,
    UNSUPPORTED,
    BrokenFrames,
    close_payload,
    is_key,
)

# RFC 6455, section 7.1.5: what wsproto says of a Close frame without a code.
_NO_CODE: Final = 1005


class TooManyUpgrades(LimitReached):
    """As many upgraded connections have unfinished handshakes as there may be."""

    wait = 1.0

    def __init__(self) -> None:
        super().__init__("too many connections are being upgraded: try again in a second")


class UpgradeRequired(BadInput):
    """What is here is not spoken in plain HTTP, or not in this version."""


class ConnectionUpgrade(Resource):
    """
    The resource that takes a request's connection over.

    :param admit: what is spoken inside with a client at this address; None if
        there are too many already.
    :param forwarders: whose ``X-Forwarded-For`` is believed.
    :param release: told each connection that is taken over, and is the inner one's from then on.
    """

    isLeaf = True

    def __init__(
        self,
        admit: Callable[[IAddress], IProtocol | None],
        *,
        clock: IReactorTime,
        forwarders: Networks = (),
        release: Callable[[Any], None] = lambda transport: None,
    ) -> None:
        super().__init__()
        self._release = release
        self._admit = admit
        self._clock = clock
        self._forwarders = forwarders

    def render(self, request: Request) -> int:
        try:
            self._check(request)
            client = client_of(request, self._forwarders)
            inner = self._admit(client)
            if inner is None:
                raise TooManyUpgrades()
        except MeziteError as error:
            # What follows a request like this one may be anything.
            request.setHeader(b"connection", b"close")
            if isinstance(error, UpgradeRequired):
                _require_upgrade(request, error)
            else:
                answer_failure(request, error)
        else:
            self._take_over(request, client, inner)
        return NOT_DONE_YET

    def _check(self, request: Request) -> None:
        """
        Make sure that it is the request of the protocol.

        :raises MeziteError: it is another.
        """
        if request.postpath:
            raise NotFound("there is nothing here")
        if request.method != b"GET":
            raise MethodNotAllowed(["GET"])
        check_origin(
            origin=_field(request, b"origin"),
            fetch_site=_field(request, b"sec-fetch-site"),
            host=_field(request, b"host"),
        )
        upgrade = _words(request, b"upgrade")
        if request.clientproto != b"HTTP/1.1" or "websocket" not in upgrade:
            raise UpgradeRequired(f"{PATH} is for WebSockets over HTTP/1.1")
        if "upgrade" not in _words(request, b"connection"):
            raise BadInput("the header Connection does not say Upgrade")
        if _words(request, b"sec-websocket-version") != ["13"]:
            raise UpgradeRequired("the WebSocket's version is not 13")
        if not is_key((_field(request, b"sec-websocket-key") or "").encode("latin-1")):
            raise BadInput("the header Sec-WebSocket-Key is no key")
        if SUBPROTOCOL not in _words(request, b"sec-websocket-protocol"):
            raise BadInput(f"the WebSocket's subprotocol is not {SUBPROTOCOL}")
        if not ISecured.providedBy(_transport(request)):
            raise BadInput("a WebSocket is not begun here")

    def _take_over(self, request: Request, client: IAddress, inner: IProtocol) -> None:
        frames = HubFrames()
        greeting = frames.accept(_field(request, b"sec-websocket-key") or "")
        transport = _transport(request)
        # HTTP is over: it hears nothing more, and is not asked to slow down.
        transport.unregisterProducer()
        self._release(transport)
        transport.attach(UpgradedConnection(frames, inner, self._clock, greeting, client))


class HubFrames:
    """The hub's end of a WebSocket, by wsproto."""

    def __init__(self) -> None:
        self._connection = WSConnection(ConnectionType.SERVER)
        self._events: Iterator[Event] = iter(())
        # Bytes of the message that is coming.
        self._message = 0

    def accept(self, key: str) -> bytes:
        """The answer to a request that was looked at, with this key."""
        self._connection.initiate_upgrade_connection(
            [
                (b"Host", b"hub"),
                (b"Connection", b"Upgrade"),
                (b"Upgrade", b"websocket"),
                (b"Sec-WebSocket-Version", b"13"),
                (b"Sec-WebSocket-Protocol", SUBPROTOCOL.encode()),
                (b"Sec-WebSocket-Key", key.encode("ascii")),
            ],
            PATH,
        )
        list(self._connection.events())
        return self._connection.send(AcceptConnection(subprotocol=SUBPROTOCOL))

    def receive(self, data: bytes) -> None:
        if self._connection.state is ConnectionState.OPEN:
            self._connection.receive_data(data)

    def next_frame(self) -> tuple[int, bytes] | None:
        event = next(self._events, None)
        if event is None:
            self._events = self._connection.events()
            event = next(self._events, None)
        match event:
            case None:
                return None
            case BytesMessage():
                return BINARY, self._counted(event)
            case Ping():
                return PING, bytes(event.payload)
            case Pong():
                return PONG, b""
            case CloseConnection() if self._connection.state is ConnectionState.REMOTE_CLOSING:
                return CLOSE, b"" if event.code == _NO_CODE else close_payload(event.code)
            case CloseConnection():
                raise BrokenFrames(event.reason or "no reason", event.code)
            case TextMessage():
                raise BrokenFrames("text came, and only bytes are carried", UNSUPPORTED)
        raise BrokenFrames("something else came")

    def _counted(self, event: BytesMessage) -> bytes:
        self._message += len(event.data)
        if self._message > MESSAGE_LENGTH:
            raise BrokenFrames("a message is too long", TOO_BIG)
        if event.message_finished:
            self._message = 0
        return bytes(event.data)

    def frame(self, opcode: int, payload: bytes = b"") -> bytes:
        return self._connection.send(_event_of(opcode, payload))


def _event_of(opcode: int, payload: bytes) -> Event:
    if opcode == BINARY:
        return BytesMessage(data=payload)
    if opcode == PING:
        return Ping(payload=payload)
    if opcode == PONG:
        return Pong(payload=payload)
    return CloseConnection(code=int.from_bytes(payload, "big") if payload else _NO_CODE)


def _require_upgrade(request: Request, error: UpgradeRequired) -> None:
    """RFC 9110, section 15.5.22, and RFC 6455, section 4.4."""
    request.setHeader(b"upgrade", b"websocket")
    request.setHeader(b"sec-websocket-version", b"13")
    failure = {"kind": "upgrade_required", "message": str(error)}
    answer_json(request, 426, {"error": failure})


def _transport(request: Request) -> Any:
    return getattr(request.channel, "transport", None)


def _field(request: Request, name: bytes) -> str | None:
    """The value of a header; two of one name are joined, so that neither is overlooked."""
    values = request.requestHeaders.getRawHeaders(name)
    return None if values is None else b", ".join(values).decode("latin-1")


def _words(request: Request, name: bytes) -> list[str]:
    return [word.strip().lower() for word in (_field(request, name) or "").split(",")]
