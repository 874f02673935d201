"""
What every answer of the site carries, and how answers in JSON are written.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from twisted.web.server import Request

from mezite.rpc.httpstatus import MethodNotAllowed, http_failure_of

SECURITY_HEADERS: Final = {
    b"server": b"Mezite",
    b"content-security-policy": (
        b"default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none';"
        b" form-action 'none'; frame-ancestors 'none'"
    ),
    b"referrer-policy": b"no-referrer",
    b"x-content-type-options": b"nosniff",
    b"x-frame-options": b"DENY",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}
JSON: Final = b"application/json"


def set_headers(request: Request, content_type: bytes) -> None:
    """The headers of every answer."""
    for name, value in SECURITY_HEADERS.items():
        request.setHeader(name, value)
    request.setHeader(b"content-type", content_type)


def answer_json(request: Request, status: int, value: Mapping[str, Any] | None) -> None:
    """Answer with an object, or with nothing, and be done."""
    request.setResponseCode(status)
    if value is None:
        set_headers(request, JSON)
        request.responseHeaders.removeHeader(b"content-type")
    else:
        set_headers(request, JSON)
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        request.setHeader(b"content-length", b"%d" % len(body))
        request.write(body)
    request.finish()


def answer_failure(request: Request, error: BaseException) -> None:
    """Answer with an error's kind and public sentence, and be done."""
    failure = http_failure_of(error)
    if failure.status == 401:
        request.setHeader(b"www-authenticate", b'Bearer realm="mezite"')
    if failure.wait is not None:
        request.setHeader(b"retry-after", b"%d" % failure.wait)
    if isinstance(error, MethodNotAllowed):
        request.setHeader(b"allow", ", ".join(error.allowed).encode())
    answer_json(
        request,
        failure.status,
        {"error": {"kind": failure.kind, "message": failure.sentence}},
    )
