from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.trial.unittest import SkipTest, SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.agent.accounts import AccountRefused, IAccounts, SystemAccounts, look_up, tty_group
from mezite.names import LoginName

OWN = os.getuid()
NOW = 1_800_000_000.0


def own_login() -> LoginName:
    return LoginName.parse(pwd.getpwuid(OWN).pw_name)


class LookUpTests(SynchronousTestCase):
    """Accounts as the user database has them."""

    def setUp(self) -> None:
        self.nothing = Path(self.mktemp())

    def find(self, name: str, uid: int = OWN, **files: Path) -> Any:
        paths = {"closed": self.nothing, "shadow": self.nothing, **files}
        return look_up(LoginName.parse(name), uid, NOW, **paths)

    def refused(self, name: str, uid: int = OWN, **files: Path) -> str:
        return str(self.assertRaises(AccountRefused, self.find, name, uid, **files))

    def test_own(self) -> None:
        """The agent's own account can be used."""
        account = self.find(str(own_login()))
        entry = pwd.getpwuid(OWN)
        self.assertEqual((account.uid, account.gid), (OWN, entry.pw_gid))
        self.assertEqual((account.home, account.shell), (entry.pw_dir, entry.pw_shell))
        self.assertIn(entry.pw_gid, account.groups)

    def test_unknown(self) -> None:
        """An account that is not there."""
        self.assertIn("no account nobody-here", self.refused("nobody-here"))

    def test_another(self) -> None:
        """Unless it is root, the agent serves only its own account, and says so."""
        sentence = self.refused("root", 12345)
        self.assertIn("uid 12345", sentence)
        self.assertIn("run it as root", sentence)

    def test_not_for_people(self) -> None:
        """An account whose shell lets nobody in."""
        self.assertIn("does not allow logins", self.refused("daemon", 0))

    def test_closed(self) -> None:
        """While the node is closed, only root comes in."""
        closed = Path(self.mktemp())
        closed.write_text("maintenance")
        self.assertEqual(str(self.find("root", 0, closed=closed).login), "root")
        name = self._a_person()
        self.assertIn("closed", self.refused(name, 0, closed=closed))

    def test_expired(self) -> None:
        """An account that has ended."""
        name = self._a_person()
        shadow = Path(self.mktemp())
        shadow.write_text(f"other:*:1:0:9:7::1:\n{name}:!:1:0:99999:7::100:\n")
        self.assertIn("expired", self.refused(name, 0, shadow=shadow))
        shadow.write_text(f"{name}:!:1:0:99999:7::{int(NOW / 86400) + 1}:\n")
        self.assertEqual(str(self.find(name, 0, shadow=shadow).login), name)
        shadow.write_text(f"{name}:!:1:0:99999:7:::\n")
        self.assertEqual(str(self.find(name, 0, shadow=shadow).login), name)

    def _a_person(self) -> str:
        for entry in pwd.getpwall():
            if entry.pw_uid and entry.pw_shell in ("/bin/sh", "/bin/bash"):
                return entry.pw_name
        raise SkipTest("there is no account but root that can log in")

    def test_terminals(self) -> None:
        """The group of terminals is a group, or there is none."""
        self.assertIsInstance(tty_group(), int | None)  # type: ignore[arg-type]

    def test_in_a_thread(self) -> None:
        """The database is read in a thread."""
        calls: list[object] = []

        def in_thread(work: Any, *arguments: Any) -> Deferred[Any]:
            calls.append(work)
            return execute(work, *arguments)

        accounts = SystemAccounts(in_thread, lambda: NOW, OWN)
        verifyObject(IAccounts, accounts)
        self.assertEqual(self.successResultOf(accounts.find(own_login())).uid, OWN)
        self.failureResultOf(accounts.find(LoginName.parse("nobody-here")), AccountRefused)
        self.assertEqual(calls, [look_up, look_up])
