"""
The SFTP server of a session: ``python -P -m mezite.agent.sftp [--become NAME] [--report FD]``.

A process of its own, reading requests from standard input and answering on
standard output until the input ends. With ``--become`` it turns into that
person, for good, before it reads a byte, so no request is ever served as root.
With ``--report`` it says on that descriptor what it does to files.

Standard library only and no Twisted, because it starts once per transfer.
Everything is imported at the top: after ``--become`` the files of this program
may be out of reach.
"""

from __future__ import annotations

import fcntl
import os
import resource
import sys
from typing import Final

from mezite.agent.becoming import CannotBecome, become
from mezite.agent.reportedfiles import ReportedFiles
from mezite.agent.sftpfiles import EXTENSIONS, Files
from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpfields import BadMessage, SftpWireError
from mezite.ssh.sftpwire import StatusCode

# One read takes several requests; one write carries their answers.
_READ_SIZE: Final = 256 * 1024
_WRITE_SIZE: Final = 512 * 1024
# The largest that an unprivileged process may ask for (/proc/sys/fs/pipe-max-size).
_PIPE_SIZE: Final = 1024 * 1024


def serve(files: Files, source: int, sink: int) -> None:
    """
    Answer the requests from one descriptor on another, until the end of input.

    :raises SftpWireError: for bytes that are no SFTP.
    """
    packets = wire.PacketReader()
    is_greeted = False
    while data := os.read(source, _READ_SIZE):
        answers: list[bytes] = []
        size = 0
        try:
            for packet in packets.receive(data):
                if is_greeted:
                    answers.append(_answer(files, packet))
                else:
                    answers.append(_greet(packet))
                    is_greeted = True
                size += len(answers[-1])
                if size >= _WRITE_SIZE:
                    _write(sink, b"".join(answers))
                    answers.clear()
                    size = 0
        finally:
            # Also before a broken packet ends the session.
            _write(sink, b"".join(answers))
    if not packets.is_idle:
        raise SftpWireError("the input ended in the middle of a packet")


def _greet(packet: bytes) -> bytes:
    greeting = wire.decode(packet)
    if not isinstance(greeting, wire.Init) or greeting.version < wire.VERSION:
        raise SftpWireError(f"the client does not begin with SFTP {wire.VERSION} or newer")
    return wire.encode(wire.Version(wire.VERSION, EXTENSIONS))


def _answer(files: Files, packet: bytes) -> bytes:
    try:
        request = wire.decode(packet)
    except BadMessage as error:
        if error.request_id is None:
            raise
        code = StatusCode.BAD_MESSAGE if wire.is_known(packet) else StatusCode.OP_UNSUPPORTED
        return wire.encode(wire.Status(error.request_id, code, str(error).encode()))
    if isinstance(request, wire.Request):
        return wire.encode(files.answer(request))
    raise SftpWireError(f"{type(request).__name__} is not a request")


def _write(sink: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(sink, rest) :]


def main(arguments: list[str]) -> int:
    """The program; returns its exit status."""
    options = dict(zip(arguments[::2], arguments[1::2], strict=False))
    known = options.keys() <= {"--become", "--report"} and len(options) * 2 == len(arguments)
    if not known or not options.get("--report", "3").isdecimal():
        sys.stderr.write("usage: python -P -m mezite.agent.sftp [--become NAME] [--report FD]\n")
        return 2
    if "--become" in options:
        try:
            become(options["--become"])
        except (CannotBecome, OSError) as error:
            sys.stderr.write(f"sftp: {error}\n")
            return 2
    for descriptor in (0, 1):
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
        except OSError:
            pass  # not a pipe, or the person's share of pipe memory is spent
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    files: Files = Files(descriptor_limit=limit)
    if "--report" in options:
        descriptor = int(options["--report"])
        files = ReportedFiles(lambda line: _write(descriptor, line), descriptor_limit=limit)
    try:
        serve(files, 0, 1)
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    except SftpWireError as error:
        sys.stderr.write(f"sftp: {error}\n")
        return 1
    finally:
        files.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
