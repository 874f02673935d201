"""Tests of msh scp and msh sftp, up to where the network begins."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.cli import copying, main, sftpcommands, sftpprompt
from mezite.cli.filetransfer import scp, sftp
from mezite.cli.options import Invocation
from mezite.cli.sftpprompt import Completion
from mezite.cli.transferprogress import NoProgress, TerminalProgress, progress_on
from mezite.client import copynodes, places
from mezite.client.copylocal import LocalFiles
from mezite.client.copynodes import CopyNodes, FileThread
from mezite.client.copysides import FileTrouble
from mezite.client.copytree import IMeter, IProgress
from mezite.client.error import NotLoggedIn
from mezite.client.sftpfiles import RemoteFiles
from mezite.client.sftpsession import SftpSession
from mezite.error import BadInput, TimedOut, Unavailable
from mezite.names import LoginName, NodeName
from tests.doubles.logins import Cluster
from tests.doubles.sftp import DirectSftp, at_once


class FakeConnection:
    """A connection to a node that is only counted."""

    def __init__(self) -> None:
        self.connection = self
        self.is_closed = False
        self.lost: Exception | None = None

    def lost_because(self) -> Exception | None:
        return self.lost

    def close(self) -> None:
        self.is_closed = True


class DirectThread:
    """Files, without a thread."""

    def __init__(self, reactor: object) -> None:
        self.run = at_once


class TransferTests(SynchronousTestCase):
    """A login, and nodes whose files are this machine's."""

    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.here = Path(self.mktemp()).absolute()
        self.here.mkdir(parents=True)
        self.patch(places, "home", lambda: str(self.home))
        self.patch(main, "run", self.run_at_once)
        self.dialed: list[tuple[str, str]] = []
        self.connections: list[FakeConnection] = []
        for module in (copying, sftpcommands):
            self.patch(module, "dial_node", self.dial)
            self.patch(module, "FileThread", DirectThread)
        self.patch(copynodes, "begin_sftp", self.begin_sftp)
        cluster = Cluster(time.time())
        cluster.log_in(self.home, "127.0.0.1:3080")

    async def dial(self, reactor: object, profile: object, node: Any, login: Any) -> Any:
        self.dialed.append((node.text, login.text))
        if node.text == "db9":
            raise Unavailable("db9 is not connected")
        self.connections.append(FakeConnection())
        return self.connections[-1]

    async def begin_sftp(self, connection: object, lost_because: object) -> DirectSftp:
        return DirectSftp()

    def run_at_once(self, work: Any) -> Any:
        outcome: list[Any] = []
        Deferred.fromCoroutine(work(Clock())).addBoth(outcome.append)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def invoke(self, command: Any, *arguments: str, given: str | None = None) -> Result:
        self.invocation = Invocation()
        group = click.Group(commands=[scp, sftp])
        return CliRunner().invoke(
            group,
            (command.name, *arguments),
            input=given,
            standalone_mode=False,
            obj=self.invocation,
        )

    def at(self, name: str) -> str:
        return f"{self.here}/{name}"


