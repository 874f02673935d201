"""Tests that the reference of settings and the settings are the same."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.config import keys
from mezite.config.hub import load_hub
from mezite.config.machine import Machine

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "configuration.rst"


class ReferenceTests(SynchronousTestCase):
    def test_every_key(self) -> None:
        """Every key, and every option that sets one, stands in the reference."""
        text = PAGE.read_text()
        for setting in keys.ALL:
            self.assertIn(f"``{setting.key}``", text)
            if setting.option is not None:
                self.assertIn(f"``--{setting.option}", text)

    def test_levels(self) -> None:
        """Every level and format stands in the reference."""
        text = PAGE.read_text()
        for word in (*keys.LogLevel, *keys.LogFormat):
            self.assertIn(f"``{word.value}``", text)

    def test_example(self) -> None:
        """The file that the reference shows is accepted."""
        block = PAGE.read_text().split(".. code-block:: yaml\n", 1)[1]
        lines = block.split("\nEvery value", 1)[0]
        path = Path(self.mktemp()).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(line.removeprefix("    ") for line in lines.splitlines()))
        config = load_hub({"config": str(path)}, {}, machine=Machine("x", Path("/")))
        self.assertEqual(config.hub_names, ("hub.example.com", "prod"))
