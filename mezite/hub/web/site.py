"""
The HTTPS site: what each path answers, and the limits on who asks.

Owns the paths, the security headers and the bounds on requests. The facts
shown come as a :class:`HubFacts` and a check of readiness; TLS and the choice
of this site by ALPN are :mod:`mezite.hub.router`'s.
"""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from string import Template
from typing import Any, Final

from attrs import define
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from mezite import __version__
from mezite.error import MeziteError
from mezite.hub.strangers import Strangers
from mezite.hub.web.answers import answer_failure
from mezite.hub.web.pages import HTML, pages
from mezite.hub.web.resources import PLAIN, Fixed, Folder, Page, connection_of, text_of
from mezite.hub.web.turns import Turns
from mezite.rpc.httpstatus import BodyTooLarge
from mezite.tasks import background
from mezite.wire.websocket import PATH as UPGRADE_PATH

# The largest request with a body that makes sense is a role, of some hundred bytes to some KiB.
BODY_LENGTH: Final = 64 * 1024
# A browser keeps a connection open between two pages; nothing here takes longer.
IDLE_SECONDS: Final = 15
# From a request's first byte to the end of its headers, and from there to the end of its
# body. Twisted's own timer begins anew with each byte, so that one every ten seconds
# would hold a connection for ever.
HEADER_SECONDS: Final = 10
BODY_SECONDS: Final = 20


@define(eq=False)
class HubFacts:
    """What the hub says of itself to anybody; the pin changes when its authority does."""

    cluster_name: str
    hub_name: str
    public_address: str
    ca_pin: str


