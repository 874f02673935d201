"""Tests of the settings of access requests and their webhooks."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.config.error import ConfigError
from mezite.config.hub import HubConfig, load_hub
from mezite.config.machine import Machine
from mezite.config.webhooks import WEBHOOKS, Webhook


class WebhookSettingsTests(SynchronousTestCase):
    def load(self, text: str, environ: dict[str, str] | None = None) -> HubConfig:
        self.path = Path(self.mktemp()).resolve()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(text)
        return load_hub({"config": str(self.path)}, environ or {}, machine=Machine("x", Path("/")))

    def refused(self, text: str, environ: dict[str, str] | None = None) -> str:
        return str(self.assertRaises(ConfigError, self.load, text, environ))

    def hook(self, url: str) -> str:
        return f"requests:\n  webhooks:\n    - url: '{url}'\n      secret_file: s\n"

    def test_read(self) -> None:
        """Each webhook has its address, and a secret beside the file of settings."""
        config = self.load(
            "requests:\n  max_duration: 2h\n  webhooks:\n"
            "    - {url: 'https://a.example.com/x?y=1', secret_file: one.secret}\n"
            "    - {url: 'http://127.0.0.1:8080/', secret_file: /two.secret}\n"
        )
        self.assertEqual(config.requests_max_duration, 7200.0)
        self.assertEqual(
            config.webhooks,
            (
                Webhook("https://a.example.com/x?y=1", self.path.parent / "one.secret"),
                Webhook("http://127.0.0.1:8080/", Path("/two.secret")),
            ),
        )
        self.assertEqual(self.load("requests:\n").webhooks, ())

    def test_addresses(self) -> None:
        """What is told travels by TLS, or stays on this machine."""
        for url in ("https://h", "https://[::1]:1/x", "http://localhost:1/", "http://[::1]/"):
            self.assertEqual(self.load(self.hook(url)).webhooks[0].url, url)
        for url in (
            "http://a.example.com/",
            "ftp://a.example.com/",
            "https:///x",
            "https://u:p@a.example.com/",
            "https://a.example.com:0/",
            "https://a.example.com:99999/",
            "https://a.example.com/#x",
            "https://a.example.com/ x",
            "https://\N{SNOWMAN}/",
            "https://[::1/",
            "https://a/" + "x" * 3000,
            "a.example.com",
        ):
            self.assertIn("requests.webhooks: ", self.refused(self.hook(url)))

    def test_forms(self) -> None:
        """Other forms are refused, with the line and what is accepted."""
        line = "    - {url: 'https://h', secret_file: s}\n"
        for text, words in (
            ("requests: {webhooks: 'https://h'}", ":1: requests.webhooks: a list is expected"),
            ("requests:\n  webhooks: ['https://h']", "each webhook has url and secret_file"),
            ("requests:\n  webhooks: [{url: 'https://h'}]", "each webhook has"),
            ("requests:\n  webhooks:\n" + line * (WEBHOOKS + 1), "at most 8"),
            ("requests:\n  webhooks: [{url: [x], secret_file: s}]", "holds a list"),
            ("requests: {max_duration: 25h}", "not between 1m and 24h"),
            ("requests: {max_duration: soon}", "is not a duration"),
            ("requests:\n  webhooks: [[x]]", "a text is expected"),
        ):
            self.assertIn(words, self.refused(text))
        self.assertIn("in the file", self.refused("", {"MEZITE_REQUESTS_WEBHOOKS": "https://h"}))
