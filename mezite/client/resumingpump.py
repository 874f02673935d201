"""
The same bytes both ways, over one connection to the hub after the other.

A :class:`ResumingPump` owns the link with the node's agent. When the connection is cut
it asks for another one and goes on where it was, so that whoever reads standard output
notices nothing but a pause. Nothing slow is imported here.
"""

from __future__ import annotations

import os
import select
import signal
import ssl
import time
from collections.abc import Callable

from mezite.client.pump import CHUNK, Connection, Pump
from mezite.client.stopsignals import Stopped, StopSignals
from mezite.error import Denied, MeziteError, RemoteError
from mezite.resume import frames
from mezite.resume.error import NotNow, RemoteResumeError, ResumeDenied, SessionGone
from mezite.resume.frames import Greeting, GreetingReader, Refusal, Welcome
from mezite.resume.link import FULL, Event, Link
from mezite.resume.redialing import TOO_LATE, Redialing

# As in mezite.resume.transport and mezite.resume.silence.
ACKNOWLEDGE_SECONDS = 1.0
ASK_SECONDS = 6.0
ANSWER_SECONDS = 9.0
# A goodbye that does not leave by then is not worth waiting for.
GOODBYE_SECONDS = 1.0
_LOOK_MILLISECONDS = 3000
# With its header in front it fills TLS records, and none is sent for the last four octets.
_READ = CHUNK - frames.HEADER_LENGTH
_GONE = "the connection was lost, and the node has ended the session"


class Greeted:
    """A connection whose greeting is over, and what came behind that."""

    __slots__ = ("connection", "greeting", "rest")

    def __init__(self, connection: Connection, greeting: Greeting, rest: bytes) -> None:
        self.connection = connection
        self.greeting = greeting
        self.rest = rest


def greet(connection: Connection, hello: bytes, deadline: float) -> Greeted:
    """
    Say hello, and wait for the answer.

    :raises ConnectionError: it was closed before there was one.
    :raises TimeoutError: at the deadline, in seconds of the monotonic clock.
    """
    reader = GreetingReader()
    connection.socket.setblocking(True)
    connection.tls.write(hello)
    connection.socket.sendall(connection.outgoing.read())
    while True:
        try:
            plain = connection.tls.read(CHUNK)
        except ssl.SSLWantReadError:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the node did not answer in time") from None
            connection.socket.settimeout(left)
            data = connection.socket.recv(CHUNK)
            if data:
                connection.incoming.write(data)
                continue
            plain = b""
        except ssl.SSLZeroReturnError:
            plain = b""
        if not plain:
            raise ConnectionResetError("it was closed before the node answered")
        complete = reader.receive(plain)
        if complete is not None:
            connection.socket.setblocking(False)
            return Greeted(connection, *complete)


def refusal_of(greeting: Greeting) -> MeziteError:
    """What a greeting that is no welcome means."""
    if not isinstance(greeting, Refusal):
        return SessionGone(_GONE)
    if greeting.reason == frames.NOT_NOW:
        return NotNow(greeting.sentence)
    kind = SessionGone if greeting.reason == frames.GONE else ResumeDenied
    return kind(greeting.sentence)


