"""Tests of how forwards are written."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.forwardspec import (
    LocalForward,
    RemoteForward,
    SocketPath,
    TcpAddress,
    parse_destination,
    parse_dynamic,
    parse_local,
    parse_remote,
)
from mezite.error import BadInput

WEB = TcpAddress("web", 80)


class SpellingTests(SynchronousTestCase):
    def test_local(self) -> None:
        """Ports, addresses in brackets and sockets, on either side."""
        for text, listen, destination in (
            ("8080:web:80", TcpAddress("localhost", 8080), WEB),
            ("127.0.0.1:8080:web:80", TcpAddress("127.0.0.1", 8080), WEB),
            (":8080:web:80", TcpAddress("*", 8080), WEB),
            ("*:8080:web:80", TcpAddress("*", 8080), WEB),
            ("[::1]:8080:[fe80::1]:80", TcpAddress("::1", 8080), TcpAddress("fe80::1", 80)),
            ("8080:/run/x", TcpAddress("localhost", 8080), SocketPath("/run/x")),
            ("h:8080:/run/x", TcpAddress("h", 8080), SocketPath("/run/x")),
            ("/tmp/a:web:80", SocketPath("/tmp/a"), WEB),
            ("/tmp/a:/tmp/b", SocketPath("/tmp/a"), SocketPath("/tmp/b")),
        ):  # fmt: skip
            self.assertEqual(parse_local(text), LocalForward(listen, destination), text)

    def test_remote(self) -> None:
        """The same, with port 0, and with no destination at all."""
        for text, listen, destination in (
            ("0:web:80", TcpAddress("localhost", 0), WEB),
            ("8080", TcpAddress("localhost", 8080), None),
            ("0.0.0.0:8080", TcpAddress("0.0.0.0", 8080), None),
            ("/run/a:web:80", SocketPath("/run/a"), WEB),
            ("8080:/run/a", TcpAddress("localhost", 8080), SocketPath("/run/a")),
        ):
            self.assertEqual(parse_remote(text), RemoteForward(listen, destination), text)

    def test_dynamic(self) -> None:
        """A port, and an address before it."""
        self.assertEqual(parse_dynamic("1080"), LocalForward(TcpAddress("localhost", 1080), None))
        self.assertEqual(parse_dynamic("[::]:1080"), LocalForward(TcpAddress("::", 1080), None))

    def test_refused(self) -> None:
        """What is none of these is refused with what can be written."""
        for parse, texts in (
            (parse_local, ("", "x", "8080", "8080:web", "0:web:80", "1:2:3:4:5", "8080:web:99999",
                           "8080::80", "8080:a b:80", "[::1:8080:web:80", "8080:/" + "x" * 200,
                           "8080:web:٣", "a]b:1:2")),
            (parse_remote, ("", "x", "99999", "1:2:3:4:5", "8080:web:0")),
            (parse_dynamic, ("", "0", "/tmp/a", "a:b:1080")),
            (parse_destination, ("", "web", "web:0", "a:b:1")),
        ):  # fmt: skip
            for text in texts:
                with self.assertRaises(BadInput, msg=text):
                    parse(text)

    @given(st.text("12:[]/*a.", max_size=20))
    @settings(max_examples=100, deadline=None)
    def test_any_text(self, text: str) -> None:
        """Any text is a forward or is refused."""
        for parse in (parse_local, parse_remote, parse_dynamic):
            try:
                parse(text)
            except BadInput:
                pass

    def test_shown(self) -> None:
        """Addresses are shown as they are written."""
        self.assertEqual(str(TcpAddress("::1", 80)), "[::1]:80")
        self.assertEqual(str(WEB), "web:80")
        self.assertEqual(str(SocketPath("/tmp/a")), "/tmp/a")
