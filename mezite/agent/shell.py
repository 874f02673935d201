"""
The process of one session, its terminal or its pipes, and its end.

A :class:`SessionProcess` owns the child and our ends of its descriptors. What
the child writes goes to the channel, and is not read while the channel is
full; what the channel brings is written to the child, and the channel is
paused while the child does not read.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import termios
from collections.abc import Mapping
from typing import Any, Final

from attrs import evolve, field, frozen
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from zope.interface import Interface, implementer

from mezite.agent import ttymodes
from mezite.agent.accounts import Account, tty_group
from mezite.agent.childprocess import ChildProcess, Ended, Launch
from mezite.agent.descriptors import DescriptorEnd, widen
from mezite.ssh.channel import STDERR

_LARGEST_SIDE: Final = 0xFFFF


@frozen
class WindowSize:
    """The size of a terminal in characters, and in pixels where known."""

    columns: int
    rows: int
    width: int = 0
    height: int = 0

    def packed(self) -> bytes:
        """As TIOCSWINSZ wants it."""
        sides = (self.rows, self.columns, self.width, self.height)
        return struct.pack("HHHH", *(min(side, _LARGEST_SIDE) for side in sides))


@frozen
class Terminal:
    """The terminal that a client has asked for."""

    name: str
    size: WindowSize
    modes: Mapping[int, int] = field(factory=dict)


def launch(account: Account, command: str | None, *, own_uid: int) -> Launch:
    """
    How the account's shell is started, for a command or to log in.

    The environment is not in it yet.
    """
    name = os.path.basename(account.shell)
    arguments = [f"-{name}"] if command is None else [name, "-c", command]
    return Launch(
        executable=account.shell,
        arguments=arguments,
        environment={},
        directory=account.home,
        become=account if own_uid == 0 else None,
    )


def sftp_launch(account: Account, *, own_uid: int, reports: bool = False) -> Launch:
    """
    How the SFTP server is started; as root, it becomes the login user itself.

    The interpreter is isolated: what lies in the person's home must not be
    imported while it is still root.
    """
    arguments = [sys.executable, "-I", "-m", "mezite.agent.sftp"]
    if own_uid == 0:
        arguments += ["--become", str(account.login)]
    return Launch(sys.executable, arguments, {}, account.home, reports=reports)


class IProcessOutput(Interface):
    """What a session's process has to say; a channel, in the end."""

    def write(data: bytes) -> None:
        """The process wrote to its standard output."""

    def writeExtended(kind: int, data: bytes) -> None:
        """The process wrote to its standard error."""

    def output_ended() -> None:
        """Nothing more will be written."""

    def process_ended(ended: Ended) -> None:
        """The process is over, and all it wrote has been said."""

    def reported(data: bytes) -> None:
        """The process, which was begun to report, said what it does."""


