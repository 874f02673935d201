"""Tests of the names that everything goes by."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.names import (
    AgentId,
    HostPort,
    InvalidName,
    LoginName,
    NodeName,
    RoleName,
    UserName,
    check_labels,
    parse_labels,
)


class NodeNameTests(SynchronousTestCase):
    def test_folds_case_and_the_root_dot(self) -> None:
        """A node name is compared in lower case, without the dot of the root."""
        self.assertEqual(NodeName.parse("DB1.Prod."), NodeName("db1.prod"))

    def test_refused(self) -> None:
        """What no resolver would take as a host name is refused with a sentence."""
        for text in ("", ".", "-a", "a-", "a..b", "a_b", "a b", "10.0.0.1", "a" * 64, "é"):
            self.assertRaises(InvalidName, NodeName.parse, text)

    @given(st.text(max_size=300))
    def test_any_text(self, text: str) -> None:
        """Any text is a name that parses to itself, or is refused."""
        try:
            name = NodeName.parse(text)
        except InvalidName:
            return
        self.assertEqual(NodeName.parse(name.text), name)


class AgentIdTests(SynchronousTestCase):
    def test_new_parses(self) -> None:
        """A fresh id is one."""
        fresh = AgentId.new()
        self.assertEqual(AgentId.parse(fresh.text), fresh)

    def test_only_canonical(self) -> None:
        """Other spellings of a UUID are refused, so that one id has one text."""
        fresh = AgentId.new().text
        for text in (fresh.upper(), "{" + fresh + "}", fresh.replace("-", ""), "db1", ""):
            self.assertRaises(InvalidName, AgentId.parse, text)


class RoleNameTests(SynchronousTestCase):
    def test_roles(self) -> None:
        """A role's name is in small letters, and begins with one or a digit."""
        for text in ("access", "ssh-production", "7.of_9", "a" * 63):
            self.assertEqual(str(RoleName.parse(text)), text)
        for text in ("", "-a", "Admin", "a b", "a:b", "a" * 64, "ä"):
            self.assertRaises(InvalidName, RoleName.parse, text)


class PersonNameTests(SynchronousTestCase):
    def test_users(self) -> None:
        """Mail addresses are user names; spaces, slashes and 65 characters are not."""
        self.assertEqual(str(UserName.parse("ada@example.com")), "ada@example.com")
        for text in ("", "a b", "a/b", "a\n", "-a", "a" * 65, "../x"):
            self.assertRaises(InvalidName, UserName.parse, text)

    def test_logins(self) -> None:
        """A login is what useradd would take; an option for a program is not one."""
        self.assertEqual(str(LoginName.parse("www-data")), "www-data")
        for text in ("", "-root", "a b", "a:b", "a" * 33, "1a", "a\x00"):
            self.assertRaises(InvalidName, LoginName.parse, text)


class HostPortTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Names, IPv4 and bracketed IPv6, with a port or with the default one."""
        for text, default, expected in (
            ("hub.example.com:443", None, HostPort("hub.example.com", 443)),
            ("Hub", 3080, HostPort("hub", 3080)),
            ("127.0.0.1:0", None, HostPort("127.0.0.1", 0)),
            ("[::1]:3080", None, HostPort("::1", 3080)),
            ("[0:0:0:0:0:0:0:1]", 3080, HostPort("::1", 3080)),
            ("[fe80::1%eth0.7]:443", None, HostPort("fe80::1%eth0.7", 443)),
        ):
            self.assertEqual(HostPort.parse(text, default_port=default), expected)

    def test_round_trip(self) -> None:
        """What is printed can be read again."""
        for address in (HostPort("::1", 1), HostPort("a.b", 2), HostPort("10.0.0.1", 3)):
            self.assertEqual(HostPort.parse(str(address)), address)

    def test_zone(self) -> None:
        """The zone of an address is the name of an interface, and nothing that a log obeys."""
        for zone in ("", "\x1b[2J", "x\ntunnel up: db1", "x" * 16, "a b", "\u0665"):
            self.assertRaises(InvalidName, HostPort.parse, f"[fe80::1%{zone}]:443")

    def test_refused(self) -> None:
        """Missing or impossible parts are refused."""
        for text in ("", ":1", "a", "a:", "a:b", "a:65536", "::1:3080", "[::1", "[x]:1", "a b:1"):
            self.assertRaises(InvalidName, HostPort.parse, text)


class LabelTests(SynchronousTestCase):
    def test_pairs(self) -> None:
        """The value is all behind the first equals sign; the last of a key wins."""
        self.assertEqual(parse_labels(["a=1", "b=x=y", "a=2"]), {"a": "2", "b": "x=y"})

    def test_refused(self) -> None:
        """No equals sign, odd keys, unprintable or long values, and too many of them."""
        for pair in ("a", "=b", "a b=c", "a=\x1b[2J", "a=" + "x" * 256):
            self.assertRaises(InvalidName, parse_labels, [pair])
        self.assertRaises(InvalidName, check_labels, {f"k{n}": "" for n in range(65)})
