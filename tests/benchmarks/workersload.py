"""
One node and one person of it, in one process: real TLS and the real mux, nothing behind.

Commands come as lines: ``dial``, ``get N``, which has the node send N bytes to the person who
dialed last, and ``drop``, which ends all who dialed. Each is answered with a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from zope.interface import implementer

from mezite.client import places
from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.names import HostPort
from mezite.rpc.channel import open_channel
from mezite.rpc.client import AuthClient
from mezite.rpc.opening import Opening
from mezite.tasks import background
from mezite.wire.alpn import MEZITE_AUTH, MEZITE_SSH, MEZITE_TUNNEL
from mezite.wire.contexts import client_context
from mezite.wire.endpoint import TlsClientEndpoint

reactor: Any = installed
_PIECE = bytes(256 * 1024)


@implementer(IPullProducer)
class Source(Protocol):
    """The node's end: greets, and sends as many bytes as it is asked for."""

    left = 0

    def connectionMade(self) -> None:
        self.transport.write(b"!")

    def dataReceived(self, data: bytes) -> None:
        self.left = int(data)
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        piece = _PIECE[: self.left]
        self.left -= len(piece)
        self.transport.write(piece)
        if not self.left:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        """The connection is gone."""


class Person(Protocol):
    """The person's end: counts."""

    def __init__(self) -> None:
        self.left = 1
        self.done: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.left -= len(data)
        if not self.left:
            self.done.callback(None)


async def _join(client: AuthClient, token: str, name: str) -> tuple[bytes, bytes]:
    """The certificate and the key of a new node."""
    key = ec.generate_private_key(ec.SECP256R1())
    ssh = ed25519.Ed25519PrivateKey.generate().public_key()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    joined = await client.generate_host_certs(
        token=token,
        hostname=name,
        ssh_public_key=ssh.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode(),
        tls_public_key=public.decode(),
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return joined.tls_certificate.encode(), pem


async def _run(hub: HostPort, profile: Path, token: str, name: str) -> None:
    ca = (profile / places.CLUSTER_CA).read_bytes()
    own = ((profile / places.TLS_CERTIFICATE).read_bytes(), (profile / places.TLS_KEY).read_bytes())
    channel = await open_channel(
        TlsClientEndpoint(reactor, hub, client_context(MEZITE_AUTH, ca), server_name="demo"),
        reactor,
    )
    client = AuthClient(channel, timeout=60.0)
    node = await _join(client, token, name)
    client.close()
    mux = MuxProtocol(
        role=Role.CLIENT,
        clock=reactor,
        accept=lambda stream: stream.attach(Opening(reactor, lambda header: Source())),
    )
    await TlsClientEndpoint(
        reactor, hub, client_context(MEZITE_TUNNEL, ca, *node), server_name="demo"
    ).connect(Factory.forProtocol(lambda: mux))
    print(json.dumps({"port": mux.transport.getHost().port}), flush=True)
    person = Person()
    people: list[Person] = []
    context = client_context(MEZITE_SSH, ca, *own)
    while words := (await deferToThread(sys.stdin.readline)).split():
        begun = time.perf_counter()
        if words[0] == "drop":
            for each in people:
                each.transport.loseConnection()
            people.clear()
            print("{}", flush=True)
            continue
        if words[0] == "dial":
            dialed = person = Person()
            people.append(person)
            await TlsClientEndpoint(reactor, hub, context, server_name=f"{name}.demo").connect(
                Factory.forProtocol(lambda dialed=dialed: dialed)
            )
        else:
            person.left, person.done = int(words[1]), Deferred()
            person.transport.write(words[1].encode())
        await person.done
        answer = {
            "seconds": time.perf_counter() - begun,
            "port": person.transport.getHost().port,
        }
        print(json.dumps(answer), flush=True)
    reactor.stop()


def main() -> None:
    hub, profile, token, name = sys.argv[1:]
    running = _run(HostPort.parse(hub), Path(profile), token, name)
    reactor.callWhenRunning(lambda: background(running, doing="loading the hub"))
    reactor.run()


if __name__ == "__main__":
    main()