@implementer(IPushProducer)
class SessionProcess:
    """
    :param channel: an :class:`IProcessOutput` that is an ``IConsumer`` and an
        ``IPushProducer`` as well.
    """

    _log = Logger()

    def __init__(self, reactor: Any, channel: Any) -> None:
        self._reactor = reactor
        self._channel = channel
        self._child: ChildProcess | None = None
        self._input: DescriptorEnd | None = None
        self._outputs: list[DescriptorEnd] = []
        self._open_outputs = 0
        self._ended: Ended | None = None
        self._master: int | None = None
        self._is_hung_up = False

    async def start_on_pipes(self, launch: Launch) -> None:
        """:raises OSError: if the process cannot be begun."""
        theirs: list[int] = []
        ours: list[int] = []
        try:
            for is_input in (True, False, False):
                read_end, write_end = os.pipe()
                theirs.append(read_end if is_input else write_end)
                ours.append(write_end if is_input else read_end)
                widen(read_end)
            if launch.reports:
                read_end, write_end = os.pipe()
                theirs.append(write_end)
                ours.append(read_end)
                arguments = [*launch.arguments, "--report", str(write_end)]
                launch = evolve(launch, arguments=arguments)
        except OSError:
            _close_all([*theirs, *ours])
            raise
        try:
            child = await ChildProcess.begin(self._reactor, launch, theirs, terminal=False)
        except OSError:
            _close_all(ours)
            raise
        stdin, stdout, stderr, *reports = ours
        self._input = self._end(stdin, None)
        self._outputs = [
            self._end(stdout, self._channel.write),
            self._end(stderr, lambda data: self._channel.writeExtended(STDERR, data)),
            *(self._end(end, self._channel.reported) for end in reports),
        ]
        self._started(child)

    async def start_on_terminal(self, launch: Launch, terminal: Terminal) -> None:
        """:raises OSError: if the process cannot be begun."""
        master, slave = os.openpty()
        try:
            try:
                fcntl.ioctl(slave, termios.TIOCSWINSZ, terminal.size.packed())
                ttymodes.put_on(slave, terminal.modes)
                path = os.ttyname(slave)
                if launch.become is not None:
                    become, group = launch.become, tty_group()
                    os.chown(slave, become.uid, become.gid if group is None else group)
                    os.chmod(slave, 0o620 if group is not None else 0o600)
                theirs = [slave, os.dup(slave), os.dup(slave)]
            except (OSError, termios.error) as error:
                os.close(slave)
                raise OSError(str(error)) from error
            launch = evolve(
                launch,
                environment={**launch.environment, "TERM": terminal.name, "SSH_TTY": path},
            )
            child = await ChildProcess.begin(self._reactor, launch, theirs, terminal=True)
        except OSError:
            os.close(master)
            raise
        self._master = master
        self._input = self._end(master, self._channel.write)
        self._outputs = [self._input]
        self._started(child)

    def _end(self, fd: int, on_data: Any) -> DescriptorEnd:
        is_output = on_data is not None
        return DescriptorEnd(
            self._reactor,
            fd,
            on_data=on_data,
            on_end=self._output_ended if is_output else lambda: None,
        )

    def _started(self, child: ChildProcess) -> None:
        self._child = child
        self._open_outputs = len(self._outputs)
        child.when_ended(self._child_ended)
        assert self._input is not None
        self._input.registerProducer(self._channel, True)
        self._channel.registerProducer(self, True)
        if self._is_hung_up:
            self.hang_up()

    # From the channel to the process.

    def write(self, data: bytes) -> None:
        """Give the process something to read; thrown away once it reads no more."""
        if self._input is not None and self._input.connected:
            self._input.write(data)

    def end_input(self) -> None:
        """The process is to read the end of its input, if that is a pipe."""
        # A terminal has no end: the person types ^D, or the client closes the channel.
        if self._input is not None and self._master is None:
            self._input.finish()

    def resize(self, size: WindowSize) -> None:
        if self._master is not None and self._input is not None and self._input.connected:
            fcntl.ioctl(self._master, termios.TIOCSWINSZ, size.packed())

    def send_break(self) -> None:
        if self._master is not None and self._input is not None and self._input.connected:
            termios.tcsendbreak(self._master, 0)

    def signal(self, number: int) -> None:
        """To the process and what it has begun."""
        if self._child is not None:
            self._child.signal_group(number)

    def hang_up(self) -> None:
        """Nobody is there any more."""
        self._is_hung_up = True
        if self._child is not None:
            self._child.hang_up()
        for end in {*self._outputs, *([self._input] if self._input else [])}:
            end.close()

    # From the process to the channel.

    def pauseProducing(self) -> None:
        for output in self._outputs:
            output.pauseProducing()

    def resumeProducing(self) -> None:
        for output in self._outputs:
            if output.connected:
                output.resumeProducing()

    def stopProducing(self) -> None:
        """The channel is gone; ``hang_up`` says so too."""

    def _output_ended(self) -> None:
        self._open_outputs -= 1
        if self._open_outputs == 0:
            self._channel.output_ended()
            self._maybe_over()

    def _child_ended(self, ended: Ended) -> None:
        self._ended = ended
        self._maybe_over()

    def _maybe_over(self) -> None:
        if self._ended is not None and self._open_outputs == 0:
            if self._input is not None and self._input.connected:
                self._input.close()
            self._channel.process_ended(self._ended)


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
