"""
The output of several nodes in one place, told apart line by line.
"""

from __future__ import annotations

from typing import Final

# A line that is longer comes in parts; a hundred nodes hold a few megabytes at most.
LINE_LIMIT: Final = 32 * 1024


class LinePrefixer:
    """Puts ``prefix`` before each line, and gives whole lines only."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._partial = b""

    def receive(self, data: bytes) -> bytes:
        """The lines that are complete now."""
        lines = (self._partial + data).split(b"\n")
        self._partial = lines.pop()
        whole = [self._prefix + line + b"\n" for line in lines]
        while len(self._partial) > LINE_LIMIT:
            whole.append(self._prefix + self._partial[:LINE_LIMIT] + b"\n")
            self._partial = self._partial[LINE_LIMIT:]
        return b"".join(whole)

    def finish(self) -> bytes:
        """What is left when no more comes: a last line without its end, which it is given."""
        partial, self._partial = self._partial, b""
        return self._prefix + partial + b"\n" if partial else b""
