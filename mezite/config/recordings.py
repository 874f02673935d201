"""
The settings about recordings at the hub: where they are, and for how long.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mezite.config.document import Value
from mezite.config.durations import parse_duration_between
from mezite.config.recordingbounds import DEFAULT_BOUNDS, BoundsSettings, RecordingConfig
from mezite.config.settings import Setting, Settings, a_path, one_text, text_as
from mezite.config.sizes import parse_size

DEFAULT_KEEP: Final = 365 * 86400.0
DEFAULT_ABANDON_AFTER: Final = 86400.0
# Less would remove a recording before anybody could look at it.
_LEAST_SIZE: Final = 1 << 20
# As S3 has them, and a prefix that stands in keys as it is.
_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX: Final = re.compile(r"[A-Za-z0-9!_.*'()/-]{0,512}")
_URL: Final = re.compile(r"https?://[A-Za-z0-9._\[\]:-]{1,255}(/[A-Za-z0-9._~/-]{0,255})?")
_REGION: Final = re.compile(r"[a-z0-9-]{1,64}")


@frozen
class Bucket:
    """
    A place in an object storage that speaks S3.

    ``prefix`` ends with a slash, or is empty. ``endpoint`` and ``region`` are
    None where the environment or the provider says them.
    """

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None


@frozen
class RecordingsConfig:
    """
    What becomes of recordings.

    ``bucket`` is None for the data directory. ``keep`` is in seconds and
    ``max_size`` in bytes; None means for ever, and without a bound.
    ``encrypt_to`` is a file with public keys. ``openssh`` bounds what the hub
    records of servers without an agent, until it is among the others.
    """

    bucket: Bucket | None = None
    keep: float | None = DEFAULT_KEEP
    max_size: int | None = None
    abandon_after: float = DEFAULT_ABANDON_AFTER
    encrypt_to: Path | None = None
    openssh: RecordingConfig = DEFAULT_BOUNDS


def _storage(text: str) -> Bucket:
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if scheme != "s3" or not _BUCKET.fullmatch(bucket) or not _PREFIX.fullmatch(prefix):
        raise ValueError("write s3://BUCKET/PREFIX, or leave it out for the data directory")
    return Bucket(bucket, f"{prefix}/" if prefix else "")


def _endpoint(text: str) -> str:
    if not _URL.fullmatch(text):
        raise ValueError("write the URL of an S3 service, such as https://minio.example.com")
    return text


def _region(text: str) -> str:
    if not _REGION.fullmatch(text):
        raise ValueError("that is no region, such as eu-central-1")
    return text


def _keep(value: Value) -> float | None:
    text = one_text(value)
    return None if text == "forever" else parse_duration_between(text, "1d", "36500d")


def _max_size(text: str) -> int | None:
    if text == "unlimited":
        return None
    size = parse_size(text)
    if size < _LEAST_SIZE:
        raise ValueError("all recordings together have at least 1MiB, or are unlimited")
    return size


def _abandon_after(text: str) -> float:
    return parse_duration_between(text, "10m", "30d")


STORAGE: Final = Setting("recordings.storage", text_as(_storage))
ENDPOINT: Final = Setting("recordings.s3_endpoint", text_as(_endpoint))
REGION: Final = Setting("recordings.s3_region", text_as(_region))
KEEP: Final = Setting("recordings.keep", _keep)
MAX_SIZE: Final = Setting("recordings.max_size", text_as(_max_size))
ABANDON_AFTER: Final = Setting("recordings.abandon_after", text_as(_abandon_after))
ENCRYPT_TO: Final = Setting("recordings.encrypt_to", a_path)
OPENSSH: Final = BoundsSettings.below("recordings.openssh")
ALL: Final[tuple[Setting[Any], ...]] = (
    KEEP,
    MAX_SIZE,
    ABANDON_AFTER,
    STORAGE,
    ENDPOINT,
    REGION,
    ENCRYPT_TO,
    *OPENSSH.all,
)


def load_recordings(settings: Settings) -> RecordingsConfig:
    """
    :raises ConfigError:
    """
    bucket, recipients = settings.get(STORAGE, None), settings.find_path(ENCRYPT_TO)
    endpoint, region = settings.get(ENDPOINT, None), settings.get(REGION, None)
    if bucket is not None:
        bucket = Bucket(bucket.name, bucket.prefix, endpoint, region)
    return RecordingsConfig(
        bucket=bucket,
        keep=settings.get(KEEP, DEFAULT_KEEP),
        max_size=settings.get(MAX_SIZE, None),
        abandon_after=settings.get(ABANDON_AFTER, DEFAULT_ABANDON_AFTER),
        encrypt_to=None if recipients is None else recipients.value,
        openssh=OPENSSH.load(settings),
    )
