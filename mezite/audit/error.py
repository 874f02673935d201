"""
What goes wrong with the audit's records.
"""

from __future__ import annotations

from mezite.error import BadInput, Unavailable


class BadAuditLine(BadInput):
    """A line that no audit wrote."""


class AuditUnavailable(Unavailable):
    """
    An event cannot be kept, so what it is about is not done.

    ``reason`` is for operators only.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("the audit cannot be written, so nothing is done that it must show")
        self.reason = reason
