"""Tests of what a service manager is told."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from mezite.systemd import (
    SENTENCE_LENGTH,
    Notices,
    ServiceManager,
    datagram,
    status_line,
)


class MessageTests(SynchronousTestCase):
    def test_lines(self) -> None:
        """A datagram is lines that end, as sd_notify(3) wants them."""
        self.assertEqual(datagram("READY=1", status_line("up")), b"READY=1\nSTATUS=up\n")

    @given(st.text())
    @settings(max_examples=50, deadline=None)
    def test_one_line(self, sentence: str) -> None:
        """Whatever a sentence holds, it is one line, and no other field."""
        data = datagram(status_line(sentence))
        self.assertEqual(data.count(b"\n"), 1)
        self.assertTrue(data.startswith(b"STATUS="))
        self.assertLessEqual(len(data), 4 * SENTENCE_LENGTH + 8)


class ServiceManagerTests(SynchronousTestCase):
    def read(self, **environ: str) -> ServiceManager:
        return ServiceManager.of(environ, 7)

    def test_nobody(self) -> None:
        """Without a socket there is nobody to tell, and no watchdog."""
        self.assertEqual(self.read(WATCHDOG_USEC="1000000"), ServiceManager())

    def test_addresses(self) -> None:
        """A path, and a name in the abstract namespace; anything else is nobody."""
        for given_, wanted in (
            ("/run/notify", b"/run/notify"),
            ("@a/b", b"\0a/b"),
            ("", None),
            ("@", None),
            ("relative", None),
            ("vsock:2:9", None),
            ("/" + "x" * 108, None),
        ):
            self.assertEqual(self.read(NOTIFY_SOCKET=given_).address, wanted, given_)

    def test_watchdog(self) -> None:
        """The watchdog is ours if its process is, and its time is a number that can be kept."""
        for given_, process, wanted in (
            ("30000000", "7", 30.0),
            ("30000000", "8", None),
            ("30s", "7", None),
            ("-1", "7", None),
            ("0", "7", None),
            ("٣٠٠٠٠٠٠٠", "7", None),
            ("9" * 99, "7", None),
        ):
            told = self.read(NOTIFY_SOCKET="/n", WATCHDOG_USEC=given_, WATCHDOG_PID=process)
            self.assertEqual(told.watchdog, wanted, given_)
        self.assertEqual(self.read(NOTIFY_SOCKET="/n", WATCHDOG_USEC="2000000").watchdog, 2.0)

    def test_not_for_children(self) -> None:
        """The variables are gone afterwards, so that no child speaks for us."""
        environ = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "7", "PATH": "/bin"}
        ServiceManager.of(environ, 7)
        self.assertEqual(environ, {"PATH": "/bin"})


class NoticesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sentence = "connecting"
        self.heard: list[bytes] = []
        self.error: OSError | None = None

    def send(self, address: bytes, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.heard.append(data)

    def start(self, watchdog: float | None = None, address: bytes | None = b"/n") -> Notices:
        notices = Notices(
            ServiceManager(address, watchdog), self.clock, lambda: self.sentence, self.send
        )
        notices.startService()
        return notices

    def test_life(self) -> None:
        """What it does is said when it changes; readiness once; and that it stops."""
        notices = self.start()
        self.clock.advance(60)
        self.sentence = "connected"
        notices.ready()
        notices.ready()
        notices.look()
        self.sentence = "waiting"
        self.clock.advance(5)
        notices.stopService()
        self.sentence = "gone"
        notices.look()
        self.assertEqual(
            self.heard,
            [
                b"STATUS=connecting\n",
                b"READY=1\nSTATUS=connected\n",
                b"STATUS=waiting\n",
                b"STOPPING=1\nSTATUS=stopping\n",
            ],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_watchdog(self) -> None:
        """A sign of life comes at half of the watchdog's time, for as long as the reactor turns."""
        self.start(watchdog=4.0)
        self.assertEqual(self.heard.count(b"WATCHDOG=1\n"), 1)
        for _ in range(5):
            self.clock.advance(2)
        self.assertEqual(self.heard.count(b"WATCHDOG=1\n"), 6)

    def test_nobody(self) -> None:
        """With nobody to tell, nothing is done and nothing scheduled."""
        notices = self.start(address=None, watchdog=1.0)
        notices.ready()
        notices.look()
        notices.stopService()
        self.assertEqual((self.heard, self.clock.getDelayedCalls()), ([], []))

    def test_deaf(self) -> None:
        """A socket that takes nothing is no reason to fail, and is tried again."""
        self.error = ConnectionRefusedError(111, "Connection refused")
        notices = self.start(watchdog=1.0)
        self.clock.advance(1)
        self.error = None
        notices.ready()
        self.assertEqual(self.heard[-1], b"READY=1\nSTATUS=connecting\n")

    def test_ready_in_the_end(self) -> None:
        """A manager that was too busy to take a word is told again that the program is ready."""
        notices = self.start()
        self.error = BlockingIOError(11, "Resource temporarily unavailable")
        self.sentence = "connected"
        notices.ready()
        self.clock.advance(5)
        self.error = None
        self.clock.advance(5)
        self.clock.advance(5)
        self.assertEqual(self.heard, [b"STATUS=connecting\n", b"READY=1\nSTATUS=connected\n"])

    def test_stopped_before_it_was_heard(self) -> None:
        """A program that stops is not said to be ready afterwards."""
        notices = self.start()
        self.error = BlockingIOError(11, "Resource temporarily unavailable")
        notices.ready()
        self.error = None
        notices.stopService()
        notices.look()
        self.clock.advance(60)
        self.assertEqual(self.heard[-1], b"STOPPING=1\nSTATUS=stopping\n")