class ScpTests(TransferTests):
    def test_both_ways(self) -> None:
        """Files go to nodes and come back, by one connection to each node and login."""
        Path(self.at("f")).write_text("f")
        for words in (
            (self.at("f"), f"db1:{self.at('g')}"),
            (f"root@db1:{self.at('g')}", self.at("h")),
            ("--login=root", f"db1:{self.at('g')}", f"web1:{self.at('i')}"),
        ):
            result = self.invoke(scp, *words)
            self.assertEqual((result.return_value, result.output), (0, ""), result.exception)
        self.assertEqual((self.here / "i").read_text(), "f")
        self.assertTrue(all(each.is_closed for each in self.connections))
        self.dialed.clear()
        (self.here / "d").mkdir()
        self.invoke(scp, f"db1:{self.at('f')}", f"db1:{self.at('g')}", f"db1:{self.at('d')}")
        self.assertEqual(len(self.dialed), 1)
        self.assertEqual(sorted(os.listdir(self.here / "d")), ["f", "g"])

    def test_failures(self) -> None:
        """Each trouble is a sentence on standard error, and the status is 1."""
        Path(self.at("f")).write_text("f")
        (self.here / "d").mkdir()
        result = self.invoke(scp, f"db1:{self.at('no')}", f"db1:{self.at('f')}", self.at("d"))
        self.assertEqual(result.return_value, 1)
        self.assertEqual(result.stderr, f"msh: db1:{self.at('no')}: no such file or directory\n")
        self.assertTrue((self.here / "d/f").exists())
        result = self.invoke(scp, self.at("f"), self.at("f"), self.at("none"))
        self.assertEqual(result.return_value, 1)
        self.assertEqual(result.stderr, f"msh: {self.at('none')}: not a directory\n")

    def test_node_away(self) -> None:
        """A node that is away ends it; whatever failed, the program's status is 1."""
        result = self.invoke(scp, f"db1:{self.at('f')}", "db9:")
        self.assertIsInstance(result.exception, Unavailable)
        self.assertEqual(self.invocation.failure_code, 1)
        self.assertTrue(self.connections[0].is_closed)

    def test_refused_before_dialing(self) -> None:
        """What was typed is read to its end before anything is dialed."""
        for words in (
            ("f", "nobody@db1:"),
            ("f", "a b:"),
            ("f", "@db1:"),
            ("db1:f", "nobody@db1:"),
            ("", "db1:"),
        ):
            self.assertIsInstance(self.invoke(scp, *words).exception, BadInput, words)
        self.assertIn("give SRC and DST", str(self.invoke(scp, "f").exception))
        self.assertEqual(self.dialed, [])

    def test_no_login(self) -> None:
        """Without a login there is nothing to copy with."""
        self.patch(places, "home", lambda: self.at("nowhere"))
        self.assertIsInstance(self.invoke(scp, "f", "db1:").exception, NotLoggedIn)

    def test_help(self) -> None:
        """The help has examples, and options of scp that change nothing are taken."""
        output = self.invoke(scp, "--help").output
        self.assertIn("msh scp backup.tar root@db1:/tmp/", output)
        self.assertNotIn("-3", output.replace("root@db1", ""))
        Path(self.at("f")).write_text("f")
        result = self.invoke(scp, "-3BCq", self.at("f"), f"db1:{self.at('g')}")
        self.assertEqual(result.return_value, 0, result.exception)


