"""Tests of the settings about the audit."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.config.audit import AuditConfig, SyslogTarget
from mezite.config.error import ConfigError
from mezite.config.hub import load_hub
from mezite.config.machine import Machine
from mezite.names import HostPort


class AuditSettingsTests(SynchronousTestCase):
    def load(self, **variables: str) -> AuditConfig:
        environ = {f"MEZITE_AUDIT_{name.upper()}": value for name, value in variables.items()}
        machine = Machine("x", Path("/"))
        return load_hub({}, environ, machine=machine, default_file=Path("/nowhere")).audit

    def test_defaults(self) -> None:
        """Without settings there are no copies, and events are kept for a year."""
        audit = self.load()
        self.assertEqual((audit.file, audit.syslog, audit.keep), (None, None, 365 * 86400))

    def test_all(self) -> None:
        """Every setting is read."""
        self.assertEqual(
            self.load(
                file="/var/log/audit.jsonl",
                file_max_size="64KiB",
                file_keep="3",
                syslog="tcp://log.example.com",
                keep="30d",
            ),
            AuditConfig(
                file=Path("/var/log/audit.jsonl"),
                file_max_size=65536,
                file_keep=3,
                syslog=SyslogTarget("tcp", address=HostPort("log.example.com", 514)),
                keep=30 * 86400.0,
            ),
        )
        self.assertIsNone(self.load(keep="forever").keep)

    def test_syslog(self) -> None:
        """A syslog server is a socket or an address, and shown as it is written."""
        for text in ("unix:/dev/log", "udp://[::1]:514", "tcp://192.0.2.1:6514"):
            self.assertEqual(str(SyslogTarget.parse(text)), text)
        self.assertEqual(str(SyslogTarget.parse("udp://log/")), "udp://log:514")

    def test_mistakes(self) -> None:
        """What cannot be is refused, with what would be accepted."""
        for name, values in {
            "file_max_size": ("x", "1KiB", "-1", "9999TiB", "5000000GiB", "1 MiB", "1e9"),
            "file_keep": ("0", "-1", "x", "1001", "9" * 50, "\N{SUPERSCRIPT TWO}"),
            "syslog": (
                "x",
                "/dev/log",
                "unix:dev/log",
                "unix:/" + "x" * 200,
                "udp:host",
                "tls://host",
                "tcp://host:0",
                "tcp://",
                "tcp://a b",
            ),
            "keep": ("0d", "1h", "x", "-1d", "never", "99999d"),
        }.items():
            for value in values:
                error = self.assertRaises(ConfigError, self.load, **{name: value})
                self.assertIn(f"MEZITE_AUDIT_{name.upper()}", str(error))
