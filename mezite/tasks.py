"""
Coroutines that nobody awaits, and waits that come to an end.

This is where a coroutine becomes a Deferred when no caller wants one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.error import MeziteError, TimedOut

_log = Logger()
T = TypeVar("T")


def background(coroutine: Coroutine[Any, Any, object], *, doing: str) -> Deferred[None]:
    """
    Run a coroutine that nobody waits for; its failure is logged, never lost.

    Cancelling the returned Deferred cancels the coroutine. ``doing`` completes
    the sentence "failed while ...".
    """
    running: Deferred[object] = Deferred.fromCoroutine(coroutine)

    def failed(failure: Failure) -> None:
        if failure.check(CancelledError) is not None:
            return
        if failure.check(MeziteError) is not None:
            _log.warn("failed while {doing}: {error}", doing=doing, error=failure.value)
        else:
            _log.failure("failed while {doing}", failure=failure, doing=doing)

    return running.addCallbacks(lambda _: None, failed)


async def regardless(work: Awaitable[T]) -> T:
    """Await this; whoever gives up waiting for it does not stop it."""

    async def run() -> T:
        return await work

    waiting: Deferred[T] = Deferred()

    def done(result: T) -> None:
        if not waiting.called:
            waiting.callback(result)

    def failed(failure: Failure) -> None:
        if waiting.called:
            _log.failure("failed after nobody waited for it any more", failure=failure)
        else:
            waiting.errback(failure)

    running: Deferred[T] = Deferred.fromCoroutine(run())
    running.addCallbacks(done, failed)
    return await waiting


async def within(clock: IReactorTime, seconds: float, work: Awaitable[T], *, doing: str) -> T:
    """
    Await this for so long at most, then cancel it.

    :raises TimedOut: at the deadline; the sentence is "{doing} took longer
        than {seconds} s".
    """

    async def run() -> T:
        return await work

    running: Deferred[T] = Deferred.fromCoroutine(run())
    expired = False

    def expire() -> None:
        nonlocal expired
        expired = True
        running.cancel()

    deadline = clock.callLater(seconds, expire)
    try:
        return await running
    except Exception as error:
        # Not CancelledError only: Twisted's endpoints fail with an error of
        # their own when they are cancelled.
        if expired:
            raise TimedOut(f"{doing} took longer than {seconds:g} s") from error
        raise
    finally:
        if deadline.active():
            deadline.cancel()
