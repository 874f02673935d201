"""
The settings about the audit: where its copies go, and for how long it is kept.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from attrs import frozen

from mezite.config.document import Value
from mezite.config.durations import parse_duration_between
from mezite.config.settings import Setting, Settings, a_path, one_text
from mezite.names import HostPort, InvalidName

# Years of a quiet cluster, and days of a busy one; some 200,000 events.
DEFAULT_FILE_SIZE: Final = 100 * 2**20
DEFAULT_FILE_KEEP: Final = 10
DEFAULT_KEEP: Final = 365 * 86400.0
SYSLOG_PORT: Final = 514

_SIZE: Final = re.compile(r"([0-9]{1,15})(|KiB|MiB|GiB)")
_UNITS: Final = {"": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_LEAST_SIZE: Final = 16 * 2**10
_MOST_SIZE: Final = 2**40
_MOST_KEPT: Final = 1000
# sun_path of unix(7) has 108 octets, the last of them zero.
_PATH_LENGTH: Final = 107


@frozen
class SyslogTarget:
    """Where a syslog server listens: a socket's path, or an address for UDP or TCP."""

    scheme: str
    path: str = ""
    address: HostPort | None = None

    @classmethod
    def parse(cls, text: str) -> SyslogTarget:
        """
        Read ``unix:/dev/log``, ``udp://host:514`` or ``tcp://host:514``.

        :raises ValueError:
        """
        wrong = ValueError(
            f"{text[:80]!r} is no syslog server: write unix:/dev/log, udp://HOST:514"
            " or tcp://HOST:514"
        )
        scheme, _, rest = text.partition(":")
        if scheme == "unix":
            if not rest.startswith("/") or len(rest.encode()) > _PATH_LENGTH:
                raise wrong
            return cls(scheme, path=rest)
        if scheme not in ("udp", "tcp") or not rest.startswith("//"):
            raise wrong
        try:
            address = HostPort.parse(rest[2:].removesuffix("/"), default_port=SYSLOG_PORT)
        except InvalidName:
            raise wrong from None
        if not address.port:
            raise wrong
        return cls(scheme, address=address)

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.address is None else f"{self.scheme}://{self.address}"


@frozen
class AuditConfig:
    """
    What becomes of the audit.

    ``file_keep`` is how many files are kept beside the one that is written,
    ``keep`` for how many seconds events are, and None means for ever.
    """

    file: Path | None = None
    file_max_size: int = DEFAULT_FILE_SIZE
    file_keep: int = DEFAULT_FILE_KEEP
    syslog: SyslogTarget | None = None
    keep: float | None = DEFAULT_KEEP


def _size(value: Value) -> int:
    text = one_text(value)
    matched = _SIZE.fullmatch(text)
    if matched is None:
        raise ValueError(f"{text[:40]!r} is not a size: write 64KiB, 100MiB or 1GiB")
    size = int(matched[1]) * _UNITS[matched[2]]
    if not _LEAST_SIZE <= size <= _MOST_SIZE:
        raise ValueError("a file of the audit has between 16KiB and 1024GiB")
    return size


def _number(value: Value) -> int:
    text = one_text(value)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _MOST_KEPT:
        raise ValueError(f"{text[:40]!r} is not a number between 1 and {_MOST_KEPT}")
    return int(text)


def _syslog(value: Value) -> SyslogTarget:
    return SyslogTarget.parse(one_text(value))


def _keep(value: Value) -> float | None:
    text = one_text(value)
    return None if text == "forever" else parse_duration_between(text, "1d", "36500d")


FILE: Final = Setting("audit.file", a_path)
FILE_MAX_SIZE: Final = Setting("audit.file_max_size", _size)
FILE_KEEP: Final = Setting("audit.file_keep", _number)
SYSLOG: Final = Setting("audit.syslog", _syslog)
KEEP: Final = Setting("audit.keep", _keep)
ALL: Final[tuple[Setting[Any], ...]] = (FILE, FILE_MAX_SIZE, FILE_KEEP, SYSLOG, KEEP)


def load_audit(settings: Settings) -> AuditConfig:
    """
    :raises ConfigError:
    """
    file = settings.find_path(FILE)
    return AuditConfig(
        file=None if file is None else file.value,
        file_max_size=settings.get(FILE_MAX_SIZE, DEFAULT_FILE_SIZE),
        file_keep=settings.get(FILE_KEEP, DEFAULT_FILE_KEEP),
        syslog=settings.get(SYSLOG, None),
        keep=settings.get(KEEP, DEFAULT_KEEP),
    )
