"""Tests of the web pages: a hub, a browser, and a person who has an invite."""

from __future__ import annotations

import re
import sqlite3
import ssl
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from playwright.sync_api import Browser, Page, expect

from mezite.auth.login import PROOF_LIFETIME
from mezite.cli.local import LocalCluster, local_cluster
from tests.end_to_end.browser import (
    HUB,
    NEIGHBOUR,
    AuthenticatorApp,
    chromium,
    new_page,
    plug_in_key,
)

# The hub's certificate is from its own authority, which is not what is tested here.
pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")

PASSWORD: Final = "correct horse battery staple"
OTHER_PASSWORD: Final = "a quite different sentence"
ROLE: Final = """\
kind: role
version: v1
metadata: {{name: {name}}}
spec:
  allow:
    node_labels: {{env: prod}}
    logins: [root]
    {more}
"""
SENTENCE: Final = "The user name or the password is wrong."


class Administrator:
    """Makes users by the REST API, since a mezctl for each takes a second."""

    def __init__(self, api: str) -> None:
        self._api = api
        self._session = requests.Session()
        answer = self.post("/login", {"user": "boss", "password": PASSWORD})
        self._session.headers["X-CSRF-Token"] = answer["csrf_token"]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self._session.post(self._api + path, json=body, timeout=20, verify=False)
        assert answer.ok, answer.text
        return answer.json()

    def add(self, user: str, **more: Any) -> Any:
        """A user with a password, unless more is said."""
        return self.post("/users", {"name": user, "logins": [user], "password": PASSWORD, **more})


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with local_cluster(Path(tmp_path_factory.mktemp("web"))) as cluster:
        cluster.start_hub(f"--public-addr={HUB}:{cluster.port}")
        cluster.add_user("boss", PASSWORD, "--admin", "--logins=root")
        yield cluster


@pytest.fixture(scope="module")
def admin(hub: LocalCluster) -> Administrator:
    made = Administrator(f"https://{hub.address}/v1/webapi")
    made.add("bob")
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with new_page(browser) as fresh:
        yield fresh


def site(hub: LocalCluster) -> str:
    return f"https://{HUB}:{hub.port}"


def problem(page: Page, sentence: str | re.Pattern[str]) -> None:
    expect(page.get_by_role("alert")).to_have_text(sentence)


def type_password(page: Page, user: str, password: str = PASSWORD) -> None:
    page.get_by_label("User name").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Log in", exact=True).click()


def log_in(page: Page, hub: LocalCluster, user: str) -> None:
    page.goto(f"{site(hub)}/web/login")
    type_password(page, user)
    expect(page).to_have_url(f"{site(hub)}/web/account")
    expect(page.locator("#who")).to_contain_text(user)


def accept(page: Page, link: str) -> None:
    """Accept an invite with a password alone."""
    page.goto(link)
    page.get_by_label("New password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Accept the invite").click()
    expect(page).to_have_url(re.compile("/web/account$"))


def long_after_login(hub: LocalCluster, user: str) -> None:
    """Their proofs are as old as they get; the hub's own clock is also that of its certificates."""
    with closing(sqlite3.connect(hub.directory / "hub" / "mezite.sqlite", timeout=20)) as database:
        statement = "UPDATE bearers SET proved = proved - ? WHERE user = ?"
        assert database.execute(statement, (PROOF_LIFETIME, user)).rowcount == 1
        database.commit()


