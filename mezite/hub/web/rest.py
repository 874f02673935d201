"""
The REST API on the site: from an HTTP request to a call of the auth service, and back.

Owns who may have how many calls under way, their deadline, and where in a
request the caller's proof stands. The calls are those of gRPC, behind the same
permissions; what they are called here is :mod:`mezite.hub.web.operations`'.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from mezite.error import BadInput, LimitReached
from mezite.hub.authservice import SERVICE
from mezite.hub.callers import Permission
from mezite.hub.web.answers import JSON, answer_failure, answer_json
from mezite.hub.web.cookies import (
    CSRF_HEADER,
    check_csrf,
    check_origin,
    csrf_token,
    ended_cookie,
    read_cookie,
    session_cookie,
)
from mezite.hub.web.forwarding import client_of
from mezite.hub.web.openapi import document
from mezite.hub.web.operations import Operation, Operations
from mezite.hub.web.resources import connection_of
from mezite.hub.web.routes import SessionUse
from mezite.identity.networks import Networks
from mezite.names import network_of
from mezite.rpc.calls import Call, Caller, Method
from mezite.rpc.httpstatus import NotJson, http_failure_of
from mezite.tasks import within

# As for gRPC's calls.
CALL_SECONDS: Final = 60.0
# A call holds its body and its answer, 2 MB for the largest page: half a gigabyte at the
# very worst. Of these, one network may have one in four, since who waits on us slowly
# must not be all that we wait for.
CALLS_AT_ONCE: Final = 256
_SHARE: Final = 4
_DOCUMENT: Final = ["openapi.json"]


class TooManyCalls(LimitReached):
    """As many calls are under way as there may be; this one was not begun."""

    wait = 1.0

    def __init__(self) -> None:
        super().__init__("too many calls are under way: try again in a second")


@frozen
class _Proof:
    """What a request shows of its caller: a bearer, and whether a cookie carried it."""

    authorization: str | None
    cookie: str | None

    @property
    def metadata(self) -> Mapping[str, str]:
        if self.authorization is not None:
            return {"authorization": self.authorization}
        return {"authorization": f"Bearer {self.cookie}"} if self.cookie is not None else {}


class RestApi(Resource):
    """Everything below ``/v1/webapi``."""

    isLeaf = True
    _log = Logger()

    def __init__(
        self,
        methods: Mapping[str, Method],
        *,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        recognize: Callable[[Any, str], None] = lambda transport, user: None,
        forwarders: Networks = (),
    ) -> None:
        """
        :param recognize: told whose the connection of a request with a good bearer is.
        :param forwarders: whose ``X-Forwarded-For`` is believed.
        """
        super().__init__()
        self._recognize = recognize
        self._forwarders = forwarders
        self._methods = methods
        self._clock = clock
        self._wall_clock = wall_clock
        self._operations = Operations()
        self._document = document(self._operations)
        self._under_way: Counter[str] = Counter()

    def render(self, request: Request) -> int:
        running: Deferred[None] = Deferred.fromCoroutine(self._serve(request))
        is_gone = False

        def gone(_: Failure) -> None:
            nonlocal is_gone
            is_gone = True
            running.cancel()

        def failed(failure: Failure) -> None:
            if not is_gone:
                self._log.failure("an answer could not be written", failure=failure)
                request.loseConnection()

        request.notifyFinish().addErrback(gone)
        running.addErrback(failed)
        return NOT_DONE_YET

    async def _serve(self, request: Request) -> None:
        network = network_of(getattr(client_of(request, self._forwarders), "host", ""))
        try:
            self._begin(network)
        except LimitReached as error:
            answer_failure(request, error)
            return
        try:
            status, value = await self._answer(request)
        except CancelledError:
            raise
        except Exception as error:
            if http_failure_of(error).status == 500:
                self._log.failure("a call of {path} failed", path=request.path.decode("latin-1"))
            answer_failure(request, error)
        else:
            answer_json(request, status, value)
        finally:
            self._under_way[network] -= 1
            if not self._under_way[network]:
                del self._under_way[network]

    def _begin(self, network: str) -> None:
        if (
            self._under_way.total() >= CALLS_AT_ONCE
            or self._under_way[network] >= CALLS_AT_ONCE // _SHARE
        ):
            raise TooManyCalls()
        self._under_way[network] += 1

    async def _answer(self, request: Request) -> tuple[int, Mapping[str, Any] | None]:
        method = "GET" if request.method == b"HEAD" else request.method.decode("latin-1")
        segments = _segments(request)
        if segments == _DOCUMENT and method == "GET":
            return 200, self._document
        match = self._operations.find(method, segments)
        operation = match.operation
        proof = _proof(request, operation)
        body = _body(request)
        message = operation.request(match.path, _query(request), body)
        call = Call(
            Caller(
                identity=None,
                is_local_admin=False,
                address=_address(client_of(request, self._forwarders)),
                recognize=partial(self._recognize, connection_of(request)),
            ),
            proof.metadata,
            self._clock.seconds() + CALL_SECONDS,
        )
        response = await within(
            self._clock,
            CALL_SECONDS,
            self._methods[f"/{SERVICE}/{operation.route.rpc}"].handle(call, message),
            doing="the call",
        )
        answer = self._with_session(request, operation, response, proof)
        return operation.route.status, answer

    def _with_session(
        self,
        request: Request,
        operation: Operation,
        response: Any,
        proof: _Proof,
    ) -> Mapping[str, Any] | None:
        answer = operation.answer(response)
        match operation.route.session:
            case SessionUse.BEGIN if response.token:
                left = int(response.expires - self._wall_clock())
                _set_cookie(request, session_cookie(response.token, left))
                return {**(answer or {}), "csrf_token": csrf_token(response.token)}
            case SessionUse.SHOW:
                shown = "" if proof.cookie is None else csrf_token(proof.cookie)
                return {**(answer or {}), "csrf_token": shown}
            case SessionUse.BEGIN:
                return {**(answer or {}), "csrf_token": ""}
            case SessionUse.END:
                _set_cookie(request, ended_cookie())
        return answer


def _proof(request: Request, operation: Operation) -> _Proof:
    """
    Who asks; a cookie counts only with what shows that its owner's own page asks.

    :raises CrossSite:
    """
    authorization = _header(request, "authorization")
    if authorization is not None:
        return _Proof(authorization, None)
    if operation.route.changes:
        check_origin(
            origin=_header(request, "origin"),
            fetch_site=_header(request, "sec-fetch-site"),
            host=_header(request, "host"),
        )
    if operation.permission is Permission.NOTHING:
        return _Proof(None, None)
    cookie = read_cookie(_header(request, "cookie") or "")
    if cookie is not None and operation.route.changes:
        check_csrf(cookie, _header(request, CSRF_HEADER))
    return _Proof(None, cookie)


def _body(request: Request) -> bytes:
    assert request.content is not None
    body: bytes = request.content.read()
    kind = (_header(request, "content-type") or "").partition(";")[0].strip().lower()
    if body and kind != JSON.decode():
        raise NotJson()
    return body


def _segments(request: Request) -> list[str]:
    try:
        return [segment.decode() for segment in request.postpath or []]
    except UnicodeDecodeError:
        raise BadInput("the path is not UTF-8") from None


def _query(request: Request) -> str:
    return request.uri.partition(b"?")[2].decode("latin-1")


def _header(request: Request, name: str) -> str | None:
    """The value of a header; two of one name are joined, so that neither is overlooked."""
    values = request.requestHeaders.getRawHeaders(name.encode())
    separator = b"; " if name == "cookie" else b", "
    return None if values is None else separator.join(values).decode("latin-1")


def _set_cookie(request: Request, value: str) -> None:
    request.responseHeaders.addRawHeader("set-cookie", value)


def _address(peer: Any) -> str:
    return f"{getattr(peer, 'host', '?')}:{getattr(peer, 'port', 0)}"
