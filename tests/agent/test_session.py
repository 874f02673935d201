from __future__ import annotations

import signal
import sys
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.conch.error import ConchError
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.accounts import Account
from mezite.agent.childprocess import Ended
from mezite.agent.session import COMMAND_LENGTH, SessionChannel, SessionSetting
from mezite.agent.shell import WindowSize
from mezite.identity.rolesdoc import Recording
from mezite.identity.sshcert import UserCertificate
from mezite.names import LoginName, UserName
from mezite.recording.events import (
    Exited,
    Header,
    Input,
    Kind,
    Note,
    Output,
    Resized,
    Stream,
)
from mezite.recording.recorder import HIGH
from mezite.recording.recordings import SessionRecord, SessionRecordings
from mezite.ssh.error import SshProtocolError
from mezite.ssh.fields import string, uint32
from mezite.ssh.sftpreports import report
from tests.doubles.processes import PlayedProcess
from tests.doubles.recordings import Disk, recordings_below
from tests.doubles.threads import HeldThreads
from tests.ssh.pair import HearingChannel, Pair

ADA = Account(LoginName.parse("ada"), 1000, 1000, (1000, 20), "/home/ada", "/bin/bash")
CERTIFICATE = UserCertificate(
    user=UserName.parse("ada"),
    key_id="ada",
    serial=1,
    principals=frozenset({"ada"}),
    valid_after=0,
    valid_before=1,
    critical_options={},
    extensions=frozenset({"permit-pty", "permit-port-forwarding", "permit-file-copy@mezite"}),
    public_blob=b"",
)


class PlayedAgent:
    """A forwarded agent whose socket is there when the test says so."""

    def __init__(self) -> None:
        self.asked: Deferred[str | None] = Deferred()

    def address(self) -> Deferred[str | None]:
        return self.asked


