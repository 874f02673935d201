"""
Many agents' tunnels from one process: joins, and when told to, dials.

Real certificates, real TLS and the real mux; only the nodes behind are missing.
"""

from __future__ import annotations

import sys
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread

from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.names import HostPort
from mezite.rpc.channel import GrpcChannel, open_channel
from mezite.rpc.client import AuthClient
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode
from mezite.tasks import background
from mezite.wire.alpn import MEZITE_AUTH, MEZITE_TUNNEL
from mezite.wire.contexts import client_context
from mezite.wire.endpoint import TlsClientEndpoint
from mezite.wire.trust import fetch_authority

reactor: Any = installed
# Handshakes under way at once, below what the hub takes.
_AT_ONCE = 64


async def _join(client: AuthClient, token: str, number: int) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    ssh = ed25519.Ed25519PrivateKey.generate().public_key()
    joined = await client.generate_host_certs(
        token=token,
        hostname=f"node{number}",
        ssh_public_key=ssh.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
        tls_public_key=key.public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode(),
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return joined.tls_certificate.encode(), pem


async def _dial(hub: HostPort, ca: bytes, certificate: bytes, key: bytes) -> MuxProtocol:
    mux = MuxProtocol(
        role=Role.CLIENT, clock=reactor, accept=lambda stream: stream.abortConnection()
    )
    context = client_context(MEZITE_TUNNEL, ca, certificate, key)
    await TlsClientEndpoint(reactor, hub, context, server_name="demo", timeout=30.0).connect(
        Factory.forProtocol(lambda: mux)
    )
    stream = mux.open_stream()
    stream.write(encode(StreamHeader(service="auth")))
    channel = GrpcChannel(reactor)
    stream.attach(channel)
    await AuthClient(channel, timeout=60.0).register_agent(labels={"env": "load"}, version="0")
    return mux


async def _run(hub: HostPort, token: str, pin: str, tunnels: int) -> None:
    ca = await fetch_authority(reactor, hub, pin=pin)
    channel = await open_channel(
        TlsClientEndpoint(
            reactor, hub, client_context(MEZITE_AUTH, ca), server_name="demo", timeout=30.0
        ),
        reactor,
    )
    client = AuthClient(channel, timeout=60.0)
    nodes = [await _join(client, token, number) for number in range(tunnels)]
    client.close()
    print("joined", flush=True)
    await deferToThread(sys.stdin.readline)
    turns = DeferredSemaphore(_AT_ONCE)

    def one(node: tuple[bytes, bytes]) -> Deferred[MuxProtocol]:
        return turns.run(lambda: Deferred.fromCoroutine(_dial(hub, ca, *node)))

    await gatherResults([one(node) for node in nodes], consumeErrors=True)
    print("up", flush=True)


def main() -> None:
    hub, token, pin, tunnels = sys.argv[1:]
    running = _run(HostPort.parse(hub), token, pin, int(tunnels))
    reactor.callWhenRunning(lambda: background(running, doing="making tunnels"))
    reactor.run()


if __name__ == "__main__":
    main()
