from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.banner import banner_of
from mezite.config.agent import AgentConfig
from mezite.names import NodeName


class BannerTests(SynchronousTestCase):
    def of(self, **settings: object) -> str:
        return banner_of(
            AgentConfig(Path("/"), None, NodeName.parse("db1"), **settings)  # type: ignore[arg-type]
        )

    def test_text(self) -> None:
        """The text of the settings, or none."""
        self.assertEqual(self.of(), "")
        self.assertEqual(self.of(banner="Hello"), "Hello")

    def test_file(self) -> None:
        """A file, without what a terminal would obey."""
        path = Path(self.mktemp())
        path.write_bytes(b"Keep\x1b[2J off.\r\n\xffEnd\n")
        self.assertEqual(self.of(banner_file=path), "Keep[2J off.\n\N{REPLACEMENT CHARACTER}End\n")
