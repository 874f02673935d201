"""
What goes wrong between the processes of one hub.
"""

from __future__ import annotations

from mezite.error import RemoteError, Unavailable


class BadMessage(RemoteError):
    """The other process said what this one does not understand; the stream is reset."""


class WorkerGone(Unavailable):
    """The process that held something has ended, and what it held with it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"worker {number} has ended")
