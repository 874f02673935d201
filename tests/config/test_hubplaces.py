"""Tests of where an agent is told to find its hub."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.config.agent import load_agent
from mezite.config.error import ConfigError
from mezite.config.hubplaces import PLACES, SrvName
from mezite.config.machine import Machine
from mezite.names import HostPort

ONE, SRV = HostPort("hub1.example.com", 443), SrvName("_mezite._tcp.example.com")


class HubPlacesTests(SynchronousTestCase):
    def load(self, options: object = None, variable: str | None = None, file: str = "") -> object:
        path = Path(self.mktemp()).resolve()
        path.write_text(file)
        environ = {} if variable is None else {"MEZITE_AGENT_HUB": variable}
        given = {"config": str(path), "hub": options}
        return load_agent(given, environ, machine=Machine("db1", Path("/"))).hubs

    def test_everywhere(self) -> None:
        """A list in the file, commas in the environment, options that are repeated; each once."""
        texts = ["hub1.example.com:443", "srv:_Mezite._tcp.example.com.", "hub1.example.com:443"]
        for found in (
            self.load(texts),
            self.load(variable=", ".join(texts)),
            self.load(file=f"agent:\n  hub: {texts}\n"),
            self.load(file="agent:\n  hub:\n" + "".join(f"  - {text}\n" for text in texts)),
        ):
            self.assertEqual(found, (ONE, SRV))
        self.assertEqual(self.load("hub1.example.com:443"), (ONE,))
        self.assertEqual(self.load(), ())

    def test_refused(self) -> None:
        """What is no address, and what is too many."""
        for text, words in (
            ("srv:mezite.example.com", "write srv:_mezite._tcp"),
            ("srv:_mezite._udp.example.com", "write srv:_mezite._tcp"),
            ("srv:_mezite._tcp." + "a" * 64, "write srv:_mezite._tcp"),
            ("srv:_mezite._tcp." + ".".join(["abcdefg"] * 40), "write srv:_mezite._tcp"),
            ("srv:", "write srv:_mezite._tcp"),
            ("hub:0", "port 0"),
            ("h,,h", "is not an address"),
            (",".join(f"h{n}" for n in range(PLACES + 1)), "at most 8"),
        ):
            with self.assertRaises(ConfigError, msg=text) as caught:
                self.load(variable=text)
            self.assertIn(words, str(caught.exception))
