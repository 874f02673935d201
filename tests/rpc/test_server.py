"""Tests of calls between our client and our server, and of peers that misbehave."""

from __future__ import annotations

from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, StreamReset
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import (
    Denied,
    LimitReached,
    NotFound,
    TimedOut,
)
from mezite.rpc.error import ChannelClosed, RemoteFailure, Unimplemented
from mezite.rpc.limits import GrpcLimits
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.screening import PREFACE, goaway_frame
from mezite.rpc.server import Caller
from mezite.rpc.status import Status
from tests.rpc.wire import ADDRESS, Pair, RawPeer

SMALL = GrpcLimits(request_bytes=1000, response_bytes=100_000, pending_request_bytes=1500)


def code(status: Status) -> str:
    return str(int(status))


class CallTests(SynchronousTestCase):
    def test_answer(self) -> None:
        """A call is answered, and leaves nothing behind."""
        pair = Pair()
        answer = self.successResultOf(pair.start(pair.client.ping()))
        self.assertEqual(answer.cluster_name, ADDRESS)
        # What is left is the connection's own timer.
        self.assertEqual(len(pair.clock.getDelayedCalls()), 1)

    def test_what_a_handler_learns(self) -> None:
        """A handler has the caller, the metadata and the deadline."""
        pair = Pair()
        pair.client.bearer = "secret"
        pair.start(pair.client.authorize_session("ada", "root", "s1"))
        (waiting,) = pair.service.waiting
        self.assertEqual(waiting.request.login, "root")
        self.assertEqual(waiting.call.caller.address, ADDRESS)
        self.assertEqual(waiting.call.metadata["authorization"], "Bearer secret")
        self.assertAlmostEqual(waiting.call.deadline, 10, places=3)

    def test_many_at_once(self) -> None:
        """Calls do not wait for each other."""
        pair = Pair()
        slow = pair.start(pair.client.authorize_session("ada", "root", "s1"))
        self.successResultOf(pair.start(pair.client.ping()))
        pair.service.waiting[0].go_on.callback(pb.AuthorizeSessionResponse(allowed=True))
        pair.pump.flush()
        self.assertTrue(self.successResultOf(slow).allowed)

    def test_errors_travel(self) -> None:
        """A handler's error arrives as its kind and sentence."""
        pair = Pair()
        for error in (NotFound("no such user"), Denied("not today, 100 % sure")):
            deferred = pair.start(pair.client.authorize_session("ada", "root", "s1"))
            pair.service.waiting.pop().go_on.errback(error)
            pair.pump.flush()
            failure = self.failureResultOf(deferred, type(error))
            self.assertEqual(str(failure.value), str(error))

    def test_bug(self) -> None:
        """A bug in a handler is logged here, and its words stay here."""
        pair = Pair()
        failure = self.failureResultOf(pair.start(pair.client.get_status()), RemoteFailure)
        self.assertNotIn("secret", str(failure.value))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_wrong_answer(self) -> None:
        """A handler that answers with another type is a bug as well."""
        pair = Pair()
        self.failureResultOf(pair.start(pair.client.delete_node("x")), RemoteFailure)
        self.flushLoggedErrors()

    def test_unknown_method(self) -> None:
        """A method that the server lacks is named in the refusal."""
        pair = Pair()
        failure = self.failureResultOf(pair.start(pair.client.list_tokens()), Unimplemented)
        self.assertIn("ListTokens", str(failure.value))

    def test_refused_caller(self) -> None:
        """A caller who was refused at the door hears why at every call."""

        def refuse(transport: object) -> Caller:
            raise Denied("this socket is for administrators")

        pair = Pair(caller_of=refuse)
        failure = self.failureResultOf(pair.start(pair.client.ping()), Denied)
        self.assertEqual(str(failure.value), "this socket is for administrators")

    def test_large_answer(self) -> None:
        """An answer larger than every window arrives whole, and a small one passes it."""
        pair = Pair()
        pair.service.list_users_bytes = 3_500_000
        (user,) = self.successResultOf(pair.start(pair.client.list_users()))
        self.assertEqual(len(user.name), 3_500_000)

    def test_large_request(self) -> None:
        """A request larger than every window arrives whole."""
        pair = Pair()
        pair.start(pair.client.authorize_session("x" * 1_000_000, "root", "s"))
        self.assertEqual(len(pair.service.waiting[0].request.user), 1_000_000)

    def test_request_over_the_limit(self) -> None:
        """A request over the server's limit is refused with the limit."""
        pair = Pair(limits=SMALL)
        deferred = pair.start(pair.client.authorize_session("x" * 1001, "root", "s"))
        failure = self.failureResultOf(deferred, LimitReached)
        self.assertIn("1000", str(failure.value))
        self.successResultOf(pair.start(pair.client.ping()))

    def test_request_over_the_clients_limit(self) -> None:
        """The client does not even send what no server takes."""
        pair = Pair(client_limits=SMALL)
        deferred = pair.start(pair.client.authorize_session("x" * 1001, "root", "s"))
        self.failureResultOf(deferred, LimitReached)

    def test_answer_over_the_limit(self) -> None:
        """An answer over the limit of either side fails the call, not the connection."""
        for pair in (Pair(limits=SMALL), Pair(client_limits=SMALL)):
            pair.service.list_users_bytes = 100_001
            self.failureResultOf(pair.start(pair.client.list_users()), LimitReached)
            self.successResultOf(pair.start(pair.client.ping()))


