"""Tests of labels that commands give, with real commands."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet import selectreactor
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent import commandoutput
from mezite.agent.commandoutput import output_of
from mezite.agent.error import CommandFailed
from mezite.cli.local import LocalCluster, local_cluster


class OutputTests(SynchronousTestCase):
    """Real processes, on a reactor of their own."""

    def output(self, *command: str) -> str:
        reactor = selectreactor.SelectReactor()
        results: list[Any] = []

        def done(result: Any) -> None:
            results.append(result)
            reactor.crash()

        def begin() -> None:
            Deferred.fromCoroutine(output_of(reactor, command)).addBoth(done)

        reactor.callWhenRunning(begin)
        reactor.run(installSignalHandlers=False)
        if isinstance(results[0], Failure):
            results[0].raiseException()
        text: str = results[0]
        return text

    def failure(self, *command: str) -> str:
        with self.assertRaises(CommandFailed) as caught:
            self.output(*command)
        return str(caught.exception)

    def test_output(self) -> None:
        """What a program prints, with nothing of our environment and nothing to read."""
        self.patch(os, "environ", {**os.environ, "SECRET": "x"})
        self.assertEqual(self.output("sh", "-c", 'cat; echo "a${SECRET}b $PWD"'), "ab /")
        self.assertEqual(self.output("/bin/echo", "a", "$HOME"), "a $HOME")

    def test_much_output(self) -> None:
        """What is more than counts is read and thrown away."""
        self.assertEqual(
            self.output("sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x"), "x" * 255
        )

    def test_failures(self) -> None:
        """Why there is no output is said in a few words."""
        self.assertIn("status 3", self.failure("sh", "-c", "echo x; exit 3"))
        self.assertIn("signal 9", self.failure("sh", "-c", "kill -9 $$"))
        self.assertIn("No such file", self.failure("/no/such/program"))

    def test_too_slow(self) -> None:
        """What takes too long is ended, with what it has begun."""
        self.patch(commandoutput, "SECONDS", 0.2)
        self.assertIn("took longer", self.failure("sh", "-c", "sleep 60; echo x"))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[LocalCluster]:
    """A cluster whose agents have labels from commands."""
    config = tmp_path / "agent.yaml"
    config.write_text(
        "agent:\n  commands:\n    kernel: {command: [uname, -r], period: 10s}\n"
        "    broken: {command: [false]}\n    env: {command: [echo, dev]}\n"
    )
    with local_cluster(tmp_path) as cluster:
        cluster.start_hub()
        cluster.environment["MEZITE_CONFIG"] = str(config)
        yield cluster


class NodeTests:
    """From a command on the node to a label at the hub."""

    def test_labels(self, fresh: LocalCluster) -> None:
        """Labels from commands are known at the hub, and whose word each is."""
        fresh.start_agent("db1", token=fresh.new_token("--labels=env=prod"))
        deadline = time.monotonic() + 40
        while True:
            rows = fresh.admin("nodes", "ls", f"kernel={platform.release()}")
            if rows:
                break
            assert time.monotonic() < deadline
            time.sleep(0.5)
        (node,) = fresh.admin("nodes", "show", "db1")
        assert node["labels"] == {"env": "prod", "kernel": platform.release()}
        assert node["label_sources"] == {"env": "the hub", "kernel": "a command"}
        assert node["arch"] == platform.machine()
        assert node["address"].startswith("127.0.0.1:")
