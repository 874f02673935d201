"""Tests of mezctl's command about this machine's agent."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from mezite.cli import agentcommands
from tests.cli.test_mezctl import MezctlTestCase


class AgentStatusTests(MezctlTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.asked: list[Path] = []
        self.told: dict[str, Any] = {
            "version": "0.1.0",
            "state": "connected",
            "since": time.time() - 65,
            "sentence": "connected to hub:443 since then",
            "hub": "hub:443",
            "next_dial_in": None,
            "error": None,
            "error_since": None,
            "cluster": "demo",
            "node": "db1",
            "agent_id": "7a63a1a0-3c1e-4b2e-9a52-3f1a9d5b7c11",
            "certificates_end": time.time() + 7200,
            "tls_certificate_ends": time.time() + 9000,
            "sessions": 1,
        }

    def answer(self) -> None:
        def ask(directory: Path) -> dict[str, Any]:
            self.asked.append(directory)
            return self.told

        self.patch(agentcommands, "ask_agent", ask)

    def test_connected(self) -> None:
        """All that one wants to know, and exit code 0."""
        self.answer()
        ended = self.mezctl("agent", "status", "--data-dir=/srv/agent")
        self.assertEqual((ended.code, self.asked), (0, [Path("/srv/agent")]))
        for part in ("connected to hub:443", "db1 (7a63a1a0", "1m 5s ago", "in 1h 59m", "demo"):
            self.assertIn(part, ended.out)

    def test_waiting(self) -> None:
        """What is wrong, since when, and when the next try is; exit code 1."""
        self.answer()
        self.told |= {
            "state": "waiting",
            "sentence": "dialing hub:443 again soon",
            "next_dial_in": 4.2,
            "error": "nothing listens\x1b[2J",
            "error_since": time.time() - 60,
        }
        ended = self.mezctl("agent", "status")
        self.assertEqual(ended.code, 1)
        for part in ("nothing listens", "(1m ago)", "in 4s"):
            self.assertIn(part, ended.out)
        self.assertNotIn("\x1b", ended.out)

    def test_json(self) -> None:
        """For programs it is one object, with times as everywhere."""
        self.answer()
        (row,) = self.mezctl("agent", "status", "--format=json").json
        self.assertEqual((row["state"], row["sessions"], row["error"]), ("connected", 1, None))
        self.assertRegex(row["certificates_end"], r"^20..-..-..T..:..:..Z$")

    def test_nobody(self) -> None:
        """Where no agent runs, that is said, and what to do."""
        sentence = self.refused(1, "agent", "status", f"--data-dir={self.mktemp()}")
        self.assertIn("no agent runs with the data directory", sentence)


class AnswerTests(SynchronousTestCase):
    def test_agents(self) -> None:
        """What an agent tells is read; moments may be missing."""
        for answer in (b'{"state": "starting"}', b'{"state": "waiting", "next_dial_in": 4.5}'):
            self.assertIsNotNone(agentcommands.read_answer(answer))

    def test_others(self) -> None:
        """What no agent tells is none's, however it is meant."""
        for answer in (
            b"",
            b"GET / HTTP/1.1",
            b"\xff",
            b"[" * 60_000,
            b'["state"]',
            b'{"state": 1}',
            b'{"state": "connected", "since": "x"}',
            b'{"state": "connected", "since": 1e400}',
            b'{"state": "connected", "certificates_end": -1e18}',
            b'{"state": "connected", "error_since": 1e30}',
            b'{"state": "waiting", "next_dial_in": NaN}',
        ):
            self.assertIsNone(agentcommands.read_answer(answer), answer[:40])