class DeadlineTests(SynchronousTestCase):
    def test_both_sides(self) -> None:
        """At the deadline the caller hears of it, and the handler is cancelled."""
        pair = Pair()
        deferred = pair.start(pair.client.authorize_session("ada", "root", "s1"))
        pair.clock.advance(10.1)
        pair.pump.flush()
        self.failureResultOf(deferred, TimedOut)
        self.assertTrue(pair.service.waiting[0].cancelled)
        self.successResultOf(pair.start(pair.client.ping()))

    def test_servers_deadline(self) -> None:
        """A client that names no deadline has the server's."""
        peer = RawPeer()
        stream_id = peer.begin("AuthorizeSession")
        peer.message(stream_id, pb.AuthorizeSessionRequest())
        peer.flush()
        peer.clock.advance(60)
        peer.read()
        self.assertEqual(peer.status(stream_id), code(Status.DEADLINE_EXCEEDED))
        self.assertTrue(peer.service.waiting[0].cancelled)

    def test_far_deadline(self) -> None:
        """A deadline further than the server's is the server's."""
        peer = RawPeer()
        stream_id = peer.begin("AuthorizeSession", grpc_timeout="99H")
        peer.message(stream_id, pb.AuthorizeSessionRequest())
        peer.flush()
        self.assertEqual(peer.service.waiting[0].call.deadline, 60)

    def test_no_time_left(self) -> None:
        """A call whose time is up already ends at once."""
        peer = RawPeer()
        stream_id = peer.begin("AuthorizeSession", grpc_timeout="0n")
        peer.message(stream_id, pb.AuthorizeSessionRequest())
        peer.flush()
        peer.clock.advance(0)
        peer.read()
        self.assertEqual(peer.status(stream_id), code(Status.DEADLINE_EXCEEDED))

    def test_cancelled_caller(self) -> None:
        """Cancelling a call cancels its handler."""
        pair = Pair()
        deferred = pair.start(pair.client.authorize_session("ada", "root", "s1"))
        deferred.cancel()
        self.failureResultOf(deferred, CancelledError)
        pair.pump.flush()
        self.assertTrue(pair.service.waiting[0].cancelled)
        self.assertEqual(len(pair.clock.getDelayedCalls()), 1)

    def test_slow_request(self) -> None:
        """A request that does not arrive in time is answered without it."""
        peer = RawPeer()
        stream_id = peer.begin()
        peer.message(stream_id, pb.PingRequest(), end=False)
        peer.flush()
        peer.clock.advance(15)
        peer.read()
        self.assertEqual(peer.status(stream_id), code(Status.DEADLINE_EXCEEDED))

    def test_answer_not_taken(self) -> None:
        """An answer that the client's window keeps back is given up in the end."""
        peer = RawPeer()
        peer.service.list_users_bytes = 200_000
        stream_id = peer.begin("ListUsers")
        peer.message(stream_id, pb.ListUsersRequest())
        peer.flush()
        self.assertEqual(peer.status(stream_id), "200")
        peer.clock.advance(30)
        resets = [event for event in peer.read() if isinstance(event, StreamReset)]
        self.assertEqual([event.stream_id for event in resets], [stream_id])


