"""Tests of the command line of msh ssh, up to where the network begins."""

from __future__ import annotations

import getpass
import os
import sys
from typing import Any

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from mezite.cli import background, main, remote, severalnodes
from mezite.cli.logins import choose_login
from mezite.cli.msh import msh
from mezite.cli.remote import Visit, command_of, request_of, visit_of
from mezite.cli.sshoptions import SshOptions, Terminal
from mezite.client.error import LoginExpired
from mezite.client.forwardspec import parse_dynamic, parse_local, parse_remote
from mezite.client.profile import Profile
from mezite.client.several import Errand
from mezite.error import BadInput
from mezite.names import LoginName, NodeName
from tests.cli.test_msh import MshTests


class SshTests(MshTests):
    def setUp(self) -> None:
        super().setUp()
        self.ran: list[tuple[Any, LoginName, Visit]] = []

        async def run_on_node(
            reactor: object,
            profile: Profile,
            node: Any,
            login: LoginName,
            visit: Visit,
            on_ready: Any,
        ) -> int:
            self.ran.append((node, login, visit))
            return 7

        self.patch(remote, "run_on_node", run_on_node)
        self.patch(getpass, "getuser", lambda: "ada")
        self.log_in()

    def visit(self, *arguments: str) -> Visit:
        result = self.invoke("ssh", *arguments)
        self.assertIsNone(result.exception, result.exception)
        return self.ran.pop()[2]

    def test_spellings(self) -> None:
        """The login stands before the node, or after an option; the command is left as it is."""
        for arguments in (
            ["root@db1", "ls", "-l", "--help"],
            ["-l", "root", "db1", "ls", "-l", "--help"],
            ["-lroot", "db1", "ls", "-l", "--help"],
            ["--login=root", "DB1.hub.example.com", "ls", "-l", "--help"],
            ["-l", "root", "--", "db1", "ls", "-l", "--help"],
            ["db1", "-l", "root", "ls", "-l", "--help"],
            ["db1", "-l", "root", "--", "ls", "-l", "--help"],
            ["-o", "User=root", "db1", "ls", "-l", "--help"],
        ):
            result = self.invoke("ssh", *arguments)
            self.assertEqual(result.return_value, 7, result.exception)
            node, login, visit = self.ran.pop()
            self.assertEqual((node, login), (NodeName("db1"), LoginName("root")))
            assert visit.request is not None
            self.assertEqual(visit.request.command, b"ls -l --help")
            self.assertIsNone(visit.request.pty)

    def test_forwards(self) -> None:
        """Forwards are gathered from options and settings, alone or in one cluster."""
        visit = self.visit(
            "-NTL", "8080:web:80", "-R0:a:1", "-D", "1080", "-o", "LocalForward 81 web:81", "db1"
        )
        self.assertIsNone(visit.request)
        self.assertEqual(
            list(visit.local),
            [parse_local("81:web:81"), parse_local("8080:web:80"), parse_dynamic("1080")],
        )
        self.assertEqual(list(visit.remote), [parse_remote("0:a:1")])
        gateway = self.visit("-g", "-L", "1:a:1", "-L", "h:2:a:2", "-N", "db1")
        self.assertEqual(list(gateway.local), [parse_local("*:1:a:1"), parse_local("h:2:a:2")])

    def test_what_ssh_takes_as_well(self) -> None:
        """What other programs give to ssh is accepted, and named with -v only."""
        arguments = [
            "-p",
            "22",
            "-x",
            "-o",
            "StrictHostKeyChecking=no",
            "-4",
            "-C",
            "-i",
            "k",
            "db1",
        ]
        self.assertEqual(self.invoke("ssh", *arguments, "true").stderr, "")
        said = self.invoke("ssh", "-v", *arguments, "true").stderr
        self.assertEqual(
            said,
            "msh: of no meaning here, and left aside:"
            " -o StrictHostKeyChecking, -p, -i, -4, -C, -x\n",
        )

    def test_flags(self) -> None:
        """Each flag says what it says to ssh."""
        self.assertFalse(self.visit("-n", "db1", "true").takes_input)
        self.assertIsNone(self.visit("-e", "none", "db1").escape)
        self.assertEqual(self.visit("-e", "^]", "db1").escape, b"\x1d")
        self.assertTrue(self.visit("-q", "db1").is_quiet)
        self.assertTrue(self.visit("-o", "ExitOnForwardFailure=yes", "db1").must_forward)
        request = self.visit("-s", "db1", "sftp").request
        assert request is not None
        self.assertTrue(request.is_subsystem)

    def test_agent(self) -> None:
        """-A lends the agent of the environment, -a lends none."""
        self.patch(os, "environ", {**os.environ, "SSH_AUTH_SOCK": "/run/agent"})
        self.assertEqual(self.visit("-A", "db1").agent, "/run/agent")
        self.assertIsNone(self.visit("db1").agent)
        self.assertIsNone(self.visit("-A", "-a", "db1").agent)
        self.assertEqual(self.visit("-A", "-o", "ForwardAgent=/x", "db1").agent, "/x")

    def test_background(self) -> None:
        """-f takes a command or -N, and hands over to a process of its own."""
        told: list[int] = []
        self.patch(background, "in_background", lambda run: told.append(run(lambda: None)) or 0)
        self.assertEqual(self.invoke("ssh", "-f", "db1", "sleep 9").return_value, 0)
        self.assertEqual(self.invoke("ssh", "-fN", "db1").return_value, 0)
        self.assertEqual(told, [7, 7])
        self.assertFalse(self.ran[0][2].takes_input)
        self.assertIn("-N", str(self.invoke("ssh", "-f", "db1").exception))

    def test_default_login(self) -> None:
        """Without a login it is the local name if that is allowed, else the first allowed."""
        for local, expected in (("eve", "ada"), ("root", "root")):
            self.patch(getpass, "getuser", lambda local=local: local)
            self.invoke("ssh", "db1")
            self.assertEqual(self.ran.pop()[1], LoginName(expected))

    def test_login_that_is_not_allowed(self) -> None:
        """A login that the certificate does not name is refused here, with those it does."""
        result = self.invoke("ssh", "postgres@db1")
        self.assertIsInstance(result.exception, BadInput)
        self.assertIn("ada, root", str(result.exception))

    def test_no_logins(self) -> None:
        """Somebody without logins is told so."""
        self.assertRaises(BadInput, choose_login, evolve(self.log_in(), logins=()), None)

    def test_expired(self) -> None:
        """A login that has ended is told before anything is dialed."""
        self.log_in(lifetime=-5)
        for destination in ("db1", "env=dev"):
            self.assertIsInstance(self.invoke("ssh", destination, "x").exception, LoginExpired)

    def test_own_failures(self) -> None:
        """All that goes wrong on this side is 255, also what is typed wrongly."""
        self.patch(sys, "stderr", sys.stdout)
        for arguments in (
            ["ssh", "a@@"],
            ["ssh", "@db1"],
            ["ssh"],
            ["ssh", "--nonsense", "db1"],
            ["ssh", "-X", "db1"],
            ["ssh", "-L", "x", "db1"],
            ["ssh", "-o", "Nonsense=1", "db1"],
            ["ssh", "-L"],
            ["ssh", "env="],
        ):
            self.patch(sys, "argv", ["msh", *arguments])
            self.assertEqual(main.run_program(msh), 255, arguments)