class SftpTests(TransferTests):
    def batch(self, *lines: str, place: str | None = None, options: Any = ("-b", "-")) -> Result:
        words = (*options, place or f"db1:{self.here}")
        return self.invoke(sftp, *words, given="\n".join(lines) + "\n")

    def test_batch(self) -> None:
        """Commands are echoed and done, until one fails that may not."""
        result = self.batch("pwd", "", "-rm no", "@version", "rm no", "mkdir never")
        self.assertEqual(result.return_value, 1)
        self.assertEqual(
            result.stdout,
            f"sftp> pwd\nRemote working directory: {self.here}\n"
            "sftp> -rm no\nSFTP protocol version 3\nsftp> rm no\n",
        )
        self.assertEqual(result.stderr.count("no such file"), 2)
        self.assertEqual(os.listdir(self.here), [])

    def test_input_that_is_no_batch(self) -> None:
        """Without -b a failure does not end it."""
        result = self.batch("rm no", "frob", "mkdir d", "exit", "mkdir e", options=("-q",))
        self.assertEqual((result.return_value, result.stdout), (0, ""), result.exception)
        self.assertEqual(os.listdir(self.here), ["d"])
        self.assertTrue(self.connections[0].is_closed)

    def test_place(self) -> None:
        """A place is a node, a directory there, or a file to fetch."""
        Path(self.at("f")).write_text("f")
        self.assertIn(os.path.realpath("."), self.batch("pwd", place="db1").stdout)
        result = self.invoke(sftp, f"db1:{self.at('f')}", self.at("g"))
        self.assertEqual(result.return_value, 0, result.exception)
        self.assertEqual((self.here / "g").read_text(), "f")
        self.assertEqual(self.invoke(sftp, f"db1:{self.at('no')}").return_value, 1)
        self.assertIsInstance(self.invoke(sftp, "./x:y").exception, BadInput)

    def test_shell(self) -> None:
        """Local commands run where the session is, and their status is told."""
        result = self.batch(f"lcd {self.here}", "!pwd > out; exit 3")
        self.assertEqual(result.return_value, 1)
        self.assertIn("the command ended with status 3", result.stderr)
        self.assertEqual((self.here / "out").read_text(), f"{self.here}\n")

    def test_connection(self) -> None:
        """What fails before there is a session is 255."""
        self.assertIsInstance(self.batch("pwd", place="db9").exception, Unavailable)
        self.assertEqual(self.invocation.failure_code, 255)

    def test_long_line(self) -> None:
        """A line that does not end is refused, and not read into memory."""
        result = self.batch("ls " + "x" * 200_000)
        self.assertEqual(result.return_value, 1)
        self.assertIn("the line is too long", result.stderr)

    def test_help(self) -> None:
        """The help has examples."""
        self.assertIn("msh sftp -b - web1", self.invoke(sftp, "--help").output)


class CompletionTests(TransferTests):
    def setUp(self) -> None:
        super().setUp()
        for name in ("alpha", "al pha", ".hidden", "dir/inner"):
            path = self.here / name
            path.parent.mkdir(exist_ok=True)
            path.touch()
        session = SftpSession(
            RemoteFiles(DirectSftp(), "db1"),
            LocalFiles(at_once, str(self.here / "dir")),
            *(lambda *_: None,) * 5,  # type: ignore[arg-type]
            width=lambda: None,
            here=str(self.here),
        )
        self.interruptions: list[None] = []
        self.completion = Completion(session, self.wait, lambda: self.interruptions.append(None))

    def wait(self, work: Any) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(work()))

    def test_lines(self) -> None:
        """Commands, and names on the side that the command means."""
        for line, expected in (
            ("pw", ["pwd "]),
            ("re", ["reget ", "rename ", "reput "]),
            ("get al", ["get al\\ pha ", "get alpha "]),
            ("get 'al p", ["get al\\ pha "]),
            ("get d", ["get dir/"]),
            ("get dir/", ["get dir/inner "]),
            ("get -p alpha in", ["get -p alpha inner "]),
            ("put in", ["put inner "]),
            ("put inner al", ["put inner al\\ pha ", "put inner alpha "]),
            ("ls .", ["ls .hidden "]),
            ("rm x", []),
        ):
            self.assertEqual(self.completion.lines(line), expected, line)

    def test_states(self) -> None:
        """Readline is given one after another, and nothing where asking fails."""
        self.assertEqual(self.completion.complete("get al", 0), "get al\\ pha ")
        self.assertEqual(self.completion.complete("get al", 1), "get alpha ")
        self.assertIsNone(self.completion.complete("get al", 2))

        def refuse(work: Any) -> Any:
            raise FileTrouble("no")

        self.completion._wait = refuse
        self.assertIsNone(self.completion.complete("get al", 0))

    def test_interrupted(self) -> None:
        """Ctrl-C while names are looked up reaches the prompt, which readline would not tell."""

        def interrupt(work: Any) -> Any:
            raise KeyboardInterrupt

        self.completion._wait = interrupt
        self.assertIsNone(self.completion.complete("get al", 0))
        self.assertEqual(len(self.interruptions), 1)

    def test_prompt_is_told(self) -> None:
        """The prompt is what the tests of the whole wait for."""
        self.assertEqual(sftpprompt.PROMPT, "sftp> ")


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class ProgressTests(SynchronousTestCase):
    def test_where(self) -> None:
        """Progress is shown on a terminal only, and not if it was unwanted."""
        self.assertIsInstance(progress_on(io.StringIO(), quiet=False), NoProgress)
        self.assertIsInstance(progress_on(Terminal(), quiet=True), NoProgress)
        for shown in (progress_on(Terminal(), quiet=False), NoProgress()):
            self.assertTrue(verifyObject(IProgress, shown))
            self.assertTrue(verifyObject(IMeter, shown.begin("f")))

    def test_shown(self) -> None:
        """Name, share, rate; a name cannot write over the terminal."""
        terminal = Terminal()
        with TerminalProgress(terminal) as progress:
            meter = progress.begin("a\x1b[2Jb[bold]")
            meter.grow(1000)
            meter.advance(1000)
            meter.end()
            progress.say("msh: [a] sentence")
        text = terminal.getvalue()
        self.assertIn("a\N{REPLACEMENT CHARACTER}[2Jb[bold]", text)
        self.assertIn("100%", text)
        self.assertIn("msh: [a] sentence", text)