class AskingChannel(HearingChannel):
    """A client's session that notes the requests which come to it."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[tuple[bytes, bytes]] = []

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        self.requests.append((requestType, data))
        return False


def pty_req(name: bytes = b"xterm", modes: bytes = b"\0") -> bytes:
    return string(name) + b"".join(map(uint32, (80, 24, 640, 480))) + string(modes)


class SessionTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.processes: list[PlayedProcess] = []
        self.fails: OSError | None = None
        self.gone = 0
        self.record = SessionRecord()
        self.recordings, self.spooled = recordings_below(self.mktemp())
        self.setting = SessionSetting(
            make_process=self._make,
            account=ADA,
            certificate=CERTIFICATE,
            own_uid=0,
            client_address="192.0.2.7:4711",
            accept_env=("LANG", "LC_*"),
            session_id="s1",
            recordings=SessionRecordings(self.recordings, self.record, Header(0, session="s1")),
        )
        self.begin()

    def begin(self, *, agent: Any = None, **changes: Any) -> None:
        setting = evolve(self.setting, **changes)
        self.pair = Pair(
            make_channel=lambda: SessionChannel(setting, self._gone, agent=agent)
        ).connect()
        self.channel = AskingChannel()
        self.pair.open(self.channel)

    def _make(self, channel: Any) -> PlayedProcess:
        self.processes.append(PlayedProcess(channel, self.fails))
        return self.processes[-1]

    def _gone(self) -> None:
        self.gone += 1

    def ask(self, name: bytes, data: bytes = b"") -> bool:
        asked = self.pair.connection.sendRequest(self.channel, name, data, wantReply=1)
        self.pair.pump.flush()
        if self.pair.client.disconnecting:
            self.failureResultOf(asked)
            raise SshProtocolError("ended")
        answer: list[bool] = []
        asked.addCallbacks(lambda _: answer.append(True), lambda failure: self._no(failure, answer))
        return answer[0]

    @staticmethod
    def _no(failure: Any, answer: list[bool]) -> None:
        failure.trap(ConchError)
        answer.append(False)


class BeginningTests(SessionTestCase):
    """Requests before a process runs."""

    def test_exec(self) -> None:
        """A command is given to the account's shell."""
        self.assertTrue(self.ask(b"exec", string(b"uname -a")))
        launched = self.processes[0].launched
        assert launched is not None
        self.assertEqual(launched.executable, "/bin/bash")
        self.assertEqual(list(launched.arguments), ["bash", "-c", "uname -a"])
        self.assertEqual(launched.directory, "/home/ada")
        self.assertEqual(launched.become, ADA)
        self.assertEqual(launched.environment["HOME"], "/home/ada")

    def test_shell(self) -> None:
        """A shell is a login shell, on a terminal if one was asked for."""
        self.assertTrue(self.ask(b"pty-req", pty_req(modes=b"\x35" + uint32(0) + b"\0")))
        self.assertTrue(self.ask(b"shell"))
        process = self.processes[0]
        assert process.launched is not None
        assert process.terminal is not None
        self.assertEqual(list(process.launched.arguments), ["-bash"])
        self.assertEqual(process.terminal.name, "xterm")
        self.assertEqual(process.terminal.size, WindowSize(80, 24, 640, 480))
        self.assertEqual(process.terminal.modes, {53: 0})

    def test_not_root(self) -> None:
        """An agent that is not root changes to nobody."""
        self.begin(own_uid=1000)
        self.assertTrue(self.ask(b"exec", string(b"id")))
        assert self.processes[0].launched is not None
        self.assertIsNone(self.processes[0].launched.become)

    def test_sftp(self) -> None:
        """The SFTP server is a child that becomes the account itself, on pipes."""
        self.assertTrue(self.ask(b"env", string(b"LANG") + string(b"evil")))
        self.assertTrue(self.ask(b"pty-req", pty_req()))
        self.assertTrue(self.ask(b"subsystem", string(b"sftp")))
        process = self.processes[0]
        assert process.launched is not None
        self.assertEqual(
            list(process.launched.arguments),
            [sys.executable, "-I", "-m", "mezite.agent.sftp", "--become", "ada"],
        )
        self.assertIsNone(process.launched.become)
        self.assertIsNone(process.terminal)
        self.assertNotIn("LANG", process.launched.environment)

    def test_other_subsystem(self) -> None:
        """There is no other subsystem."""
        self.assertFalse(self.ask(b"subsystem", string(b"netconf")))

    def test_environment(self) -> None:
        """Variables are taken if their names are accepted, and before the process."""
        self.assertTrue(self.ask(b"env", string(b"LC_ALL") + string(b"C.UTF-8")))
        self.assertFalse(self.ask(b"env", string(b"LD_PRELOAD") + string(b"evil.so")))
        self.assertTrue(self.ask(b"shell"))
        self.assertFalse(self.ask(b"env", string(b"LC_ALL") + string(b"late")))
        assert self.processes[0].launched is not None
        environment = self.processes[0].launched.environment
        self.assertEqual(environment["LC_ALL"], "C.UTF-8")
        self.assertNotIn("LD_PRELOAD", environment)

    def test_no_terminal_permitted(self) -> None:
        """A certificate without permit-pty gets no terminal, but runs commands."""
        self.begin(certificate=evolve(CERTIFICATE, extensions=frozenset()))
        self.assertFalse(self.ask(b"pty-req", pty_req()))
        self.assertTrue(self.ask(b"exec", string(b"true")))
        self.assertIsNone(self.processes[0].terminal)

    def test_only_once(self) -> None:
        """A session has one process and one terminal."""
        self.assertTrue(self.ask(b"pty-req", pty_req()))
        self.assertFalse(self.ask(b"pty-req", pty_req()))
        self.assertTrue(self.ask(b"shell"))
        self.assertFalse(self.ask(b"shell"))
        self.assertFalse(self.ask(b"exec", string(b"true")))
        self.assertFalse(self.ask(b"subsystem", string(b"sftp")))
        self.assertEqual(len(self.processes), 1)

    def test_unknown(self) -> None:
        """What is unknown is refused, and changes nothing."""
        for name in (b"x11-req", b"auth-agent-req@openssh.com", b"\xff", b"__init__", b"env\0"):
            self.assertFalse(self.ask(name))
        self.assertTrue(self.ask(b"shell"))

    def test_cannot_begin(self) -> None:
        """A process that cannot be begun is a refusal, with a sentence."""
        self.fails = OSError(12, "Cannot allocate memory")
        self.assertFalse(self.ask(b"shell"))
        self.assertIn(b"could not begin", self.channel.extra)

    def test_agent(self) -> None:
        """A session that asks for the agent begins when its socket is there."""
        agent = PlayedAgent()
        self.begin(agent=agent)
        self.assertTrue(self.ask(b"auth-agent-req@openssh.com"))
        self.assertTrue(self.ask(b"pty-req", pty_req()))
        self.assertTrue(self.ask(b"shell"))
        self.assertFalse(self.ask(b"auth-agent-req@openssh.com"))
        change = b"".join(map(uint32, (100, 50, 0, 0)))
        self.assertTrue(self.ask(b"window-change", change))
        self.assertFalse(self.ask(b"signal", string(b"TERM")))
        self.channel.write(b"ls\r")
        self.pair.pump.flush()
        self.assertEqual(self.processes, [])
        agent.asked.callback("/tmp/agent")
        [process] = self.processes
        assert process.launched is not None
        assert process.terminal is not None
        self.assertEqual(process.launched.environment["SSH_AUTH_SOCK"], "/tmp/agent")
        self.assertEqual(process.terminal.size, WindowSize(100, 50))
        self.assertEqual(process.heard, b"ls\r")

    def test_no_agent(self) -> None:
        """Where there is no socket, the session does without."""
        agent = PlayedAgent()
        self.begin(agent=agent)
        agent.asked.callback(None)
        self.assertTrue(self.ask(b"auth-agent-req@openssh.com"))
        self.assertTrue(self.ask(b"shell"))
        assert self.processes[0].launched is not None
        self.assertNotIn("SSH_AUTH_SOCK", self.processes[0].launched.environment)

    def test_gone_before(self) -> None:
        """A client that goes before the process has begun leaves none behind."""
        agent = PlayedAgent()
        self.begin(agent=agent)
        self.ask(b"auth-agent-req@openssh.com")
        self.ask(b"shell")
        self.channel.loseConnection()
        self.pair.pump.flush()
        agent.asked.callback("/tmp/agent")
        self.assertEqual(self.processes, [])
        self.assertEqual(self.gone, 1)

    def force(self, command: bytes) -> None:
        self.begin(certificate=evolve(CERTIFICATE, critical_options={"force-command": command}))

    def test_forced(self) -> None:
        """A certificate's command is run whatever was asked for, which it can read."""
        self.force(b"/usr/bin/backup --all")
        self.assertTrue(self.ask(b"exec", string(b"rm -rf /")))
        self.force(b"/usr/bin/backup --all")
        self.assertTrue(self.ask(b"shell"))
        asked_for, nothing = (process.launched for process in self.processes)
        assert asked_for is not None
        assert nothing is not None
        for launched in (asked_for, nothing):
            self.assertEqual(list(launched.arguments), ["bash", "-c", "/usr/bin/backup --all"])
        self.assertEqual(asked_for.environment["SSH_ORIGINAL_COMMAND"], "rm -rf /")
        self.assertNotIn("SSH_ORIGINAL_COMMAND", nothing.environment)

    def test_forced_and_files(self) -> None:
        """With a forced command there is no file transfer, unless that is what is forced."""
        self.force(b"/usr/bin/backup")
        self.assertFalse(self.ask(b"subsystem", string(b"sftp")))
        for name, data in (
            (b"subsystem", string(b"sftp")),
            (b"shell", b""),
            (b"exec", string(b"id")),
        ):
            self.force(b"internal-sftp")
            self.assertTrue(self.ask(name, data))
            launched = self.processes[-1].launched
            assert launched is not None
            self.assertIn("mezite.agent.sftp", launched.arguments)
        # Options of it are not known here, and what is not known is not left out.
        self.force(b"internal-sftp -R")
        self.assertFalse(self.ask(b"subsystem", string(b"sftp")))

    def test_no_copying(self) -> None:
        """Who may not copy files meets a sentence at each door that copies come through."""
        bare = evolve(CERTIFICATE, extensions=frozenset({"permit-pty"}))
        for name, data in (
            (b"subsystem", string(b"sftp")),
            (b"exec", string(b"scp -t /tmp")),
            (b"exec", string(b"rsync --server -logDtpre.iLsfxCIvu . /tmp")),
        ):
            self.begin(certificate=bare)
            self.assertFalse(self.ask(name, data))
            self.assertEqual(
                bytes(self.channel.extra),
                b"\r\nyour certificate does not permit copying files\r\n",
            )
            self.assertTrue(self.ask(b"exec", string(b"cat scp")))
        self.begin()
        self.assertTrue(self.ask(b"exec", string(b"scp -t /tmp")))

    def test_impossible_commands(self) -> None:
        """Commands that no process can be given are refused."""
        self.assertFalse(self.ask(b"exec", string(b"a\0b")))
        self.assertFalse(self.ask(b"exec", string(b"x" * (COMMAND_LENGTH + 1))))
        self.assertEqual(self.processes, [])

    def test_cut(self) -> None:
        """Requests that end too early break the protocol."""
        for name, data in (
            (b"pty-req", pty_req()),
            (b"exec", string(b"true")),
            (b"env", string(b"LANG") + string(b"C")),
            (b"subsystem", string(b"sftp")),
            (b"window-change", bytes(16)),
            (b"signal", string(b"TERM")),
        ):
            self.begin()
            with self.assertRaises(SshProtocolError):
                self.ask(name, data[:-1])

    @given(st.sampled_from([b"pty-req", b"env", b"exec", b"signal", b"break"]), st.binary())
    @settings(max_examples=40, deadline=None)
    def test_anything(self, name: bytes, data: bytes) -> None:
        """No request makes it fail in a way of its own."""
        channel = SessionChannel(self.setting, self._gone)
        channel.conn = self.pair.connection
        try:
            channel.requestReceived(name, data)
        except SshProtocolError:
            pass


