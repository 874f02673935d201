"""Tests of a channel whose server is gone, going, or wrong."""

from __future__ import annotations

from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import Event, RequestReceived, StreamReset
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import LimitReached, MeziteError, NotAuthenticated, Unavailable
from mezite.rpc import authcalls
from mezite.rpc.channel import GrpcChannel, open_channel
from mezite.rpc.client import AuthClient
from mezite.rpc.error import CallCancelled, ChannelClosed, RemoteFailure, RemoteRpcError
from mezite.rpc.framing import encode_message
from mezite.rpc.headers import RESPONSE_HEADERS, Headers
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.screening import goaway_frame
from tests.rpc.wire import AbortableTransport, Pair

PONG = encode_message(pb.PingResponse(version="1").SerializeToString())


class RawServer:
    """A server whose every frame is the test's, and a channel on a transport in memory."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.channel = GrpcChannel(self.clock)
        self.transport = AbortableTransport()
        self.channel.makeConnection(self.transport)
        self.client = AuthClient(self.channel)
        self.h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> list[Event]:
        """Read what the channel wrote, and send what h2 has."""
        data = self.transport.value()
        self.transport.clear()
        events = self.h2.receive_data(data)
        self.channel.dataReceived(self.h2.data_to_send())
        return events

    def ping(self) -> tuple[Deferred[Any], int]:
        deferred: Deferred[Any] = Deferred.fromCoroutine(self.client.ping())
        events = self.flush()
        (request,) = [event for event in events if isinstance(event, RequestReceived)]
        assert request.stream_id is not None
        return deferred, request.stream_id

    def answer(self, stream_id: int, *parts: Headers | bytes) -> None:
        for at, part in enumerate(parts):
            end = at == len(parts) - 1
            if isinstance(part, bytes):
                self.h2.send_data(stream_id, part, end_stream=end)
            else:
                self.h2.send_headers(stream_id, part, end_stream=end)
        self.flush()


OK = [("grpc-status", "0")]


class AnswerTests(SynchronousTestCase):
    def error_of(self, *parts: Headers | bytes) -> MeziteError:
        server = RawServer()
        deferred, stream_id = server.ping()
        server.answer(stream_id, *parts)
        error = self.failureResultOf(deferred, MeziteError).value
        # Whatever it was concerned one call; the next one goes through.
        deferred, stream_id = server.ping()
        server.answer(stream_id, RESPONSE_HEADERS, PONG, OK)
        self.assertEqual(self.successResultOf(deferred).version, "1")
        self.assertEqual(server.clock.getDelayedCalls(), [])
        assert isinstance(error, MeziteError)
        return error

    def test_wrong_answers(self) -> None:
        """Each wrong answer fails its call with a kind, and nothing else."""
        cases: list[tuple[type[MeziteError], tuple[Headers | bytes, ...]]] = [
            (NotAuthenticated, ([*RESPONSE_HEADERS, ("grpc-status", "16")],)),
            (Unavailable, ([(":status", "503"), ("content-type", "text/html")],)),
            (RemoteRpcError, ([(":status", "200"), ("content-type", "text/html")], b"hello")),
            (RemoteFailure, ([(":status", "418")],)),
            (RemoteFailure, ([(":status", "999")],)),
            (RemoteRpcError, (RESPONSE_HEADERS, PONG)),
            (RemoteRpcError, (RESPONSE_HEADERS, OK)),
            (RemoteRpcError, (RESPONSE_HEADERS, PONG + PONG, OK)),
            (RemoteRpcError, (RESPONSE_HEADERS, PONG[:-1], OK)),
            (RemoteRpcError, (RESPONSE_HEADERS, b"\0\0\0\0\2\xff\xff", OK)),
            (LimitReached, (RESPONSE_HEADERS, b"\0\xff\xff\xff\xff", OK)),
            (RemoteRpcError, (RESPONSE_HEADERS, PONG, [("grpc-status", "one")])),
            (RemoteFailure, (RESPONSE_HEADERS, PONG, [("grpc-status", "77")])),
        ]
        for kind, parts in cases:
            self.assertIsInstance(self.error_of(*parts), kind, parts)

    def test_error_with_a_body(self) -> None:
        """An error in the trailers counts, whatever came before."""
        error = self.error_of(RESPONSE_HEADERS, PONG, [("grpc-status", "14")])
        self.assertIsInstance(error, Unavailable)

    def test_early_answer(self) -> None:
        """A server that answers before the request has ended is told to expect no more."""
        server = RawServer()
        server.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        server.flush()
        server.flush()
        deferred, stream_id = server.ping()
        server.answer(stream_id, [*RESPONSE_HEADERS, ("grpc-status", "16")])
        self.failureResultOf(deferred, NotAuthenticated)
        resets = [event for event in server.flush() if isinstance(event, StreamReset)]
        self.assertEqual([event.stream_id for event in resets], [stream_id])


class ResetTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        """What a reset means depends on its code."""
        for code, kind in [
            (ErrorCodes.REFUSED_STREAM, ChannelClosed),
            (ErrorCodes.ENHANCE_YOUR_CALM, LimitReached),
            (ErrorCodes.CANCEL, CallCancelled),
            (ErrorCodes.INTERNAL_ERROR, RemoteRpcError),
            (0xFFFF, RemoteRpcError),
        ]:
            server = RawServer()
            deferred, stream_id = server.ping()
            server.h2.reset_stream(stream_id, code)
            server.flush()
            self.failureResultOf(deferred, kind)

    def test_connection_lost(self) -> None:
        """Calls under way fail with the connection, and later ones at once."""
        server = RawServer()
        deferred, _ = server.ping()
        closed = server.channel.on_closed()
        self.assertNoResult(closed)
        server.channel.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(deferred, ChannelClosed)
        self.successResultOf(closed)
        self.failureResultOf(Deferred.fromCoroutine(server.client.ping()), ChannelClosed)
        self.assertEqual(server.clock.getDelayedCalls(), [])

    def test_not_connected(self) -> None:
        """A channel without a connection takes no calls."""
        channel = GrpcChannel(Clock())
        self.failureResultOf(Deferred.fromCoroutine(AuthClient(channel).ping()), ChannelClosed)

    def test_close(self) -> None:
        """Closing fails the calls under way; a peer that does not close is cut off."""
        server = RawServer()
        deferred, _ = server.ping()
        server.client.close()
        self.failureResultOf(deferred, ChannelClosed)
        self.assertTrue(server.transport.disconnecting)
        self.assertNoResult(server.channel.on_closed())
        server.clock.advance(5)
        self.assertTrue(server.transport.aborted)
        server.client.close()

    def test_goaway(self) -> None:
        """After a GOAWAY what the server will not answer fails, and the rest goes on."""
        server = RawServer()
        first, stream_id = server.ping()
        second, _ = server.ping()
        server.channel.dataReceived(goaway_frame(stream_id, 0))
        self.failureResultOf(second, ChannelClosed)
        self.assertNoResult(first)
        self.assertFalse(server.channel.is_open)
        server.answer(stream_id, RESPONSE_HEADERS, PONG, OK)
        self.successResultOf(first)
        self.assertTrue(server.transport.disconnecting)

    def test_broken_server(self) -> None:
        """A server that does not speak HTTP/2 ends the channel with a sentence."""
        server = RawServer()
        deferred, _ = server.ping()
        server.channel.dataReceived(b"SSH-2.0-OpenSSH_9.2\r\n")
        failure = self.failureResultOf(deferred, ChannelClosed)
        self.assertIn("broke", str(failure.value))
        self.assertTrue(server.transport.disconnecting)

    def test_servers_limit(self) -> None:
        """No more calls are begun than the server allows."""
        server = RawServer()
        server.h2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        server.flush()
        server.ping()
        self.failureResultOf(Deferred.fromCoroutine(server.client.ping()), LimitReached)

    def test_paused(self) -> None:
        """A request waits while the transport is full."""
        server = RawServer()
        server.channel.pauseProducing()
        deferred, stream_id = server.ping()
        server.channel.resumeProducing()
        server.flush()
        server.answer(stream_id, RESPONSE_HEADERS, PONG, OK)
        self.successResultOf(deferred)

    @given(st.binary(max_size=300))
    @settings(max_examples=80, deadline=None)
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes of a server fail the call at worst, never raise."""
        server = RawServer()
        deferred, _ = server.ping()
        server.channel.dataReceived(data)
        server.channel.connectionLost(Failure(ConnectionDone()))
        self.failureResultOf(deferred, MeziteError)
        self.assertEqual(server.clock.getDelayedCalls(), [])


