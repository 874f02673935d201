"""
What gRPC calls do on every transport that carries them.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mezite.error import NotFound, TimedOut
from mezite.rpc.channel import GrpcChannel
from mezite.rpc.client import AuthClient
from mezite.rpc.error import ChannelClosed
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import GrpcServerFactory
from tests.rpc.wire import ScriptedService, caller_of, methods


class GrpcCallsContract:
    """
    Mixed into a test case whose :meth:`connect` joins a channel and a server's
    protocol, and whose :meth:`flush` lets the bytes flow.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.service = ScriptedService()
        self.factory = GrpcServerFactory(
            methods(self.service), caller_of=caller_of, clock=self.clock
        )
        self.channel = GrpcChannel(self.clock)
        self.client = AuthClient(self.channel)
        self.connect()
        self.flush()

    def connect(self) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        raise NotImplementedError

    def start(self, call: Any) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred.fromCoroutine(call)
        self.flush()
        return deferred

    def test_answer(self: Any) -> None:
        """A call is answered."""
        self.assertEqual(self.successResultOf(self.start(self.client.ping())).version, "1")

    def test_error(self: Any) -> None:
        """An error arrives as its kind."""
        deferred = self.start(self.client.authorize_session("ada", "root", "s"))
        self.service.waiting[0].go_on.errback(NotFound("no such session"))
        self.flush()
        self.failureResultOf(deferred, NotFound)

    def test_large(self: Any) -> None:
        """Messages larger than every window pass both ways, at once."""
        self.service.list_users_bytes = 3_000_000
        sent = self.start(self.client.authorize_session("x" * 1_000_000, "root", "s"))
        answers = [self.start(self.client.list_users()) for _ in range(3)]
        for answer in answers:
            self.assertEqual(len(self.successResultOf(answer)[0].name), 3_000_000)
        (waiting,) = self.service.waiting
        self.assertEqual(len(waiting.request.user), 1_000_000)
        waiting.go_on.callback(pb.AuthorizeSessionResponse())
        self.flush()
        self.successResultOf(sent)

    def test_deadline(self: Any) -> None:
        """A deadline cancels the handler as well."""
        self.client.timeout = 2.0
        deferred = self.start(self.client.authorize_session("ada", "root", "s"))
        self.clock.advance(2.1)
        self.flush()
        self.failureResultOf(deferred, TimedOut)
        self.assertTrue(self.service.waiting[0].cancelled)

    def test_close(self: Any) -> None:
        """A channel that is closed ends the server's connection, and its handlers."""
        deferred = self.start(self.client.authorize_session("ada", "root", "s"))
        self.client.close()
        self.flush()
        self.failureResultOf(deferred, ChannelClosed)
        self.assertTrue(self.service.waiting[0].cancelled)
        self.assertEqual(self.factory.connections, set())
        self.successResultOf(self.channel.on_closed())

    def test_drain(self: Any) -> None:
        """A server that drains answers the calls under way, and then closes."""
        deferred = self.start(self.client.authorize_session("ada", "root", "s"))
        drained = self.factory.drain()
        self.flush()
        self.assertFalse(self.channel.is_open)
        self.service.waiting[0].go_on.callback(pb.AuthorizeSessionResponse(allowed=True))
        self.flush()
        self.assertTrue(self.successResultOf(deferred).allowed)
        self.successResultOf(drained)
        self.successResultOf(self.channel.on_closed())
