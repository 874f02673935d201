"""
SSH connections to nodes that are taken up again when they are cut.

A :class:`ResumingDialer` owns the dialing: the first connection, and each that follows
a cut, for as long as somebody may still wait at the other end. Where nothing can
be resumed (an older hub or agent, a server without one) the SSH runs plainly.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.client.tls import certificate_refusal
from mezite.error import Denied, MeziteError, RemoteError
from mezite.resume import frames
from mezite.resume.error import NotNow, RemoteResumeError, ResumeDenied, SessionGone
from mezite.resume.frames import Greeting, GreetingReader, Plain, Refusal, Welcome
from mezite.resume.redialing import TOO_LATE, TRY_SECONDS, UNANSWERED, Redialing
from mezite.resume.transport import ResumableTransport
from mezite.tasks import background, within
from mezite.wire.alpn import MEZITE_SSH_RESUME

GONE: Final = "the connection was lost, and the node has ended the session"


class LegBroke(RemoteError):
    """A connection ended before its greeting was over."""


@frozen
class Notices:
    """Told when the connection is lost, and when it is back."""

    lost: Callable[[], None] = lambda: None
    back: Callable[[], None] = lambda: None


@frozen
class _Answer:
    """A connection whose greeting is over; it is paused."""

    transport: Any
    greeting: Greeting
    rest: bytes


@define(eq=False)
class ResumingDialer:
    """
    One connection to a node.

    :param endpoint: where the hub is; asked before each dial, so that a new login is used.
        Its argument says whether resumption is offered.
    :param dialed: bounds a dial, and says what its failure means.
    """

    _log = Logger()

    reactor: Any
    endpoint: Callable[[bool], IStreamClientEndpoint] = field(repr=False)
    dialed: Callable[[Awaitable[Any]], Awaitable[Any]] = field(repr=False)
    notices: Notices = field(factory=Notices)
    uniform: Callable[[float, float], float] = random.uniform
    _token: bytes = field(init=False, default=b"", repr=False)
    _transport: ResumableTransport = field(init=False)
    _tries: Redialing = field(init=False)
    _redialing: Deferred[None] | None = field(init=False, default=None)

    async def connect(self, inner: IProtocol) -> None:
        """
        Have this protocol speak with the node.

        :raises MeziteError: it cannot be reached, for the reason that the sentence says.
        """
        answer = await self._begun()
        match answer.greeting:
            case Plain():
                answer.transport.attach(inner)
                if answer.rest:
                    inner.dataReceived(answer.rest)
                answer.transport.resumeProducing()
            case Welcome(token=token):
                self._token = token
                self._tries = Redialing(self.reactor.seconds())
                self._transport = ResumableTransport(
                    self.reactor, on_cut=self._cut, on_over=self._over, is_client=True
                )
                self._transport.attach(inner)
                self._transport.carry(answer.transport, 0, answer.rest)
            case _:
                answer.transport.abortConnection()
                raise _refusal(answer.greeting)

    async def _begun(self) -> _Answer:
        """The first connection that is answered; without an offer, if none with it is."""
        for _ in range(UNANSWERED):
            try:
                return await self._dial(frames.hello())
            except LegBroke as error:
                self._log.info("not answered: {error}", error=error)
        return await self._dial(None)

    # After a cut.

    def _cut(self) -> None:
        self.notices.lost()
        self._tries.cut(self.reactor.seconds())
        self._redialing = background(self._redial(), doing="taking a connection up again")

    def _over(self) -> None:
        if self._redialing is not None:
            self._redialing.cancel()

    async def _redial(self) -> None:
        found: tuple[_Answer, Welcome] | None = None
        while found is None:
            if longest := self._tries.next_wait(self.reactor.seconds()):
                await deferLater(self.reactor, self.uniform(0, longest))
            try:
                found = await within(
                    self.reactor, TRY_SECONDS, self._found(), doing="connecting to the node"
                )
            except (CancelledError, GeneratorExit):
                raise
            except (Denied, SessionGone) as error:
                self._give_up(error)
                return
            except Exception as failed:
                self._log.info("not yet: {error}", error=failed)
                if self._tries.is_too_late(self.reactor.seconds()):
                    self._give_up(SessionGone(TOO_LATE))
                    return
        # From here on it is not looked for: a cut begins that anew, and an end ends nothing here.
        self._redialing = None
        self._tries.carried(self.reactor.seconds())
        self.notices.back()
        answer, welcome = found
        self._transport.carry(answer.transport, welcome.received, answer.rest)

    async def _found(self) -> tuple[_Answer, Welcome]:
        """
        Another connection, on which the node goes on.

        :raises SessionGone: or :class:`Denied`, when there never will be one.
        """
        link = self._transport.link
        answer = await self._dial(frames.hello(self._token, link.received))
        greeting = answer.greeting
        if not isinstance(greeting, Welcome):
            answer.transport.abortConnection()
            raise _refusal(greeting)
        if greeting.token != self._token or not link.could_have_sent(greeting.received):
            answer.transport.abortConnection()
            raise SessionGone("the node does not know how far this connection was")
        return answer, greeting

    def _give_up(self, error: MeziteError) -> None:
        self._redialing = None
        self._transport.give_up(Failure(error))

    async def _dial(self, hello: bytes | None) -> _Answer:
        greeter = _Greeter(hello)
        factory = Factory.forProtocol(cast("type[Any]", lambda: greeter))
        factory.noisy = False

        async def greeted() -> _Answer:
            await self.endpoint(hello is not None).connect(factory)
            try:
                return await greeter.done
            except CancelledError:
                greeter.give_up()
                raise

        answer: _Answer = await self.dialed(greeted())
        return answer


@define(eq=False)
class _Greeter(Protocol):
    """A connection to the hub until the other end has answered."""

    _hello: bytes | None
    transport: Any = field(init=False, default=None)
    done: Deferred[_Answer] = field(init=False, factory=Deferred)
    _reader: GreetingReader = field(init=False, factory=GreetingReader)

    def connectionMade(self) -> None:
        if self._hello is None or self.transport.negotiatedProtocol != MEZITE_SSH_RESUME:
            self._answered(Plain(), b"")
        else:
            self.transport.write(self._hello)

    def dataReceived(self, data: bytes) -> None:
        try:
            complete = self._reader.receive(data)
        except RemoteResumeError as error:
            # First: the end of the connection would be told in its place.
            self._failed(error)
            self.transport.abortConnection()
            return
        if complete is not None:
            self._answered(*complete)

    def _answered(self, greeting: Greeting, rest: bytes) -> None:
        if not self.done.called:
            self.transport.pauseProducing()
            self.done.callback(_Answer(self.transport, greeting, rest))

    def give_up(self) -> None:
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        error = certificate_refusal(reason.value)
        self._failed(error or LegBroke(f"the connection to the hub broke: {reason.value}"))

    def _failed(self, error: MeziteError) -> None:
        if not self.done.called:
            self.done.errback(error)


def _refusal(greeting: Greeting) -> MeziteError:
    if not isinstance(greeting, Refusal):
        return SessionGone(GONE)
    kinds: dict[int, type[MeziteError]] = {frames.GONE: SessionGone, frames.NOT_NOW: NotNow}
    return kinds.get(greeting.reason, ResumeDenied)(greeting.sentence)