class RefusalTests(SynchronousTestCase):
    def call(self, peer: RawPeer, data: bytes, **headers: str | None) -> str | None:
        stream_id = peer.begin(**headers)
        if data:
            peer.h2.send_data(stream_id, data, end_stream=True)
        else:
            peer.h2.end_stream(stream_id)
        peer.flush()
        return peer.status(stream_id)

    def test_statuses(self) -> None:
        """Every misuse has the status that gRPC gives it, and the connection lives on."""
        peer = RawPeer()
        empty = b"\0\0\0\0\0"
        cases: list[tuple[bytes, dict[str, str | None], str]] = [
            (empty, {}, "0"),
            (empty, {"method": "Nothing"}, code(Status.UNIMPLEMENTED)),
            (empty, {"grpc_encoding": "gzip"}, code(Status.UNIMPLEMENTED)),
            (b"\1\0\0\0\0", {}, code(Status.UNIMPLEMENTED)),
            (b"", {}, code(Status.INVALID_ARGUMENT)),
            (empty + empty, {}, code(Status.INVALID_ARGUMENT)),
            (b"\0\0\0\0\2\xff\xff", {}, code(Status.INVALID_ARGUMENT)),
            (b"\0\0\0", {}, code(Status.INVALID_ARGUMENT)),
            (b"\7\0\0\0\0", {}, code(Status.INVALID_ARGUMENT)),
            (b"\0\xff\xff\xff\xff", {}, code(Status.RESOURCE_EXHAUSTED)),
            (empty, {"grpc_timeout": "soon"}, code(Status.INVALID_ARGUMENT)),
            (empty, {"content_type": "text/html"}, "415"),
            (empty, {"content_type": None}, "415"),
        ]
        for data, headers, wanted in cases:
            self.assertEqual(self.call(peer, data, **headers), wanted, (data, headers))
        self.assertFalse(peer.is_cut_off)

    def test_accepted_encodings(self) -> None:
        """A refused encoding comes with the one that is accepted."""
        peer = RawPeer()
        self.call(peer, b"\0\0\0\0\0", grpc_encoding="gzip")
        headers = dict(next(e for e in peer.events if hasattr(e, "headers")).headers)
        self.assertEqual(headers["grpc-accept-encoding"], "identity")

    def test_trailers_only(self) -> None:
        """An error needs one HEADERS frame, and the rest of the request is refused."""
        peer = RawPeer()
        stream_id = peer.begin("Nothing")
        events = peer.flush()
        self.assertEqual(peer.status(stream_id), code(Status.UNIMPLEMENTED))
        self.assertFalse([event for event in events if isinstance(event, DataReceived)])
        (reset,) = [event for event in events if isinstance(event, StreamReset)]
        self.assertEqual(reset.error_code, ErrorCodes.NO_ERROR)

    def test_reset_by_client(self) -> None:
        """A call that the client resets is cancelled, with or without its request."""
        peer = RawPeer()
        half = peer.begin("AuthorizeSession")
        whole = peer.begin("AuthorizeSession")
        peer.message(whole, pb.AuthorizeSessionRequest())
        peer.flush()
        peer.h2.reset_stream(half, ErrorCodes.CANCEL)
        peer.h2.reset_stream(whole, ErrorCodes.CANCEL)
        peer.flush()
        self.assertTrue(peer.service.waiting[0].cancelled)
        self.assertEqual(len(peer.clock.getDelayedCalls()), 1)

    def test_pending_requests(self) -> None:
        """Unfinished requests have a bound together."""
        peer = RawPeer(SMALL)
        streams = [peer.begin() for _ in range(3)]
        for stream_id in streams:
            peer.h2.send_data(stream_id, b"\0\0\0\3\0" + b"x" * 600)
        peer.flush()
        self.assertEqual(
            [peer.status(stream_id) for stream_id in streams],
            [None, None, code(Status.RESOURCE_EXHAUSTED)],
        )

    def test_handlers_that_do_not_end(self) -> None:
        """Handlers that outlive their calls still count."""
        peer = RawPeer(GrpcLimits(streams=2))
        for _ in range(2):
            stream_id = peer.begin("AuthorizeSession")
            peer.message(stream_id, pb.AuthorizeSessionRequest())
            peer.flush()
            peer.service.waiting[-1].go_on.pause()
            peer.h2.reset_stream(stream_id)
            peer.flush()
        self.assertEqual(self.call(peer, b"\0\0\0\0\0"), code(Status.RESOURCE_EXHAUSTED))
        for waiting in peer.service.waiting:
            waiting.go_on.unpause()
        self.assertEqual(self.call(peer, b"\0\0\0\0\0"), "0")


