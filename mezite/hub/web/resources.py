"""
The kinds of things that the site has at its paths, without what they say.

Owns the refusal of paths below a page and of methods that a page does not take.
"""

from __future__ import annotations

import hashlib
from importlib import resources
from typing import Any, Final

from twisted.web import http
from twisted.web.error import UnsupportedMethod
from twisted.web.resource import Resource
from twisted.web.server import Request

from mezite.hub.web.answers import set_headers

PLAIN: Final = b"text/plain; charset=utf-8"


class Page(Resource):
    """A resource that is a leaf and carries the security headers."""

    isLeaf = True
    content_type = PLAIN

    def render(self, request: Request) -> bytes | int:
        set_headers(request, self.content_type)
        if request.postpath not in ([], [b""]):
            request.setResponseCode(404)
            request.setHeader(b"content-type", PLAIN)
            return b"there is nothing here\n"
        try:
            result: bytes | int = super().render(request)
        except UnsupportedMethod as error:
            request.setResponseCode(405)
            request.setHeader(b"content-type", PLAIN)
            request.setHeader(b"allow", b", ".join(error.allowedMethods))
            return b"this can only be read\n"
        return result


class Fixed(Page):
    """A page that is always the same."""

    def __init__(self, body: bytes, content_type: bytes) -> None:
        super().__init__()
        self._body = body
        self.content_type = content_type

    def render_GET(self, request: Request) -> bytes:
        return self._body


class Asset(Fixed):
    """A file that pages are made of: a browser keeps it, and asks whether it is still the same."""

    def __init__(self, body: bytes, content_type: bytes) -> None:
        super().__init__(body, content_type)
        self._etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"cache-control", b"no-cache")
        return b"" if request.setETag(self._etag) is http.CACHED else self._body


class Missing(Page):
    """Every path that is not one."""

    def render(self, request: Request) -> bytes | int:
        request.postpath = []
        result = super().render(request)
        request.setResponseCode(404)
        return result

    def render_GET(self, request: Request) -> bytes:
        return b"there is nothing here\n"

    render_POST = render_GET


class Folder(Resource):
    """A path that only leads to others."""

    def getChild(self, path: bytes, request: Request) -> Resource:
        return Missing()

    def render(self, request: Request) -> bytes | int:
        return Missing().render(request)


def connection_of(request: Request) -> Any:
    """The transport that a request came on, alone or in a stream of HTTP/2."""
    channel = request.channel
    return getattr(channel, "_conn", channel).transport


def text_of(*path: str) -> str:
    """A file that is shipped with this package."""
    return resources.files(__package__).joinpath(*path).read_text("utf-8")
