"""Tests of bytes that msh proxy ssh carries over one connection after the other."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.client import pump, resumingpump
from mezite.client.resumingpump import (
    ANSWER_SECONDS,
    ASK_SECONDS,
    Greeted,
    ResumingPump,
    greet,
)
from mezite.error import Denied, Unavailable
from mezite.resume import frames
from mezite.resume.error import RemoteResumeError, ResumeDenied, SessionGone
from mezite.resume.frames import Greeting, Plain, Refusal, Welcome
from mezite.resume.link import FULL, Event, State
from mezite.resume.redialing import (
    FIRST_WAIT,
    LATE_WAIT,
    LONGEST_SECONDS,
    LONGEST_WAIT,
    TRY_SECONDS,
)
from tests.doubles.pumped import TOKEN, PlainConnection, PlainTls, PumpWorld

Script = Callable[[], Iterator[None]]


class PumpTestCase(SynchronousTestCase):
    """A pump, a node, and whoever started the pump."""

    def setUp(self) -> None:
        self.world = PumpWorld()
        self.addCleanup(self.world.close)
        for module in (pump, resumingpump):
            self.patch(module, "select", self.world)
        self.patch(resumingpump, "time", self.world)
        self.node = self.world.node
        self.notes: list[str] = []
        self.hellos: list[bytes] = []
        # What each dial comes to, before the node is reached again.
        self.failures: list[Exception | Greeting] = []
        self.dialed_at: list[float] = []

    def redial(self, hello: bytes) -> Greeted:
        self.hellos.append(hello)
        self.dialed_at.append(self.world.now)
        outcome = self.failures.pop(0) if self.failures else None
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is not None:
            return Greeted(PlainConnection(), outcome, b"")
        line, welcome = self.node.greeted(hello)
        return Greeted(line, welcome, b"")

    def pump(self) -> ResumingPump:
        line, welcome = self.node.greeted(frames.hello())
        begun = Greeted(line, welcome, b"")
        world = self.world
        return ResumingPump(begun, world.source, world.sink, self.redial, self.notes.append)

    def play(self, script: Script) -> None:
        """Let the pump run to its end, while this happens."""
        self.world.script = script()
        pumping = self.pump()
        try:
            pumping.run()
        finally:
            pumping.close()
            self.node.move()
            self.world.is_reading = True
            self.world.read()

    def goodbye(self) -> Iterator[None]:
        """The node ends the session, once all has arrived."""
        for _ in range(3):
            yield
        self.node.link.finish()


class CarryingTests(PumpTestCase):
    """A connection that lives."""

    def test_both_ways(self) -> None:
        """What comes in goes out, and the node's end is the end."""

        def script() -> Iterator[None]:
            self.world.type(b"SSH-2.0-client\r\n")
            self.node.link.send(b"SSH-2.0-node\r\n")
            yield
            yield from self.goodbye()

        self.play(script)
        self.assertEqual(bytes(self.node.heard), b"SSH-2.0-client\r\n")
        self.assertEqual(bytes(self.world.shown), b"SSH-2.0-node\r\n")
        self.assertEqual(self.node.link.state, State.ENDED)
        self.assertEqual((self.hellos, self.notes), ([], []))

    def test_half_close(self) -> None:
        """Standard input ends, and the node still answers."""

        def script() -> Iterator[None]:
            self.world.type(b"question")
            self.world.close_file(self.world.typing)
            while Event.ENDED not in self.node.events:
                yield
            self.node.link.send(b"answer")
            yield from self.goodbye()

        self.play(script)
        self.assertEqual(bytes(self.node.heard), b"question")
        self.assertEqual(bytes(self.world.shown), b"answer")

    def test_acknowledged(self) -> None:
        """What came is acknowledged within a second, so that the node need not keep it."""

        def script() -> Iterator[None]:
            self.node.link.send(b"x")
            since = self.world.now
            while self.node.link.unacknowledged:
                yield
            self.assertLessEqual(self.world.now, since + 2)
            yield from self.goodbye()

        self.play(script)

    def test_sign_of_life(self) -> None:
        """A silent node is asked, and answers: nothing is dialed."""

        def script() -> Iterator[None]:
            while self.node.pings < 3:
                yield
            yield from self.goodbye()

        self.play(script)
        self.assertEqual(self.hellos, [])

    def test_full(self) -> None:
        """Standard input waits while much of it is not acknowledged."""

        def script() -> Iterator[None]:
            self.node.is_silent = True
            chunk = bytes(1 << 16)
            for _ in range(5):
                self.world.type(chunk[: 1 << 15])
                yield
            self.node.is_silent = False
            yield from self.goodbye()

        self.patch(resumingpump, "FULL", 1 << 16)
        self.play(script)
        # One chunk beyond the bound, at most; the rest came after the acknowledgement.
        self.assertEqual(len(self.node.heard) % (1 << 15), 0)
        self.assertLess(len(self.node.heard), 6 << 15)


