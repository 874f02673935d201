"""Tests of labels whose values commands print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.commandlabels import CommandLabels
from mezite.agent.commandoutput import label_value
from mezite.agent.error import CommandFailed
from mezite.config.labelcommands import LabelCommand
from mezite.names import check_labels

KERNEL = LabelCommand("kernel", ("uname", "-r"), 600.0)
RACK = LabelCommand("rack", ("rack",), 60.0)


class CommandLabelsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asked: list[tuple[str, ...]] = []
        self.answers: dict[str, Any] = {"uname": "6.1", "rack": "7"}
        self.labels = CommandLabels([KERNEL, RACK], self.run_command, self.clock)

    async def run_command(self, command: Sequence[str]) -> str:
        self.asked.append(tuple(command))
        answer = self.answers[command[0]]
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        text: str = answer
        return text

    def start(self) -> None:
        self.labels.startService()
        self.addCleanup(self.labels.stopService)

    def test_periods(self) -> None:
        """Each command is run at the start, and again after its own period."""
        self.start()
        self.assertEqual(self.labels.labels, {"kernel": "6.1", "rack": "7"})
        self.clock.advance(60)
        self.assertEqual(self.asked, [("uname", "-r"), ("rack",), ("rack",)])

    def test_failure(self) -> None:
        """A command that fails gives no label until it succeeds again."""
        self.start()
        self.answers["rack"] = CommandFailed("it ended with status 1")
        self.clock.advance(60)
        self.assertEqual(self.labels.labels, {"kernel": "6.1"})
        self.answers["rack"] = "8"
        self.clock.advance(60)
        self.assertEqual(self.labels.labels, {"kernel": "6.1", "rack": "8"})

    def test_unforeseen(self) -> None:
        """A bug is logged, and is not the last time that the command is run."""
        self.answers["rack"] = ZeroDivisionError()
        self.start()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.answers["rack"] = "8"
        self.clock.advance(60)
        self.assertEqual(self.labels.labels["rack"], "8")

    def test_slow(self) -> None:
        """One that takes its time holds up no other, and is not run twice at once."""
        self.answers["uname"] = Deferred()
        self.start()
        self.clock.advance(600)
        self.assertEqual(self.labels.labels, {"rack": "7"})
        self.assertEqual(self.asked.count(("uname", "-r")), 1)

    def test_stop(self) -> None:
        """A stop leaves nothing behind."""
        self.labels.startService()
        self.labels.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])


class LabelValueTests(SynchronousTestCase):
    def test_values(self) -> None:
        """The first line counts, without what moves a cursor."""
        for output, value in (
            (b"6.1.0\n", "6.1.0"),
            (b"\n  two   words \nmore\n", "two words"),
            (b"", ""),
            (b"\x1b[2Jred\x07\n", "[2Jred"),
            (b"\xff\n", "\N{REPLACEMENT CHARACTER}"),
            (b"x" * 1000, "x" * 255),
        ):
            self.assertEqual(label_value(output), value)

    @settings(deadline=None, max_examples=100)
    @given(st.binary(max_size=600))
    def test_any_output(self, output: bytes) -> None:
        """Whatever a command prints, its value can be a label's."""
        check_labels({"key": label_value(output)})
