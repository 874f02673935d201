"""
The connection that an agent keeps to its hub.

A :class:`TunnelFactory` dials, and dials again for as long as it runs. What
travels in a tunnel is decided by whoever accepts its streams; who the hub is
has been proved before the first byte of one.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IDelayedCall,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mezite.agent import backoff
from mezite.agent.condition import Condition
from mezite.agent.explanations import was_refused
from mezite.error import TimedOut
from mezite.mux.frames import Role
from mezite.mux.keepalive import SILENCE
from mezite.mux.protocol import MuxProtocol
from mezite.mux.transport import StreamTransport
from mezite.names import HostPort
from mezite.tasks import within

# TCP and TLS together.
DIAL_SECONDS: Final = 10.0
# Of all addresses, as long as each has half of the time: a hub in a storm is slow.
ROUND_SECONDS: Final = 30.0
# Only a tunnel that stayed up for so long makes the next wait short again; a
# hub that falls over under its agents is not to be hurried.
STABLE_SECONDS: Final = 30.0
# No hub sends an agent away for longer: whoever must wait that long has lost it.
LONGEST_TOLD: Final = 120.0
# Bytes that nobody acknowledged for so long mean a dead connection (tcp(7)),
# which the mux's own keepalive would notice as late.
_USER_TIMEOUT_MS: Final = 25_000


class TunnelFactory(ReconnectingClientFactory):
    """
    One tunnel at a time, for ever.

    ``endpoint`` is asked before each dial, so that it may use new certificates.
    ``explain`` makes a sentence of what went wrong. ``addresses`` are those to try in
    one round, between which nothing is waited for; ``turn_to`` is told which is the
    next, and ``hub`` and ``endpoint`` are that one's.
    """

    noisy = False
    initialDelay = backoff.FIRST
    factor = backoff.FACTOR
    maxDelay = int(backoff.LONGEST)
    # retry() draws the whole wait itself.
    jitter = 0.0

    _log = Logger()

    def __init__(
        self,
        hub: Callable[[], HostPort],
        endpoint: Callable[[], IStreamClientEndpoint],
        *,
        clock: IReactorTime,
        accept: Callable[[StreamTransport], None],
        on_up: Callable[[MuxProtocol], None],
        on_down: Callable[[MuxProtocol, Failure], None],
        on_failed: Callable[[BaseException | None], None],
        on_go_away: Callable[[MuxProtocol], None] = lambda mux: None,
        explain: Callable[[BaseException | None], str] = str,
        condition: Condition | None = None,
        addresses: Callable[[], Awaitable[Sequence[HostPort]]] | None = None,
        turn_to: Callable[[HostPort], None] = lambda _: None,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.clock = clock  # type: ignore[assignment]
        self._clock = clock
        self.mux: MuxProtocol | None = None
        self._hub = hub
        self._endpoint = endpoint
        self._accept = accept
        self._on_up = on_up
        self._on_down = on_down
        self._on_failed = on_failed
        self._on_go_away = on_go_away
        self._explain = explain
        self._uniform = uniform
        self._condition = condition or Condition()
        self._addresses = addresses
        self._turn_to = turn_to
        # Of every address in this round.
        self._all_refused = True
        self._was_refused = False
        # When this round began, and how long it took to see that it failed.
        self._began = 0.0
        self._spent = 0.0
        self._stable: IDelayedCall | None = None
        # The wait before the next dial, in seconds.
        self.wait = 0.0
        # What the hub wants it to be.
        self._told: float | None = None

    def start(self) -> None:
        """Dial now."""
        self.continueTrying = 1
        self.connector = _Connector(self, self._attempt)
        self.connector.connect()

    def come_back_after(self, seconds: float) -> None:
        """The hub wants the next dial to be so long after the end of this tunnel."""
        self._told = min(max(0.0, seconds), LONGEST_TOLD)

    def stop(self) -> None:
        """Dial no more; a tunnel that is up stays up."""
        self.stopTrying()
        self._stop_waiting()

    async def _attempt(self) -> None:
        self._all_refused = True
        self._began = self._clock.seconds()
        addresses = [self._hub()] if self._addresses is None else await self._addresses()
        share = ROUND_SECONDS / max(1, len(addresses))
        seconds = max(DIAL_SECONDS / 2, min(DIAL_SECONDS, share))
        for number, address in enumerate(addresses, 1):
            self._turn_to(address)
            self._condition.connecting(address)
            try:
                await within(
                    self._clock,
                    seconds,
                    self._endpoint().connect(self),
                    doing=f"connecting to {address}",
                )
                return
            except CancelledError:
                raise
            except Exception as error:
                self._all_refused = self._all_refused and was_refused(error)
                # An endpoint that was cancelled may fail with an error of its own.
                if number == len(addresses) or not self.continueTrying:
                    raise
                why = self._explain(error)
                self._condition.troubled(why)
                self._log.warn("{why}; trying the next address", why=why)

    def buildProtocol(self, addr: IAddress | None) -> MuxProtocol:
        mux = MuxProtocol(
            role=Role.CLIENT,
            clock=self._clock,
            accept=self._accept,
            on_up=lambda: self._up(mux),
            on_down=lambda reason: self._down(mux, reason),
            on_go_away=lambda: self._on_go_away(mux),
        )
        return mux

    def _up(self, mux: MuxProtocol) -> None:
        _notice_death_early(mux.transport)
        self.mux = mux
        self._was_refused = False
        self._stable = self._clock.callLater(STABLE_SECONDS, self._became_stable)
        # Not yet news: in TLS 1.3 the hub may still refuse this node's certificate.
        self._log.debug("connected to {hub}", hub=self._hub())
        self._on_up(mux)

    def _became_stable(self) -> None:
        self._stable = None
        self.resetDelay()

    def _down(self, mux: MuxProtocol, reason: Failure) -> None:
        self._stop_waiting()
        if self.mux is mux:
            self.mux = None
        try:
            self._on_down(mux, reason)
        except Exception:
            # Whoever watches must not be the end of dialing.
            self._log.failure("the end of a tunnel was not taken note of")
        assert self.connector is not None
        self.clientConnectionLost(self.connector, reason)

    def clientConnectionLost(self, connector: IConnector, unused_reason: Failure) -> None:
        if self.continueTrying:
            # The network may have returned, elsewhere, while the silence was still believed.
            self._spent = SILENCE if unused_reason.check(TimedOut) is not None else 0.0
            self.retry(connector)
            why = self._explain(unused_reason.value)
            self._condition.waiting(self.wait, why)
            self._log.warn(
                "tunnel down: {why}; dialing again in {wait:.1f} s", why=why, wait=self.wait
            )

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        if self.continueTrying:
            self._was_refused = self._all_refused and was_refused(reason.value)
            self._spent = self._clock.seconds() - self._began
            self.retry(connector)
            why = self._explain(reason.value)
            self._condition.waiting(self.wait, why)
            try:
                self._on_failed(reason.value)
            except Exception:
                self._log.failure("a dial that failed was not taken note of")
            self._log.warn("{why}; dialing again in {wait:.1f} s", why=why, wait=self.wait)

    def retry(self, connector: IConnector | None = None) -> None:
        """Full jitter, in place of Twisted's few percent; or what the hub said, once."""
        told, self._told = self._told, None
        if told is not None:
            self.delay = self.wait = told
            super().retry(connector)
            return
        most = backoff.ceiling(self.retries, was_refused=self._was_refused, spent=self._spent)
        self.delay = self.wait = self._uniform(0, most)
        super().retry(connector)

    def _stop_waiting(self) -> None:
        if self._stable is not None:
            self._stable.cancel()
            self._stable = None


