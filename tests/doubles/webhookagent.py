"""
What answers to webhooks, without a network.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.testing import StringTransport
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer
from zope.interface import implementer


@define(eq=False)
class PlayedResponse:
    """An answer with this status, whose body comes when the test says."""

    code: int
    body: bytes | None = b""
    protocol: Any = None
    transport: StringTransport = field(factory=StringTransport)

    def deliverBody(self, protocol: Any) -> None:
        self.protocol = protocol
        protocol.makeConnection(self.transport)
        if self.body is not None:
            protocol.dataReceived(self.body)
            protocol.connectionLost()


@define(eq=False)
class Heard:
    """One request."""

    method: bytes
    url: bytes
    headers: Headers
    body: bytes
    answer: Deferred[Any]


@implementer(IAgent)
@define(eq=False)
class PlayedAgent:
    """Answers with each status in turn, then with the last; None is no answer."""

    statuses: list[int | None] = field(factory=lambda: [200])
    heard: list[Heard] = field(factory=list)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[Any]:
        assert headers is not None
        assert bodyProducer is not None
        written = StringTransport()
        bodyProducer.startProducing(written)
        assert len(written.value()) == bodyProducer.length
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        answer: Deferred[Any] = Deferred() if status is None else succeed(PlayedResponse(status))
        self.heard.append(Heard(method, uri, headers, written.value(), answer))
        return answer