class HostileTests(SynchronousTestCase):
    def cut_off_by(self, peer: RawPeer, data: bytes, wanted: ErrorCodes | None = None) -> None:
        peer.server.dataReceived(data)
        self.assertTrue(peer.is_cut_off)
        if wanted is not None:
            (end,) = [e for e in peer.read() if isinstance(e, ConnectionTerminated)]
            self.assertEqual(end.error_code, wanted)
        # Nothing happens after the end.
        peer.server.dataReceived(b"x" * 100)
        peer.server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_not_http2(self) -> None:
        """A client of another protocol is sent away."""
        self.cut_off_by(RawPeer(greet=False), b"GET / HTTP/1.1\r\n\r\n")

    def test_long_frame(self) -> None:
        """A frame that announces too much is refused before it is buffered."""
        self.cut_off_by(RawPeer(), b"\x00\x40\x01\0\0\0\0\0\1", ErrorCodes.PROTOCOL_ERROR)

    def test_endless_headers(self) -> None:
        """A header block without an end is refused at its bound."""
        peer = RawPeer()
        peer.server.dataReceived(b"\0\x20\0\x01\0\0\0\0\1" + b"\x82" * 8192)
        self.assertFalse(peer.is_cut_off)
        self.cut_off_by(peer, b"\0\0\1\x09\0\0\0\0\1\x82", ErrorCodes.PROTOCOL_ERROR)

    def test_header_bomb(self) -> None:
        """A small block that decodes to much is refused."""
        peer = RawPeer()
        # One entry of 3 KB into the table, then named again and again by one octet.
        entry = b"\x40\x01x\x7f\xb9\x16" + b"v" * 3000
        block = entry + b"\xbe" * 100
        frame = len(block).to_bytes(3, "big") + b"\x01\x04\0\0\0\1" + block
        self.cut_off_by(peer, frame, ErrorCodes.ENHANCE_YOUR_CALM)

    def test_unknown_settings(self) -> None:
        """Settings that nobody knows are not kept, however many there are."""
        peer = RawPeer()
        body = b"".join(code.to_bytes(2, "big") + b"\0\0\0\1" for code in range(100, 2_000))
        peer.server.dataReceived(len(body).to_bytes(3, "big") + b"\x04\0\0\0\0\0" + body)
        self.assertFalse(peer.is_cut_off)
        self.assertLess(len(peer.server._http2._h2.remote_settings), 20)

    def test_rapid_reset(self) -> None:
        """Streams that are opened and reset at once soon cost the connection."""
        peer = RawPeer()
        for _ in range(150):
            stream_id = peer.begin("AuthorizeSession")
            peer.message(stream_id, pb.AuthorizeSessionRequest())
            peer.h2.reset_stream(stream_id)
        self.cut_off_by(peer, peer.h2.data_to_send(), ErrorCodes.ENHANCE_YOUR_CALM)

    def test_floods(self) -> None:
        """Frames without calls are borne for a while, then not."""
        ping = b"\0\0\x08\x06\0\0\0\0\0" + b"p" * 8
        floods = {
            "ping": ping,
            "settings": b"\0\0\0\x04\0\0\0\0\0",
            "priority": b"\0\0\5\x02\0\0\0\0\3" + b"\0\0\0\0\1",
            "unknown": b"\0\0\0\xee\0\0\0\0\0",
            "window": b"\0\0\4\x08\0\0\0\0\0" + b"\0\0\0\1",
        }
        for name, frame in floods.items():
            peer = RawPeer()
            for _ in range(19):
                peer.server.dataReceived(frame * 100)
            self.assertFalse(peer.is_cut_off, name)
            peer.transport.clear()
            peer.server.dataReceived(frame * 200)
            self.assertTrue(peer.is_cut_off, name)

    def test_empty_data(self) -> None:
        """DATA frames without data are frames, too."""
        peer = RawPeer()
        stream_id = peer.begin()
        peer.flush()
        frame = b"\0\0\0\0\0" + stream_id.to_bytes(5, "big")[1:]
        self.cut_off_by(peer, frame * 2100, ErrorCodes.ENHANCE_YOUR_CALM)

    def test_honest_client(self) -> None:
        """A client that makes call after call is never told to calm down."""
        peer = RawPeer()
        for _ in range(1500):
            stream_id = peer.begin()
            peer.message(stream_id, pb.PingRequest())
            peer.h2.ping(b"p" * 8)
            peer.flush()
            self.assertEqual(peer.status(stream_id), "0")
            peer.events.clear()
        self.assertFalse(peer.is_cut_off)

    def test_too_many_streams(self) -> None:
        """More streams at once than were allowed break the connection."""
        peer = RawPeer(GrpcLimits(streams=3))
        peer.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 100
        peer.h2.remote_settings.acknowledge()
        for _ in range(4):
            peer.begin()
        self.cut_off_by(peer, peer.h2.data_to_send())

    @given(st.binary(max_size=200), st.booleans())
    @settings(max_examples=80, deadline=None)
    def test_any_bytes(self, data: bytes, greeted: bool) -> None:
        """Any bytes at all are served or sent away, never an exception."""
        peer = RawPeer(greet=greeted)
        if not greeted:
            peer.server.dataReceived(PREFACE)
        peer.server.dataReceived(data)
        peer.server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(peer.clock.getDelayedCalls(), [])

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 10), st.integers(0, 255), st.integers(0, 5), st.binary(max_size=30)
            ),
            max_size=12,
        ),
        st.integers(1, 40),
    )
    @settings(max_examples=100, deadline=None)
    def test_any_frames(self, frames: list[tuple[int, int, int, bytes]], chunk: int) -> None:
        """Any frames, in any chunks, are served or sent away, never an exception."""
        peer = RawPeer()
        data = b"".join(
            len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body
            for kind, flags, stream, body in frames
        )
        for at in range(0, len(data), chunk):
            peer.server.dataReceived(data[at : at + chunk])
        peer.server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(peer.clock.getDelayedCalls(), [])


