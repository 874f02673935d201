"""Tests of the pages for browsers, as the hub serves them."""

from __future__ import annotations

import re
from importlib import resources

from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from mezite.auth.inviting import NewInvite
from mezite.hub.proofservice import invite_message
from mezite.hub.strangers import Strangers
from mezite.hub.web import pages
from mezite.hub.web.connectionupgrade import ConnectionUpgrade
from mezite.hub.web.pages import WEB_PAGES
from mezite.hub.web.rest import RestApi
from mezite.hub.web.site import HubFacts, build_site
from mezite.identity.tokens import new_invite
from mezite.names import UserName
from mezite.store.proofs import InviteRecord
from tests.doubles.webclient import Answer, parse

FACTS = HubFacts("prod<1>$x", "hub.example.com", "hub.example.com:443", "sha256:" + "ab" * 32)
PATHS = {
    page.name: f"/web/{page.name}" + ("/mzi_x" if page.has_token else "") for page in WEB_PAGES
}


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        async def check() -> None:
            pass

        clock = Clock()
        self.site = build_site(
            FACTS,
            check=check,
            metrics=CollectorRegistry(),
            api=RestApi({}, clock=clock, wall_clock=clock.seconds),
            upgrade=ConnectionUpgrade(lambda client: None, clock=clock),
            strangers=Strangers(),
            reactor=clock,
        )
        self.site.startFactory()
        self.addCleanup(self.site.stopFactory)

    def ask(self, path: str, method: str = "GET", headers: str = "") -> Answer:
        channel = self.site.buildProtocol(None)
        transport = StringTransport()
        channel.makeConnection(transport)
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: h\r\n{headers}\r\n".encode())
        return parse(transport.value())


