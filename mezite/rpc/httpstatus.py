"""
How an error travels in HTTP: what :mod:`mezite.rpc.status` says, in the words of REST.

Owns the statuses and the kinds that stand in answers. What may be said of an
error is decided there, once for both wires.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from attrs import frozen

from mezite.error import BadInput, Unavailable
from mezite.rpc.status import Status, status_of


class MethodNotAllowed(BadInput):
    """There is something at this path, and this is not done with it."""

    def __init__(self, allowed: Sequence[str]) -> None:
        super().__init__(f"this path takes {', '.join(allowed)} only")
        self.allowed = tuple(allowed)


class NotJson(BadInput):
    """A body that does not say that it is JSON."""

    def __init__(self) -> None:
        super().__init__("a body has the content type application/json")


class BodyTooLarge(BadInput):
    """A body beyond the bound on requests."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a body has at most {limit} bytes")


@frozen
class HttpFailure:
    """An error as it is answered; ``wait`` is in whole seconds, None where it is not known."""

    status: int
    kind: str
    sentence: str
    wait: int | None = None


# The HTTP status and the kind for each status that an error of ours can have.
HTTP_OF: Final[Mapping[Status, tuple[int, str]]] = {
    Status.INVALID_ARGUMENT: (400, "bad_input"),
    Status.UNAUTHENTICATED: (401, "not_authenticated"),
    Status.PERMISSION_DENIED: (403, "denied"),
    Status.FAILED_PRECONDITION: (403, "proof_needed"),
    Status.NOT_FOUND: (404, "not_found"),
    Status.ALREADY_EXISTS: (409, "already_exists"),
    Status.RESOURCE_EXHAUSTED: (429, "limit_reached"),
    Status.INTERNAL: (500, "internal"),
    Status.UNIMPLEMENTED: (501, "unimplemented"),
    Status.UNAVAILABLE: (503, "unavailable"),
    # The call was given up by us, since nobody answers one who has gone.
    Status.CANCELLED: (503, "unavailable"),
    Status.DEADLINE_EXCEEDED: (504, "timed_out"),
}

# What gRPC has no word for, because its own framing refuses it.
HTTP_OF_KIND: Final[Mapping[type[BaseException], tuple[int, str]]] = {
    MethodNotAllowed: (405, "method_not_allowed"),
    BodyTooLarge: (413, "body_too_large"),
    NotJson: (415, "not_json"),
}


def http_failure_of(error: BaseException) -> HttpFailure:
    """The status, the kind and the public sentence of an error."""
    status, sentence = status_of(error)
    code, kind = HTTP_OF_KIND.get(type(error)) or HTTP_OF[status]
    wait = error.wait if isinstance(error, Unavailable) else None
    return HttpFailure(code, kind, sentence, None if wait is None else max(1, math.ceil(wait)))
