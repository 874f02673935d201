"""
The session channel of RFC 4254, section 6: what a client asks of one session.

:class:`SessionChannel` reads the requests, decides by the person's certificate
what they may have, and hands the rest to a
:class:`~mezite.agent.shell.SessionProcess`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, Final

from attrs import evolve, frozen
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from mezite.agent import ttymodes
from mezite.agent.accounts import Account
from mezite.agent.agentforward import AgentForwarding
from mezite.agent.childprocess import Ended, Launch
from mezite.agent.environment import AcceptedVariables, environment
from mezite.agent.recordedchannel import RecordedChannel
from mezite.agent.shell import Terminal, WindowSize, launch, sftp_launch
from mezite.agent.signals import SIGNALS, WIRE_NAMES
from mezite.identity.grants import FILE_COPY
from mezite.identity.sshcert import UserCertificate
from mezite.recording.error import RecordingFailed
from mezite.recording.events import Kind
from mezite.recording.recorder import Recorder
from mezite.ssh.channel import STDERR, FlowChannel, Sending
from mezite.ssh.fields import FieldReader, string, uint32
from mezite.ssh.filecopy import copies_files
from mezite.tasks import background

# execve(2) takes 128 KiB for one argument.
COMMAND_LENGTH: Final = 128 * 1024 - 1
# As a forced command it means this program's SFTP server (sshd_config(5), ForceCommand).
INTERNAL_SFTP: Final = "internal-sftp"
TERMINAL_NAME_LENGTH: Final = 64


class State(enum.Enum):
    """What a session channel waits for."""

    REQUEST = enum.auto()
    BEGINNING = enum.auto()
    RUNNING = enum.auto()
    OVER = enum.auto()


@frozen
class SessionSetting:
    """
    What all sessions of one connection have in common.

    ``make_process`` gives a :class:`~mezite.agent.shell.SessionProcess` for a channel.
    """

    make_process: Callable[[Any], Any]
    account: Account
    certificate: UserCertificate
    own_uid: int
    client_address: str
    accept_env: tuple[str, ...]
    session_id: str
    # Those of this session (mezite.recording.recordings).
    recordings: Any


class SessionChannel(FlowChannel):
    """
    :param on_gone: called when the session is no longer there.
    :param settled: fires when what was asked for before is there, so that a
        command finds the sockets that ``ssh -R`` was to make.
    :param agent: the person's :class:`~mezite.agent.agentforward.AgentForwarding`,
        if the session may have it.
    """

    _log = Logger()

    def __init__(
        self,
        setting: SessionSetting,
        on_gone: Callable[[], None],
        settled: Callable[[], Deferred[None]] = lambda: succeed(None),
        agent: AgentForwarding | None = None,
        **rest: Any,
    ) -> None:
        super().__init__(**rest)
        self._settled = settled
        self._agent = agent
        self._wants_agent = False
        self._setting = setting
        self._on_gone = on_gone
        self._state = State.REQUEST
        self._variables = AcceptedVariables(setting.accept_env)
        self._terminal: Terminal | None = None
        self._process: Any = None
        self._kind = Kind.SHELL
        self._command: bytes | None = None
        self._recorded: RecordedChannel | None = None

    # Before the process runs.

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        request = _REQUESTS.get(requestType)
        if request is None:
            return False
        return request(self, FieldReader(data))

    def request_env(self, reader: FieldReader) -> bool:
        name, value = reader.string(), reader.string()
        return self._state is State.REQUEST and self._variables.offer(name, value)

    def request_pty_req(self, reader: FieldReader) -> bool:
        name = reader.string()
        size = _size(reader)
        modes = ttymodes.parse(reader.string())
        if self._state is not State.REQUEST or self._terminal is not None:
            return False
        if "permit-pty" not in self._setting.certificate.extensions:
            return False
        if len(name) > TERMINAL_NAME_LENGTH or b"\0" in name:
            return False
        self._terminal = Terminal(name.decode("utf-8", "replace"), size, modes)
        return True

    def request_auth_agent_req(self, reader: FieldReader) -> bool:
        reader.end()
        if self._state is not State.REQUEST or self._agent is None:
            return False
        self._wants_agent = True
        return True

    def request_shell(self, reader: FieldReader) -> bool:
        reader.end()
        return self._run(self._prepared(None))

    def request_exec(self, reader: FieldReader) -> bool:
        command = reader.string()
        if len(command) > COMMAND_LENGTH or b"\0" in command:
            return False
        asked = command.decode("utf-8", "surrogateescape")
        if copies_files(asked) and not self._may_copy():
            return False
        return self._run(self._prepared(asked))

    def request_subsystem(self, reader: FieldReader) -> bool:
        if reader.string() != b"sftp":
            return False
        if self._setting.certificate.forced_command not in (None, INTERNAL_SFTP):
            return False
        return self._may_copy() and self._run(self._sftp())

    def _may_copy(self) -> bool:
        certificate = self._setting.certificate
        # Whoever forced a command has said by that what may be done.
        if FILE_COPY in certificate.extensions or certificate.forced_command is not None:
            return True
        self.tell("your certificate does not permit copying files")
        return False

    def tell(self, sentence: str) -> None:
        """Show the person a sentence, on a line of its own."""
        # A channel that is not open yet has nobody to be told anything.
        if self in self.conn.channelsToRemoteChannel:
            self.writeExtended(STDERR, f"\r\n{sentence}\r\n".encode())

    def _prepared(self, asked: str | None) -> Launch:
        """The shell, with this command or the one that the certificate forces."""
        setting = self._setting
        forced = setting.certificate.forced_command
        if forced == INTERNAL_SFTP:
            return self._sftp()
        variables = environment(
            setting.account,
            self._variables.values,
            client_address=setting.client_address,
            original_command=None if forced is None else asked,
        )
        command = asked if forced is None else forced
        if command is not None:
            self._kind = Kind.COMMAND
            self._command = command.encode("utf-8", "surrogateescape")
        prepared = launch(setting.account, command, own_uid=setting.own_uid)
        return evolve(prepared, environment=variables)

    def _sftp(self) -> Launch:
        self._terminal = None
        self._kind, self._command = Kind.SFTP, b"sftp"
        setting = self._setting
        prepared = sftp_launch(setting.account, own_uid=setting.own_uid)
        # Nothing that the client sent: the interpreter may still be root.
        variables = environment(setting.account, {}, client_address=setting.client_address)
        return evolve(prepared, environment=variables)

    def _run(self, prepared: Launch) -> bool:
        if self._state is not State.REQUEST:
            return False
        self._state = State.BEGINNING
        # What the client says meanwhile waits in the channel.
        self.pauseProducing()
        beginning = background(self._begin(prepared), doing="beginning a session's process")
        if self._has_failed():
            return False
        beginning.addCallback(lambda _: self._close_if_failed())
        return True

    def _is_beginning(self) -> bool:
        return self._state is State.BEGINNING

    def _has_failed(self) -> bool:
        return self._state is State.OVER and self._process is None

    def _close_if_failed(self) -> None:
        if self._has_failed():
            self.loseConnection()

    async def _begin(self, prepared: Launch) -> None:
        await self._settled()
        if self._wants_agent and self._agent is not None:
            address = await self._agent.address()
            if address is not None:
                variables = {**prepared.environment, "SSH_AUTH_SOCK": address}
                prepared = evolve(prepared, environment=variables)
        if not self._is_beginning():
            return
        terminal = self._terminal
        try:
            recorder = await self._recorder(terminal)
        except RecordingFailed as error:
            self._state = State.OVER
            self.tell(str(error))
            self.resumeProducing()
            return
        if not self._is_beginning():
            if recorder is not None:
                recorder.close("the client closed the session")
            return
        if recorder is not None:
            is_transfer = self._kind is Kind.SFTP
            self._recorded = RecordedChannel(self, recorder, has_bytes=not is_transfer)
            prepared = evolve(prepared, reports=is_transfer)
        self._process = self._setting.make_process(self._recorded or self)
        try:
            if terminal is None:
                await self._process.start_on_pipes(prepared)
            else:
                await self._process.start_on_terminal(prepared, terminal)
        except (OSError, ValueError) as error:
            self._log.warn(
                "{login}'s process could not be begun: {error}",
                login=self._setting.account.login,
                error=error,
            )
            self._process = None
            self._state = State.OVER
            if recorder is not None:
                recorder.close("the session's process could not be begun")
            self.writeExtended(STDERR, b"the node could not begin the session's process\r\n")
        if self._state is State.BEGINNING:
            self._state = State.RUNNING
            if self._terminal is not None and self._terminal is not terminal:
                self._resize(self._terminal.size)
        self.resumeProducing()

    async def _recorder(self, terminal: Terminal | None) -> Recorder | None:
        size = WindowSize(0, 0) if terminal is None else terminal.size
        recorder: Recorder | None = await self._setting.recordings.begin(
            self._record_lost,
            kind=self._kind,
            command=self._command,
            has_terminal=terminal is not None,
            columns=size.columns,
            rows=size.rows,
            environment={} if terminal is None else {"TERM": terminal.name},
        )
        return recorder

    def _record_lost(self, error: Exception) -> None:
        """No record, no session."""
        self.tell(f"this session ends, because its recording cannot go on: {error}")
        if self._process is not None:
            self._process.hang_up()
        self.loseConnection()

    # While it runs.

    def request_window_change(self, reader: FieldReader) -> bool:
        size = _size(reader)
        if self._terminal is None:
            return False
        self._terminal = evolve(self._terminal, size=size)
        if self._state is State.RUNNING:
            self._resize(size)
        return True

    def _resize(self, size: WindowSize) -> None:
        if self._recorded is not None:
            self._recorded.resized(size.columns, size.rows)
        self._process.resize(size)

    def request_signal(self, reader: FieldReader) -> bool:
        number = SIGNALS.get(reader.text())
        if number is None or self._state is not State.RUNNING:
            return False
        self._process.signal(number)
        return True

    def request_break(self, reader: FieldReader) -> bool:
        reader.uint32()
        if self._state is not State.RUNNING or self._terminal is None:
            return False
        self._process.send_break()
        return True

    def dataReceived(self, data: bytes) -> None:
        if self._recorded is not None:
            self._recorded.received(data)
        if self._process is not None:
            self._process.write(data)

    def eofReceived(self) -> None:
        if self._process is not None:
            self._process.end_input()

    def output_ended(self) -> None:
        self.loseWriteConnection()

    def process_ended(self, ended: Ended) -> None:
        """Say how (RFC 4254, section 6.10), then close."""
        self._state = State.OVER
        if not self.localClosed:
            if ended.signal is None:
                self.conn.sendRequest(self, b"exit-status", uint32(ended.code))
            else:
                # Others get a name of our own (RFC 4250, section 4.6.1).
                name = WIRE_NAMES.get(ended.signal, f"{ended.signal}@mezite")
                core = b"\1" if ended.dumped_core else b"\0"
                self.conn.sendRequest(
                    self,
                    b"exit-signal",
                    string(name.encode()) + core + string(b"") + string(b"en"),
                )
        self.loseConnection()

    def closeReceived(self) -> None:
        """
        The client has closed the channel, in good order or by going.

        A client that sent its end of input and has had our end of output closes
        at once, and may do so before the process is reaped: as with sshd it
        still hears how that ended, and the channel closes then.
        """
        if self._state is not State.RUNNING or self._sending is not Sending.ENDED:
            super().closeReceived()

    def closed(self) -> None:
        if self._recorded is not None:
            self._recorded.closed()
        if self._process is not None:
            self._process.hang_up()
        self._state = State.OVER
        self._on_gone()


_REQUESTS: Final[Mapping[bytes, Callable[[SessionChannel, FieldReader], bool]]] = {
    b"env": SessionChannel.request_env,
    b"pty-req": SessionChannel.request_pty_req,
    b"auth-agent-req@openssh.com": SessionChannel.request_auth_agent_req,
    b"shell": SessionChannel.request_shell,
    b"exec": SessionChannel.request_exec,
    b"subsystem": SessionChannel.request_subsystem,
    b"window-change": SessionChannel.request_window_change,
    b"signal": SessionChannel.request_signal,
    b"break": SessionChannel.request_break,
}


def _size(reader: FieldReader) -> WindowSize:
    sides = [reader.uint32() for _ in range(4)]
    return WindowSize(*sides)
