"""
A program that speaks HTTP/1.1 to the hub in memory.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from attrs import define, field, frozen

from mezite.hub.web.routes import Route
from mezite.rpc.proto import auth_pb2 as pb
from tests.doubles.hubworld import Heard, HubWorld

HOST = "hub.example.com"


def filled(route: Route) -> dict[str, Any]:
    """Something of the right form in each field that a route requires."""
    fields = getattr(pb, f"{route.rpc}Request").DESCRIPTOR.fields_by_name
    return {name: ["x"] if fields[name].is_repeated else "x" for name in route.required}


@frozen
class Answer:
    """What came back; of headers that come twice all values."""

    status: int
    headers: Mapping[str, list[str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def kind(self) -> str:
        """The kind of the error that this is."""
        kind: str = self.json["error"]["kind"]
        return kind

    @property
    def sentence(self) -> str:
        sentence: str = self.json["error"]["message"]
        return sentence

    def header(self, name: str) -> str | None:
        values = self.headers.get(name)
        return None if values is None else ", ".join(values)


@define(eq=False)
class WebClient:
    """Asks the REST API, over one connection while it lasts; ``headers`` go with each request."""

    world: HubWorld
    headers: dict[str, str] = field(factory=dict)
    _connection: Heard | None = field(init=False, default=None)

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """
        Ask for a path below ``/v1/webapi``.

        :param raw: the body as it is, without a content type.
        """
        sent = {"Host": HOST, **self.headers}
        data = raw
        if body is not None:
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        if data is not None:
            sent["Content-Length"] = str(len(data))
        sent |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return self.send(
            f"{method} /v1/webapi{path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (data or b"")
        )

    def send(self, request: bytes) -> Answer:
        """The answer to these bytes."""
        heard = self._connection
        if heard is None or heard.reason is not None:
            heard = self._connection = Heard()
            self.world.dial(heard, b"http/1.1")
            self.world.flush()
        assert heard.transport is not None
        heard.transport.write(request)
        self.world.flush()
        self.world.clock.advance(0)
        self.world.flush()
        data, heard.data = heard.data, b""
        if not data:
            self._connection = None
        return parse(data)


def parse(data: bytes) -> Answer:
    """An answer, from its bytes."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    assert first.startswith("HTTP/1.1 "), data
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers.setdefault(name.lower(), []).append(value)
    if headers.get("transfer-encoding") == ["chunked"]:
        body = _unchunked(body)
    return Answer(int(first.split(" ")[1]), headers, body)


def _unchunked(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16)
        body += data[:length]
        data = data[length + 2 :]
    return body