def previewed(link: str) -> None:
    """A chat program fetches the link, to show what is behind it."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    local = link.replace(HUB, "127.0.0.1")
    with urllib.request.urlopen(local, context=context, timeout=20) as answer:
        assert answer.status == 200


class JourneyTests:
    """From an invite to a second login, with an app."""

    def test_invite_app_and_recovery_code(self, hub: LocalCluster, page: Page) -> None:
        """An invite, its mistakes, an app, recovery codes; then logins with both."""
        (made,) = hub.admin("users", "create", "ada", "--logins=ada", "--roles=access")
        link: str = made["invite_url"]
        assert link.startswith(f"{site(hub)}/web/invite/")
        previewed(link)
        page.goto(link)
        expect(page.locator("#user-name")).to_have_text("ada")
        first, again = page.get_by_label("New password"), page.get_by_label("The same again")
        expect(first).to_be_focused()
        app = AuthenticatorApp(page.locator("#totp-secret").inner_text())
        box = page.locator("img.qr").bounding_box()
        assert box is not None
        assert box["width"] > 150
        code = page.get_by_label("Code that the app")
        button = page.get_by_role("button", name="Accept")

        first.fill("Ada's own password")
        again.fill("Ada's own password")
        button.click()
        problem(page, "A password must not contain the user's name.")
        first.fill(PASSWORD)
        button.click()
        problem(page, "The two passwords are not the same.")
        expect(again).to_be_focused()
        again.fill(PASSWORD)
        code.fill(app.wrong_code())
        button.click()
        problem(page, re.compile("This is not the code that the app shows now"))
        expect(code).to_be_focused()
        code.fill(app.code())
        button.click()

        codes = page.locator("#recovery-codes li")
        expect(codes).to_have_count(10)
        shown = codes.all_inner_texts()
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert download.value.suggested_filename == "recovery-codes-ada.txt"
        assert download.value.path().read_text().splitlines()[2:] == shown
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("navigator.clipboard.readText()").split() == shown
        assert "/invite/" not in page.url
        page.get_by_label("I have kept these codes").check()
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#who")).to_contain_text("ada")
        expect(page.locator("#factors")).to_contain_text("10 recovery codes left")

        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("status")).to_have_text("You are logged out.")
        page.goto(link)
        problem(page, re.compile("^The invite is not valid: it may be mistyped, used or expired"))

        page.goto(f"{site(hub)}/web/requests")
        type_password(page, "ada", "wrong")
        problem(page, SENTENCE)
        type_password(page, "ada")
        typed = page.get_by_label("Code that the app")
        typed.fill(app.wrong_code())
        typed.press("Enter")
        problem(page, re.compile("^This code is wrong, or was used before"))
        typed.fill(app.code())
        typed.press("Enter")
        expect(page).to_have_url(f"{site(hub)}/web/requests")
        page.get_by_role("button", name="Log out").click()

        type_password(page, "ada")
        page.get_by_role("button", name="Use a recovery code instead").click()
        page.get_by_label("Recovery code").fill(shown[0])
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#factors")).to_contain_text("9 recovery codes left")

    def test_security_key(self, hub: LocalCluster, page: Page, admin: Administrator) -> None:
        """A key is added, lets somebody in instead of a code, and is removed."""
        accept(page, admin.add("kim", password="")["invite"]["url"])
        key = plug_in_key(page)
        page.get_by_label("Name for a security key").fill("blue <b>key</b>")
        page.get_by_role("button", name="Add a security key").click()
        expect(page.locator("#recovery-codes li")).to_have_count(10)
        page.get_by_label("I have kept these codes").check()
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#factors strong").first).to_have_text("blue <b>key</b>")

        page.get_by_role("button", name="Log out").click()
        type_password(page, "kim")
        page.get_by_role("button", name="Use a security key").click()
        expect(page.locator("#factors")).to_contain_text("used just now")

        page.get_by_label("Password that you have now").fill(PASSWORD)
        page.get_by_label("New password").fill(OTHER_PASSWORD)
        page.get_by_label("The same again").fill(OTHER_PASSWORD)
        page.get_by_role("button", name="Change the password").click()
        page.get_by_role("button", name="Use a security key").click()
        expect(page.get_by_role("status")).to_contain_text("Your password was changed")
        type_password(page, "kim", PASSWORD)
        problem(page, SENTENCE)
        type_password(page, "kim", OTHER_PASSWORD)
        page.get_by_role("button", name="Use a security key").click()

        page.get_by_role("button", name="Remove blue").click()
        page.get_by_role("button", name="Cancel").last.click()
        expect(page.locator("#factors strong")).to_have_count(2)
        page.get_by_role("button", name="Remove blue").click()
        page.get_by_role("button", name="Remove it").click()
        expect(page.get_by_role("status")).to_have_text("The security key was removed.")
        expect(page.locator("#factors strong")).to_have_count(0)
        key.detach()

    def test_proof_again(self, hub: LocalCluster, page: Page, admin: Administrator) -> None:
        """Some time after the login a change asks who it is, goes on with it, or leaves it."""
        admin.add("max")
        log_in(page, hub, "max")
        key = plug_in_key(page)
        long_after_login(hub, "max")
        page.get_by_label("Name for a security key").fill("red key")
        page.get_by_role("button", name="Add a security key").click()
        asked = page.get_by_role("dialog", name="Prove that it is you")
        password, button = asked.get_by_label("Your password"), asked.get_by_role("button")
        expect(password).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("#factors strong")).to_have_count(0)
        page.get_by_role("button", name="Add a security key").click()
        password.fill("wrong")
        button.get_by_text("Go on").click()
        problem(page, "This password is wrong.")
        expect(password).to_be_focused()
        password.fill(PASSWORD)
        password.press("Enter")
        expect(page.locator("#recovery-codes li")).to_have_count(10)
        codes = page.locator("#recovery-codes li").all_inner_texts()
        page.get_by_label("I have kept these codes").check()
        page.get_by_role("button", name="Go on").click()
        expect(page.locator("#factors strong").first).to_have_text("red key")

        long_after_login(hub, "max")
        page.get_by_role("button", name="New recovery codes").click()
        page.get_by_role("button", name="Make new ones").click()
        password.fill(PASSWORD)
        password.press("Enter")
        asked.get_by_label("Recovery code").fill("aaaa-aaaa")
        asked.get_by_label("Recovery code").press("Enter")
        problem(page, "This recovery code is wrong, or was used before.")
        button.get_by_text("Use a security key").click()
        expect(page.locator("#recovery-codes li")).to_have_count(10)
        assert set(page.locator("#recovery-codes li").all_inner_texts()).isdisjoint(codes)
        page.get_by_label("I have kept these codes").check()
        page.get_by_role("button", name="Go on").click()

        long_after_login(hub, "max")
        page.get_by_role("button", name="Remove red key").click()
        page.get_by_role("button", name="Remove it").click()
        expect(password).to_be_focused()
        admin.post("/users/max/reset", {})
        password.fill(PASSWORD)
        password.press("Enter")
        expect(page).to_have_url(re.compile("/web/login"))
        key.detach()

    def test_one_time_password(self, hub: LocalCluster, page: Page, admin: Administrator) -> None:
        """Who logs in with a one-time password chooses another before anything else."""
        made = admin.add("eve", password="", one_time_password=True)
        page.goto(f"{site(hub)}/web/login?next=/web/nodes")
        type_password(page, "eve", made["one_time_password"])
        page.get_by_label("New password").fill(PASSWORD)
        page.get_by_label("The same again").fill(PASSWORD)
        page.get_by_role("button", name="Change the password").click()
        expect(page.get_by_role("status")).to_contain_text("Your password was changed")
        type_password(page, "eve")
        expect(page.locator("#count")).to_contain_text("no node")

    def test_request(
        self, hub: LocalCluster, page: Page, browser: Browser, admin: Administrator
    ) -> None:
        """Somebody asks for a role, and somebody else approves it, with a word."""
        for name, more in (("on-call", ""), ("asker", "request_roles: [on-call]")):
            admin.post("/roles", {"document": ROLE.format(name=name, more=more)})
        admin.add("asking", roles=["asker"])
        log_in(page, hub, "asking")
        page.get_by_role("link", name="Requests").click()
        page.get_by_role("textbox", name=re.compile("^Roles")).fill("on-call, ")
        page.get_by_label("Reason, for those who decide").fill("disk <full>")
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#own li .state")).to_have_text("pending")
        with new_page(browser) as deciding:
            log_in(deciding, hub, "boss")
            deciding.get_by_role("link", name="Requests").click()
            card = deciding.locator("#others > li")
            expect(card).to_contain_text("asking asks for on-call")
            expect(card).to_contain_text("disk <full>")
            card.get_by_label("Reason").fill("as agreed")
            card.get_by_role("button", name="Approve").click()
            expect(card.locator(".state")).to_have_text("approved")
        page.reload()
        expect(page.locator("#own > li")).to_contain_text("approved by boss: as agreed")
        expect(page.locator("#own code")).to_contain_text("msh login --request ")


@pytest.mark.usefixtures("admin")
class SessionTests:
    """Who is logged in, and who only seems to be."""

    def test_return(self, hub: LocalCluster, page: Page) -> None:
        """Who has no session is led to the login and back, and never to another site."""
        page.goto(f"{site(hub)}/web/nodes")
        expect(page).to_have_url(f"{site(hub)}/web/login?next=%2Fweb%2Fnodes")
        type_password(page, "bob")
        expect(page).to_have_url(f"{site(hub)}/web/nodes")
        expect(page.locator("#count")).to_have_text("There is no node that you may reach.")
        page.context.clear_cookies()
        page.get_by_role("link", name="Account").click()
        expect(page).to_have_url(re.compile("/web/login"))
        wanted = {
            "/web/requests?a=b#c": "/web/requests?a=b#c",
            "/web/../web/nodes": "/web/nodes",
            "": "/web/account",
            "https://evil.example.com/web/nodes": "/web/account",
            "//evil.example.com/web/nodes": "/web/account",
            "/\\evil.example.com/web/nodes": "/web/account",
            "/\t/evil.example.com/web/nodes": "/web/account",
            "javascript:alert(1)": "/web/account",
            "/web/login?next=/web/nodes": "/web/account",
            "/web/invite/x": "/web/account",
            "/web//evil.example.com": "/web/account",
            "/v1/webapi/session": "/web/account",
        }
        for given, leads in wanted.items():
            page_after = page.evaluate(
                "async (next) => (await import('/web/assets/paths.js'))"
                ".pageAfterLogin(next, location.origin)",
                given,
            )
            assert page_after == leads, given

    def test_other_origin(self, hub: LocalCluster, page: Page) -> None:
        """A page of another origin changes nothing and reads nothing, though the cookie comes."""
        log_in(page, hub, "bob")
        neighbour = f"https://{NEIGHBOUR}:{hub.port}/"
        page.route(
            neighbour,
            lambda route: route.fulfill(content_type="text/html", body="<!doctype html>"),
        )
        page.goto(neighbour)
        blocked: list[str] = []
        page.on("requestfailed", lambda request: blocked.append(str(request.failure)))
        results = page.evaluate(
            """async (hub) => {
              const api = hub + "/v1/webapi";
              const attempt = (path, options) =>
                fetch(api + path, { credentials: "include", ...options }).then(
                  (answer) => answer.type, () => "failed");
              const form = { method: "POST", body: JSON.stringify({ code: "123456" }) };
              const json = { ...form, headers: { "Content-Type": "application/json" } };
              return [
                await attempt("/session", { method: "GET" }),
                await attempt("/session", { method: "DELETE" }),
                await attempt("/factors/totp/confirm", json),
                await attempt("/factors/totp/confirm", { ...form, mode: "no-cors" }),
                await attempt("/login", { ...form, mode: "no-cors" }),
              ];
            }""",
            site(hub),
        )
        assert set(results) == {"failed"}, results
        # What needs no leave to be sent came to the hub, whose answer is hidden.
        assert any("BLOCKED_BY_RESPONSE" in each for each in blocked), blocked
        framed = page.evaluate(
            """(address) => new Promise((resolve) => {
              const frame = document.createElement("iframe");
              frame.src = address;
              frame.onload = () => {
                try { resolve(frame.contentWindow.location.href); }
                catch { resolve("out of reach"); }
              };
              document.body.append(frame);
            })""",
            f"{site(hub)}/web/account",
        )
        assert framed == "out of reach"
        assert page.frames[-1].locator("#who").count() == 0
        with page.expect_navigation() as navigation:
            page.evaluate(
                """(address) => {
                  const form = document.createElement("form");
                  Object.assign(form, { method: "post", action: address, enctype: "text/plain" });
                  document.body.append(form);
                  form.submit();
                }""",
                f"{site(hub)}/v1/webapi/factors/totp",
            )
        assert navigation.value is not None
        assert navigation.value.status == 403
        assert "another site may have made your browser ask" in page.content()
        assert "mezite_session=" in str(navigation.value.request.all_headers().get("cookie"))
        page.goto(f"{site(hub)}/web/account")
        expect(page.locator("#who")).to_contain_text("bob")

    def test_another_login(self, hub: LocalCluster, page: Page) -> None:
        """A page goes on after its owner has logged in anew beside it; and logs out for both."""
        log_in(page, hub, "bob")
        beside = page.context.new_page()
        log_in(beside, hub, "bob")
        page.get_by_role("button", name="Set up an app").click()
        expect(page.locator("#totp-secret")).to_be_visible()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_role("status")).to_have_text("You are logged out.")
        page.go_back()
        expect(page).to_have_url(re.compile("/web/login"))
        beside.get_by_role("button", name="Set up an app").click()
        expect(beside).to_have_url(re.compile("/web/login"))

    def test_narrow(self, hub: LocalCluster, page: Page) -> None:
        """Every page fits a screen of 320 pixels."""
        page.set_viewport_size({"width": 320, "height": 640})
        log_in(page, hub, "bob")
        page.get_by_role("button", name="Set up an app").click()
        expect(page.locator("#totp-secret")).to_be_visible()
        for name in ("", "login", "nodes", "requests", "account"):
            if name:
                page.goto(f"{site(hub)}/web/{name}")
                page.wait_for_load_state("networkidle")
            over = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(over) == 0, name