class SeveralNodesTests(MshTests):
    def setUp(self) -> None:
        super().setUp()
        self.ran: list[tuple[Errand, list[str], int]] = []

        async def run_on_selected(
            reactor: object, errand: Errand, labels: list[str], parallel: int, *, is_quiet: bool
        ) -> int:
            self.ran.append((errand, labels, parallel))
            return 3

        self.patch(severalnodes, "run_on_selected", run_on_selected)
        self.log_in()

    def test_selectors(self) -> None:
        """Labels in place of a node, with a login before them or not."""
        for destination, login, labels in (
            ("env=staging", "ada", ["env=staging"]),
            ("root@env=staging,role=db", "root", ["env=staging", "role=db"]),
            ("mail=a@b.example", "ada", ["mail=a@b.example"]),
        ):
            result = self.invoke("ssh", "--parallel", "3", destination, "--", "uptime", "-p")
            self.assertEqual(result.return_value, 3, result.exception)
            errand, asked, parallel = self.ran.pop()
            self.assertEqual((errand.login.text, asked, parallel), (login, labels, 3))
            self.assertEqual(errand.request.command, b"uptime -p")
            self.assertIsNone(errand.request.pty)

    def test_refused(self) -> None:
        """What makes sense on one node only is refused for several."""
        for arguments in (
            ["env=dev"],
            ["-N", "env=dev"],
            ["-t", "env=dev", "top"],
            ["-A", "env=dev", "x"],
            ["-f", "env=dev", "x"],
            ["-L", "1:a:1", "env=dev", "x"],
            ["--parallel", "0", "env=dev", "x"],
            ["env=dev,role", "x"],
        ):
            self.assertIsNotNone(self.invoke("ssh", *arguments).exception, arguments)
        self.assertEqual(self.ran, [])


