"""
The bounds of what a program records itself: an agent, or a hub of servers without one.
"""

from __future__ import annotations

from typing import Any, Final

from attrs import frozen

from mezite.config.document import Value
from mezite.config.settings import Setting, Settings, one_text
from mezite.config.sizes import parse_size


@frozen
class RecordingConfig:
    """
    The bounds of what is recorded on this machine, in bytes.

    ``quota`` is of all recordings that are not where recordings are kept yet;
    ``min_free`` of the disk is left to others. The last two are of a command
    without a terminal, before it is only counted what it writes and reads.
    """

    quota: int = 10 << 30
    min_free: int = 256 << 20
    output_limit: int = 256 << 20
    input_limit: int = 16 << 20


DEFAULT_BOUNDS: Final = RecordingConfig()


def _size(value: Value) -> int:
    return parse_size(one_text(value))


@frozen
class BoundsSettings:
    """The settings of one program's :class:`RecordingConfig`."""

    quota: Setting[int]
    min_free: Setting[int]
    output_limit: Setting[int]
    input_limit: Setting[int]

    @classmethod
    def below(cls, section: str) -> BoundsSettings:
        """Those of this section of the file."""
        return cls(
            Setting(f"{section}.quota", _size),
            Setting(f"{section}.min_free", _size),
            Setting(f"{section}.output_limit", _size),
            Setting(f"{section}.input_limit", _size),
        )

    @property
    def all(self) -> tuple[Setting[Any], ...]:
        return self.quota, self.min_free, self.output_limit, self.input_limit

    def load(self, settings: Settings) -> RecordingConfig:
        """
        :raises ConfigError:
        """
        return RecordingConfig(
            quota=settings.get(self.quota, DEFAULT_BOUNDS.quota),
            min_free=settings.get(self.min_free, DEFAULT_BOUNDS.min_free),
            output_limit=settings.get(self.output_limit, DEFAULT_BOUNDS.output_limit),
            input_limit=settings.get(self.input_limit, DEFAULT_BOUNDS.input_limit),
        )