class GoingOnTests(PumpTestCase):
    """A connection that is cut."""

    @given(
        st.lists(
            st.tuples(st.sampled_from(["type", "say", "cut", "step"]), st.integers(0, 3000)),
            max_size=25,
        )
    )
    def test_exactly_once(self, steps: list[tuple[str, int]]) -> None:
        """Whatever is cut when, every byte arrives once, in order."""
        self.setUp()
        draw = random.Random(7)
        typed, spoken = bytearray(), bytearray()

        def script() -> Iterator[None]:
            for what, size in steps:
                if what == "type":
                    typed.extend(data := draw.randbytes(size))
                    self.world.type(data)
                elif what == "say":
                    spoken.extend(data := draw.randbytes(size))
                    self.node.link.send(data)
                elif what == "cut":
                    self.node.cut()
                yield
            while len(self.node.heard) < len(typed) or len(self.world.shown) < len(spoken):
                yield
            yield from self.goodbye()

        self.play(script)
        self.assertEqual(self.node.heard, typed)
        self.assertEqual(self.world.shown, spoken)
        self.world.close()

    def test_at_once(self) -> None:
        """After a cut the hub is dialed at once, with the token and the count."""

        def script() -> Iterator[None]:
            self.node.link.send(b"0123456789")
            while not self.world.shown:
                yield
            self.world.now += LONGEST_SECONDS
            self.node.cut()
            cut_at = self.world.now
            while not self.hellos:
                yield
            self.assertEqual(self.dialed_at, [cut_at])
            yield from self.goodbye()

        self.play(script)
        self.assertEqual(self.hellos, [frames.hello(TOKEN, 10)])
        self.assertEqual(self.notes, ["connection lost (Broken pipe); trying again", "back"])

    def test_tried_again(self) -> None:
        """Whatever fails is tried again, after less than 4 s each time."""

        def script() -> Iterator[None]:
            self.node.cut()
            yield
            yield from self.goodbye()

        self.failures = [
            ConnectionRefusedError("nobody is there"),
            TimeoutError("nothing came"),
            Unavailable("no tunnel"),
            Refusal(frames.NOT_NOW, "db1 is not connected"),
            RemoteResumeError("a resumable connection begins with other bytes"),
            OSError("no route"),
        ]
        self.play(script)
        waits = [after - before for before, after in pairwise(self.dialed_at)]
        bounds = [*(n * FIRST_WAIT for n in (1, 2, 4, 8)), *[LONGEST_WAIT] * 2]
        self.assertEqual(len(waits), len(bounds))
        for waited, bound in zip(waits, bounds, strict=True):
            self.assertLessEqual(waited, bound + 0.001)

    def test_silence(self) -> None:
        """A node that does not answer either is looked for over another connection."""
        began = self.world.now

        def script() -> Iterator[None]:
            self.node.is_silent = True
            while not self.hellos:
                yield
            self.node.is_silent = False
            yield from self.goodbye()

        self.play(script)
        self.assertGreaterEqual(self.dialed_at[0] - began, ASK_SECONDS + ANSWER_SECONDS)
        self.assertLessEqual(self.dialed_at[0] - began, ASK_SECONDS + ANSWER_SECONDS + 7)

    def test_nobody_reads(self) -> None:
        """Silence says nothing while the sink takes nothing, for the hub is not heard."""

        def script() -> Iterator[None]:
            self.world.is_reading = False
            self.node.link.send(bytes(FULL))
            for _ in range(30):
                yield
            self.node.is_silent = True
            until = self.world.now + 100
            while self.world.now < until:
                yield
            self.node.is_silent, self.world.is_reading = False, True
            while len(self.world.shown) < FULL:
                yield
            yield from self.goodbye()

        self.play(script)
        self.assertEqual((self.hellos, len(self.world.shown)), ([], FULL))

    def test_full_both_ways(self) -> None:
        """What waited on both sides when the line was cut arrives, and once."""
        draw = random.Random(3)
        typed, spoken = draw.randbytes(1 << 15), draw.randbytes(FULL)

        def script() -> Iterator[None]:
            self.world.is_reading = False
            self.node.link.send(spoken)
            self.world.type(typed)
            for _ in range(20):
                yield
            self.node.cut()
            self.world.type(typed)
            yield
            self.world.is_reading = True
            while len(self.world.shown) < FULL or len(self.node.heard) < 2 << 15:
                yield
            yield from self.goodbye()

        self.play(script)
        self.assertEqual(bytes(self.world.shown), spoken)
        self.assertEqual(bytes(self.node.heard), typed * 2)

    def test_flapping(self) -> None:
        """A line that is cut again and again is not dialed in a tight loop."""

        def script() -> Iterator[None]:
            for _ in range(20):
                self.node.cut()
                number = len(self.hellos)
                while len(self.hellos) == number:
                    yield
                yield
            yield from self.goodbye()

        self.patch(resumingpump.os, "urandom", lambda size: b"\xff" * size)
        self.play(script)
        self.assertGreater(self.dialed_at[-1] - self.dialed_at[0], 30)


