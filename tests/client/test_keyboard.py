"""Tests of what msh does itself with what is typed."""

from __future__ import annotations

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.keyboard import EndedByEscape, Keyboard


@define
class TypedSession:
    """A session that notes what was typed, and what was wished for."""

    heard: bytes = b""
    failures: list[BaseException] = field(factory=list)
    breaks: int = 0

    def write(self, data: bytes) -> None:
        self.heard += data

    def fail(self, error: BaseException) -> None:
        self.failures.append(error)

    def send_break(self) -> None:
        self.breaks += 1


class KeyboardTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.session = TypedSession()
        self.shown = b""
        self.stops = 0
        self.connections: list[str] = []
        self.keyboard = Keyboard(
            b"~",
            self.session,
            suspend=self.suspend,
            show=self.show,
            connections=lambda: self.connections,
        )

    def suspend(self) -> None:
        self.stops += 1

    def show(self, data: bytes) -> None:
        self.shown += data

    def test_keys(self) -> None:
        """Keys reach the session as they are."""
        self.keyboard.typed("naïve ~.\r\x1b[<0;1;1M".encode())
        self.assertEqual(self.session.heard, "naïve ~.\r\x1b[<0;1;1M".encode())
        self.assertEqual(self.shown, b"")

    def test_end(self) -> None:
        """The end is a failure of the session, since nobody knows how it would have ended."""
        self.keyboard.typed(b"~.")
        (error,) = self.session.failures
        self.assertIsInstance(error, EndedByEscape)
        self.assertEqual(str(error), "the connection was ended by ~.")
        self.assertEqual((self.session.heard, self.shown), (b"", b"~.\r\n"))

    def test_suspend(self) -> None:
        """Suspending keeps what was typed before and after it in order."""
        self.keyboard.typed(b"a\r~\x1ab")
        self.assertEqual((self.stops, self.session.heard), (1, b"a\rb"))
        self.assertIn(b"~^Z", self.shown)

    def test_lists(self) -> None:
        """Connections and help are shown as lines of a raw terminal."""
        self.keyboard.typed(b"~#")
        self.assertEqual(self.shown, b"~#\r\n no connections are forwarded\r\n")
        self.connections = ["localhost:1 to db:2"]
        self.keyboard.typed(b"~#")
        self.assertTrue(self.shown.endswith(b"~#\r\n localhost:1 to db:2\r\n"))
        self.keyboard.typed(b"~?")
        self.assertIn(b"end the connection\r\n", self.shown)

    def test_break(self) -> None:
        """A BREAK is sent to the node."""
        self.keyboard.typed(b"~B")
        self.assertEqual(self.session.breaks, 1)