class ResumingPump(Pump):
    """
    Bytes both ways between a node and two file descriptors.

    :param begun: the first connection, on which the node bade us welcome.
    :param redial: another one, greeted with these bytes; raises what dialing raises.
    :param say: tells a person what happens.
    """

    def __init__(
        self,
        begun: Greeted,
        source: int,
        sink: int,
        redial: Callable[[bytes], Greeted],
        say: Callable[[str], None],
    ) -> None:
        super().__init__(begun.connection, source, sink)
        assert isinstance(begun.greeting, Welcome)
        self._token = begun.greeting.token
        self._rest = begun.rest
        self._redial = redial
        self._say = say
        self._signals = StopSignals()
        self._link = Link()
        self._link.carried(begun.greeting.received)
        self._node_ended = False
        self._heard_at = time.monotonic()
        self._tries = Redialing(self._heard_at)
        self._asked_at: float | None = None
        self._owes_since: float | None = None

    def _carry(self) -> None:
        with self._signals:
            try:
                self._carry_on()
            except Stopped as stopped:
                self._leave()
                signal.signal(stopped.number, signal.SIG_DFL)
                os.kill(os.getpid(), stopped.number)

    def _carry_on(self) -> None:
        while not self._is_done:
            try:
                self._begin()
                self._loop()
            except RemoteResumeError:
                self._leave()
                raise
            except (OSError, RemoteError, Denied) as error:
                # Of TLS, also: whatever it was, another connection may do better.
                why = str(getattr(error, "strerror", None) or error)
            else:
                why = "it was closed"
            if not self._is_done:
                with self._signals.raised():
                    self._resume(why)
        self._leave()

    @property
    def _is_done(self) -> bool:
        return self._sink_gone or (self._node_ended and not self._to_sink)

    # One connection.

    def _begin(self) -> None:
        """What came along with the greeting, and what is to be said at once."""
        self._heard_at = time.monotonic()
        self._asked_at = self._owes_since = None
        rest, self._rest = self._rest, b""
        if rest:
            self._opened(memoryview(rest))
        self._emit()
        self._decrypt()

    def _ready(self, poll: select.poll) -> list[tuple[int, int]]:
        return self._signals.poll(poll, self._patience())

    def _takes_more(self) -> bool:
        return self._source_open and self._link.unacknowledged < FULL

    def _source_ready(self) -> None:
        try:
            data = os.read(self._source, _READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""  # of a terminal that is gone
        if data:
            self._link.send(data)
        else:
            self._source_open = False
            self._link.finish()
        self._emit()

    def _opened(self, plain: memoryview) -> None:
        self._heard_at = time.monotonic()
        self._asked_at = None
        for event in self._link.receive(plain, answers=not self._to_socket):
            if isinstance(event, memoryview):
                self._to_sink.append(event)
            elif event is Event.ENDED:
                self._node_ended = True
                self._hub_open = False
            else:
                self._node_ended = True
                self._hub_open = False
                if not self._to_sink:
                    raise RemoteResumeError("the node dropped the connection")
        if self._owes_since is None and self._link.owes_acknowledgement:
            self._owes_since = self._heard_at
        self._emit()

    def _emit(self) -> None:
        """Seal what is to be said, and send what there is room for."""
        output = self._link.take_output()
        if output:
            # In one piece: a header in a TLS record of its own costs the hub as much as its data.
            self._connection.tls.write(output[0] if len(output) == 1 else b"".join(output))
        self._collect_outgoing()
        if self._to_socket:
            self._send()

    def _send(self) -> None:
        try:
            self._to_socket = self._to_socket[self._connection.socket.send(self._to_socket) :]
        except BlockingIOError:
            pass
        except OSError:
            if not self._node_ended:
                raise
            # The node has said all that it had to say, and the sink does not have it yet.
            self._to_socket = memoryview(b"")
            self._source_open = False

    def _patience(self) -> int | None:
        least = 1000 if self._owes_since is not None else _LOOK_MILLISECONDS
        return min(least, self._connection.patience or least)

    def _tend(self) -> None:
        super()._tend()
        now = time.monotonic()
        if self._owes_since is not None and now - self._owes_since >= ACKNOWLEDGE_SECONDS:
            self._owes_since = None
            self._link.acknowledge()
            self._emit()
        if self._to_sink:
            # Nobody listens to the hub meanwhile, so silence means nothing.
            self._heard_at, self._asked_at = now, None
        elif self._asked_at is not None:
            if now - self._asked_at >= ANSWER_SECONDS:
                raise TimeoutError("nothing comes any more")
        elif now - self._heard_at >= ASK_SECONDS:
            self._asked_at = now
            self._link.ping()
            self._emit()

    def _leave(self) -> None:
        """Tell the node that nobody comes back, if that can be done at once."""
        link = self._link
        if link.is_carried and not link.is_over:
            if self._node_ended and not self._sink_gone:
                if link.is_writable:
                    link.finish()
            else:
                link.reset()
        try:
            self._connection.socket.settimeout(GOODBYE_SECONDS)
            for piece in link.take_output():
                self._connection.tls.write(piece)
            self._finish()
            left = bytes(self._to_socket) + self._connection.outgoing.read()
            if left:
                self._connection.socket.sendall(left)
        except OSError:
            pass  # ssl.SSLError is one; the node gives up in its own time

    # The next one.

    def _resume(self, why: str) -> None:
        """
        Find another connection.

        :raises SessionGone: when that has no sense any more.
        :raises Denied: when the hub, or the node, says no.
        """
        self._link.cut()
        self.close()
        self._to_socket = memoryview(b"")
        # The next connection is decrypted into the same memory.
        self._to_sink = [memoryview(bytes(each)) for each in self._to_sink]
        self._say(f"connection lost ({why}); trying again")
        self._tries.cut(time.monotonic())
        while True:
            if longest := self._tries.next_wait(time.monotonic()):
                self._wait(longest * int.from_bytes(os.urandom(2), "big") / 0xFFFF)
            if self._sink_gone:
                return
            if self._found_another():
                break
            if self._tries.is_too_late(time.monotonic()):
                raise SessionGone(TOO_LATE)
        self._tries.carried(time.monotonic())
        self._hub_open = True
        self._say("back")

    def _found_another(self) -> bool:
        try:
            greeted = self._redial(frames.hello(self._token, self._link.received))
        except Denied:
            raise
        except (MeziteError, OSError):
            return False
        greeting = greeted.greeting
        if not isinstance(greeting, Welcome):
            greeted.connection.socket.close()
            error = refusal_of(greeting)
            if isinstance(error, NotNow):
                return False
            raise error
        if greeting.token != self._token or not self._link.could_have_sent(greeting.received):
            greeted.connection.socket.close()
            raise SessionGone("the node does not know how far this connection was")
        self._connection = greeted.connection
        self._link.carried(greeting.received)
        self._rest = greeted.rest
        return True

    def _wait(self, seconds: float) -> None:
        """Until it is time for the next try; whoever reads us may end meanwhile."""
        watch = select.poll()
        watch.register(self._sink, 0)
        for _, events in watch.poll(round(seconds * 1000)):
            if events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
                self._sink_gone = True
