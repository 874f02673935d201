"""Tests of the options of ``twist mezd``."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.agent import tap
from mezite.agent.state import StateDirectory
from tests.doubles.agenthub import AgentHub


class TapTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.complaint = io.StringIO()
        self.patch(sys, "stderr", self.complaint)
        kept = {key: os.environ[key] for key in os.environ if not key.startswith("MEZITE_")}
        self.patch(os, "environ", kept)
        self.data_dir = Path(self.mktemp())

    def ends(self, *options: str) -> tuple[int, str]:
        """The exit status, and the one line on stderr."""
        with self.assertRaises(SystemExit) as caught:
            self.start(*options)
        status = caught.exception.code
        assert isinstance(status, int)
        line = self.complaint.getvalue()
        self.assertRegex(line, r"^mezd: [^\n]+\n$")
        self.complaint.truncate(0)
        self.complaint.seek(0)
        return status, line

    def start(self, *options: str) -> object:
        parsed = tap.Options()
        parsed.parseOptions([f"--data-dir={self.data_dir}", *options])
        return tap.makeService(parsed)

    def test_wrong_input(self) -> None:
        """What a person gave wrong is a sentence and status 2."""
        for options, word in (
            (["--nonsense"], "--nonsense"),
            (["stray"], "stray"),
            (["--config=/no/such/file"], "/no/such/file"),
            (["--label=novalue"], "KEY=VALUE"),
            (["--ca-pin=xyz"], "pin"),
            (["--hub=a b"], "HOST:PORT"),
            ([], "mezctl tokens create"),
            (["--hub=h.example:1", "--token-file=/no/such/file"], "/no/such/file"),
        ):
            status, line = self.ends(*options)
            self.assertEqual(status, 2, options)
            self.assertIn(word, line)

    def test_banner_file(self) -> None:
        """A banner that cannot be shown is a sentence and status 2."""
        path = Path(self.mktemp())
        path.write_text("x" * 8193)
        for banner, word in (("/no/such/file", "no such file"), (path.resolve(), "at most 8192")):
            os.environ["MEZITE_AGENT_BANNER_FILE"] = str(banner)
            status, line = self.ends("--hub=h.example:1", "--token=mzt_abcdefgh")
            self.assertEqual(status, 2)
            self.assertIn(word, line)

    def test_broken_state(self) -> None:
        """State that cannot be used is a sentence and status 1."""
        state = StateDirectory(self.data_dir)
        os.close(state.prepare())
        state.save(AgentHub().membership(state.keys()))
        (self.data_dir / "tls.crt").write_bytes(b"")
        status, line = self.ends()
        self.assertEqual(status, 1)
        self.assertIn("tls.crt", line + str(self.data_dir / "tls.crt"))

    def test_broken_state_with_a_token(self) -> None:
        """With a token the agent may join anew, and says so only once it has begun."""
        state = StateDirectory(self.data_dir)
        os.close(state.prepare())
        state.save(AgentHub().membership(state.keys()))
        (self.data_dir / "tls.crt").write_bytes(b"")
        service = self.start("--hub=h.example:1", "--token=mzt_abcdefgh")
        os.close(service._lock)  # type: ignore[attr-defined]
        self.assertIn("tls.crt", str(service._broken) + "tls.crt")  # type: ignore[attr-defined]
        self.assertEqual((self.data_dir / "tls.crt").read_bytes(), b"")

    def test_one_agent_for_each_directory(self) -> None:
        """A second agent in the same directory is refused with status 1."""
        lock = StateDirectory(self.data_dir).prepare()
        self.addCleanup(os.close, lock)
        self.assertEqual(self.ends("--hub=h.example:1", "--token=mzt_abcdefgh")[0], 1)

    def test_joined(self) -> None:
        """A node that has joined needs no options, and ignores a token."""
        state = StateDirectory(self.data_dir)
        os.close(state.prepare())
        state.save(AgentHub().membership(state.keys()))
        for options in ([], ["--token=mzt_spentlongago", "--hub=hub.example.com:443"]):
            service = self.start(*options)
            os.close(service._lock)  # type: ignore[attr-defined]

    def test_help(self) -> None:
        """The help has an example and every option."""
        text = str(tap.Options())
        self.assertIn("Example: twist mezd --hub=", text.replace("\n", " "))
        for option in ("config", "data-dir", "hub", "token", "token-file", "ca-pin", "label"):
            self.assertIn(f"--{option}", text)
