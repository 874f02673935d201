"""Tests of options as ssh has them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.cli.sshoptions import (
    SshOptions,
    Terminal,
    Verbosity,
    parse_escape,
    set_options,
    split_words,
)
from mezite.client.forwardspec import parse_dynamic, parse_local, parse_remote
from mezite.client.node import DEFAULT_PATIENCE
from mezite.error import BadInput

VALUES = {"-L", "-l", "-p", "--proxy"}


class SplitWordsTests(SynchronousTestCase):
    def test_where_options_end(self) -> None:
        """With the command's first word, or with two hyphens."""
        for words, options, destination, command in (
            ("db1 ls -l", "", "db1", "ls -l"),
            ("-t db1 -v ls -l", "-t -v", "db1", "ls -l"),
            ("-p 22 db1 -- -x", "-p 22", "db1", "-x"),
            ("-- db1 ls -- -l", "", "db1", "ls -- -l"),
            ("-NL 1:a:1 db1", "-NL 1:a:1", "db1", ""),
            ("-L1:a:1 db1", "-L1:a:1", "db1", ""),
            ("-pL db1 ls", "-pL", "db1", "ls"),
            ("--proxy h:1 db1", "--proxy h:1", "db1", ""),
            ("--proxy=h:1 db1", "--proxy=h:1", "db1", ""),
            ("db1 -", "", "db1", "-"),
            ("-L", "-L", None, ""),
            ("--", "", None, ""),
            ("", "", None, ""),
        ):
            self.assertEqual(
                split_words(words.split(), VALUES),
                (options.split(), destination, command.split()),
                words,
            )

    @given(st.lists(st.sampled_from(["-t", "-L", "--", "a", "-", "-pL", "--proxy", "-lx"])))
    @settings(max_examples=100, deadline=None)
    def test_nothing_is_lost(self, words: list[str]) -> None:
        """Every word is kept, but for the hyphens that end options."""
        options, destination, command = split_words(words, VALUES)
        kept = [*options, *([] if destination is None else [destination]), *command]
        self.assertLessEqual(len(words) - len(kept), 2)
        self.assertEqual(
            sorted(each for each in words if each != "--"),
            sorted(each for each in kept if each != "--"),
        )


class SetOptionsTests(SynchronousTestCase):
    def set(self, *given: str) -> SshOptions:
        options = SshOptions()
        set_options(options, given)
        return options

    def test_spellings(self) -> None:
        """Keys in any case, with an equals sign, blanks or quotes."""
        for text in ("User=ada", "user ada", "USER = ada", 'User="ada"', "User\tada"):
            self.assertEqual(self.set(text).login, "ada", text)

    def test_meanings(self) -> None:
        """What each key does."""
        options = self.set(
            "RequestTTY=force",
            "LogLevel=QUIET",
            "ForwardAgent=yes",
            "LocalForward=8080 web:80",
            "LocalForward 8081 [::1]:81",
            "RemoteForward 0 web:80",
            "RemoteForward 9090",
            "DynamicForward=1080",
            "GatewayPorts=no",
            "ExitOnForwardFailure=yes",
            "EscapeChar=none",
            "SendEnv=FOO BAR_*",
            "SendEnv=-LC_*",
            "SetEnv=A=1 B='two words'",
            "StdinNull=yes",
            "ForkAfterAuthentication=yes",
            "RemoteCommand=uptime -p",
            "SessionType=subsystem",
        )
        self.assertEqual(
            options,
            SshOptions(
                terminal=Terminal.FORCE,
                verbosity=Verbosity.QUIET,
                lends_agent=True,
                local=[
                    parse_local("8080:web:80"),
                    parse_local("8081:[::1]:81"),
                    parse_dynamic("1080"),
                ],
                remote=[parse_remote("0:web:80"), parse_remote("9090")],
                must_forward=True,
                escape=None,
                sent=["LANG", "LANGUAGE", "FOO", "BAR_*"],
                environment={"A": "1", "B": "two words"},
                takes_input=False,
                in_background=True,
                remote_command="uptime -p",
                is_subsystem=True,
            ),
        )

    def test_patience(self) -> None:
        """How long is waited, and that nothing is asked for 0."""
        options = self.set("ConnectTimeout=3", "ServerAliveInterval=1m", "ServerAliveCountMax=5")
        patience = options.patience
        self.assertEqual(
            (patience.connect_seconds, patience.alive_seconds, patience.unheard), (3, 60, 5)
        )
        self.assertIsNone(self.set("ServerAliveInterval=0").patience.alive_seconds)
        self.assertEqual(self.set("ConnectTimeout=0").patience, DEFAULT_PATIENCE)
        self.assertEqual(SshOptions().patience, DEFAULT_PATIENCE)

    def test_first_decides(self) -> None:
        """As with ssh, the first to name a key decides."""
        self.assertEqual(self.set("User=ada", "User=bob").login, "ada")

    def test_cleared(self) -> None:
        """Forwards can be cleared."""
        options = self.set("LocalForward=1 a:1", "ClearAllForwardings=yes")
        self.assertEqual(options.local, [])

    def test_ignored(self) -> None:
        """What the login decides is accepted."""
        options = self.set("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null")
        self.assertEqual(options.ignored, ["-o StrictHostKeyChecking", "-o UserKnownHostsFile"])

    def test_refused(self) -> None:
        """A key that nobody knows, and a value that means nothing, are told by name."""
        for text, word in (
            ("Nonsense=1", "Nonsense"),
            ("", "KEY=VALUE"),
            ("User", "KEY=VALUE"),
            ("=x", "KEY=VALUE"),
            ("RequestTTY=maybe", "auto, no, yes, force"),
            ("ForwardAgent=perhaps", "ForwardAgent"),
            ("LocalForward=x", "LocalForward"),
            ("ConnectTimeout=soon", "ConnectTimeout"),
            ("ServerAliveCountMax=0", "ServerAliveCountMax"),
            ("SetEnv=A", "NAME=VALUE"),
            ("SetEnv=A='b", "quote"),
            ("EscapeChar=xyz", "EscapeChar"),
        ):
            with self.assertRaises(BadInput, msg=text) as caught:
                self.set(text)
            self.assertIn(word, str(caught.exception))

    @given(st.text(max_size=60))
    @settings(max_examples=100, deadline=None)
    def test_any_text(self, text: str) -> None:
        """Any text is understood or refused."""
        try:
            self.set(text)
        except BadInput:
            pass


class ParseEscapeTests(SynchronousTestCase):
    def test_values(self) -> None:
        """A character, a control character, or none."""
        for text, expected in (("~", b"~"), ("^]", b"\x1d"), ("^a", b"\1"), ("none", None)):
            self.assertEqual(parse_escape(text), expected)
        for text in ("", "ab", "é", "^1", "\n"):
            self.assertRaises(BadInput, parse_escape, text)
