"""
One session on a node: a shell or a command, joined to local files.

:class:`SessionChannel` speaks the session's requests (RFC 4254, section 6);
:func:`run_session` joins a channel to standard input, output and error, kept
apart and with back-pressure, and ends with the exit code that ssh would have.
The terminal's state belongs to :mod:`mezite.client.terminal`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final, Protocol

from attrs import field, frozen
from twisted.conch.error import ConchError
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.python.failure import Failure

from mezite.client.keyboard import Keyboard
from mezite.client.stdio import Brake, InputFile, OutputFile
from mezite.client.terminal import (
    RawTerminal,
    ResizeWatch,
    WindowSize,
    encode_modes,
    window_size,
)
from mezite.error import Denied, MeziteError
from mezite.ssh.channel import STDERR, FlowChannel
from mezite.ssh.connection import FlowConnection
from mezite.ssh.fields import FieldReader, string, uint32

# What ssh itself gives for a command that a signal ended, or that told no status.
NO_STATUS: Final = 255
# RFC 4335: how long a BREAK is held; 0 leaves it to the node, 1 s is what ssh sends.
_BREAK_MILLISECONDS: Final = 1000


class RequestRefused(Denied):
    """The node would not start what was asked for."""


class OpenFailed(Denied):
    """The node would not open a session at all."""


@frozen
class Pty:
    """The terminal that is wanted on the node, after the local one if there is one."""

    term: str
    # The local terminal that is to become raw; None if standard input is none (-tt).
    terminal: int | None


@frozen
class SessionRequest:
    """What is to be run; without a command it is the login's shell."""

    command: bytes | None = None
    pty: Pty | None = None
    environment: Mapping[str, str] = field(factory=dict)
    # The command is the name of a subsystem (-s).
    is_subsystem: bool = False
    # Programs of the session may use the person's ssh-agent (-A).
    lends_agent: bool = False


class IWritable(Protocol):
    """Where output goes."""

    def write(self, data: bytes) -> None: ...


def _no_connections() -> list[str]:
    return []


@frozen
class Escapes:
    """What begins a wish at the start of a line, and what ``~#`` lists."""

    character: bytes = b"~"
    connections: Callable[[], list[str]] = _no_connections


@frozen
class LocalFiles:
    """What the session is joined to, as file descriptors."""

    # None is an empty file.
    standard_input: int | None = 0
    standard_output: int = 1
    standard_error: int = 2


class SessionChannel(FlowChannel):
    """A channel of type "session", from the client's side."""

    name = b"session"

    def __init__(self) -> None:
        super().__init__()
        self.opened: Deferred[None] = Deferred()
        # Fires once the channel is closed, with the exit code that it told.
        self.finished: Deferred[int] = Deferred()
        self.output: IWritable | None = None
        self.error_output: IWritable | None = None
        self._exit_code = NO_STATUS
        # Whether the node has said how it ended, before the channel or the connection did.
        self.is_complete = False

    def channelOpen(self, specificData: bytes) -> None:
        self.opened.callback(None)

    def openFailed(self, reason: Any) -> None:
        error = reason.value if isinstance(reason, Failure) else reason
        sentence = str(error) if isinstance(error, MeziteError) else "the node opened no session"
        self.opened.errback(OpenFailed(sentence))

    def dataReceived(self, data: bytes) -> None:
        if self.output is not None:
            self.output.write(data)

    def extReceived(self, dataType: int, data: bytes) -> None:
        if dataType == STDERR and self.error_output is not None:
            self.error_output.write(data)

    def request_exit_status(self, data: bytes) -> bool:
        # A status above 255 does not fit an exit code; ssh takes its last octet as well.
        self._exit_code = FieldReader(data).uint32() & 0xFF
        self.is_complete = True
        return True

    def request_exit_signal(self, data: bytes) -> bool:
        self._exit_code = NO_STATUS
        self.is_complete = True
        return True

    def fail(self, error: BaseException) -> None:
        """Close the channel at once; ``finished`` fails with this."""
        if not self.finished.called:
            self.finished.errback(error)
            self.abortConnection()

    def closeReceived(self) -> None:
        self.is_complete = True
        super().closeReceived()

    def closed(self) -> None:
        if not self.finished.called:
            self.finished.callback(self._exit_code)

    async def start(self, request: SessionRequest, modes: bytes, size: WindowSize) -> None:
        """
        Ask for all of it in one go, and wait until it runs.

        :raises RequestRefused: if the node says no.
        """
        for name, value in request.environment.items():
            self.conn.sendRequest(self, b"env", string(name.encode()) + string(value.encode()))
        if request.lends_agent:
            self.conn.sendRequest(self, b"auth-agent-req@openssh.com", b"")
        wanted: list[Deferred[None]] = []
        if request.pty is not None:
            data = string(request.pty.term.encode()) + _geometry(size) + string(modes)
            wanted.append(self._ask(b"pty-req", data, "the node gave no terminal"))
        if request.command is None:
            wanted.append(self._ask(b"shell", b"", "the node did not start a shell"))
        elif request.is_subsystem:
            data = string(request.command)
            wanted.append(self._ask(b"subsystem", data, "the node has no such subsystem"))
        else:
            data = string(request.command)
            wanted.append(self._ask(b"exec", data, "the node did not run the command"))
        await gatherResults(wanted, consumeErrors=True).addErrback(first_failure)

    def _ask(self, name: bytes, data: bytes, refusal: str) -> Deferred[None]:
        async def answered() -> None:
            try:
                await self.conn.sendRequest(self, name, data, wantReply=True)
            except ConchError as error:
                raise RequestRefused(refusal) from error

        return Deferred.fromCoroutine(answered())

    def resize(self, size: WindowSize) -> None:
        """Tell the node that the terminal has another size now."""
        if not self.localClosed:
            self.conn.sendRequest(self, b"window-change", _geometry(size))

    def send_break(self) -> None:
        """Send a BREAK to whatever runs (RFC 4335)."""
        if not self.localClosed:
            self.conn.sendRequest(self, b"break", uint32(_BREAK_MILLISECONDS))


