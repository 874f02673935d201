"""
The fields of SSH's blobs (RFC 4251, section 5), read from front to back.
"""

from __future__ import annotations


class BlobFields:
    """What is wrong with a blob is a ``ValueError``; whose blob it is, the caller knows."""

    def __init__(self, blob: bytes) -> None:
        self._blob = blob
        self.position = 0

    def take(self, length: int) -> bytes:
        end = self.position + length
        if end > len(self._blob):
            raise ValueError("it ends within a field")
        taken = self._blob[self.position : end]
        self.position = end
        return taken

    def string(self) -> bytes:
        return self.take(self.number(4))

    def number(self, length: int) -> int:
        """An unsigned number of so many octets."""
        return int.from_bytes(self.take(length), "big")

    @property
    def is_empty(self) -> bool:
        return self.position == len(self._blob)

    def end(self) -> None:
        """Insist that nothing is left."""
        if not self.is_empty:
            raise ValueError("it is longer than its fields")


def string(value: bytes) -> bytes:
    """A length and that many octets."""
    return len(value).to_bytes(4, "big") + value