class EndTests(PumpTestCase):
    """A connection that was cut and does not go on, or is given up."""

    def cut(self) -> Iterator[None]:
        self.node.cut()
        while True:
            yield

    def test_refused(self) -> None:
        """A refusal that would come again ends it, in its own words."""
        kinds: dict[int, type[Exception]] = {frames.DENIED: ResumeDenied, frames.GONE: SessionGone}
        for reason, kind in kinds.items():
            self.failures = [Refusal(reason, "ada is locked")]
            with self.assertRaises(kind) as caught:
                self.play(self.cut)
            self.assertEqual(str(caught.exception), "ada is locked")

    def test_hub_denies(self) -> None:
        """So does a hub that does not take the certificate any more."""
        self.failures = [Denied("the hub refused your certificate: run msh login")]
        self.assertRaises(Denied, self.play, self.cut)
        self.assertEqual(len(self.hellos), 1)

    def test_older_hub(self) -> None:
        """A hub that resumes nothing any more cannot go on."""
        self.failures = [Plain()]
        self.assertRaises(SessionGone, self.play, self.cut)

    def test_too_late(self) -> None:
        """After five minutes nobody keeps the session, and it is over."""
        self.failures = [ConnectionRefusedError("nobody is there")] * 5000
        self.assertRaises(SessionGone, self.play, self.cut)
        took = self.dialed_at[-1] - self.dialed_at[0]
        self.assertGreaterEqual(took, LONGEST_SECONDS)
        self.assertLessEqual(took, LONGEST_SECONDS + LATE_WAIT)

    def test_another_node(self) -> None:
        """Who has another token, or other counts, is not who we spoke with."""
        for welcome in (
            Welcome(bytes(32), 0),
            Welcome(TOKEN, 1),
            Welcome(TOKEN, frames.COUNT_LIMIT - 1),
        ):
            self.failures = [welcome]
            self.assertRaises(SessionGone, self.play, self.cut)

    def test_junk(self) -> None:
        """A node that breaks the protocol is told so, and not looked for."""
        for junk in (b"SSH-2.0-x\r\n", frames.acknowledgement(99), frames.hello(), b"\xff" * 4):

            def script(junk: bytes = junk) -> Iterator[None]:
                self.node.say(junk)
                yield

            self.node.link.__init__()  # type: ignore[misc]
            self.node.events.clear()
            self.assertRaises(RemoteResumeError, self.play, script)
            self.assertEqual((self.node.events, self.hellos), ([Event.RESET], []))

    def test_asks_and_reads_nothing(self) -> None:
        """Who asks on and on, and takes no answer, has none kept for them."""
        pumping = self.pump()
        connection: Any = pumping._connection
        self.addCleanup(pumping.close)
        with self.assertRaises(BlockingIOError):
            while True:
                connection.socket.send(bytes(1 << 16))
        pumping._to_socket = memoryview(b"said before")
        for _ in range(1000):
            pumping._opened(memoryview(frames.ping()))
        self.assertEqual(connection.outgoing.pending, 0)

    def test_node_drops_it(self) -> None:
        """A node that has forgotten the connection ends it."""

        def script() -> Iterator[None]:
            self.node.link.reset()
            yield

        self.assertRaises(RemoteResumeError, self.play, script)
        self.assertEqual(self.hellos, [])

    def test_reader_goes(self) -> None:
        """Whoever started us has ended: the node hears that nobody comes back."""

        def script() -> Iterator[None]:
            yield
            self.world.close_file(self.world.reading)
            yield

        self.play(script)
        self.assertEqual(self.node.events, [Event.RESET])

    def test_reader_goes_meanwhile(self) -> None:
        """When nobody reads any more, nothing is dialed any more."""

        def script() -> Iterator[None]:
            self.node.cut()
            while len(self.hellos) < 3:
                yield
            self.world.close_file(self.world.reading)
            yield

        self.failures = [ConnectionRefusedError("nobody is there")] * 5000
        self.play(script)
        self.assertLessEqual(len(self.hellos), 4)

    def test_all_was_said(self) -> None:
        """A node that has said all need not be found again to have it written out."""

        def script() -> Iterator[None]:
            self.world.is_reading = False
            self.node.link.send(bytes(10_000))
            self.node.link.finish()
            for _ in range(9):
                yield
            self.node.cut()
            self.world.type(b"too late")
            for _ in range(9):
                yield
            self.world.is_reading = True

        self.patch(pump, "PIPE_BYTES", 4096)
        self.play(script)
        self.assertEqual((len(self.world.shown), self.hellos), (10_000, []))


