"""
Ports of a node that a test plays.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory
from zope.interface import implementer

from mezite.agent.error import ForwardRefused
from mezite.agent.remoteforward import IListeners, IPorts


class PlayedSocket:
    """A TCP transport that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.written = bytearray()
        self.producer: Any = None

    def write(self, data: bytes) -> None:
        self.written += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def __getattr__(self, name: str) -> Any:
        return lambda: self.told.append(name)


@implementer(IListeners)
@define(eq=False)
class PlayedListeners:
    """Somebody connects when the test says so."""

    hosts: tuple[str, ...]
    number: int
    factory: Factory[Any]
    is_stopped: bool = False

    def port(self) -> int:
        return self.number

    def stop(self) -> None:
        self.is_stopped = True

    def connect(self, host: str = "127.0.0.1", port: int = 50000) -> tuple[Any, PlayedSocket]:
        """The protocol that the connection was given to, if any, and its transport."""
        protocol = self.factory.buildProtocol(IPv4Address("TCP", host, port))
        transport = PlayedSocket()
        if protocol is not None:
            protocol.makeConnection(transport)  # type: ignore[arg-type]
        return protocol, transport


@implementer(IPorts)
@define(eq=False)
class PlayedPorts:
    """A machine whose port 40000 is the next free one, and 40001 is in use."""

    made: list[PlayedListeners] = field(factory=list)

    def listen(self, hosts: tuple[str, ...], port: int, factory: Factory[Any]) -> PlayedListeners:
        if port == 40001:
            raise ForwardRefused("port 40001 of the node cannot be had: address already in use")
        self.made.append(PlayedListeners(hosts, port or 40000, factory))
        return self.made[-1]