class CopyNodesTests(SynchronousTestCase):
    def test_one_each(self) -> None:
        """Each node and login has one connection, and what is lost is known."""
        made: list[FakeConnection] = []

        async def dial(node: object, login: object) -> Any:
            made.append(FakeConnection())
            return made[-1]

        async def begin(connection: object, lost_because: object) -> DirectSftp:
            return DirectSftp()

        self.patch(copynodes, "begin_sftp", begin)
        nodes = CopyNodes(Clock(), dial)

        def files(node: str, login: str) -> RemoteFiles:
            asked = nodes.files(NodeName(node), LoginName(login))
            return self.successResultOf(Deferred.fromCoroutine(asked))

        one = files("db1", "root")
        self.assertIs(files("db1", "root"), one)
        self.assertIsNot(files("db1", "ada"), one)
        self.assertIsNot(files("web1", "root"), one)
        self.assertEqual(len(made), 3)
        self.assertIsNone(nodes.lost_because())
        made[1].lost = Unavailable("gone")
        self.assertIs(nodes.lost_because(), made[1].lost)
        nodes.close()
        self.assertTrue(all(each.is_closed for each in made))

    def test_silence(self) -> None:
        """A node that does not start its SFTP server is given up."""

        async def dial(node: object, login: object) -> Any:
            return FakeConnection()

        async def begin(connection: object, lost_because: object) -> Any:
            await Deferred()

        self.patch(copynodes, "begin_sftp", begin)
        clock = Clock()
        nodes = CopyNodes(clock, dial)
        asked = Deferred.fromCoroutine(nodes.files(NodeName("db1"), LoginName("root")))
        clock.advance(copynodes.BEGIN_SECONDS)
        self.assertEqual(
            str(self.failureResultOf(asked, TimedOut).value),
            "starting SFTP on db1 took longer than 30 s",
        )


class FileThreadTests(SynchronousTestCase):
    def test_order(self) -> None:
        """What is asked for is done in its order, and failures come back as such."""
        from queue import SimpleQueue

        calls: SimpleQueue[Any] = SimpleQueue()

        class Reactor:
            def callFromThread(self, function: Any, *arguments: Any) -> None:
                calls.put((function, arguments))

        thread = FileThread(Reactor())
        done: list[int] = []
        results = [thread.run(lambda n=n: done.append(n) or n) for n in range(20)]
        results.append(thread.run(lambda: 1 // 0))
        for _ in results:
            function, arguments = calls.get(timeout=10)
            function(*arguments)
        self.assertEqual([self.successResultOf(each) for each in results[:-1]], list(range(20)))
        self.failureResultOf(results[-1], ZeroDivisionError)
        self.assertEqual(done, list(range(20)))
