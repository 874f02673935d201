"""
The cookie of a session, and what must come with it before anything is changed.

A browser sends cookies with whatever page makes it ask. Three things stand
against that, and each would do alone: the cookie is ``SameSite=Strict``; the
CSRF token must be in a header, which another site can neither read nor set;
and a browser that says where a request comes from must name this very site.
Pure; the bearer inside the cookie is :mod:`mezite.auth.login`'s.
"""

from __future__ import annotations

import base64
import hmac
from typing import Final

from mezite.error import Denied, NotAuthenticated
from mezite.identity.tokens import is_api_token

COOKIE: Final = "mezite_session"
CSRF_HEADER: Final = "X-CSRF-Token"
_ATTRIBUTES: Final = "Path=/; HttpOnly; Secure; SameSite=Strict"
_PURPOSE: Final = b"mezite csrf token, version 1"


class CrossSite(Denied):
    """A browser was made to ask by another site, or by a page that does not know the token."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"refused, for another site may have made your browser ask: {reason}")


def csrf_token(bearer: str) -> str:
    """
    The token that belongs to a session.

    Whoever knows the bearer could make it, and nobody can make the bearer of
    it; so no hub has to remember it, and it ends with the session.
    """
    digest = hmac.digest(bearer.encode("utf-8", "surrogatepass"), _PURPOSE, "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def session_cookie(bearer: str, seconds: int) -> str:
    """``Set-Cookie`` for a session that begins and lasts so long."""
    return f"{COOKIE}={bearer}; Max-Age={max(0, seconds)}; {_ATTRIBUTES}"


def ended_cookie() -> str:
    """``Set-Cookie`` for a session that is over."""
    return f"{COOKIE}=; Max-Age=0; {_ATTRIBUTES}"


def read_cookie(header: str) -> str | None:
    """
    The bearer in a ``Cookie`` header; None without one.

    :raises NotAuthenticated: there are two, of which one was put there by somebody else.
    """
    pairs = (part.strip().partition("=") for part in header.split(";"))
    found = [value for name, _, value in pairs if name == COOKIE]
    if len(found) > 1:
        raise NotAuthenticated("there are two cookies of a session: log in again")
    # An API token is no session: it would be one that nobody can end by logging out.
    return found[0] if found and found[0] and not is_api_token(found[0]) else None


def check_origin(*, origin: str | None, fetch_site: str | None, host: str | None) -> None:
    """
    Make sure that no browser says it was another site's page that asked.

    Programs that are no browsers say nothing.

    :raises CrossSite:
    """
    if fetch_site is not None and fetch_site not in ("same-origin", "none"):
        raise CrossSite(f"Sec-Fetch-Site is {fetch_site[:20]!r}")
    if origin is not None and (host is None or origin.lower() != f"https://{host.lower()}"):
        raise CrossSite("the Origin is not this hub")


def check_csrf(bearer: str, given: str | None) -> None:
    """
    Make sure that who asks knows the session's CSRF token.

    :raises CrossSite:
    """
    if given is None:
        raise CrossSite(f"the header {CSRF_HEADER} is missing")
    wanted = csrf_token(bearer).encode()
    if not hmac.compare_digest(wanted, given.encode("utf-8", "surrogateescape")):
        raise CrossSite(f"the header {CSRF_HEADER} is not this session's")
