"""
The pages below ``/web``, on which people do in a browser what concerns themselves.

Owns which pages there are, and what their scripts may do. A page has nothing of
anybody in it: its script asks the REST API, with the cookie, so that a page may
be fetched by whoever likes, and an invite is not used up by looking at it.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from importlib import resources
from string import Template
from typing import Final

from attrs import frozen
from twisted.web.server import Request

from mezite import __version__
from mezite.hub.web.resources import Asset, Folder, Page, text_of

HTML: Final = b"text/html; charset=utf-8"
# Scripts and styles are this site's own files, never part of a page; a script cannot make
# markup of text; nothing is fetched from, or sent to, anywhere else. The picture of a QR
# code is a data: address. Forms are sent by scripts, lest a password end up in an address.
POLICY: Final = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    b" connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    b" require-trusted-types-for 'script'; trusted-types 'none'"
)
# Where somebody goes who is logged in and has not said where.
FIRST: Final = b"/web/account"
_KINDS: Final = {
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
# Ours have 44 characters.
_TOKEN_LENGTH: Final = 256


@frozen
class WebPage:
    """
    One page: its files are ``NAME.html``, what is between header and footer, and ``NAME.js``.

    :param menu: what it is called in the menu of those who are logged in; empty
        for a page that is for others.
    :param has_token: an invite's token is the rest of the path.
    """

    name: str
    title: str
    menu: str = ""
    has_token: bool = False


WEB_PAGES: Final = (
    WebPage("login", "Log in"),
    WebPage("invite", "Your invite", has_token=True),
    WebPage("nodes", "Nodes", menu="Nodes"),
    WebPage("requests", "Access requests", menu="Requests"),
    WebPage("account", "Your account", menu="Account"),
)


class _WebPage(Page):
    content_type = HTML

    def __init__(self, page: WebPage, cluster: str) -> None:
        super().__init__()
        self._page = page
        self._body = _page_text(page, cluster).encode()

    def render(self, request: Request) -> bytes | int:
        rest = request.postpath or []
        if self._page.has_token and len(rest) == 1 and 0 < len(rest[0]) <= _TOKEN_LENGTH:
            # It is the script that reads it.
            request.postpath = []
        elif self._page.has_token:
            request.postpath = [b"no token"]
        return super().render(request)

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"content-security-policy", POLICY)
        return self._body


class _Entrance(Folder):
    """``/web`` itself: leads to a page that leads to the login, where there is none."""

    def render(self, request: Request) -> bytes | int:
        return _ToFirst().render(request)


class _ToFirst(Page):
    def render_GET(self, request: Request) -> bytes:
        request.setResponseCode(303)
        request.setHeader(b"location", FIRST)
        return b"the pages begin at " + FIRST + b"\n"


def pages(cluster: str) -> Folder:
    """All that is below ``/web``, for the hub of this cluster."""
    root = _Entrance()
    root.putChild(b"", _ToFirst())
    for page in WEB_PAGES:
        root.putChild(page.name.encode(), _WebPage(page, cluster))
    assets = Folder()
    root.putChild(b"assets", assets)
    for name in _assets():
        kind = _KINDS[name[name.rindex(".") :]]
        assets.putChild(name.encode(), Asset(text_of("assets", name).encode(), kind))
    return root


def _assets() -> Iterable[str]:
    files = resources.files(__package__).joinpath("assets").iterdir()
    return sorted(each.name for each in files if each.name.endswith(tuple(_KINDS)))


def _page_text(page: WebPage, cluster: str) -> str:
    return Template(text_of("assets", "shell.html")).substitute(
        name=page.name,
        title=html.escape(page.title),
        cluster=html.escape(cluster),
        menu=_menu(page) if page.menu else "",
        body=text_of("assets", f"{page.name}.html"),
        version=html.escape(__version__),
    )


def _menu(current: WebPage) -> str:
    links = (
        f'<a href="/web/{page.name}"'
        + (' aria-current="page"' if page is current else "")
        + f">{html.escape(page.menu)}</a>"
        for page in WEB_PAGES
        if page.menu
    )
    return (
        '<nav aria-label="Pages">'
        + "".join(links)
        + '<button type="button" id="log-out" class="quiet">Log out</button></nav>'
    )
