"""
Tests of what is said to forward proxies, and of which one is asked.
"""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.client import hubsocket
from mezite.error import BadInput
from mezite.wire.forwardproxy import (
    VARIABLES,
    Conversation,
    ProxyBroken,
    ProxyRefused,
    parse_proxy,
    proxy_for,
)

HTTP = "http://proxy.example.com:3128"
SOCKS = "socks5://proxy.example.com"
# What a proxy answers, in turns, and what it is told before each.
CONNECT = [
    (
        b"CONNECT hub.example.com:443 HTTP/1.1\r\nHost: hub.example.com:443\r\n\r\n",
        b"HTTP/1.1 200 Connection established\r\nVia: 1.1 proxy\r\n\r\n",
    )
]
NAMED = b"\x05\x01\x00\x03\x0fhub.example.com\x01\xbb"
SOCKS_OPEN = [
    (b"\x05\x01\x00", b"\x05\x00"),
    (NAMED, b"\x05\x00\x00\x01\x0a\x00\x00\x01\x04\x38"),
]
SOCKS_PASSWORD = [
    (b"\x05\x02\x00\x02", b"\x05\x02"),
    (b"\x01\x03ada\x06s:cret", b"\x01\x00"),
    (NAMED, b"\x05\x00\x00\x03\x05there\x04\x38"),
]


def begun(proxy: str, host: str = "hub.example.com") -> Conversation:
    return parse_proxy(proxy, "HTTPS_PROXY").conversation(host, 443)


