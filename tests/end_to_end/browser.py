"""Debian's Chromium, driven as a person would use it, for a hub that has a name."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pyotp
from playwright.sync_api import Browser, CDPSession, ConsoleMessage, Page, expect, sync_playwright

HUB: Final = "hub.example.com"
# Of the hub's own site, as browsers see it, and yet not the hub: cookies come along.
NEIGHBOUR: Final = "neighbour.example.com"
# On a machine that does much else at the same time.
PATIENCE: Final = 20_000
_STEP: Final = 30


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser for which all names below example.com are this machine."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-software-rasterizer",
                "--host-resolver-rules=MAP *.example.com 127.0.0.1",
                # Or a page that a test makes up might not ask a hub on this machine at all.
                "--disable-features=LocalNetworkAccessChecks",
            ],
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(browser: Browser) -> Iterator[Page]:
    """A page of somebody who has never been there; a script that fails fails the test."""
    context = browser.new_context(
        ignore_https_errors=True, permissions=["clipboard-read", "clipboard-write"]
    )
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    failures: list[str] = []
    page.on("pageerror", lambda error: failures.append(str(error)))

    def heard(said: ConsoleMessage) -> None:
        # The browser's own word about an answer such as 401 is no failure of a script; nor
        # is what it says to pages that are not ours.
        is_ours = f"//{HUB}" in said.location.get("url", "")
        if said.type == "error" and is_ours and "Failed to load resource" not in said.text:
            failures.append(said.text)

    page.on("console", heard)
    yield page
    context.close()
    assert not failures


def plug_in_key(page: Page) -> CDPSession:
    """A security key that is touched whenever it blinks."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    session.send(
        "WebAuthn.addVirtualAuthenticator",
        {
            "options": {
                "protocol": "ctap2",
                "transport": "usb",
                "hasResidentKey": False,
                "hasUserVerification": False,
                "automaticPresenceSimulation": True,
            }
        },
    )
    return session


class AuthenticatorApp:
    """An app with a secret, and how many of its codes were used."""

    def __init__(self, secret: str) -> None:
        self._app = pyotp.TOTP(secret.replace(" ", ""))
        self._last = 0

    def code(self) -> str:
        """
        A code that was not used before and is accepted now.

        The hub takes those of the step before and of the step after, so that two
        can be had without waiting; a third waits for its turn.
        """
        step = max(self._last + 1, int(time.time()) // _STEP)
        while step > time.time() // _STEP + 1:
            time.sleep(0.2)
        self._last = step
        return self._app.at(step * _STEP)

    def wrong_code(self) -> str:
        """One that is not accepted now."""
        now = int(time.time()) // _STEP
        right = {self._app.at(step * _STEP) for step in range(now - 3, now + 4)}
        return next(code for n in range(10) if (code := f"{n:06}") not in right)
