"""Tests of the session's cookie, and of what must come with it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import NotAuthenticated
from mezite.hub.web.cookies import (
    CrossSite,
    check_csrf,
    check_origin,
    csrf_token,
    read_cookie,
    session_cookie,
)


class CookieTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        """What is set is read."""
        set_to = session_cookie("mzb_x", 60).partition(";")[0]
        self.assertEqual(read_cookie(set_to), "mzb_x")
        self.assertEqual(read_cookie(f"a=b;{set_to} ; c"), "mzb_x")

    def test_none(self) -> None:
        """Other cookies, none and an empty one are no session."""
        for header in ("", "mezite_session=", "mezite_session", "xmezite_session=1", ";;="):
            self.assertIsNone(read_cookie(header), header)

    def test_two(self) -> None:
        """Two are refused, even if they are the same."""
        self.assertRaises(NotAuthenticated, read_cookie, "mezite_session=a; mezite_session=a")

    @given(st.text(max_size=200))
    @settings(max_examples=80, deadline=None)
    def test_anything(self, header: str) -> None:
        """No text makes it fail in another way."""
        try:
            read_cookie(header)
        except NotAuthenticated:
            pass


class CsrfTests(SynchronousTestCase):
    def test_token(self) -> None:
        """A session has one token, and each another; it does not tell the bearer."""
        self.assertEqual(csrf_token("mzb_x"), csrf_token("mzb_x"))
        self.assertNotEqual(csrf_token("mzb_x"), csrf_token("mzb_y"))
        self.assertNotIn("mzb_x", csrf_token("mzb_x"))
        check_csrf("mzb_x", csrf_token("mzb_x"))

    @given(st.none() | st.text(max_size=60))
    @settings(max_examples=80, deadline=None)
    def test_others(self, given: str | None) -> None:
        """Nothing else passes."""
        self.assertRaises(CrossSite, check_csrf, "mzb_x", given)

    def test_origin(self) -> None:
        """A program that says nothing passes, and a browser that names this site."""
        here = "hub.example.com:3080"
        check_origin(origin=None, fetch_site=None, host=here)
        check_origin(origin=f"https://{here}", fetch_site="same-origin", host=here)
        check_origin(origin=f"https://{here}", fetch_site="none", host=here.upper())
        for origin, fetch_site, host in (
            ("https://hub.example.com", None, here),
            (f"http://{here}", None, here),
            ("null", None, here),
            (f"https://{here}", None, None),
            (None, "cross-site", here),
            (None, "same-site", here),
            (None, "", here),
        ):
            with self.assertRaises(CrossSite):
                check_origin(origin=origin, fetch_site=fetch_site, host=host)