async def run_session(
    reactor: Any,
    connection: FlowConnection,
    request: SessionRequest,
    files: LocalFiles,
    lost_because: Callable[[], Exception | None],
    *,
    escapes: Escapes | None = None,
    on_started: Callable[[], None] = lambda: None,
) -> int:
    """
    Run this to its end, and give the exit code that ssh would give.

    :param lost_because: why the SSH connection is gone, once it is.
    :param escapes: only looked for on a terminal that is raw.
    :raises EndedByEscape: if the person did not want to wait for the end.
    :raises RequestRefused: if the node does not start it.
    :raises BrokenPipeError: if nobody reads the output any more.
    :raises MeziteError: if the connection ends before the session.
    """

    async def joined(channel: SessionChannel) -> int:
        with ExitStack() as stack:
            return await _join(stack, reactor, channel, request, files, escapes, on_started)

    return await _on_channel(connection, joined, lost_because)


async def run_unattended(
    connection: FlowConnection,
    request: SessionRequest,
    output: IWritable,
    error_output: IWritable,
    lost_because: Callable[[], Exception | None],
    on_open: Callable[[SessionChannel], None],
) -> int:
    """
    Run a command without input and without a terminal, and give its exit code.

    :param on_open: is given the channel, which may then be paused and resumed.
    :raises RequestRefused: and the others of :func:`run_session`.
    """

    async def unattended(channel: SessionChannel) -> int:
        channel.output, channel.error_output = output, error_output
        on_open(channel)
        await channel.start(request, b"\0", WindowSize(80, 24))
        channel.loseWriteConnection()
        return await channel.finished

    return await _on_channel(connection, unattended, lost_because)


async def _on_channel(
    connection: FlowConnection,
    talk: Callable[[SessionChannel], Awaitable[int]],
    lost_because: Callable[[], Exception | None],
) -> int:
    channel = SessionChannel()
    try:
        connection.openChannel(channel)
        await channel.opened
        code = await talk(channel)
    except CancelledError:
        channel.loseConnection()
        raise
    except (RequestRefused, OpenFailed):
        reason = lost_because()
        if reason is not None:
            raise reason from None
        raise
    reason = lost_because()
    if reason is not None and not channel.is_complete:
        raise reason
    return code


async def _join(
    stack: ExitStack,
    reactor: Any,
    channel: SessionChannel,
    request: SessionRequest,
    files: LocalFiles,
    escapes: Escapes | None,
    on_started: Callable[[], None],
) -> int:
    output, error_output = (
        OutputFile(reactor, file, lambda: channel.fail(BrokenPipeError()))
        for file in (files.standard_output, files.standard_error)
    )
    channel.output, channel.error_output = output, error_output
    brake = Brake(channel)
    for each in (output, error_output):
        stack.callback(each.give_back)
        brake.attach(each)
    on_data: Callable[[bytes], None] = channel.write
    raw = await _start(stack, reactor, channel, request)
    if raw is not None and escapes is not None:
        on_data = Keyboard(
            escapes.character,
            channel,
            suspend=raw.suspend,
            show=error_output.write,
            connections=escapes.connections,
        ).typed
    on_started()
    if files.standard_input is None:
        channel.loseWriteConnection()
        code = await channel.finished
    else:
        source = InputFile(reactor, files.standard_input, on_data, channel.loseWriteConnection)
        stack.callback(source.give_back)
        channel.registerProducer(source, True)
        source.resumeProducing()
        code = await channel.finished
        source.stopProducing()
    for each in (output, error_output):
        await each.drained()
    return code


async def _start(
    stack: ExitStack, reactor: Any, channel: SessionChannel, request: SessionRequest
) -> RawTerminal | None:
    terminal = request.pty.terminal if request.pty is not None else None
    if terminal is None:
        await channel.start(request, b"\0", WindowSize(80, 24))
        return None

    def resize() -> None:
        channel.resize(window_size(terminal))

    raw = RawTerminal(terminal, on_continued=lambda: reactor.callFromThread(resize))
    await channel.start(request, encode_modes(raw.attributes), window_size(terminal))
    stack.enter_context(raw)
    stack.enter_context(ResizeWatch(reactor, resize))
    return raw


def _geometry(size: WindowSize) -> bytes:
    return b"".join(uint32(number) for number in (size.columns, size.rows, size.width, size.height))


def first_failure(failure: Failure) -> Failure:
    """The failure inside the one that gatherResults makes."""
    inner = getattr(failure.value, "subFailure", None)
    return inner if isinstance(inner, Failure) else failure