class ContentTests(PageTests):
    """What is on the pages."""

    def test_every_page(self) -> None:
        """Each page is HTML with its title, the cluster's name escaped, and its own script."""
        for page in WEB_PAGES:
            answer = self.ask(PATHS[page.name])
            text = answer.body.decode()
            self.assertEqual(answer.status, 200, page.name)
            self.assertEqual(answer.header("content-type"), "text/html; charset=utf-8")
            self.assertIn(f"<title>{page.title} · prod&lt;1&gt;$x</title>", text)
            self.assertIn(f'src="/web/assets/{page.name}.js"', text)
            self.assertEqual(
                f'href="/web/{page.name}" aria-current="page"' in text, bool(page.menu)
            )

    def test_labels(self) -> None:
        """Each field that is seen has a label, and each id is there once."""
        for page in WEB_PAGES:
            text = self.ask(PATHS[page.name]).body.decode()
            ids = re.findall(r'\bid="([^"]+)"', text)
            self.assertEqual(len(ids), len(set(ids)), page.name)
            labelled = set(re.findall(r'<label for="([^"]+)"', text))
            for field in re.findall(r"<(?:input|select)\b[^>]*>", text):
                if "unseen" not in field:
                    (name,) = re.findall(r'\bid="([^"]+)"', field)
                    self.assertIn(name, labelled, page.name)

    def test_nothing_inline(self) -> None:
        """No page has a script or a style in it, or anything from elsewhere."""
        for page in WEB_PAGES:
            text = self.ask(PATHS[page.name]).body.decode()
            self.assertNotRegex(text, r"<style|\sstyle=|\son[a-z]+=|javascript:")
            self.assertEqual(re.findall(r"<script[^>]*>([^<]*)</script>", text), [""])
            for address in re.findall(r'(?:src|href|action)="([^"]*)"', text):
                self.assertRegex(address, r"^(/(?!/)|#)")

    def test_scripts(self) -> None:
        """What scripts import is there, and none makes markup of text."""
        files = resources.files(pages.__package__).joinpath("assets")
        for file in (each for each in files.iterdir() if each.name.endswith(".js")):
            answer = self.ask(f"/web/assets/{file.name}")
            self.assertEqual(answer.header("content-type"), "text/javascript; charset=utf-8")
            text = answer.body.decode()
            self.assertNotRegex(
                text, r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\("
            )
            self.assertNotRegex(text.replace("http://www.w3.org/2000/svg", ""), r"https?://")
            for name in re.findall(r'from "\./([^"]+)"', text):
                self.assertTrue(files.joinpath(name).is_file(), name)

    def test_printed_link(self) -> None:
        """The link that administrators pass on leads to the page."""
        record = InviteRecord(b"", UserName("ada"), "local", 0.0, 60.0)
        made = invite_message(FACTS, NewInvite(record, new_invite()))
        self.assertTrue(made.url.startswith("https://hub.example.com/web/invite/mzi_"))
        answer = self.ask(made.url.removeprefix("https://hub.example.com"))
        self.assertEqual(answer.status, 200)
        self.assertNotIn(made.token, answer.body.decode())

    def test_front(self) -> None:
        """The first page leads to the others, and they to the login."""
        self.assertIn(b'href="/web/account"', self.ask("/").body)
        for path in ("/web", "/web/"):
            answer = self.ask(path)
            self.assertEqual((answer.status, answer.header("location")), (303, "/web/account"))


class HeaderTests(PageTests):
    """What a browser is told about a page."""

    def test_policy(self) -> None:
        """Scripts are the site's own, and ask nobody but it; no other site shows the page."""
        for path in PATHS.values():
            answer = self.ask(path)
            policy = dict(
                each.strip().split(" ", 1)
                for each in (answer.header("content-security-policy") or "").split(";")
            )
            self.assertEqual(policy["default-src"], "'none'")
            self.assertEqual(policy["img-src"], "'self' data:")
            for kind in ("script-src", "style-src", "connect-src"):
                self.assertEqual(policy[kind], "'self'")
            for kind in ("form-action", "frame-ancestors", "base-uri", "trusted-types"):
                self.assertEqual(policy[kind], "'none'")
            self.assertEqual(policy["require-trusted-types-for"], "'script'")

    def test_privacy(self) -> None:
        """A page is not kept, and its address, which may have a token, is told to nobody."""
        for path in PATHS.values():
            answer = self.ask(path)
            self.assertEqual(answer.header("referrer-policy"), "no-referrer")
            self.assertEqual(answer.header("cache-control"), "no-store")
            self.assertEqual(answer.header("cross-origin-opener-policy"), "same-origin")
            self.assertIsNone(answer.header("set-cookie"))

    def test_unchanged_asset(self) -> None:
        """A browser that has a script gets it again only when it is another."""
        first = self.ask("/web/assets/login.js")
        tag = first.header("etag")
        self.assertEqual(first.header("cache-control"), "no-cache")
        again = self.ask("/web/assets/login.js", headers=f"If-None-Match: {tag}\r\n")
        self.assertEqual((again.status, again.body), (304, b""))
        other = self.ask("/web/assets/login.js", headers='If-None-Match: "x"\r\n')
        self.assertEqual((other.status, other.body), (200, first.body))


class RefusalTests(PageTests):
    """What is no page."""

    def test_paths(self) -> None:
        """Unknown pages, files that are no assets and what is below a page are not there."""
        for path in (
            "/web/x",
            "/web/login/x",
            "/web/invite",
            "/web/invite/",
            "/web/invite/a/b",
            "/web/invite/" + "x" * 257,
            "/web/assets",
            "/web/assets/",
            "/web/assets/login.html",
            "/web/assets/shell.html",
            "/web/assets/../pages.py",
            "/web/assets/..%2fpages.py",
            "/web/assets/login.js/x",
        ):
            answer = self.ask(path)
            self.assertEqual(answer.status, 404, path)
            self.assertNotIn("script-src", answer.header("content-security-policy") or "")
            self.assertEqual(answer.body, b"there is nothing here\n")

    def test_methods(self) -> None:
        """A page is read, and nothing is posted to it."""
        for path in (*PATHS.values(), "/web/", "/web/assets/login.js"):
            self.assertEqual(self.ask(path, "POST", "Content-Length: 0\r\n").status, 405, path)
            self.assertEqual(self.ask(path, "HEAD").body, b"", path)
