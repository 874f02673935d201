from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.accounts import Account
from mezite.agent.environment import (
    VARIABLE_LENGTH,
    VARIABLES,
    AcceptedVariables,
    environment,
)
from mezite.names import LoginName

ADA = Account(LoginName.parse("ada"), 1000, 1000, (1000,), "/home/ada", "/bin/bash")
ROOT = Account(LoginName.parse("root"), 0, 0, (0,), "/root", "/bin/sh")


class EnvironmentTests(SynchronousTestCase):
    """What a session's process finds in its environment."""

    def test_account(self) -> None:
        """It is the account's, and nothing else is in it."""
        made = environment(ADA, {}, client_address="192.0.2.7:4711")
        self.assertEqual(
            made,
            {
                "HOME": "/home/ada",
                "USER": "ada",
                "LOGNAME": "ada",
                "SHELL": "/bin/bash",
                "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
                "MAIL": "/var/mail/ada",
                "SSH_CLIENT": "192.0.2.7 4711 22",
                "SSH_CONNECTION": "192.0.2.7 4711 127.0.0.1 22",
            },
        )

    def test_root(self) -> None:
        """Root has the administrator's programs as well."""
        self.assertIn("/usr/sbin", environment(ROOT, {}, client_address="")["PATH"])

    def test_six(self) -> None:
        """An IPv6 client is written without brackets."""
        made = environment(ADA, {}, client_address="[2001:db8::7]:4711")
        self.assertEqual(made["SSH_CLIENT"], "2001:db8::7 4711 22")

    def test_unknown_client(self) -> None:
        """A client that the hub did not name has no address."""
        self.assertEqual(environment(ADA, {}, client_address="")["SSH_CLIENT"], "0.0.0.0 0 22")

    def test_nothing_of_the_account_is_replaced(self) -> None:
        """What a client sends never replaces what the account has."""
        made = environment(ADA, {"HOME": "/evil", "LANG": "C"}, client_address="")
        self.assertEqual((made["HOME"], made["LANG"]), ("/home/ada", "C"))


class AcceptedVariablesTests(SynchronousTestCase):
    """What clients may send."""

    def setUp(self) -> None:
        self.accepted = AcceptedVariables(("LANG", "LC_*"))

    def test_patterns(self) -> None:
        """Only names that a pattern accepts are taken."""
        offers = (b"LANG", b"LC_ALL", b"LD_PRELOAD", b"lang", b"LANGUAGE", b"PATH")
        self.assertEqual(
            [self.accepted.offer(name, b"x") for name in offers],
            [True, True, False, False, False, False],
        )
        self.assertEqual(self.accepted.values, {"LANG": "x", "LC_ALL": "x"})

    def test_nonsense(self) -> None:
        """Names and values that no environment can hold are refused."""
        self.accepted.patterns = ("*",)
        for name, value in ((b"", b"x"), (b"A=B", b"x"), (b"A", b"x\0y"), (b"A\0", b"x")):
            self.assertFalse(self.accepted.offer(name, value))

    def test_limits(self) -> None:
        """There is a limit to each variable and to all."""
        self.assertFalse(self.accepted.offer(b"LC_X", b"x" * VARIABLE_LENGTH))
        for number in range(VARIABLES):
            self.assertTrue(self.accepted.offer(b"LC_%d" % number, b"x"))
        self.assertFalse(self.accepted.offer(b"LC_ONE_MORE", b"x"))

    def test_not_utf8(self) -> None:
        """A value need not be UTF-8."""
        self.assertTrue(self.accepted.offer(b"LC_X", b"\xff"))
        self.assertEqual(self.accepted.values["LC_X"].encode("utf-8", "surrogateescape"), b"\xff")
