"""
The two sides of a gRPC connection in memory, and a peer that writes its frames by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import Event
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.test.iosim import IOPump, connectedServerAndClient

from mezite.rpc.calls import Call, Method, methods_of
from mezite.rpc.client import AuthClient, GrpcChannel
from mezite.rpc.framing import encode_message
from mezite.rpc.limits import GrpcLimits
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Caller, GrpcServerFactory
from mezite.rpc.serving import GrpcServerProtocol

ADDRESS = "203.0.113.7:50122"
SERVICE = pb.DESCRIPTOR.services_by_name["AuthService"]


def caller_of(transport: object) -> Caller:
    # Known, so that it is not a stranger's limits that are tested.
    return Caller(identity=None, is_local_admin=True, address=ADDRESS)


@define(eq=False)
class Waiting:
    """A handler that waits until the test lets it go on."""

    call: Call
    request: Any
    go_on: Deferred[Any]
    cancelled: bool = False


@define(eq=False)
class ScriptedService:
    """Answers Ping with who calls, AuthorizeSession when told to, ListUsers with much."""

    waiting: list[Waiting] = field(factory=list)
    list_users_bytes: int = 0

    async def ping(self, call: Call, request: pb.PingRequest) -> pb.PingResponse:
        return pb.PingResponse(cluster_name=call.caller.address, version="1")

    async def authorize_session(self, call: Call, request: pb.AuthorizeSessionRequest) -> Any:
        waiting = Waiting(call, request, Deferred())
        waiting.go_on.addErrback(lambda failure: self._cancelled(waiting, failure))
        self.waiting.append(waiting)
        return await waiting.go_on

    def _cancelled(self, waiting: Waiting, failure: Any) -> Any:
        waiting.cancelled = True
        return failure

    async def list_users(self, call: Call, request: object) -> pb.ListUsersResponse:
        return pb.ListUsersResponse(users=[pb.User(name="x" * self.list_users_bytes)])

    async def get_status(self, call: Call, request: object) -> pb.GetStatusResponse:
        raise ZeroDivisionError("a secret")

    async def delete_node(self, call: Call, request: object) -> Any:
        return pb.PingResponse()


def methods(service: object) -> Mapping[str, Method]:
    return methods_of(SERVICE, service)


class Pair:
    """A server and a client of it."""

    def __init__(
        self,
        limits: GrpcLimits | None = None,
        *,
        caller_of: Callable[[Any], Caller] = caller_of,
        client_limits: GrpcLimits | None = None,
    ) -> None:
        self.clock = Clock()
        self.service = ScriptedService()
        self.factory = GrpcServerFactory(
            methods(self.service), caller_of=caller_of, clock=self.clock, limits=limits
        )
        channel: GrpcChannel
        pump: IOPump
        channel, server, pump = connectedServerAndClient(
            lambda: self.factory.buildProtocol(None),
            lambda: GrpcChannel(self.clock, limits=client_limits),
        )
        self.channel = channel
        self.server: GrpcServerProtocol = server
        self.pump = pump
        self.client = AuthClient(channel)

    def start(self, call: Any) -> Deferred[Any]:
        """Begin a call and let the bytes flow."""
        deferred: Deferred[Any] = Deferred.fromCoroutine(call)
        self.pump.flush()
        return deferred


class RawPeer:
    """A client whose every frame is the test's, and a server on a transport in memory."""

    def __init__(self, limits: GrpcLimits | None = None, *, greet: bool = True) -> None:
        self.clock = Clock()
        self.service = ScriptedService()
        self.factory = GrpcServerFactory(
            methods(self.service), caller_of=caller_of, clock=self.clock, limits=limits
        )
        server = self.factory.buildProtocol(None)
        assert server is not None
        self.server = server
        self.transport = AbortableTransport()
        self.server.makeConnection(self.transport)
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.events: list[Event] = []
        if greet:
            self.h2.initiate_connection()
            self.flush()

    def flush(self) -> list[Event]:
        """Send what h2 has, and read what the server wrote."""
        self.server.dataReceived(self.h2.data_to_send())
        return self.read()

    def read(self) -> list[Event]:
        data = self.transport.value()
        self.transport.clear()
        events = self.h2.receive_data(data)
        self.events += events
        return events

    def begin(self, method: str = "Ping", *, end: bool = False, **changes: str | None) -> int:
        """Send the headers of a call; the keywords replace them, None leaves one out."""
        headers = {
            ":method": "POST",
            ":scheme": "https",
            ":path": f"/{SERVICE.full_name}/{method}",
            ":authority": "hub",
            "te": "trailers",
            "content-type": "application/grpc",
        }
        for name, value in changes.items():
            headers[name.replace("_", "-")] = value  # type: ignore[assignment]
        stream_id = self.h2.get_next_available_stream_id()
        sent = [(name, value) for name, value in headers.items() if value is not None]
        self.h2.send_headers(stream_id, sent, end_stream=end)
        return stream_id

    def message(self, stream_id: int, message: Any, *, end: bool = True) -> None:
        data = encode_message(message.SerializeToString())
        self.h2.send_data(stream_id, data, end_stream=end)

    def status(self, stream_id: int) -> str | None:
        """The gRPC status, or the HTTP status, that a stream ended with."""
        for event in reversed(self.events):
            if getattr(event, "stream_id", None) == stream_id and hasattr(event, "headers"):
                values = dict(event.headers)
                return values.get("grpc-status", values.get(":status"))
        return None

    @property
    def is_cut_off(self) -> bool:
        return bool(self.transport.disconnecting) or self.transport.aborted


class AbortableTransport(StringTransport):
    """A transport in memory that remembers having been aborted."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    @property
    def is_reading(self) -> bool:
        return bool(self.producerState == "producing")