class RunningTests(SessionTestCase):
    """Requests, data and ends while a process runs."""

    def setUp(self) -> None:
        super().setUp()
        self.ask(b"pty-req", pty_req())
        self.ask(b"shell")
        [self.process] = self.processes
        self.served: Any = self.pair.served[0].made[0]

    def test_data(self) -> None:
        """Data goes to the process, and what it says comes back on two ways."""
        self.channel.write(b"ls\r")
        self.pair.pump.flush()
        self.assertEqual(self.process.heard, b"ls\r")
        self.served.write(b"out")
        self.served.writeExtended(1, b"err")
        self.pair.pump.flush()
        self.assertEqual((self.channel.heard, self.channel.extra), (b"out", b"err"))

    def test_signals(self) -> None:
        """The signals of RFC 4254 reach the process, and no others."""
        self.assertTrue(self.ask(b"signal", string(b"USR1")))
        for name in (b"STOP", b"SIGTERM", b"9", b""):
            self.assertFalse(self.ask(b"signal", string(name)))
        self.assertEqual(self.process.signals, [signal.SIGUSR1])

    def test_window_and_break(self) -> None:
        """A terminal can be resized, and a break sent."""
        change = b"".join(map(uint32, (100, 50, 0, 0)))
        self.assertTrue(self.ask(b"window-change", change))
        self.assertEqual(self.process.sizes, [WindowSize(100, 50)])
        self.assertTrue(self.ask(b"break", uint32(500)))
        self.assertEqual(self.process.breaks, 1)

    def test_end_of_input(self) -> None:
        """The end of the client's data is the end of the process's input."""
        self.channel.loseWriteConnection()
        self.pair.pump.flush()
        self.assertTrue(self.process.input_ended)
        self.assertFalse(self.process.hung_up)

    def test_exit(self) -> None:
        """All output, then how it ended, then the close."""
        self.served.write(b"bye")
        self.served.output_ended()
        self.served.process_ended(Ended(7))
        self.pair.pump.flush()
        self.assertEqual(self.channel.requests, [(b"exit-status", uint32(7))])
        self.assertEqual(bytes(self.channel.heard), b"bye")
        self.assertEqual(self.channel.happened, ["open", "eof", "closed"])
        self.assertEqual(self.gone, 1)

    def test_killed(self) -> None:
        """A signal that ended the process is named."""
        self.served.process_ended(Ended(0, signal.SIGSEGV, dumped_core=True))
        self.pair.pump.flush()
        self.assertEqual(
            self.channel.requests,
            [(b"exit-signal", string(b"SEGV") + b"\1" + string(b"") + string(b"en"))],
        )

    def test_killed_by_another(self) -> None:
        """A signal that RFC 4254 does not name has a name of our own."""
        self.served.process_ended(Ended(0, 36))
        self.pair.pump.flush()
        self.assertEqual(self.channel.requests[0][1][:13], string(b"36@mezite"))

    def test_client_closes(self) -> None:
        """When the client closes the channel, the process is hung up."""
        self.channel.loseConnection()
        self.pair.pump.flush()
        self.assertTrue(self.process.hung_up)
        self.assertEqual(self.gone, 1)
        self.served.output_ended()
        self.served.process_ended(Ended(0, signal.SIGHUP))

    def test_client_closes_first(self) -> None:
        """A client that closes because all was said still hears how the process ended."""
        sent: list[bytes] = []
        send = self.served.conn.sendRequest

        def note(channel: Any, name: bytes, data: bytes) -> None:
            sent.append(name + data)
            send(channel, name, data)

        self.patch(self.served.conn, "sendRequest", note)
        self.served.output_ended()
        self.pair.pump.flush()
        self.channel.loseConnection()
        self.pair.pump.flush()
        self.assertFalse(self.process.hung_up)
        self.assertEqual(self.gone, 0)
        self.served.process_ended(Ended(7))
        self.pair.pump.flush()
        self.assertEqual(sent, [b"exit-status" + uint32(7)])
        self.assertEqual(self.gone, 1)

    def test_connection_lost_meanwhile(self) -> None:
        """Whoever closed and went away without waiting leaves no process behind."""
        self.served.output_ended()
        self.channel.loseConnection()
        self.pair.pump.flush()
        self.pair.server.transport.loseConnection()
        self.pair.pump.flush()
        self.assertTrue(self.process.hung_up)
        self.served.process_ended(Ended(0, signal.SIGHUP))

    def test_connection_lost(self) -> None:
        """When the connection goes, the process is hung up."""
        self.pair.server.transport.loseConnection()
        self.pair.pump.flush()
        self.assertTrue(self.process.hung_up)
        self.served.output_ended()
        self.served.process_ended(Ended(0, signal.SIGHUP))


