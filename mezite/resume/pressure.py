"""
Who writes into a resumable connection, and whether they wait.

A :class:`Pressure` owns the producer and what it was told last.
"""

from __future__ import annotations

from typing import Any

from mezite.resume.link import FULL, RELIEVED


class Pressure:
    """That of one connection."""

    def __init__(self) -> None:
        self._producer: Any = None
        self._is_paused = False

    def register(self, producer: Any) -> None:
        if self._producer is not None:
            raise RuntimeError(f"{self._producer!r} is already registered")
        self._producer = producer
        self._is_paused = False

    def unregister(self) -> Any:
        """Forget the producer, and give it back; None if there is none."""
        producer, self._producer = self._producer, None
        self._is_paused = False
        return producer

    def apply(self, *, has_room: bool, unacknowledged: int) -> None:
        """
        Tell the producer to wait, or to go on, if that is news.

        :param has_room: whether there is a leg, which takes more.
        :param unacknowledged: bytes.
        """
        if self._producer is None:
            return
        if self._is_paused:
            if has_room and unacknowledged < RELIEVED:
                self._is_paused = False
                self._producer.resumeProducing()
        elif not has_room or unacknowledged >= FULL:
            self._is_paused = True
            self._producer.pauseProducing()