class ConversationTests(SynchronousTestCase):
    def check(self, proxy: str, turns: list[tuple[bytes, bytes]]) -> None:
        """The whole conversation, whatever chunks the answers come in."""
        for size in (1, 2, 3, 1000):
            conversation = begun(proxy)
            said = conversation.begin()
            answers = b"".join(answer for _, answer in turns) + b"\x16TLS"
            if size < 1000:
                for begin in range(0, len(answers), size):
                    if conversation.is_open:
                        break
                    said += conversation.receive(answers[begin : begin + size])
            else:
                said += conversation.receive(answers)
                self.assertEqual(conversation.rest, b"\x16TLS")
            self.assertEqual(said, b"".join(told for told, _ in turns))
            self.assertTrue(conversation.is_open)

    def test_connect(self) -> None:
        """An HTTP proxy is asked to CONNECT."""
        self.check(HTTP, CONNECT)

    def test_connect_with_password(self) -> None:
        """A name and a password in the URL are shown, as RFC 7617 has it."""
        said = begun("http://ada:s%3Acret@proxy:3128").begin()
        self.assertIn(b"\r\nProxy-Authorization: Basic YWRhOnM6Y3JldA==\r\n", said)

    def test_socks(self) -> None:
        """A SOCKS proxy is asked by name, and resolves it."""
        self.check(SOCKS, SOCKS_OPEN)

    def test_socks_with_password(self) -> None:
        """A SOCKS proxy that wants a password gets it."""
        self.check("socks5h://ada:s%3Acret@proxy", SOCKS_PASSWORD)

    def test_interim(self) -> None:
        """What a proxy says while it connects is not its answer."""
        interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
        self.check(HTTP, [(CONNECT[0][0], interim + CONNECT[0][1])])

    def test_addresses(self) -> None:
        """Addresses go as addresses, of either kind."""
        for host, wanted in (
            ("192.0.2.7", b"\x05\x01\x00\x01\xc0\x00\x02\x07\x01\xbb"),
            ("2001:db8::7", b"\x05\x01\x00\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x07\x01\xbb"),
        ):
            self.assertEqual(begun(SOCKS, host).receive(b"\x05\x00"), wanted)
        self.assertIn(b"CONNECT [2001:db8::7]:443 ", begun(HTTP, "2001:db8::7").begin())

    def test_refusals(self) -> None:
        """A proxy that says no is quoted, without the password."""
        for proxy, answers, words in (
            (HTTP, b"HTTP/1.1 403 For\x1bbidden\r\n\r\n", "403 For?bidden"),
            (HTTP, b"HTTP/1.0 407 Proxy Authentication Required\r\n\r\n", "name and password"),
            ("socks5://a:b@p", b"\x05\xff", "name and password"),
            ("socks5://a:b@p", b"\x05\x02\x01\x01", "does not take"),
            (SOCKS, b"\x05\x00\x05\x02\x00\x01" + bytes(6), "its rules do not allow it"),
            (SOCKS, b"\x05\x00\x05\x63\x00\x01" + bytes(6), "it says 99"),
            (HTTP, b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "101 Switching"),
            # Without an address, or before it.
            (SOCKS, b"\x05\x00\x05\x05\x00\x00", "the connection was refused"),
            (SOCKS, b"\x05\x00\x05\x04", "the host cannot be reached"),
        ):
            error = self.assertRaises(ProxyRefused, begun(proxy).receive, answers)
            self.assertIn(words, str(error))
            self.assertIn("hub.example.com:443", str(error))

    def test_no_proxy_there(self) -> None:
        """What is no proxy is told from one at once."""
        for proxy, answers in (
            (HTTP, b"SSH-2.0-OpenSSH\r\n"),
            (HTTP, b"HTTP/1.1 2\r\n\r\n"),
            (HTTP, b"HTTP/1.1 200 x" + b"x" * 20_000),
            (HTTP, b"HTTP/1.1 100 x\r\n\r\n" * 10),
            (HTTP, b"HTTP/1.1 100 x\r\n\r\n220 mail.example.com ESMTP\r\n"),
            (SOCKS, b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            (SOCKS, b"\x05\x02"),
            (SOCKS, b"\x05\x00\x05\x00\x00\x07\x00"),
            (SOCKS, b"\x05\x00\x04\x00\x00\x01\x00"),
        ):
            self.assertRaises(ProxyBroken, begun(proxy).receive, answers)

    @settings(max_examples=50, deadline=None)
    @given(proxy=st.sampled_from([HTTP, SOCKS, "socks5://a:b@p"]), answers=st.binary(max_size=80))
    def test_anything(self, proxy: str, answers: bytes) -> None:
        """Whatever a proxy answers, there is a connection, a wait, or a sentence."""
        conversation = begun(proxy)
        try:
            for octet in answers:
                if not conversation.is_open:
                    conversation.receive(bytes([octet]))
        except (ProxyRefused, ProxyBroken) as error:
            self.assertTrue(str(error).isprintable())


class ChoiceTests(SynchronousTestCase):
    def test_variables(self) -> None:
        """The variables are read as curl reads them, small letters first."""
        self.assertIsNone(proxy_for("hub", 443, {}))
        environ: dict[str, str] = {}
        for name in reversed(VARIABLES):
            environ[name] = f"http://{name.replace('_', '-')}:1"
            found = proxy_for("hub", 443, environ)
            assert found is not None
            self.assertEqual(found.host, name.replace("_", "-").lower())
        self.assertEqual(VARIABLES, hubsocket._PROXY_VARIABLES)

    def test_exceptions(self) -> None:
        """NO_PROXY names hosts, domains, networks and ports."""
        for exceptions, host, direct in (
            ("*", "hub", True),
            ("example.com", "hub.example.com", True),
            (".example.com", "hub.example.com", True),
            ("*.example.com", "hub.example.com", True),
            ("example.com", "badexample.com", False),
            ("example.com.", "hub.example.com", True),
            ("hub.example.com.:443", "hub.example.com", True),
            ("other, hub.example.com", "HUB.example.com.", True),
            ("hub.example.com:443", "hub.example.com", True),
            ("hub.example.com:80", "hub.example.com", False),
            ("10.0.0.0/8", "10.1.2.3", True),
            ("10.0.0.0/8", "11.1.2.3", False),
            ("2001:db8::/32", "2001:db8::1", True),
            ("[2001:db8::1]:443", "2001:db8::1", True),
            ("[2001:db8::1]:80", "2001:db8::1", False),
            (",, ", "hub", False),
            # Digits to Unicode, and to nobody else.
            ("hub:\u00b2, example.com", "hub.example.com", True),
        ):
            found = proxy_for(host, 443, {"HTTPS_PROXY": HTTP, "NO_PROXY": exceptions})
            self.assertEqual(found is None, direct, (exceptions, host))

    def test_this_machine(self) -> None:
        """No proxy is asked for this machine."""
        for host in ("localhost", "LOCALHOST.", "x.localhost", "127.0.0.1", "127.9.9.9", "::1"):
            self.assertIsNone(proxy_for(host, 443, {"HTTPS_PROXY": HTTP}))

    def test_spellings(self) -> None:
        """Proxies are written in the usual ways."""
        for text, wanted in (
            ("proxy:3128", "http://proxy:3128"),
            ("http://proxy", "http://proxy:80"),
            ("http://proxy:3128/", "http://proxy:3128"),
            ("SOCKS5H://u:p@[2001:db8::1]", "socks5://[2001:db8::1]:1080"),
        ):
            self.assertEqual(str(parse_proxy(text, "HTTPS_PROXY")), wanted)

    def test_malformed(self) -> None:
        """What is no proxy is refused, and not repeated."""
        for text in (
            "https://ada:secret@proxy",
            "ftp://ada:secret@proxy",
            "http://ada:secret@",
            "http://ada:secret@proxy:99999",
            "http://ada:secret@proxy:x",
            "http://ada:secret@proxy/path",
            "http://ada:secret%0d%0a@proxy",
            "http://a%3Ab:secret@proxy",
            "http://[::1",
            f"http://{'a' * 256}:secret@proxy",
        ):
            error = self.assertRaises(BadInput, parse_proxy, text, "HTTPS_PROXY")
            self.assertIn("HTTPS_PROXY", str(error))
            self.assertNotIn("secret", str(error))

    @settings(max_examples=50, deadline=None)
    @given(text=st.text(max_size=40), host=st.text(max_size=20))
    def test_anything(self, text: str, host: str) -> None:
        """Any environment names a proxy, or is refused in a sentence."""
        for one, other in itertools.permutations((text, host)):
            try:
                proxy_for(host, 443, {"https_proxy": one, "no_proxy": other})
            except BadInput:
                pass