@implementer(IConnector)
@define(eq=False)
class _Connector:
    """What a :class:`ReconnectingClientFactory` dials with: here, an endpoint."""

    _factory: TunnelFactory
    _attempt: Callable[[], Any]
    _dialing: Deferred[None] | None = field(init=False, default=None)

    _log = Logger()

    def connect(self) -> None:
        dialing = self._dialing = Deferred.fromCoroutine(self._attempt())
        dialing.addBoth(self._done)
        dialing.addErrback(self._failed)

    def _done(self, result: Any) -> Any:
        self._dialing = None
        return result

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None:
            self._factory.clientConnectionFailed(self, failure)

    def stopConnecting(self) -> None:
        if self._dialing is not None:
            self._dialing.cancel()

    def disconnect(self) -> None:
        self.stopConnecting()
        if self._factory.mux is not None:
            self._factory.mux.close()

    def getDestination(self) -> Any:
        return self._factory._hub()


def _notice_death_early(transport: Any) -> None:
    # The TCP transport stands below the TLS one; neither is there in memory.
    handle = getattr(getattr(transport, "transport", None), "getHandle", None)
    option = getattr(socket, "TCP_USER_TIMEOUT", None)
    if handle is not None and option is not None:
        try:
            handle().setsockopt(socket.IPPROTO_TCP, option, _USER_TIMEOUT_MS)
        except (OSError, AttributeError):
            pass  # a kernel without it; the mux's keepalive remains
