"""Tests of the settings about recordings."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from mezite.config.error import ConfigError
from mezite.config.hub import load_hub
from mezite.config.recordingbounds import RecordingConfig
from mezite.config.recordings import Bucket, RecordingsConfig


class RecordingsConfigTests(SynchronousTestCase):
    def load(self, **variables: str) -> RecordingsConfig:
        environ = {f"MEZITE_RECORDINGS_{key.upper()}": value for key, value in variables.items()}
        nowhere = Path(self.mktemp())
        return load_hub({}, environ, default_file=nowhere).recordings

    def test_defaults(self) -> None:
        """Without settings recordings are in the data directory, in the clear, for a year."""
        self.assertEqual(self.load(), RecordingsConfig())
        self.assertEqual(RecordingsConfig().keep, 365 * 86400)

    def test_all(self) -> None:
        """Every setting is read."""
        found = self.load(
            storage="s3://records/mezite/prod/",
            s3_endpoint="http://[::1]:9000",
            s3_region="eu-central-1",
            keep="forever",
            max_size="100GiB",
            abandon_after="2h",
            encrypt_to="/etc/mezite/auditors.pem",
            openssh_quota="1GiB",
            openssh_min_free="0",
            openssh_output_limit="1MiB",
            openssh_input_limit="64KiB",
        )
        self.assertEqual(
            found,
            RecordingsConfig(
                Bucket("records", "mezite/prod/", "http://[::1]:9000", "eu-central-1"),
                None,
                100 << 30,
                7200.0,
                Path("/etc/mezite/auditors.pem"),
                RecordingConfig(1 << 30, 0, 1 << 20, 64 << 10),
            ),
        )
        self.assertEqual(self.load(storage="s3://records").bucket, Bucket("records"))
        self.assertIsNone(self.load(max_size="unlimited").max_size)

    def test_refused(self) -> None:
        """What means nothing is refused."""
        for key, values in {
            "storage": ("records", "s3://", "s3://R", "gs://records", "s3://records/a b", "s3://a"),
            "s3_endpoint": (
                "minio",
                "ftp://x",
                "http://",
                "http://a b",
                "https://x/?q",
                "http://u@x",
            ),
            "s3_region": ("EU", "a b", "x" * 65),
            "keep": ("1h", "0", "never"),
            "max_size": ("10", "0", "-1GiB", "1 PiB"),
            "abandon_after": ("1m", "31d", "forever"),
            "openssh_quota": ("much", "-1", "1.5GiB", "9999999TiB"),
            "openssh_min_free": ("5%",),
            "openssh_output_limit": ("unlimited",),
            "openssh_input_limit": ("",),
        }.items():
            for value in values:
                with self.assertRaises(ConfigError, msg=f"{key} {value}"):
                    self.load(**{key: value})
