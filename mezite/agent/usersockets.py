"""
The unix sockets of a login: ``python -I -m mezite.agent.usersockets [--become NAME]``.

A process of its own for each connection that needs one. With ``--become`` it
turns into that person, for good, before it reads a request: so a path is only
ever looked up, and a file made or removed, with the person's own rights.

Descriptor 0 is a socket of the kind SOCK_SEQPACKET, one request or answer in
each packet; what was opened goes with the answer (SCM_RIGHTS). This process
keeps only the files that it made, and removes them when the other end closes.

Standard library only, as :mod:`mezite.agent.sftp`.
"""

from __future__ import annotations

import enum
import os
import signal
import socket
import struct
import sys
from typing import Final

from mezite.agent.becoming import CannotBecome, become

# sockaddr_un has 108 octets, one of which ends the path.
PATH_LENGTH: Final = 107
# A header and a path, or a sentence.
PACKET_SIZE: Final = 512
_BACKLOG: Final = 128
_HEADER: Final = struct.Struct(">IB")
# Where programs expect the sockets of forwarded agents; the directory in it is private.
_AGENTS: Final = b"/tmp"


class Kind(enum.IntEnum):
    """What is asked for."""

    CONNECT = 1
    LISTEN = 2
    REMOVE = 3
    AGENT = 4


def encode(number: int, kind: int, text: bytes) -> bytes:
    """A request, or with 1 or 0 in the place of its kind an answer, and whether it is a yes."""
    return _HEADER.pack(number, kind) + text


def decode(packet: bytes) -> tuple[int, int, bytes]:
    """
    What :func:`encode` was given.

    :raises ValueError: if it is too short.
    """
    if len(packet) < _HEADER.size:
        raise ValueError("a packet is too short")
    number, kind = _HEADER.unpack_from(packet)
    return number, kind, packet[_HEADER.size :]


class UserSockets:
    """The files of the sockets that were made here."""

    def __init__(self) -> None:
        # Path to device and inode, so that what somebody put in its place stays.
        self._files: dict[bytes, tuple[int, int]] = {}
        self._directories: list[bytes] = []

    def answer(self, kind: int, path: bytes) -> tuple[socket.socket | None, bytes]:
        """
        What was opened, and what there is to say about it.

        :raises OSError: with the reason, if it could not be done.
        """
        if kind == Kind.CONNECT:
            return _connected(path), b""
        if kind == Kind.LISTEN:
            return self._listening(path), b""
        if kind == Kind.AGENT:
            directory = os.path.join(_AGENTS, b"ssh-" + os.urandom(9).hex().encode())
            os.mkdir(directory, 0o700)
            self._directories.append(directory)
            path = os.path.join(directory, b"agent.%d" % os.getpid())
            return self._listening(path), path
        self._remove(path)
        return None, b""

    def _listening(self, path: bytes) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            before = os.umask(0o177)
            try:
                made.bind(path)
            finally:
                os.umask(before)
            status = os.lstat(path)
            self._files[path] = status.st_dev, status.st_ino
            made.listen(_BACKLOG)
        except OSError:
            made.close()
            raise
        return made

    def _remove(self, path: bytes) -> None:
        known = self._files.pop(path, None)
        if known is not None:
            status = os.lstat(path)
            if (status.st_dev, status.st_ino) == known:
                os.unlink(path)

    def remove_all(self) -> None:
        """Nobody connects any more."""
        for path in tuple(self._files):
            try:
                self._remove(path)
            except OSError:
                pass  # somebody else has removed it
        for directory in self._directories:
            try:
                os.rmdir(directory)
            except OSError:
                pass  # or has put something into it


def _connected(path: bytes) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # A server that does not accept is not waited for: others wait behind this.
        made.setblocking(False)
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


def serve(control: socket.socket) -> None:
    """Answer requests until the other end closes."""
    sockets = UserSockets()
    try:
        while packet := control.recv(PACKET_SIZE):
            number, kind, path = decode(packet)
            try:
                opened, text = sockets.answer(kind, path)
            except OSError as error:
                reason = (error.strerror or str(error)).lower().encode()
                control.send(encode(number, 0, reason))
                continue
            descriptors = [] if opened is None else [opened.fileno()]
            socket.send_fds(control, [encode(number, 1, text)], descriptors)
            if opened is not None:
                opened.close()
    finally:
        sockets.remove_all()


def main(arguments: list[str]) -> int:
    """The program; returns its exit status."""
    match arguments:
        case []:
            pass
        case ["--become", name]:
            try:
                become(name)
            except (CannotBecome, OSError):
                return 2
        case _:
            return 2
    # It ends when the connection does; what it made must go first.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        serve(socket.socket(fileno=os.dup(0)))
    except (OSError, ValueError):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
