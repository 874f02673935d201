"""Tests of errors on their way through HTTP."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.error import LoginRefused, TooManyFailures
from mezite.error import (
    AlreadyExists,
    BadInput,
    Denied,
    LimitReached,
    LocalError,
    NotFound,
    TimedOut,
    Unavailable,
)
from mezite.rpc.httpstatus import (
    HTTP_OF,
    BodyTooLarge,
    MethodNotAllowed,
    NotJson,
    http_failure_of,
)
from mezite.rpc.status import _STATUS_OF


class HttpStatusTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        """Each kind of error has its status."""
        for error, status, kind in (
            (BadInput("x"), 400, "bad_input"),
            (LoginRefused("wrong password"), 401, "not_authenticated"),
            (Denied("x"), 403, "denied"),
            (NotFound("x"), 404, "not_found"),
            (MethodNotAllowed(["GET"]), 405, "method_not_allowed"),
            (AlreadyExists("x"), 409, "already_exists"),
            (BodyTooLarge(1), 413, "body_too_large"),
            (NotJson(), 415, "not_json"),
            (LimitReached("x"), 429, "limit_reached"),
            (LocalError("x"), 500, "internal"),
            (ZeroDivisionError("x"), 500, "internal"),
            (Unavailable("x"), 503, "unavailable"),
            (TimedOut("x"), 504, "timed_out"),
        ):
            failure = http_failure_of(error)
            self.assertEqual((failure.status, failure.kind), (status, kind))

    def test_complete(self) -> None:
        """Whatever status gRPC gives an error, HTTP has one."""
        self.assertEqual(set(_STATUS_OF.values()) - HTTP_OF.keys(), set())

    def test_wait(self) -> None:
        """Who is to wait is told how long, in whole seconds and at least one."""
        self.assertEqual(http_failure_of(TooManyFailures(7.2)).wait, 8)
        self.assertEqual(http_failure_of(TooManyFailures(0.0)).wait, 1)
        self.assertIsNone(http_failure_of(LimitReached("x")).wait)

    def test_internal_says_nothing(self) -> None:
        """What only operators may know does not travel."""
        self.assertNotIn("secret", http_failure_of(ZeroDivisionError("secret")).sentence)
