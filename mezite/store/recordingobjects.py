"""
Closed recordings in an object storage that speaks S3.

Needs boto3, which is the extra ``s3``; who we are there comes from the usual
environment (``AWS_ACCESS_KEY_ID``, profiles, the machine's own role).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from attrs import define
from twisted.logger import Logger
from zope.interface import implementer

from mezite.config.recordings import Bucket
from mezite.store.error import DataUnusable, NoSuchRecording, RecordingsUnavailable
from mezite.store.recordingfiles import IRecordingStore, Source

_log = Logger()

# S3 takes 10,000 parts: enough for the 64 GiB of the largest recording, and sealed.
PART: Final = 8 * 1024 * 1024
# A thread waits no longer than this for a storage that is silent.
_CONNECT_SECONDS: Final = 10
_READ_SECONDS: Final = 60
_GONE: Final = frozenset({"NoSuchKey", "404", "NotFound"})


@implementer(IRecordingStore)
@define(eq=False)
class ObjectRecordings:
    """Closed recordings in a bucket."""

    _client: Any
    _bucket: str
    _prefix: str = ""

    def put(self, key: str, source: Source) -> int:
        parts = _parts(source.pieces())
        first = next(parts)
        second = next(parts, None)
        with _told():
            where = {"Bucket": self._bucket, "Key": self._prefix + key}
            if second is None:
                self._client.put_object(**where, Body=first)
                return len(first)
            return self._put_parts(where, first, second, parts)

    def _put_parts(
        self, where: dict[str, str], first: bytes, second: bytes, rest: Iterator[bytes]
    ) -> int:
        upload = {**where, "UploadId": self._client.create_multipart_upload(**where)["UploadId"]}
        try:
            done, size = [], 0
            for number, part in enumerate(_all(first, second, rest), 1):
                answer = self._client.upload_part(**upload, PartNumber=number, Body=part)
                done.append({"ETag": answer["ETag"], "PartNumber": number})
                size += len(part)
            self._client.complete_multipart_upload(**upload, MultipartUpload={"Parts": done})
        except BaseException:
            # Parts that nobody completes are paid for until somebody finds them.
            self._client.abort_multipart_upload(**upload)
            raise
        return size

    def read(self, key: str, offset: int, length: int) -> bytes:
        span = f"bytes={offset}-{offset + length - 1}"
        with _told(key):
            try:
                answer = self._client.get_object(
                    Bucket=self._bucket, Key=self._prefix + key, Range=span
                )
            except self._client.exceptions.ClientError as error:
                if _code(error) in ("InvalidRange", "416"):
                    return b""
                raise
            data: bytes = answer["Body"].read()
            return data

    def remove(self, key: str) -> None:
        with _told():
            self._client.delete_object(Bucket=self._bucket, Key=self._prefix + key)


def open_bucket(bucket: Bucket) -> ObjectRecordings:
    """
    The recordings in this bucket; whether it is there shows when it is used.

    :raises DataUnusable: boto3 is not installed, or nobody says who we are.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        raise DataUnusable(
            "recordings.storage names an S3 bucket, which needs boto3: install mezite[s3]"
        ) from None
    config = Config(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS,
        retries={"mode": "standard", "max_attempts": 3},
    )
    try:
        client = boto3.client(
            "s3", endpoint_url=bucket.endpoint, region_name=bucket.region, config=config
        )
    except (BotoCoreError, ValueError) as error:
        raise DataUnusable(f"recordings.storage cannot be used: {error}") from None
    return ObjectRecordings(client, bucket.name, bucket.prefix)


def _parts(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in parts of :data:`PART`; at least one, and only the last is shorter."""
    held = bytearray()
    is_first = True
    for piece in pieces:
        held += piece
        while len(held) > PART:
            yield bytes(held[:PART])
            is_first = False
            del held[:PART]
    if held or is_first:
        yield bytes(held)


def _all(first: bytes, second: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield second
    yield from rest


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


@contextmanager
def _told(key: str = "") -> Iterator[None]:
    """Let what the storage says be an error of ours."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if key and _code(error) in _GONE:
            raise NoSuchRecording(key) from None
        raise _unavailable(error) from None
    except (BotoCoreError, OSError) as error:
        raise _unavailable(error) from None


def _unavailable(error: Exception) -> RecordingsUnavailable:
    _log.warn("the storage of recordings does not answer as it should: {why}", why=str(error))
    return RecordingsUnavailable(str(error))
