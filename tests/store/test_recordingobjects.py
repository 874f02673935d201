"""Tests of recordings in an object storage, as moto plays it."""

from __future__ import annotations

import os
import sys
from typing import Any

from moto import mock_aws
from twisted.trial.unittest import SynchronousTestCase

from mezite.config.recordings import Bucket
from mezite.store import recordingobjects
from mezite.store.error import DataUnusable, RecordingsUnavailable
from mezite.store.recordingfiles import Source
from mezite.store.recordingobjects import ObjectRecordings, open_bucket
from tests.contracts import recordingstores


class ObjectRecordingsTests(recordingstores.RecordingStoreContract):
    """Closed recordings in a bucket."""

    def make_store(self) -> ObjectRecordings:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            self.patch(os, "environ", {**os.environ, name: "testing"})
        mocked = mock_aws()
        mocked.start()
        self.addCleanup(mocked.stop)
        store = open_bucket(Bucket("records", "mezite/", region="us-east-1"))
        self.client: Any = store._client
        self.client.create_bucket(Bucket="records")
        return store

    def keys(self) -> list[str]:
        listed = self.client.list_objects_v2(Bucket="records")
        return [each["Key"] for each in listed.get("Contents", [])]

    def unfinished(self) -> list[Any]:
        found = self.client.list_multipart_uploads(Bucket="records")
        return list(found.get("Uploads", []))

    def test_prefix(self) -> None:
        """Keys begin with the prefix."""
        self.store.put("2026-11/a.mzr", Source(self.source(b"abc")))
        self.assertEqual(self.keys(), ["mezite/2026-11/a.mzr"])

    def test_parts(self) -> None:
        """What is large comes in parts, and is whole."""
        data = os.urandom(2 * recordingobjects.PART + 12345)
        self.assertEqual(self.store.put("a", Source(self.source(data))), len(data))
        self.assertEqual(self.store.read("a", 0, len(data)), data)
        for exact in (1, 2):
            part = data[: exact * recordingobjects.PART]
            self.assertEqual(self.store.put("b", Source(self.source(part))), len(part))
            self.assertEqual(self.store.read("b", 0, len(data)), part)
        self.assertEqual(self.unfinished(), [])

    def test_no_half(self) -> None:
        """A source that ends in an error leaves no object, and no parts."""
        data = bytes(2 * recordingobjects.PART + 1)
        self.assertRaises(ZeroDivisionError, self.store.put, "a", self.broken(data))
        self.assertEqual((self.keys(), self.unfinished()), ([], []))

    def test_no_bucket(self) -> None:
        """A bucket that is not there is an outage, and no reason to forget anything."""
        elsewhere = ObjectRecordings(self.client, "nowhere")
        source = Source(self.source(b"abc"))
        self.assertRaises(RecordingsUnavailable, elsewhere.put, "a", source)
        self.assertRaises(RecordingsUnavailable, elsewhere.read, "a", 0, 1)
        self.assertRaises(RecordingsUnavailable, elsewhere.remove, "a")


class OpeningTests(SynchronousTestCase):
    def test_without_boto3(self) -> None:
        """Without the extra, the setting is refused with what to install."""
        there = sys.modules["boto3"]
        self.addCleanup(sys.modules.__setitem__, "boto3", there)
        sys.modules["boto3"] = None  # type: ignore[assignment]
        error = self.assertRaises(DataUnusable, open_bucket, Bucket("records"))
        self.assertIn("mezite[s3]", str(error))
