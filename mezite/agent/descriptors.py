"""
Ends of pipes and terminals on the reactor, with pressure in both directions.

Twisted's own process pipes read 8 KiB at a time, which costs a packet each.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from typing import Any, Final

from twisted.internet import fdesc
from twisted.internet.abstract import FileDescriptor
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.python.failure import Failure

# A packet of a channel; above 128 KiB malloc maps anew each time.
READ_SIZE: Final = 64 * 1024
# So that the process and we take turns seldom; pipe(7) gives 64 KiB by default.
_PIPE_SIZE: Final = 256 * 1024


def widen(fd: int) -> None:
    """Let a pipe hold more, if the machine has it to give."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        pass


class DescriptorEnd(FileDescriptor):
    """
    Our end of a pipe or a terminal, which it owns and closes.

    :param on_data: gets what is read; None if this end is only written to.
    :param on_end: called once, when nothing more can be read or written.
    """

    def __init__(
        self,
        reactor: Any,
        fd: int,
        *,
        on_data: Callable[[bytes], None] | None,
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(reactor)
        self._fd = fd
        self._on_data = on_data
        self._on_end = on_end
        fdesc.setNonBlocking(fd)
        self.connected = 1
        if on_data is not None:
            self.startReading()

    def fileno(self) -> int:
        return self._fd

    def doRead(self) -> Exception | None:
        try:
            data = os.read(self._fd, READ_SIZE)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return None
            return ConnectionDone()  # EIO: nobody has the terminal open any more
        if not data:
            return ConnectionDone()
        if self._on_data is not None:
            self._on_data(data)
        return None

    def writeSomeData(self, data: bytes) -> int | Exception:
        try:
            return os.write(self._fd, data)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return 0
            return ConnectionLost()

    def finish(self) -> None:
        """Close once all is written."""
        self.unregisterProducer()
        self.loseConnection()

    def connectionLost(self, reason: Failure | None) -> None:
        if self._fd < 0:
            return
        producer: Any = self.producer
        self.producer = None
        self.stopReading()
        self.stopWriting()
        super().connectionLost(reason)
        fd, self._fd = self._fd, -1
        os.close(fd)
        if producer is not None:
            # Let what else arrives be thrown away, and not stay in a window.
            producer.resumeProducing()
        self._on_end()

    def close(self) -> None:
        """Close now."""
        self.connectionLost(Failure(ConnectionDone()))
