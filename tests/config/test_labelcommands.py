"""Tests of labels that commands give, as the file says them."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.config.agent import AgentConfig, load_agent
from mezite.config.error import ConfigError
from mezite.config.labelcommands import LabelCommand
from mezite.config.machine import Machine


class LabelCommandsTests(SynchronousTestCase):
    def load(self, text: str, **environ: str) -> AgentConfig:
        path = Path(self.mktemp()).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        machine = Machine("db1", Path("/"))
        return load_agent({"config": str(path)}, environ, machine=machine)

    def refused(self, text: str, word: str, **environ: str) -> None:
        with self.assertRaises(ConfigError) as caught:
            self.load(text, **environ)
        self.assertIn(word, str(caught.exception))

    def test_read(self) -> None:
        """A label has a command, and perhaps a period."""
        config = self.load(
            "agent:\n  commands:\n    kernel: {command: [uname, -r], period: 1h30m}\n"
            "    rack:\n      command:\n        - /usr/local/bin/rack\n"
        )
        self.assertEqual(
            config.commands,
            (
                LabelCommand("kernel", ("uname", "-r"), 5400.0),
                LabelCommand("rack", ("/usr/local/bin/rack",), 600.0),
            ),
        )

    def test_none(self) -> None:
        """Without the key there are none."""
        self.assertEqual(self.load("agent: {}\n").commands, ())

    def test_refused(self) -> None:
        """What is wrong is told with its line and what would be accepted."""
        for commands, word in (
            ("[a]", "command: [PROGRAM, ...]"),
            ("uname -r", "command: [PROGRAM, ...]"),
            ("{kernel: uname -r}", "kernel"),
            ("{kernel: {command: uname -r}}", "[PROGRAM, ARGUMENT, ...]"),
            ("{kernel: {command: []}}", "[PROGRAM, ARGUMENT, ...]"),
            ("{kernel: {period: 10m}}", "[PROGRAM, ARGUMENT, ...]"),
            ("{kernel: {command: [uname], shell: yes}}", "perhaps period"),
            ("{kernel: {command: [uname], period: 1s}}", "between 10s and 7d"),
            ("{kernel: {command: [uname], period: often}}", "not a duration"),
            ("{'a b': {command: [uname]}}", "label's key"),
            (
                "{" + ", ".join(f"k{n}: {{command: [a]}}" for n in range(17)) + "}",
                "at most 16",
            ),
        ):
            self.refused(f"agent:\n  commands: {commands}\n", word)

    def test_twice(self) -> None:
        """One label is given in one way."""
        self.refused(
            "agent:\n  labels: {kernel: x}\n  commands: {kernel: {command: [uname]}}\n",
            "agent.labels",
        )

    def test_in_the_file_only(self) -> None:
        """A variable cannot say it, and the sentence says where it stands."""
        self.refused("agent: {}\n", "in a file only", MEZITE_AGENT_COMMANDS="kernel=uname")
