"""
Standard input and output on the reactor, with back-pressure and nothing lost.

An :class:`InputFile` pushes what it reads into a consumer and is paused by it.
An :class:`OutputFile` writes what it is given and pauses whoever produces it;
several share a producer through a :class:`Brake`. A pipe is made non-blocking
meanwhile and given back as it was; a terminal, whose state other programs
share, is left alone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any, Final

from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.main import CONNECTION_LOST
from twisted.python.failure import Failure
from zope.interface import implementer

CHUNK: Final = 64 * 1024
_NOT_NOW: Final = (errno.EAGAIN, errno.EINTR)


class _LocalFile(FileDescriptor):
    """One of the three files a program begins with."""

    def __init__(self, reactor: Any, file: int) -> None:
        super().__init__(reactor)
        self._file = file
        self._was_blocking = os.get_blocking(file)
        self.connected = 1
        if not os.isatty(file):
            os.set_blocking(file, False)

    def fileno(self) -> int:
        return self._file

    def give_back(self) -> None:
        """Leave the reactor, and leave the file as it was."""
        self.stopReading()
        self.stopWriting()
        try:
            os.set_blocking(self._file, self._was_blocking)
        except OSError:
            pass  # somebody has closed it


class InputFile(_LocalFile):
    """A file that is read from; ``on_end`` is told once, at its end or if it breaks."""

    def __init__(
        self,
        reactor: Any,
        file: int,
        on_data: Callable[[bytes], None],
        on_end: Callable[[], None],
    ) -> None:
        super().__init__(reactor, file)
        self._on_data = on_data
        self._on_end = on_end
        self._has_ended = False

    def doRead(self) -> None:
        try:
            data = os.read(self._file, CHUNK)
        except OSError as error:
            if error.errno in _NOT_NOW:
                return
            data = b""  # a terminal that is gone says EIO
        if data:
            self._on_data(data)
            return
        self._has_ended = True
        self.stopReading()
        self._on_end()

    def resumeProducing(self) -> None:
        if not self._has_ended:
            self.startReading()

    def stopProducing(self) -> None:
        self._has_ended = True
        self.stopReading()

    def connectionLost(self, reason: Failure) -> None:
        # What epoll says of a pipe whose other end is closed, once nothing more is in it.
        if not self._has_ended:
            self._has_ended = True
            self.stopReading()
            self._on_end()


class OutputFile(_LocalFile):
    """
    A file that is written to.

    ``on_broken`` is told once if nobody reads it any more; what is written
    after that is dropped.
    """

    def __init__(self, reactor: Any, file: int, on_broken: Callable[[], None]) -> None:
        super().__init__(reactor, file)
        self._on_broken = on_broken
        self._is_broken = False
        self._drained: Deferred[None] | None = None

    def writeSomeData(self, data: bytes) -> int | Exception:
        try:
            return os.write(self._file, data)
        except OSError as error:
            if error.errno in _NOT_NOW:
                return 0
            return CONNECTION_LOST

    def doWrite(self) -> Any:
        result = super().doWrite()
        if self._drained is not None and self.is_drained:
            drained, self._drained = self._drained, None
            drained.callback(None)
        return result

    @property
    def is_drained(self) -> bool:
        """Whether all that was written is in the file, or never will be."""
        return self._is_broken or not (len(self.dataBuffer) > self.offset or self._tempDataBuffer)

    def drained(self) -> Deferred[None]:
        """Fires once all that was written is in the file, or never will be."""
        waiting: Deferred[None] = Deferred()
        if self.is_drained:
            waiting.callback(None)
        else:
            self._drained = waiting
        return waiting

    def connectionLost(self, reason: Failure) -> None:
        if self._is_broken:
            return
        self._is_broken = True
        # From here on FileDescriptor.write drops what it is given.
        super().connectionLost(reason)
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)
        self._on_broken()


class Brake:
    """One producer of several files: paused while any of them has no room."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self._full: set[OutputFile] = set()

    def attach(self, file: OutputFile) -> None:
        file.registerProducer(_Pedal(self, file), True)

    def press(self, file: OutputFile) -> None:
        if not self._full:
            self._producer.pauseProducing()
        self._full.add(file)

    def release(self, file: OutputFile) -> None:
        if file in self._full:
            self._full.discard(file)
            if not self._full:
                self._producer.resumeProducing()


@implementer(IPushProducer)
class _Pedal:
    def __init__(self, brake: Brake, file: OutputFile) -> None:
        self._brake = brake
        self._file = file

    def pauseProducing(self) -> None:
        self._brake.press(self._file)

    def resumeProducing(self) -> None:
        self._brake.release(self._file)

    def stopProducing(self) -> None:
        self._brake.release(self._file)