class RequestOfTests(SynchronousTestCase):
    def test_environment(self) -> None:
        """The language goes along, and of this machine only what was named."""
        environment = {"LANG": "C.UTF-8", "LC_TIME": "de", "PATH": "/", "LC_ALL": "x" * 5000}
        request = request_of(SshOptions(), ("true",), environment)
        self.assertEqual(request.environment, {"LANG": "C.UTF-8", "LC_TIME": "de"})
        options = SshOptions(sent=["PA*"], environment={"A": "b c"})
        request = request_of(options, ("true",), environment)
        self.assertEqual(request.environment, {"PATH": "/", "A": "b c"})

    def test_no_terminal_here(self) -> None:
        """Without a terminal none is asked for, unless -t is given twice."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, writing)
        for wanted, words, is_given in (
            (Terminal.AUTO, (), False),
            (Terminal.YES, ("vim",), False),
            (Terminal.FORCE, ("vim",), True),
            (Terminal.NO, (), False),
        ):
            request = request_of(
                SshOptions(terminal=wanted), words, {"TERM": "vt100"}, terminal=reading
            )
            self.assertEqual(request.pty is not None, is_given, wanted)
            if request.pty is not None:
                self.assertEqual((request.pty.term, request.pty.terminal), ("vt100", None))

    def test_remote_command(self) -> None:
        """A command of the settings is run where none is typed; a subsystem has to be named."""
        options = SshOptions(remote_command="uptime")
        self.assertEqual(request_of(options, (), {}).command, b"uptime")
        self.assertEqual(request_of(options, ("w",), {}).command, b"w")
        self.assertRaises(BadInput, request_of, SshOptions(is_subsystem=True), (), {})

    def test_long_command(self) -> None:
        """A command longer than a packet is refused with what to do instead."""
        with self.assertRaises(BadInput) as caught:
            command_of(("x" * 200_000,))
        self.assertIn("standard input", str(caught.exception))

    def test_agent(self) -> None:
        """Without an agent here nothing is lent, and the session runs all the same."""
        visit = visit_of(SshOptions(lends_agent=True), ("true",), {})
        assert visit.request is not None
        self.assertEqual((visit.agent, visit.request.lends_agent), (None, False))
        visit = visit_of(SshOptions(lends_agent="$MINE"), ("true",), {"MINE": "/run/x"})
        assert visit.request is not None
        self.assertEqual((visit.agent, visit.request.lends_agent), ("/run/x", True))