class RecordedTests(SessionTestCase):
    """Sessions and their records."""

    def begin(self, *, agent: Any = None, **changes: Any) -> None:
        changes["recordings"] = SessionRecordings(
            self.recordings, self.record, Header(0, session="s1", user="ada", node="db1")
        )
        super().begin(agent=agent, **changes)

    def strictness(self, mode: Recording, *, has_input: bool = False) -> None:
        self.record = SessionRecord(mode, has_input)
        self.begin()

    def events(self) -> list[Any]:
        return self.spooled.events("s1.1")

    def test_command(self) -> None:
        """A command's record has its name, what it wrote, and how it ended."""
        self.assertTrue(self.ask(b"exec", string(b"uname -a")))
        channel = self.processes[0].channel
        channel.write(b"Linux\n")
        channel.writeExtended(1, b"oh\n")
        channel.process_ended(Ended(0, signal.SIGKILL, True))
        self.pair.pump.flush()
        header, *events = self.events()
        self.assertEqual(
            (header.kind, header.command, header.has_terminal),
            (Kind.COMMAND, b"uname -a", False),
        )
        self.assertEqual(
            events,
            [
                Output(0, b"Linux\n"),
                Output(0, b"oh\n", Stream.ERROR),
                Note(0, "signal", {"name": "KILL", "core": True}),
                Note(0, "totals", {"input": 0, "output": 6, "error": 3}),
                Exited(0, 137),
            ],
        )
        self.assertEqual(self.channel.heard, b"Linux\n")

    def test_shell(self) -> None:
        """A shell's record has its terminal, and what is typed if a role says so."""
        self.strictness(Recording.STRICT, has_input=True)
        self.ask(b"pty-req", pty_req())
        self.ask(b"shell")
        self.channel.write(b"l")
        self.pair.pump.flush()
        self.ask(b"window-change", b"".join(map(uint32, (120, 50, 0, 0))))
        self.processes[0].channel.process_ended(Ended(0))
        header, *events = self.events()
        self.assertEqual(
            (header.kind, header.columns, header.environment),
            (Kind.SHELL, 80, {"TERM": "xterm"}),
        )
        self.assertEqual(events[:2], [Input(0, b"l"), Resized(0, 120, 50)])
        self.assertEqual(bytes(self.processes[0].heard), b"l")

    def test_off(self) -> None:
        """What is not to be recorded leaves nothing behind."""
        self.strictness(Recording.OFF)
        self.ask(b"exec", string(b"true"))
        self.assertIs(self.processes[0].channel.__class__, SessionChannel)
        self.assertEqual(self.spooled.files, {})

    def test_refused(self) -> None:
        """No record, no session, and a sentence; best effort goes on."""
        self.recordings, self.spooled = recordings_below(self.mktemp(), disk=Disk(1))
        self.begin()
        self.ask(b"exec", string(b"true"))
        self.assertEqual(self.processes, [])
        self.assertIn(b"has to be recorded", self.channel.extra)
        self.strictness(Recording.BEST_EFFORT)
        self.assertTrue(self.ask(b"exec", string(b"true")))
        self.assertEqual(len(self.processes), 1)

    def test_lost(self) -> None:
        """A session whose record cannot go on ends, and says why."""
        disk = Disk()
        self.recordings, self.spooled = recordings_below(self.mktemp(), disk=disk)
        self.begin()
        self.ask(b"exec", string(b"yes"))
        disk.room = 1
        self.processes[0].channel.write(b"y\n" * 200_000)
        self.pair.pump.flush()
        self.assertTrue(self.processes[0].hung_up)
        self.assertIn(b"its recording cannot go on", self.channel.extra)
        self.assertEqual(self.gone, 1)

    def test_left(self) -> None:
        """A session that the client closes has an end, whatever its process does."""
        self.ask(b"exec", string(b"nohup sleep 1d"))
        self.channel.loseConnection()
        self.pair.pump.flush()
        self.processes[0].channel.process_ended(Ended(0))
        self.assertIn(Note(0, "ended", {"reason": "the client closed the session"}), self.events())
        self.assertEqual(self.spooled.ends, {"s1.1": None})

    def test_transfer(self) -> None:
        """A transfer's record has its operations, and not its bytes."""
        self.ask(b"subsystem", string(b"sftp"))
        launched = self.processes[0].launched
        assert launched is not None
        self.assertTrue(launched.reports)
        channel = self.processes[0].channel
        channel.write(b"\0\0\0\5")
        done = report("mkdir", {"path": b"/srv/\xff"}, {})
        channel.reported(done[:9])
        channel.reported(done[9:])
        channel.process_ended(Ended(0))
        header, note, caption, *_ = self.events()
        self.assertEqual((header.kind, note.kind), (Kind.SFTP, "sftp.mkdir"))
        self.assertEqual(note.fields["path_bytes"], "L3Nydi//")
        self.assertEqual(caption.text, "mkdir /srv/\N{REPLACEMENT CHARACTER}\r\n")

    def test_broken_report(self) -> None:
        """A transfer whose reports are none cannot go on."""
        self.ask(b"subsystem", string(b"sftp"))
        self.processes[0].channel.reported(b"{}\n")
        self.assertTrue(self.processes[0].hung_up)

    def test_who_holds_up_whom(self) -> None:
        """Either side waits for the other and for the record, whoever is last."""
        threads = HeldThreads([])
        self.recordings, self.spooled = recordings_below(self.mktemp(), threads=threads)
        self.strictness(Recording.STRICT, has_input=True)
        asked = self.pair.connection.sendRequest(self.channel, b"exec", string(b"cat"), wantReply=1)
        self.pair.pump.flush()
        threads.work()
        self.successResultOf(asked)
        tap = self.processes[0].channel
        producer = PlayedProducer()
        tap.registerProducer(producer, True)
        tap.write(bytes(HIGH))
        self.assertEqual(producer.said, ["pause"])
        tap.pauseProducing()
        while threads.held:
            threads.work()
        self.pair.pump.flush()
        self.assertEqual(producer.said[-1], "resume")
        self.channel.write(b"waits for the process")
        self.pair.pump.flush()
        self.assertEqual(bytes(self.processes[0].heard), b"")
        tap.resumeProducing()
        self.assertEqual(bytes(self.processes[0].heard), b"waits for the process")


class PlayedProducer:
    def __init__(self) -> None:
        self.said: list[str] = []

    def pauseProducing(self) -> None:
        self.said.append("pause")

    def resumeProducing(self) -> None:
        self.said.append("resume")

    def stopProducing(self) -> None:
        self.said.append("stop")