class OpenChannelTests(SynchronousTestCase):
    def test_connects(self) -> None:
        """A channel is opened over an endpoint."""
        from twisted.internet.endpoints import TCP4ClientEndpoint

        reactor = MemoryReactorClock()
        endpoint = TCP4ClientEndpoint(reactor, "192.0.2.1", 3080)
        opening = Deferred.fromCoroutine(open_channel(endpoint, reactor))
        protocol = reactor.tcpClients[0][2].buildProtocol(None)
        protocol.makeConnection(AbortableTransport())
        self.assertTrue(self.successResultOf(opening).is_open)


class PagesService:
    """Two pages of nodes, or pages without an end."""

    endless = False

    async def list_nodes(self, call: object, request: pb.ListNodesRequest) -> pb.ListNodesResponse:
        (label,) = request.labels
        more = self.endless or request.page_token == ""
        return pb.ListNodesResponse(
            nodes=[pb.Node(hostname=f"after-{request.page_token}", labels={"l": label})],
            next_page_token="2" if more else "",
        )


class PagesTests(SynchronousTestCase):
    def pair(self) -> tuple[Pair, PagesService]:
        from tests.rpc.wire import methods

        service = PagesService()
        pair = Pair()
        pair.factory.methods = methods(service)
        return pair, service

    def test_all_pages(self) -> None:
        """A list is followed to its last page, with the same question."""
        pair, _ = self.pair()
        nodes = self.successResultOf(pair.start(pair.client.list_nodes(["env=dev"])))
        self.assertEqual([node.hostname for node in nodes], ["after-", "after-2"])
        self.assertEqual({node.labels["l"] for node in nodes}, {"env=dev"})

    def test_endless(self) -> None:
        """A list that does not end is given up."""
        pair, service = self.pair()
        service.endless = True
        self.patch(authcalls, "_PAGES", 5)
        self.failureResultOf(pair.start(pair.client.list_nodes(["env=dev"])), LimitReached)
