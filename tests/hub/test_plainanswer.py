"""Tests of clients that could resume, and a server that cannot, through the hub's port."""

from __future__ import annotations

from mezite.hub.sshproxy import _HELLO_SECONDS
from mezite.resume import frames
from mezite.resume.frames import GreetingReader, Plain, Refusal
from tests.doubles.hubworld import Heard
from tests.hub.test_openssh import PlainServerTestCase


class PlainAnswerTests(PlainServerTestCase):
    """What the hub answers in the place of an agent, and to whom it does not."""

    def setUp(self) -> None:
        super().setUp()
        self.register()

    def arrive(self, *said: bytes) -> Heard:
        """A client that says this, piece by piece."""
        heard = Heard()
        self.connection = self.world.dial(
            heard,
            b"mezite-ssh-resume",
            identity=self.world.user("ada"),
            server_name="plain1.hub.example.com",
        )
        self.world.flush()
        self.assertEqual(len(self.world.hub.live), 1)
        for piece in said:
            self.connection.write(piece)
            self.world.flush()
        return heard

    def assert_gone(self, heard: Heard, why: object = None) -> None:
        """The connection has ended, and with it the session that was opened for it."""
        self.wait(6)
        self.assertIsNotNone(heard.reason, why)
        self.assertEqual(len(self.world.hub.live), 0, why)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_plain(self) -> None:
        """A hello, in any pieces, is answered, and SSH follows."""
        hello = frames.hello()
        for pieces in ([hello], [hello[at : at + 1] for at in range(len(hello))]):
            heard = self.arrive(*pieces)
            complete = GreetingReader().receive(heard.data)
            assert complete is not None
            self.assertIsInstance(complete[0], Plain)
            self.assertTrue(complete[1].startswith(b"SSH-2.0-"))
            self.connection.abortConnection()
            self.assert_gone(heard)

    def test_going_on(self) -> None:
        """Who comes with a token hears that nothing goes on here."""
        heard = self.arrive(frames.hello(bytes(32), 7))
        complete = GreetingReader().receive(heard.data)
        assert complete is not None
        refusal = complete[0]
        assert isinstance(refusal, Refusal)
        self.assertEqual(refusal.reason, frames.GONE)
        self.assert_gone(heard)

    def test_hostile(self) -> None:
        """Whatever else is said first ends the connection, unanswered."""
        for said in (
            b"SSH-2.0-x\r\n",
            b"\xff" * 64,
            frames.plain(),
            frames.welcome(bytes(32), 0),
            frames.refused(frames.DENIED, "no"),
            frames.end(),
            frames.hello() + b"SSH-2.0-x\r\n",
            frames.hello(bytes(32)) + b"x",
            frames.hello(bytes(32), frames.COUNT_LIMIT),
            frames.header(frames.HELLO, 10) + bytes(10),
            frames.header(frames.HELLO, 0xFFFFFF),
        ):
            heard = self.arrive(said, b"more")
            self.assertEqual(heard.data, b"", said)
            self.assert_gone(heard, said)

    def test_half_a_hello(self) -> None:
        """Who does not come to the end of it within 10 s is left, however busy they seem."""
        for first in (b"", frames.hello()[:1], frames.hello(bytes(32))[:-1]):
            heard = self.arrive(first)
            self.wait(_HELLO_SECONDS - 1)
            self.assertIsNone(heard.reason)
            self.assert_gone(heard)
        heard = self.arrive()
        for octet in frames.hello(bytes(32))[:12]:
            self.connection.write(bytes([octet]))
            self.wait(1)
        self.assert_gone(heard)

    def test_client_goes(self) -> None:
        """Who goes before the answer leaves no session."""
        heard = self.arrive(frames.hello()[:5])
        self.connection.abortConnection()
        self.assert_gone(heard)
