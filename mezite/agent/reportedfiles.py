"""
Files that tell of each operation on them, for the session's recording.

A :class:`ReportedFiles` answers as :class:`~mezite.agent.sftpfiles.Files` does,
and shows each answer to an :class:`~mezite.ssh.sftpwatch.SftpWatch`. Standard
library only, as with all that the SFTP server imports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mezite.agent.sftpfiles import Files
from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpwatch import SftpWatch


class ReportedFiles(Files):
    """
    :param tell: takes the line of each report, and may block until it is taken.
    """

    def __init__(self, tell: Callable[[bytes], None], **rest: Any) -> None:
        super().__init__(**rest)
        self._watch = SftpWatch(tell)

    def answer(self, request: wire.Request) -> wire.Reply:
        reply = super().answer(request)
        self._watch.saw(request, reply)
        return reply

    def close(self) -> None:
        """Also what the client left open is told of."""
        self._watch.close()
        super().close()
