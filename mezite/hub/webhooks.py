"""
Webhooks: telling other programs of each change of an access request.

Each webhook has its own bounded queue, so that one that does not answer keeps
nobody else waiting, and least of all the request itself: what cannot be told
is logged and counted, and that is all. What is said is
:mod:`mezite.hub.webhookmessage`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from mezite import __version__
from mezite.auth.requesting import IRequestWatcher
from mezite.config.webhooks import Webhook
from mezite.error import MeziteError
from mezite.hub.error import HubCannotStart
from mezite.hub.webhookmessage import (
    DELIVERY_HEADER,
    EVENT_HEADER,
    SIGNATURE_HEADER,
    WebhookMessage,
    message_of,
    signature,
)
from mezite.identity.requests import AccessRequest
from mezite.tasks import background, within

# A message is below 20 KB: one that does not answer costs 5 MB at most.
QUEUE: Final = 256
TRY_SECONDS: Final = 10.0
# Before each try but the first: six tries in about ten minutes.
PAUSES: Final = (1.0, 5.0, 30.0, 120.0, 480.0)
# Nobody reads what is answered; a few lines let the connection end in peace.
ANSWER_LIMIT: Final = 16_384
# HMAC-SHA256 gains nothing from more than 64 octets; less than 16 can be guessed.
_SECRET_SHORTEST: Final = 16
_SECRET_LIMIT: Final = 4096
# Answers after which another try may help; of the others in 400 to 499 none does.
_TRIED_AGAIN: Final = frozenset([408, 425, 429])


class _Refused(MeziteError):
    """The webhook answered, and not with 2xx."""

    def __init__(self, code: int) -> None:
        super().__init__(f"it answered with status {code}")
        self.is_final = 300 <= code < 500 and code not in _TRIED_AGAIN


@frozen
class Place:
    """One webhook with its secret."""

    url: str = field(repr=False)
    secret: bytes = field(repr=False)

    @property
    def origin(self) -> str:
        """What logs say of it: the rest of an address is a secret to some services."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @classmethod
    def read(cls, webhook: Webhook) -> Place:
        """
        With the first line of its file as its secret.

        :raises HubCannotStart:
        """
        path: Path = webhook.secret_file
        try:
            with path.open("rb") as file:
                secret = file.read(_SECRET_LIMIT).partition(b"\n")[0].strip()
        except OSError as error:
            raise HubCannotStart(f"cannot read {path}: {error.strerror}") from None
        if len(secret) < _SECRET_SHORTEST:
            raise HubCannotStart(
                f"{path}: a webhook's secret has {_SECRET_SHORTEST} octets or more"
            )
        return cls(webhook.url, secret)


def webhook_agent(reactor: Any) -> IAgent:
    """Trusts whom the system trusts, follows no redirect, and keeps no connection."""
    agent: IAgent = Agent(reactor, BrowserLikePolicyForHTTPS(), connectTimeout=TRY_SECONDS)
    return agent


@implementer(IRequestWatcher)
class Webhooks:
    """Tells every webhook, in the order in which things happened."""

    def __init__(
        self,
        places: Iterable[Place],
        agent: Callable[[], Any],
        *,
        cluster: str,
        clock: IReactorTime,
        wall_clock: Callable[[], float],
        count: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self._cluster = cluster
        # Without a webhook no agent is made: the system's authorities are not even read.
        self._lines = [_Line(place, agent(), clock, wall_clock, count) for place in places]

    def request_changed(self, request: AccessRequest) -> None:
        if self._lines:
            message = message_of(request, self._cluster)
            for line in self._lines:
                line.add(message)

    def stop(self) -> None:
        """Leave what has not been told; the audit has it."""
        for line in self._lines:
            line.stop()


@define(eq=False)
class _Line:
    """What waits to be told to one webhook; ``count`` hears of each outcome."""

    _place: Place
    _agent: Any
    _clock: Any
    _wall_clock: Callable[[], float]
    _count: Callable[[str], None]
    _waiting: deque[WebhookMessage] = field(init=False, factory=deque)
    _running: Deferred[None] | None = field(init=False, default=None)

    _log = Logger()

    def add(self, message: WebhookMessage) -> None:
        if len(self._waiting) >= QUEUE:
            self._count("dropped")
            self._log.warn(
                "{event} is not told to {url}: {number} others wait already",
                event=message.event,
                url=self._place.origin,
                number=QUEUE,
            )
            return
        self._waiting.append(message)
        if self._running is None:
            self._running = background(self._run(), doing=f"telling {self._place.origin}")
            if not self._waiting:
                self._running = None

    def stop(self) -> None:
        self._waiting.clear()
        if self._running is not None:
            self._running.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._tell(self._waiting[0])
                if self._waiting:
                    self._waiting.popleft()
        finally:
            self._running = None

    async def _tell(self, message: WebhookMessage) -> None:
        for pause in (*PAUSES, None):
            try:
                await within(
                    self._clock, TRY_SECONDS, self._post(message), doing="telling a webhook"
                )
            except CancelledError:
                raise
            except Exception as error:
                is_final = pause is None or (isinstance(error, _Refused) and error.is_final)
                self._log.warn(
                    "{event} was not told to {url}: {error}; {then}",
                    event=message.event,
                    url=self._place.origin,
                    error=_why(error),
                    then="given up" if is_final else f"again in {pause:.0f} s",
                )
                if is_final or pause is None:
                    self._count("failed")
                    return
                self._count("retried")
                await deferLater(self._clock, pause)
            else:
                self._count("delivered")
                return

    async def _post(self, message: WebhookMessage) -> None:
        proof = signature(self._place.secret, int(self._wall_clock()), message.body)
        headers = Headers(
            {
                b"User-Agent": [f"mezite/{__version__}".encode()],
                b"Content-Type": [b"application/json"],
                SIGNATURE_HEADER: [proof.encode()],
                EVENT_HEADER: [message.event.encode()],
                DELIVERY_HEADER: [message.delivery.encode()],
            }
        )
        response = await self._agent.request(
            b"POST", self._place.url.encode(), headers, _Body(message.body)
        )
        await _heard(response)
        if not 200 <= response.code < 300:
            raise _Refused(response.code)


@implementer(IBodyProducer)
@define(eq=False)
class _Body:
    """A message as the body of a request, written at once: it is below 20 KB."""

    _data: bytes
    length: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.length = len(self._data)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self._data)
        return succeed(None)

    def pauseProducing(self) -> None:
        """It has been written already."""

    def resumeProducing(self) -> None:
        """It has been written already."""

    def stopProducing(self) -> None:
        """It has been written already."""


def _why(error: Exception) -> str:
    """A sentence; what Twisted wraps is taken out of it."""
    reasons = getattr(error, "reasons", None)
    cause = reasons[0].value if reasons else error
    return str(cause) or type(cause).__name__


async def _heard(response: IResponse) -> None:
    """Until the answer has ended, or has become too long."""
    answer = _Answer()
    response.deliverBody(answer)
    await answer.ended


@define(eq=False)
class _Answer(Protocol):
    """An answer that nobody reads."""

    transport: Any = field(init=False, default=None)
    ended: Deferred[None] = field(init=False)
    _length: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        # Cancelled when it takes too long.
        self.ended = Deferred(lambda _: self._hang_up())

    def dataReceived(self, data: bytes) -> None:
        self._length += len(data)
        if self._length > ANSWER_LIMIT:
            self._hang_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.ended.called:
            self.ended.callback(None)

    def _hang_up(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()
