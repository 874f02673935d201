"""Tests of lengths of time with bounds."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.config.durations import parse_duration_between
from mezite.config.error import ConfigError
from mezite.config.hub import HubConfig, load_hub
from mezite.config.machine import Machine
from mezite.error import BadInput


class BoundsTests(SynchronousTestCase):
    def test_between(self) -> None:
        """Both bounds are within."""
        for text, seconds in (("10s", 10.0), ("1m30s", 90.0), ("2m", 120.0)):
            self.assertEqual(parse_duration_between(text, "10s", "2m"), seconds)
        for text in ("9s", "121s", "", "x", "1"):
            self.assertRaises(BadInput, parse_duration_between, text, "10s", "2m")


class KeepOfflineTests(SynchronousTestCase):
    def load(self, **environ: str) -> HubConfig:
        nowhere = Path(self.mktemp())
        machine = Machine("hub", Path("/"))
        return load_hub({}, environ, machine=machine, default_file=nowhere)

    def test_values(self) -> None:
        """A month unless something else is said, or for ever."""
        self.assertEqual(self.load().keep_offline, 30 * 86400.0)
        self.assertEqual(self.load(MEZITE_NODES_KEEP_OFFLINE="1h").keep_offline, 3600.0)
        self.assertIsNone(self.load(MEZITE_NODES_KEEP_OFFLINE="forever").keep_offline)
        for wrong in ("59m", "0", "never"):
            self.assertRaises(ConfigError, self.load, MEZITE_NODES_KEEP_OFFLINE=wrong)