class ConnectionTests(SynchronousTestCase):
    def test_no_greeting(self) -> None:
        """A connection that says nothing is closed, and cut off if it does not close."""
        peer = RawPeer(greet=False)
        peer.clock.advance(10)
        self.assertTrue(peer.transport.disconnecting)
        peer.clock.advance(30)
        self.assertTrue(peer.transport.aborted)

    def test_idle(self) -> None:
        """A connection without calls is ended politely, not while a call is under way."""
        peer = RawPeer()
        peer.clock.advance(599)
        stream_id = peer.begin("AuthorizeSession")
        peer.message(stream_id, pb.AuthorizeSessionRequest())
        peer.flush()
        peer.clock.advance(2)
        peer.service.waiting[0].go_on.callback(pb.AuthorizeSessionResponse())
        peer.read()
        self.assertEqual(peer.status(stream_id), "0")
        self.assertFalse(peer.is_cut_off)
        peer.clock.advance(599)
        self.assertFalse(peer.is_cut_off)
        peer.clock.advance(2)
        self.assertTrue(peer.transport.disconnecting)
        (end,) = [e for e in peer.read() if isinstance(e, ConnectionTerminated)]
        self.assertEqual(end.error_code, ErrorCodes.NO_ERROR)

    def test_back_pressure(self) -> None:
        """A client that does not read is not read from, and cut off in the end."""
        peer = RawPeer()
        peer.service.list_users_bytes = 30_000
        peer.server.pauseProducing()
        self.assertFalse(peer.transport.is_reading)
        stream_id = peer.begin("ListUsers")
        peer.message(stream_id, pb.ListUsersRequest())
        peer.flush()
        self.assertEqual([e for e in peer.events if isinstance(e, DataReceived)], [])
        peer.server.resumeProducing()
        self.assertTrue(peer.transport.is_reading)
        peer.read()
        self.assertEqual(peer.status(stream_id), "0")
        peer.server.pauseProducing()
        peer.clock.advance(30)
        self.assertTrue(peer.transport.aborted)

    def test_pressure_after_the_end(self) -> None:
        """A transport that is full, or empty again, after the end changes nothing."""
        peer = RawPeer()
        peer.server.drain()
        self.assertTrue(peer.transport.disconnecting)
        peer.server.pauseProducing()
        peer.server.resumeProducing()
        peer.server.connectionLost(Failure(ConnectionDone()))
        self.assertEqual(peer.clock.getDelayedCalls(), [])

    def test_windows_of_nothing(self) -> None:
        """A client whose windows are shut gets headers, and the body as it opens them."""
        peer = RawPeer()
        peer.h2.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 0})
        stream_id = peer.begin()
        peer.message(stream_id, pb.PingRequest())
        peer.flush()
        self.assertEqual(peer.status(stream_id), "200")
        peer.h2.increment_flow_control_window(1, stream_id)
        peer.flush()
        peer.h2.increment_flow_control_window(1000, stream_id)
        peer.flush()
        self.assertEqual(peer.status(stream_id), "0")

    def test_goaway_from_client(self) -> None:
        """A client that opens no more calls still gets its answers."""
        peer = RawPeer()
        stream_id = peer.begin("AuthorizeSession")
        peer.message(stream_id, pb.AuthorizeSessionRequest())
        peer.flush()
        peer.server.dataReceived(goaway_frame(0, 0))
        peer.service.waiting[0].go_on.callback(pb.AuthorizeSessionResponse())
        peer.read()
        self.assertEqual(peer.status(stream_id), "0")

    def test_drain(self) -> None:
        """Draining lets the calls under way end, takes no more, and then closes."""
        pair = Pair()
        deferred = pair.start(pair.client.authorize_session("ada", "root", "s1"))
        drained = pair.factory.drain()
        pair.pump.flush()
        self.assertNoResult(drained)
        self.assertFalse(pair.channel.is_open)
        self.failureResultOf(pair.start(pair.client.ping()), ChannelClosed)
        self.assertIsNone(pair.factory.buildProtocol(None))
        pair.service.waiting[0].go_on.callback(pb.AuthorizeSessionResponse(allowed=True))
        pair.pump.flush()
        self.assertTrue(self.successResultOf(deferred).allowed)
        self.successResultOf(drained)
        self.successResultOf(pair.channel.on_closed())
        self.assertEqual(pair.clock.getDelayedCalls(), [])

    def test_call_that_crossed_the_goaway(self) -> None:
        """A call that crossed the GOAWAY is refused so that the client may repeat it."""
        peer = RawPeer()
        peer.begin("AuthorizeSession")
        peer.flush()
        peer.server.drain()
        peer.transport.clear()
        late = peer.begin()
        (reset,) = [event for event in peer.flush() if isinstance(event, StreamReset)]
        self.assertEqual((reset.stream_id, reset.error_code), (late, ErrorCodes.REFUSED_STREAM))

    def test_lost_connection(self) -> None:
        """Handlers are cancelled when the client is gone."""
        peer = RawPeer()
        stream_id = peer.begin("AuthorizeSession")
        peer.message(stream_id, pb.AuthorizeSessionRequest())
        peer.flush()
        peer.server.connectionLost(Failure(ConnectionDone()))
        self.assertTrue(peer.service.waiting[0].cancelled)
        self.assertEqual(peer.clock.getDelayedCalls(), [])
        self.assertEqual(peer.factory.connections, set())
