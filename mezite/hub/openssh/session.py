"""
A session channel to a server without an agent: what may be asked of it, and its recording.

A :class:`SessionHalf` is the user's half of the pair. It holds the user to what
their certificate permits, and begins the recording before the server is asked
for a shell, a command or a transfer.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from signal import Signals
from typing import Any, Final

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mezite.hub.openssh.relay import DONE, Answer, RelayedChannel
from mezite.hub.openssh.sftptap import SftpTap, Unfollowable
from mezite.identity.grants import AGENT_FORWARDING, FILE_COPY, PTY
from mezite.identity.sshcert import UserCertificate
from mezite.recording.error import RecordingFailed
from mezite.recording.events import Kind, Stream
from mezite.recording.recorder import Recorder
from mezite.recording.recordings import SessionRecordings
from mezite.ssh.channel import STDERR
from mezite.ssh.fields import FieldReader
from mezite.ssh.filecopy import copies_files

# As OpenSSH's; what is longer no kernel takes for a command.
COMMAND_LENGTH: Final = 128 * 1024 - 1
_TERMINAL_NAME_LENGTH: Final = 64
_KILLED: Final = 128


class State(enum.Enum):
    """What the user may still ask for."""

    REQUEST = enum.auto()
    BEGINNING = enum.auto()
    RUNNING = enum.auto()


@frozen
class SessionSetting:
    """What all sessions of one connection have in common."""

    certificate: UserCertificate
    recordings: SessionRecordings

    def permits(self, extension: str) -> bool:
        return extension in self.certificate.extensions


@frozen
class _Terminal:
    name: str = ""
    columns: int = 0
    rows: int = 0


@frozen
class _Asked:
    """What the session is for."""

    kind: Kind
    command: bytes | None = None


class ServerHalf(RelayedChannel):
    """The half of a session towards the server, which says how the process ended."""

    def __init__(self, user: SessionHalf) -> None:
        super().__init__(b"session")
        self._user = user

    def answer(self, name: bytes, data: bytes) -> Answer:
        if name == b"exit-status":
            reader = FieldReader(data)
            self._user.ended = (reader.uint32(), None, False)
        elif name == b"exit-signal":
            reader = FieldReader(data)
            self._user.ended = _killed(reader.text(), reader.boolean())
        elif name not in (b"eow@openssh.com", b"xon-xoff"):
            # A keepalive among others; it is the hub that is alive.
            return None
        return self.tell_across(name, data)


class SessionHalf(RelayedChannel):
    """
    :param settled: fires when what was asked for before is there, so that a
        command finds what ``ssh -R`` was to listen on.
    :param on_agent: called when the server was told that an agent is forwarded.
    """

    _log = Logger()

    def __init__(
        self,
        setting: SessionSetting,
        back: Any,
        settled: Callable[[], Deferred[None]],
        on_agent: Callable[[], None],
    ) -> None:
        super().__init__(b"session")
        self._setting = setting
        self._back = back
        self._settled = settled
        self._on_agent = on_agent
        self._state = State.REQUEST
        self._terminal: _Terminal | None = None
        self._recorder: Recorder | None = None
        self._transfer: SftpTap | None = None
        self._beginning: Deferred[bytes | None] | None = None
        # Why nothing begins, although it was answered yes.
        self._refusal: str | None = None
        # Status, the name of the signal if one killed the process, and whether it dumped core.
        self.ended: tuple[int, str | None, bool] | None = None

    def open_requested(self, data: bytes) -> Deferred[None]:
        across = ServerHalf(self)
        return Deferred.fromCoroutine(self.open_across(across, self._back, data))

    def tell(self, sentence: str) -> None:
        """Show the person a sentence, on a line of its own."""
        if self in self.conn.channelsToRemoteChannel:
            self.writeExtended(STDERR, f"\r\n{sentence}\r\n".encode())

    def pass_close(self) -> None:
        # A client closes as soon as both directions are over. The server is about to close
        # by itself then, and says before how the process ended.
        if self.other is None or not self.other.has_ended:
            super().pass_close()

    # What the user asks for.

    def asked(self, name: bytes, data: bytes, *, wants_reply: bool) -> None:
        super().asked(name, data, wants_reply=wants_reply)
        beginning, self._beginning = self._beginning, None
        if beginning is not None:
            # Once the answer is sent: whoever is answered no does not listen to why.
            beginning.addCallback(lambda _: self._refuse())

    def _refuse(self) -> None:
        if self._refusal is not None:
            self.tell(self._refusal)
            self.finish()

    def answer(self, name: bytes, data: bytes) -> Answer:
        ask = _REQUESTS.get(name)
        return None if ask is None else ask(self, name, data)

    def request_anything(self, name: bytes, data: bytes) -> Answer:
        return self.pass_across(name, data)

    def request_pty(self, name: bytes, data: bytes) -> Answer:
        reader = FieldReader(data)
        terminal = reader.string()
        columns, rows = reader.uint32(), reader.uint32()
        if self._state is not State.REQUEST or self._terminal is not None:
            return None
        if not self._setting.permits(PTY) or len(terminal) > _TERMINAL_NAME_LENGTH:
            return None
        self._terminal = _Terminal(terminal.decode("utf-8", "replace"), columns, rows)
        return self.ask_across(name, data)

    def request_window_change(self, name: bytes, data: bytes) -> Answer:
        reader = FieldReader(data)
        columns, rows = reader.uint32(), reader.uint32()
        if self._recorder is not None:
            self._recorder.resized(columns, rows)
        return self.tell_across(name, data)

    def request_agent(self, name: bytes, data: bytes) -> Answer:
        if self._state is not State.REQUEST or not self._setting.permits(AGENT_FORWARDING):
            return None
        self._on_agent()
        return self.ask_across(name, data)

    def request_shell(self, name: bytes, data: bytes) -> Answer:
        return self._begun(_Asked(Kind.SHELL), name, data)

    def request_exec(self, name: bytes, data: bytes) -> Answer:
        command = FieldReader(data).string()
        if len(command) > COMMAND_LENGTH or b"\0" in command:
            return None
        if copies_files(command.decode("utf-8", "surrogateescape")) and not self._may_copy():
            return None
        return self._begun(_Asked(Kind.COMMAND, command), name, data)

    def request_subsystem(self, name: bytes, data: bytes) -> Answer:
        subsystem = FieldReader(data).string()
        if subsystem == b"sftp":
            if not self._may_copy():
                return None
            return self._begun(_Asked(Kind.SFTP, b"sftp"), name, data)
        return self._begun(_Asked(Kind.COMMAND, b"subsystem " + subsystem[:255]), name, data)

    def _may_copy(self) -> bool:
        certificate = self._setting.certificate
        # Whoever forced a command has said by that what may be done.
        if self._setting.permits(FILE_COPY) or certificate.forced_command is not None:
            return True
        self.tell("your certificate does not permit copying files")
        return False

    # How it begins.

    def _begun(self, asked: _Asked, name: bytes, data: bytes) -> Answer:
        if self._state is not State.REQUEST:
            return None
        self._state = State.BEGINNING
        forced = self._setting.certificate.forced_command
        if forced is not None:
            # The server runs that, whatever it is asked for.
            kind = Kind.SFTP if forced == "internal-sftp" else Kind.COMMAND
            asked = _Asked(kind, forced.encode("utf-8", "surrogateescape"))
        # What the user says meanwhile waits in the channel.
        self.hold("the beginning")
        self._beginning = Deferred.fromCoroutine(self._begin(asked, name, data))
        return self._beginning

    async def _begin(self, asked: _Asked, name: bytes, data: bytes) -> bytes | None:
        await self._settled()
        terminal = self._terminal
        if asked.kind is Kind.SFTP:
            terminal = None
        shown = terminal or _Terminal()
        try:
            recorder = await self._setting.recordings.begin(
                self._record_lost,
                kind=asked.kind,
                command=asked.command,
                has_terminal=terminal is not None,
                columns=shown.columns,
                rows=shown.rows,
                environment={} if terminal is None else {"TERM": shown.name},
            )
        except RecordingFailed as error:
            self._refusal = str(error)
            return DONE
        if recorder is not None:
            self._record(recorder, asked.kind)
        if self.other is None or self.localClosed:
            self.gone()
            return None
        self._state = State.RUNNING
        asking: Any = self.ask_across(name, data)
        answered: bytes | None = await asking if isinstance(asking, Deferred) else asking
        self.release("the beginning")
        return answered

    # What is recorded.

    def _record(self, recorder: Recorder, kind: Kind) -> None:
        assert self.other is not None
        self._recorder = recorder
        recorder.on_pressure = self._press
        if kind is Kind.SFTP:
            self._transfer = SftpTap(
                lambda report: recorder.note(report.kind, report.fields, report.caption)
            )
        self.tap, self.other.tap = self._from_user, self._from_server

    def _from_user(self, kind: int, data: bytes) -> None:
        assert self._recorder is not None
        if self._transfer is None:
            self._recorder.input(data)
        else:
            self._follow(self._transfer.asked, data)

    def _from_server(self, kind: int, data: bytes) -> None:
        assert self._recorder is not None
        if kind != 0:
            self._recorder.output(data, Stream.ERROR)
        elif self._transfer is None:
            self._recorder.output(data)
        else:
            self._follow(self._transfer.answered, data)

    def _follow(self, follow: Callable[[bytes], None], data: bytes) -> None:
        assert self._recorder is not None
        try:
            follow(data)
        except Unfollowable as error:
            self._recorder.fail(error)

    def _press(self, is_high: bool) -> None:
        halves: list[RelayedChannel | None] = [self.other]
        if self._recorder is not None and self._recorder.has_input:
            halves.append(self)
        for half in halves:
            if half is not None and is_high:
                half.hold("the record")
            elif half is not None:
                half.release("the record")

    def _record_lost(self, error: Exception) -> None:
        """No record, no session."""
        self.tell(f"this session ends, because its recording cannot go on: {error}")
        if self.other is not None:
            self.other.abortConnection()
        self.finish()

    def gone(self) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        if self._transfer is not None:
            transfer, self._transfer = self._transfer, None
            transfer.close()
        if self.ended is None:
            recorder.close("the client closed the session")
        else:
            status, signal, dumped_core = self.ended
            recorder.exited(status, signal, dumped_core=dumped_core)


def _killed(name: str, dumped_core: bool) -> tuple[int, str | None, bool]:
    number = getattr(Signals, f"SIG{name}", None)
    return (_KILLED + (0 if number is None else int(number)), name[:32], dumped_core)


_Ask = Callable[[SessionHalf, bytes, bytes], Answer]
_REQUESTS: Final[Mapping[bytes, _Ask]] = {
    b"env": SessionHalf.request_anything,
    b"pty-req": SessionHalf.request_pty,
    b"auth-agent-req@openssh.com": SessionHalf.request_agent,
    b"shell": SessionHalf.request_shell,
    b"exec": SessionHalf.request_exec,
    b"subsystem": SessionHalf.request_subsystem,
    b"window-change": SessionHalf.request_window_change,
    b"signal": SessionHalf.request_anything,
    b"break": SessionHalf.request_anything,
    b"eow@openssh.com": SessionHalf.tell_across,
}
