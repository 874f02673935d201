"""Tests that a stock gRPC client gets along with our server, over a loopback port."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from mezite.rpc.proto import auth_pb2 as pb

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.end_to_end.grpc_server"], cwd=ROOT, stdout=subprocess.PIPE
    )
    try:
        assert server.stdout is not None
        yield f"127.0.0.1:{int(server.stdout.readline())}"
    finally:
        server.terminate()
        server.wait(10)
        server.stdout.close()


@pytest.fixture
def channel(address: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(address) as channel:
        yield channel


def method(channel: grpc.Channel, name: str, response_type: type[Any]) -> Callable[..., Any]:
    return channel.unary_unary(
        f"/mezite.v1.AuthService/{name}",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=response_type.FromString,
    )


class StockClientTests:
    def test_ping(self, channel: grpc.Channel) -> None:
        """A call is answered."""
        answer = method(channel, "Ping", pb.PingResponse)(pb.PingRequest(), timeout=10)
        assert answer.cluster_name == "interop"
        assert answer.version == "127.0.0.1"

    def test_metadata(self, channel: grpc.Channel) -> None:
        """Metadata arrives."""
        answer = method(channel, "AuthenticateLocal", pb.AuthenticateLocalResponse)(
            pb.AuthenticateLocalRequest(user="ada", password="right"),
            metadata=[("authorization", "Bearer x")],
            timeout=10,
        )
        assert (answer.user, answer.token) == ("ada", "Bearer x")

    def test_errors(self, channel: grpc.Channel) -> None:
        """Each error arrives with its code and its sentence."""
        for name, request, code, words in [
            (
                "AuthenticateLocal",
                pb.AuthenticateLocalRequest(password="no"),
                grpc.StatusCode.UNAUTHENTICATED,
                "wrong user name or password, 100 % sure \N{SNOWMAN}",
            ),
            (
                "DeleteUser",
                pb.DeleteUserRequest(),
                grpc.StatusCode.NOT_FOUND,
                "there is no such user",
            ),
            ("GetStatus", pb.GetStatusRequest(), grpc.StatusCode.INTERNAL, "the server failed"),
            ("ListNodes", pb.ListNodesRequest(), grpc.StatusCode.UNIMPLEMENTED, "ListNodes"),
            (
                "Ping",
                pb.AuthenticateLocalRequest(password="x" * 1_100_000),
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "limit",
            ),
        ]:
            with pytest.raises(grpc.RpcError) as caught:
                method(channel, name, pb.PingResponse)(request, timeout=10)
            assert caught.value.code() is code
            assert words in caught.value.details()

    def test_deadline(self, channel: grpc.Channel) -> None:
        """A deadline ends the call on both sides."""
        with pytest.raises(grpc.RpcError) as caught:
            method(channel, "AuthorizeSession", pb.AuthorizeSessionResponse)(
                pb.AuthorizeSessionRequest(), timeout=0.2
            )
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED

    def test_cancel(self, channel: grpc.Channel) -> None:
        """A call that is given up leaves the connection usable."""
        call: Any = method(channel, "AuthorizeSession", pb.AuthorizeSessionResponse)
        running = call.future(pb.AuthorizeSessionRequest(), timeout=10)
        running.cancel()
        self.test_ping(channel)

    def test_compression(self, channel: grpc.Channel) -> None:
        """Compression is refused as gRPC asks."""
        with pytest.raises(grpc.RpcError) as caught:
            method(channel, "Ping", pb.PingResponse)(
                pb.AuthenticateLocalRequest(user="x" * 5000),
                timeout=10,
                compression=grpc.Compression.Gzip,
            )
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED

    def test_large_answers_at_once(self, channel: grpc.Channel) -> None:
        """Answers beyond every window arrive whole, many at once."""
        call = method(channel, "ListUsers", pb.ListUsersResponse)
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            answers = list(
                threads.map(
                    lambda size: call(pb.ListUsersRequest(page_size=size), timeout=30),
                    [3_000_000] * 4 + [10] * 40,
                )
            )
        assert [len(a.users[0].name) for a in answers] == [3_000_000] * 4 + [10] * 40

    def test_many_calls(self, channel: grpc.Channel) -> None:
        """A busy client is not taken for a flood."""
        call = method(channel, "Ping", pb.PingResponse)
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda _: call(pb.PingRequest(), timeout=30), range(1000)))
        assert len(answers) == 1000
