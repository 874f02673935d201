"""
The processes of the relay benchmark: a relay of each kind, and what is on its far side.

Every role prints the port it listens on, and ends with its standard input. A
connection begins with one line, ``up N`` or ``down N``: so many bytes then go
from the client to the far side, or back.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.stdio import StandardIO
from twisted.protocols.portforward import ProxyFactory
from twisted.python.failure import Failure

from mezite.hub.router import Router
from mezite.mux.frames import Role
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.names import HostPort
from mezite.tasks import background
from mezite.wire.alpn import Route
from mezite.wire.contexts import HubContexts, client_context
from mezite.wire.credentials import Credentials
from mezite.wire.endpoint import TlsClientEndpoint
from mezite.wire.splice import splice
from tests.doubles.tlsserver import TlsServerFactory

_BLOCK: Final = b"\0" * (128 * 1024)
HUB_NAME: Final = "hub.test"
# The one that our contexts prefer, for Twisted's as well.
CIPHER: Final = b"TLS_AES_128_GCM_SHA256"


class FarSide(Protocol):
    """Takes or makes as many bytes as it is told, and closes."""

    def connectionMade(self) -> None:
        self.line: bytes | None = b""
        self.left = 0

    def dataReceived(self, data: bytes) -> None:
        if self.line is not None:
            line, newline, data = (self.line + data).partition(b"\n")
            self.line = None if newline else line
            if not newline:
                return
            way, count = line.split()
            self.left = int(count)
            if way == b"down":
                self.transport.registerProducer(self, True)
                self.resumeProducing()
                return
        self.left -= len(data)
        if self.left <= 0:
            self.transport.write(b"!")
            self.transport.loseConnection()

    def resumeProducing(self) -> None:
        self.is_flowing = True
        while self.is_flowing and self.left > 0:
            block = _BLOCK[: self.left]
            self.left -= len(block)
            self.transport.write(block)
        if self.left <= 0 and self.is_flowing:
            self.is_flowing = False
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def pauseProducing(self) -> None:
        self.is_flowing = False

    def stopProducing(self) -> None:
        self.is_flowing = False


class Opening(Protocol):
    """A client's connection to one of our relays, until its far side is there."""

    def __init__(self, open_far: Any) -> None:
        self.open_far = open_far

    def connectionMade(self) -> None:
        self.transport.pauseProducing()
        background(self.open(), doing="opening the far side")

    async def open(self) -> None:
        await splice(self.transport, await self.open_far())


class Holding(Protocol):
    """The far side's connection, before it is spliced."""

    def connectionMade(self) -> None:
        self.transport.pauseProducing()


class Files:
    """The certificates that the benchmark wrote for its processes."""

    def __init__(self, folder: Path) -> None:
        self.ca = (folder / "ca.pem").read_bytes()
        self.hub, self.node = (
            Credentials(
                (folder / f"{name}.crt").read_bytes(), (folder / f"{name}.key").read_bytes()
            )
            for name in ("hub", "node")
        )

    def contexts(self) -> HubContexts:
        return HubContexts(hub_names=[HUB_NAME], authorities_pem=self.ca, hub=self.hub)

    def certificate(self) -> ssl.PrivateCertificate:
        return ssl.PrivateCertificate.loadPEM(self.hub.certificate_pem + self.hub.key_pem)


def far(reactor: Any, files: Files) -> Any:
    """The far side of relays that dial it: TLS, with our transport."""
    return TlsServerFactory(files.contexts(), Factory.forProtocol(FarSide), clock=reactor)


def twisted_relay(reactor: Any, files: Files, far_port: int, *, as_is: bool) -> Any:
    """Twisted's TLS at both ends, and its port forwarder between."""
    from twisted.protocols import portforward

    accepting = files.certificate().options()
    dialing = ssl.CertificateOptions(verify=False)
    if not as_is:
        for options in (accepting, dialing):
            options.getContext().set_tls13_ciphersuites(CIPHER)

    class DialTls(portforward.ProxyServer):
        def connectionMade(self) -> None:
            self.transport.pauseProducing()
            client = self.clientProtocolFactory()
            client.setServer(self)
            reactor.connectSSL("127.0.0.1", far_port, client, dialing)

    factory = ProxyFactory("127.0.0.1", far_port)
    factory.protocol = DialTls
    return accepting, factory


def tls_relay(reactor: Any, files: Files, far_port: int) -> Any:
    """Our TLS at both ends, and our splice between."""
    endpoint = TlsClientEndpoint(
        reactor, HostPort("127.0.0.1", far_port), client_context(b"mezite-ssh", files.ca)
    )

    async def open_far() -> Any:
        return (await endpoint.connect(Factory.forProtocol(Holding))).transport

    return router(reactor, files, open_far)


def mux_relay(reactor: Any, files: Files) -> Any:
    """Our TLS, our splice, and a stream of a tunnel that the far side has dialed."""
    tunnels: list[MuxProtocol] = []
    dialed: Deferred[None] = Deferred()

    async def open_far() -> Any:
        # The far side's handshake is done a little before ours.
        await dialed
        return tunnels[-1].open_stream()

    def tunnel() -> MuxProtocol:
        tunnels.append(
            MuxProtocol(
                role=Role.SERVER,
                clock=reactor,
                accept=lambda stream: None,
                on_up=lambda: dialed.callback(None),
            )
        )
        return tunnels[-1]

    return router(reactor, files, open_far, {Route.TUNNEL: Factory.forProtocol(tunnel)})


def router(reactor: Any, files: Files, open_far: Any, others: Any = None) -> Router:
    return Router(
        {Route.SSH: Factory.forProtocol(lambda: Opening(open_far)), **(others or {})},
        contexts=files.contexts(),
        clock=reactor,
    )


def dial_tunnel(reactor: Any, files: Files, port: int) -> Deferred[Any]:
    """The far side of the mux: it dials the relay, and serves the streams that are opened."""

    def accept(stream: StreamTransport) -> None:
        stream.attach(FarSide())

    context = client_context(
        b"mezite-tunnel", files.ca, files.node.certificate_pem, files.node.key_pem
    )
    factory = Factory.forProtocol(
        lambda: MuxProtocol(role=Role.CLIENT, clock=reactor, accept=accept)
    )
    return TlsClientEndpoint(reactor, HostPort("127.0.0.1", port), context).connect(factory)


class UntilEof(Protocol):
    def connectionLost(self, reason: Failure = connectionDone) -> None:
        from twisted.internet import reactor

        if reactor.running:  # type: ignore[attr-defined]
            reactor.stop()  # type: ignore[attr-defined]


def main(role: str, folder: str, port: str = "0") -> None:
    from twisted.internet import reactor

    files = Files(Path(folder))
    StandardIO(UntilEof())
    match role:
        case "tunnel":
            dialed = dial_tunnel(reactor, files, int(port))
            dialed.addCallbacks(lambda _: print("ready", flush=True), lambda f: print(f))
        case "twisted" | "twisted-as-is":
            options, factory = twisted_relay(
                reactor, files, int(port), as_is=role == "twisted-as-is"
            )
            listening = reactor.listenSSL(0, factory, options, interface="127.0.0.1")
            print(listening.getHost().port, flush=True)
        case _:
            factory = {
                "far": lambda: far(reactor, files),
                "plain": lambda: Factory.forProtocol(FarSide),
                "tls": lambda: tls_relay(reactor, files, int(port)),
                "mux": lambda: mux_relay(reactor, files),
            }[role]()
            listening = reactor.listenTCP(0, factory, interface="127.0.0.1")
            print(listening.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
