"""Tests of the headers and trailers of a call."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.error import BadInput, NotFound, Unavailable
from mezite.rpc.error import RemoteRpcError, Unimplemented
from mezite.rpc.headers import (
    RESPONSE_HEADERS,
    NotGrpc,
    read_request,
    read_response,
    read_trailers,
    write_request,
    write_trailers,
)
from mezite.rpc.status import Status

REQUEST = write_request("/s/M", authority="hub", timeout=2, metadata=[("authorization", "x")])


def changed(**values: str) -> list[tuple[str, str]]:
    wanted = {name.replace("_", "-"): value for name, value in values.items()}
    kept = [(name, value) for name, value in REQUEST if name.lstrip(":") not in wanted]
    return [*kept, *((":method" if n == "method" else n, v) for n, v in wanted.items())]


class RequestTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        """A request is read as it was written."""
        head = read_request(REQUEST)
        self.assertEqual(head.path, "/s/M")
        self.assertAlmostEqual(head.timeout or 0, 2)
        self.assertEqual(dict(head.metadata), {"authorization": "x"})

    def test_unsendable_metadata(self) -> None:
        """Metadata that would break the connection is refused before it is sent."""
        for value in ("a\nb", "zoë", " a", "a\0"):
            with self.assertRaises(BadInput):
                write_request("/s/M", authority="hub", timeout=2, metadata=[("x", value)])

    def test_no_deadline(self) -> None:
        """A request needs no deadline."""
        headers = [pair for pair in REQUEST if pair[0] != "grpc-timeout"]
        self.assertIsNone(read_request(headers).timeout)

    def test_bad_deadline(self) -> None:
        """A deadline that cannot be read is refused."""
        with self.assertRaises(BadInput):
            read_request(changed(grpc_timeout="soon"))

    def test_other_http(self) -> None:
        """What is not gRPC gets HTTP's own answer."""
        for headers, status in [
            (changed(method="GET"), 405),
            (changed(content_type="text/html"), 415),
            (changed(content_type="application/grpc+json"), 415),
            (changed(content_type="application/grpc-web"), 415),
            ([], 405),
        ]:
            with self.assertRaises(NotGrpc) as caught:
                read_request(headers)
            self.assertEqual(caught.exception.http_status, status)

    def test_content_types(self) -> None:
        """Both names of the protobuf codec are accepted, with parameters."""
        for text in ("application/grpc", "application/grpc+proto", "application/grpc; v=1"):
            read_request(changed(content_type=text))

    def test_compression(self) -> None:
        """Compressed requests are refused by name."""
        read_request(changed(grpc_encoding="identity"))
        with self.assertRaises(Unimplemented) as caught:
            read_request(changed(grpc_encoding="gzip"))
        self.assertIn("gzip", str(caught.exception))

    def test_repeated_metadata(self) -> None:
        """A name that comes twice is one value, so that no reader picks its favourite."""
        head = read_request([*REQUEST, ("authorization", "y")])
        self.assertEqual(head.metadata["authorization"], "x,y")


class ResponseTests(SynchronousTestCase):
    def test_success(self) -> None:
        """A good answer passes."""
        read_response(RESPONSE_HEADERS)
        self.assertIsNone(read_trailers(write_trailers(Status.OK)))

    def test_error(self) -> None:
        """The trailers are the error."""
        error = read_trailers(write_trailers(Status.NOT_FOUND, "no node \N{SNOWMAN}"))
        self.assertIsInstance(error, NotFound)
        self.assertEqual(str(error), "no node \N{SNOWMAN}")

    def test_not_grpc(self) -> None:
        """Other answers are told apart."""
        with self.assertRaises(Unavailable):
            read_response([(":status", "503")])
        with self.assertRaises(RemoteRpcError):
            read_response([(":status", "200"), ("content-type", "text/html")])
        with self.assertRaises(Unimplemented):
            read_response([*RESPONSE_HEADERS, ("grpc-encoding", "gzip")])

    def test_no_status(self) -> None:
        """Trailers without a status, or with nonsense for one, break the call."""
        for trailers in ([], [("grpc-status", "x")], [("grpc-status", "-1")]):
            with self.assertRaises(RemoteRpcError):
                read_trailers(trailers)
