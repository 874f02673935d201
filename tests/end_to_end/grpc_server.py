"""
A gRPC server alone, run as a program, on a loopback port that it prints.
"""

from __future__ import annotations

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater

from mezite.error import NotAuthenticated, NotFound
from mezite.rpc.calls import Call, Caller, methods_of
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import GrpcServerFactory


class Service:
    """Answers of all kinds."""

    async def ping(self, call: Call, request: pb.PingRequest) -> pb.PingResponse:
        return pb.PingResponse(cluster_name="interop", version=call.caller.address)

    async def authenticate_local(
        self, call: Call, request: pb.AuthenticateLocalRequest
    ) -> pb.AuthenticateLocalResponse:
        if request.password != "right":
            raise NotAuthenticated("wrong user name or password, 100 % sure \N{SNOWMAN}")
        return pb.AuthenticateLocalResponse(
            token=call.metadata.get("authorization", ""), user=request.user
        )

    async def list_users(self, call: Call, request: pb.ListUsersRequest) -> pb.ListUsersResponse:
        return pb.ListUsersResponse(users=[pb.User(name="x" * request.page_size)])

    async def authorize_session(
        self, call: Call, request: pb.AuthorizeSessionRequest
    ) -> pb.AuthorizeSessionResponse:
        await deferLater(reactor, 30)
        return pb.AuthorizeSessionResponse()

    async def delete_user(self, call: Call, request: object) -> pb.DeleteUserResponse:
        raise NotFound("there is no such user")

    async def get_status(self, call: Call, request: object) -> pb.GetStatusResponse:
        raise ZeroDivisionError("a secret")


async def serve() -> None:
    service = pb.DESCRIPTOR.services_by_name["AuthService"]
    factory = GrpcServerFactory(
        methods_of(service, Service()),
        caller_of=lambda transport: Caller(None, False, str(transport.getPeer().host)),
        clock=reactor,
    )
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    print(port.getHost().port, flush=True)


def main() -> None:
    Deferred.fromCoroutine(serve()).addErrback(lambda failure: failure.printTraceback())
    reactor.run()


if __name__ == "__main__":
    main()