class BoundedRequest(Request):
    """A request whose body stays below :data:`BODY_LENGTH`, declared or not."""

    _received = 0
    _deadline: IDelayedCall | None = None

    def gotLength(self, length: int | None) -> None:
        if length is not None and length > BODY_LENGTH:
            self._refuse()
            length = 0
        self._stop_waiting()
        # Either that of HTTP/1.1, below, or a stream of HTTP/2.
        channel: Any = self.channel
        self._deadline = channel.site.reactor.callLater(BODY_SECONDS, self._too_late)
        super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:
        if self._received > BODY_LENGTH:
            return
        self._received += len(data)
        if self._received > BODY_LENGTH:
            self._refuse()
            return
        super().handleContentChunk(data)

    def process(self) -> None:
        self._stop_waiting()
        channel: Any = self.channel
        channel.site.strangers.active(connection_of(self))
        channel.site.turns.begin(self._begin)

    def _begin(self) -> None:
        channel: Any = self.channel
        if channel is None:
            return  # the client has gone while it waited
        if self._received > BODY_LENGTH:
            self.setHeader(b"connection", b"close")
            answer_failure(self, BodyTooLarge(BODY_LENGTH))
            return
        super().process()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        super().connectionLost(reason)

    def _too_late(self) -> None:
        self._deadline = None
        channel: Any = self.channel
        channel.abortConnection()

    def _stop_waiting(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    def _refuse(self) -> None:
        self._received = BODY_LENGTH + 1


class _Front(Page):
    """The page that tells what this is, and how to log in."""

    content_type = HTML

    def __init__(self, facts: HubFacts) -> None:
        super().__init__()
        self._template = Template(text_of("index.html"))
        self._facts = facts

    def render_GET(self, request: Request) -> bytes:
        page = self._template.substitute(
            cluster=html.escape(self._facts.cluster_name),
            address=html.escape(self._facts.public_address),
            pin=html.escape(self._facts.ca_pin),
            version=html.escape(__version__),
        )
        return page.encode()


class _WebApi(Resource):
    """The API, which is given every path, beside some that are not its own."""

    def __init__(self, api: Resource) -> None:
        super().__init__()
        self._api = api

    def getChild(self, path: bytes, request: Request) -> Resource:
        # As if we had not been asked: the API looks at the whole rest of the path.
        assert request.prepath is not None
        assert request.postpath is not None
        request.postpath.insert(0, request.prepath.pop())
        return self._api

    def render(self, request: Request) -> bytes | int:
        answer: bytes | int = self._api.render(request)
        return answer


class _Channel(http.HTTPChannel):
    """A connection of HTTP/1.1, whose requests' headers come to an end in time."""

    _header_deadline: IDelayedCall | None = None

    def dataReceived(self, data: bytes) -> None:
        if self._header_deadline is None and not self.requests:
            self._header_deadline = self.callLater(HEADER_SECONDS, self._headers_too_late)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:
        self._stop_waiting()
        super().allHeadersReceived()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stop_waiting()
        super().connectionLost(reason)

    def abortConnection(self) -> None:
        """As of a stream of HTTP/2."""
        self.forceAbortClient()

    def _headers_too_late(self) -> None:
        self._header_deadline = None
        self.forceAbortClient()

    def _stop_waiting(self) -> None:
        deadline, self._header_deadline = self._header_deadline, None
        if deadline is not None:
            deadline.cancel()


class _QuietSite(Site):
    """A site that logs no request: a page that was read does not change the world."""

    displayTracebacks = False
    noisy = False
    strangers: Strangers
    turns: Turns

    @staticmethod
    def protocol() -> http._GenericHTTPChannelProtocol:
        """HTTP/1.1 until ALPN says otherwise."""
        return http._GenericHTTPChannelProtocol(_Channel())

    def log(self, request: http.Request) -> None:
        pass


class _Readiness(Page):
    """
    200 when the hub can do its work; 503 and the reason when it cannot.

    Whoever asks while a check is under way gets its answer: strangers ask as
    often as they like, and must not fill the queue of the database.
    """

    _log = Logger()

    def __init__(self, check: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._check = check
        self._is_checking = False
        # Those who wait, by identity; they may go before they are answered.
        self._asking: dict[int, Request] = {}

    def render_GET(self, request: Request) -> int:
        self._asking[id(request)] = request
        request.notifyFinish().addErrback(lambda _: self._asking.pop(id(request), None))
        if not self._is_checking:
            self._is_checking = True
            background(self._answer(), doing="answering /readyz")
        return NOT_DONE_YET

    async def _answer(self) -> None:
        try:
            await self._check()
            status, text = 200, "ready\n"
        except MeziteError as error:
            status, text = 503, f"not ready: {error}\n"
        except Exception:
            # Nobody cancels this, and whoever asked is to have an answer.
            self._log.failure("the check of readiness failed")
            status, text = 503, "not ready: the check failed\n"
        self._is_checking = False
        asking, self._asking = self._asking, {}
        for request in asking.values():
            request.setResponseCode(status)
            request.write(text.encode())
            request.finish()


class _Metrics(Page):
    content_type = CONTENT_TYPE_LATEST.encode()

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render_GET(self, request: Request) -> bytes:
        return generate_latest(self._registry)


def build_site(
    facts: HubFacts,
    *,
    check: Callable[[], Awaitable[None]],
    metrics: CollectorRegistry,
    api: Resource,
    upgrade: Resource,
    strangers: Strangers,
    reactor: IReactorTime,
) -> Site:
    """
    The site with all its paths; what is below ``/v1/webapi`` is the ``api``'s,
    but for the ``upgrade``.

    ``check`` raises a :class:`~mezite.error.MeziteError` while the hub is not
    ready; its sentence is shown to whoever asks.
    """
    root = Folder()
    root.putChild(b"", _Front(facts))
    root.putChild(b"style.css", Fixed(text_of("style.css").encode(), b"text/css; charset=utf-8"))
    root.putChild(b"healthz", Fixed(b"ok\n", PLAIN))
    root.putChild(b"readyz", _Readiness(check))
    root.putChild(b"metrics", _Metrics(metrics))
    root.putChild(b"web", pages(facts.cluster_name))
    v1 = Folder()
    root.putChild(b"v1", v1)
    webapi = _WebApi(api)
    webapi.putChild(UPGRADE_PATH.rpartition("/")[2].encode(), upgrade)
    v1.putChild(b"webapi", webapi)
    site = _QuietSite(root, requestFactory=BoundedRequest, timeout=IDLE_SECONDS, reactor=reactor)
    site.strangers = strangers
    site.turns = Turns(reactor)
    return site