class SignalTests(PumpTestCase):
    """A person who does not want to wait."""

    def setUp(self) -> None:
        super().setUp()
        self.killed: list[int] = []
        self.patch(resumingpump.os, "kill", lambda _, number: self.killed.append(number))

    def stopped(self, script: Script, number: int = signal.SIGTERM) -> None:
        before = signal.getsignal(number)
        self.play(script)
        self.assertEqual(self.killed, [number])
        self.assertEqual(signal.getsignal(number), before)

    def test_open(self) -> None:
        """The node hears that nobody comes back, whatever the signal was."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):

            def script(number: int = number) -> Iterator[None]:
                yield
                signal.raise_signal(number)

            self.stopped(script, number)
            self.assertEqual(self.node.events, [Event.RESET])
            self.doCleanups()
            self.setUp()

    def test_sending(self) -> None:
        """What is just being sent is not lost to a signal: ssh's last words, as a rule."""
        write = PlainTls.write

        def interrupted(tls: PlainTls, data: Any) -> int:
            signal.raise_signal(signal.SIGHUP)
            return write(tls, data)

        def script() -> Iterator[None]:
            self.world.type(b"last words")
            yield

        self.patch(PlainTls, "write", interrupted)
        self.stopped(script, signal.SIGHUP)
        self.assertEqual(bytes(self.node.heard), b"last words")
        self.assertEqual(self.node.events, [Event.RESET])

    def test_waiting(self) -> None:
        """While the next try is waited for, it ends at once."""

        def script() -> Iterator[None]:
            self.node.cut()
            while len(self.hellos) < 3:
                yield
            signal.raise_signal(signal.SIGTERM)

        self.failures = [ConnectionRefusedError("nobody is there")] * 5000
        self.stopped(script)
        self.assertEqual(len(self.hellos), 3)

    def test_dialing(self) -> None:
        """So it does while the hub is dialed."""

        def dial(hello: bytes) -> Greeted:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("it was not stopped")

        def script() -> Iterator[None]:
            self.node.cut()
            yield

        self.patch(self, "redial", dial)
        self.stopped(script, signal.SIGINT)


class ScriptedSocket:
    """A socket of which each read gives the next piece."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self.pieces = list(pieces)
        self.sent = b""

    def setblocking(self, flag: bool) -> None:
        """It is as it is."""

    def settimeout(self, seconds: float) -> None:
        assert 0 < seconds <= TRY_SECONDS

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def recv(self, size: int) -> bytes:
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        return piece


class GreetingTests(PumpTestCase):
    """The first words on a connection."""

    def greet(self, *pieces: bytes | Exception) -> Greeted:
        connection: Any = PlainConnection()
        for end in (connection.socket, connection.far):
            end.close()
        self.scripted = connection.socket = ScriptedSocket(*pieces)
        return greet(connection, frames.hello(), self.world.now + TRY_SECONDS)

    def test_any_pieces(self) -> None:
        """An answer comes in any pieces, and what is behind it is kept."""
        said = frames.welcome(TOKEN, 0) + b"behind"
        greeted = self.greet(*(said[at : at + 1] for at in range(len(said))))
        self.assertIsInstance(greeted.greeting, Welcome)
        self.assertEqual(self.scripted.sent, frames.hello())
        self.assertEqual(self.greet(said).rest, b"behind")

    def test_closed(self) -> None:
        """A connection that ends first looks as one to an older agent does."""
        self.assertRaises(ConnectionError, self.greet, b"")
        self.assertRaises(ConnectionError, self.greet, frames.welcome(TOKEN, 0)[:20], b"")

    def test_silent(self) -> None:
        """Nobody waits for longer than a try."""
        self.assertRaises(TimeoutError, self.greet, TimeoutError("timed out"))

    def test_trickling(self) -> None:
        """Nor for whoever says something now and then."""

        class Slow(ScriptedSocket):
            def recv(slow, size: int) -> bytes:
                self.world.now += 3
                return super().recv(size)

        connection: Any = PlainConnection()
        for end in (connection.socket, connection.far):
            end.close()
        connection.socket = Slow(*(bytes([each]) for each in frames.welcome(TOKEN, 0)))
        deadline = self.world.now + TRY_SECONDS
        self.assertRaises(TimeoutError, greet, connection, frames.hello(), deadline)

    def test_junk(self) -> None:
        """What is no greeting is refused at its first octets."""
        for junk in (b"SSH-2.0-x\r\n", b"\x02\xff\xff\xff", b"HTTP/1.1 400 Bad Request\r\n"):
            self.assertRaises(RemoteResumeError, self.greet, junk)
