"""Tests of recordings from a session to a bucket, with a hub that is killed between."""

from __future__ import annotations

import getpass
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import TestCase

import boto3
from moto.server import ThreadedMotoServer

from mezite.cli.local import LocalCluster, local_cluster
from mezite.recording.chunks import JournalReader
from mezite.recording.events import Output
from mezite.recording.format import Decoder

ME = getpass.getuser()
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


def until(found: Callable[[], Any], seconds: float = 30.0) -> Any:
    """What this finds, once it finds something."""
    ends = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < ends, "it does not come"
        time.sleep(0.1)
    return answer


class RecordingsAtTheHubTests(TestCase):
    """A hub that puts recordings into a bucket, which moto plays."""

    def setUp(self) -> None:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        self.addCleanup(server.stop)
        host, port = server.get_host_and_port()
        for name, value in CREDENTIALS.items():
            before = os.environ.get(name)
            os.environ[name] = value
            self.addCleanup(self._restore, name, before)
        self.endpoint = f"http://{host}:{port}"
        self.client: Any = boto3.client("s3", endpoint_url=self.endpoint, region_name="us-east-1")
        self.client.create_bucket(Bucket="records")

    def _restore(self, name: str, before: str | None) -> None:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before

    def keys(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket="records")
        return [each["Key"] for each in listed.get("Contents", [])]

    def recordings(self, cluster: LocalCluster) -> list[dict[str, Any]]:
        return cluster.admin("recordings", "ls")

    def test_session_to_bucket(self) -> None:
        """A command's recording is in the bucket, whole, and removed with a word."""
        with tempfile.TemporaryDirectory() as name, local_cluster(Path(name)) as cluster:
            settings = Path(name) / "hub.yaml"
            settings.write_text(
                "recordings:\n  storage: s3://records/mezite\n"
                f"  s3_endpoint: {self.endpoint}\n  s3_region: us-east-1\n"
            )
            hub = cluster.start_hub(f"--config={settings}")
            cluster.start_agent("db1")
            cluster.add_user("ada", "correct horse battery", "--logins", ME)
            cluster.log_in("ada", "correct horse battery")
            cluster.wait_online("db1")
            cluster.succeed("msh", "ssh", f"{ME}@db1", "echo once")
            [key] = until(self.keys)
            [found] = self.recordings(cluster)
            self.assertEqual((found["state"], found["kind"]), ("complete", "command"))
            self.assertTrue(key.startswith("mezite/") and key.endswith(f"{found['id']}.mzr"))
            reader = JournalReader(found["id"])
            body = self.client.get_object(Bucket="records", Key=key)["Body"].read()
            chunks = reader.receive(body)
            self.assertTrue(reader.found.is_finished)
            self.assertEqual(reader.found.position.chain.hex(), found["chain"])
            events = Decoder().receive(b"".join(chunk.content() for chunk in chunks))
            said = b"".join(each.data for each in events if isinstance(each, Output))
            self.assertEqual(said, b"once\n")
            # What a hub knows survives it.
            hub.kill()
            cluster.start_hub(f"--config={settings}")
            cluster.admin("recordings", "rm", found["id"], "--reason", "a test")
            self.assertEqual((self.keys(), self.recordings(cluster)), ([], []))
            shown = cluster.succeed(
                "mezctl", f"--data-dir={cluster.hub_data}", "audit", "ls", "--format=json"
            )
            kinds = [json.loads(line)["event_type"] for line in shown.splitlines()]
            wanted = [kind for kind in kinds if kind.startswith("recording.")]
            self.assertEqual(wanted, ["recording.uploaded", "recording.deleted"])
