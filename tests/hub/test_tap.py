"""Tests of ``twist mezhub``: wrong input is one sentence and status 2."""

from __future__ import annotations

import os
import sys
from io import StringIO
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, fail
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.config.hub import load_hub
from mezite.hub.tap import Options, _Hub, first_steps, makeService
from mezite.systemd import Notices, ServiceManager


@define(eq=False)
class Stuck:
    """A hub that cannot be stopped, and its lock."""

    is_released: bool = False

    def stopService(self) -> Deferred[None]:
        return fail(RuntimeError("the port does not close"))

    def release(self) -> None:
        self.is_released = True


class TapTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.written = StringIO()
        self.patch(sys, "stderr", self.written)
        ours = {key: value for key, value in os.environ.items() if not key.startswith("MEZITE_")}
        self.patch(os, "environ", ours)

    def ended(self, *words: str) -> tuple[int, str]:
        """The status and the sentence that these options end with."""
        with self.assertRaises(SystemExit) as caught:
            options = Options()
            options.parseOptions(list(words))
            makeService(options)
        status = caught.exception.code
        assert isinstance(status, int)
        return status, self.written.getvalue()

    def test_wrong_options(self) -> None:
        """An unknown option, a stray word, or a value that cannot be."""
        for words, part in (
            (["--listn=x"], "listn"),
            (["serve"], "'serve'"),
            (["--listen=nowhere"], "IP:PORT"),
            (["--config=/nowhere/mezite.yaml"], "/nowhere/mezite.yaml"),
            (["--cluster-name=a b"], "cluster name"),
        ):
            status, sentence = self.ended(*words)
            self.assertEqual(status, 2)
            self.assertIn(part, sentence)
            self.assertTrue(sentence.startswith("mezhub: "))
            self.assertEqual(sentence.count("\n"), 1)
            self.written.truncate(0)
            self.written.seek(0)

    def test_wrong_file(self) -> None:
        """A wrong key is named with its file and line."""
        path = Path(self.mktemp())
        path.write_text("cluster_name: demo\nproxy:\n  listen_adr: 0.0.0.0:1\n")
        status, sentence = self.ended(f"--config={path}")
        self.assertEqual(status, 2)
        self.assertIn(f"{path}:3", sentence)
        self.assertIn("listen_addr", sentence)

    def test_data_directory_in_the_way(self) -> None:
        """A data directory that cannot be one is a sentence, and status 1."""
        path = Path(self.mktemp()).resolve()
        path.write_text("")
        status, sentence = self.ended(f"--data-dir={path}")
        self.assertEqual(status, 1)
        self.assertIn(str(path), sentence)

    def test_first_steps(self) -> None:
        """What is to be typed next is complete: data directory, address and pin."""
        config = load_hub({"data-dir": "/data", "public-addr": "hub.example.com:443"}, {})
        text = first_steps(config, "sha256:ab")
        self.assertIn("mezctl --data-dir=/data users create", text)
        self.assertIn("--proxy=hub.example.com:443 --user=NAME --ca-pin=sha256:ab", text)

    def test_stopped_badly(self) -> None:
        """A hub that cannot be stopped as it should says why, and leaves its data to the next."""
        # The signals of whoever runs the tests stay theirs.
        self.patch(_Hub, "_watch_for_impatience", lambda hub: None)
        stuck: Any = Stuck()
        nobody: Any = None
        notices = Notices(ServiceManager(), Clock(), lambda: "")
        hub = _Hub(stuck, stuck, nobody, "", notices)
        hub.running = True
        notices.running = True
        self.successResultOf(hub.stopService())
        self.assertTrue(stuck.is_released)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
