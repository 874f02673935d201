"""
A TLS connection on the standard library alone, and bytes carried both ways.

:class:`Pump` owns what is on its way between the connection and two file
descriptors; who is connected to, and why it may be trusted, is for
:mod:`mezite.client.hubsocket` to decide. Nothing slow is imported here.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import ssl
import time

from mezite.error import Denied, MeziteError, RemoteError

# One read of the connection or of standard input. Larger ones gain nothing, and
# allocations above 128 KiB cost malloc an mmap and a munmap each.
CHUNK = 64 * 1024
# Decrypted bytes waiting for standard output: those of one read, and of the one
# TLS record (16 KiB) that the read before it left incomplete.
PLAIN = CHUNK + 32 * 1024
# IOV_MAX on Linux: pieces that are written at once.
PIECES = 1024
# What a pipe holds; the default of 64 KiB makes ssh and us take turns.
PIPE_BYTES = 1024 * 1024


class Connection:
    """
    TLS over a socket that the caller waits for: bytes in, bytes out.

    What is no socket, and keeps bytes of its own, overrides what concerns them.
    """

    # How long to wait at most for something to happen, in milliseconds.
    patience: int | None = None

    def __init__(self, connected: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        self.socket = connected
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        # As bytes it is taken as it is; text would import the codec of IDNA.
        name: str = server_name.encode("ascii")  # type: ignore[assignment]
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def has_unsent(self) -> bool:
        """Whether bytes wait that were taken, and are to be sent when there is room."""
        return False

    def tend(self) -> None:
        """Do what is due at this time."""

    def handshake(self, deadline: float) -> None:
        """
        Finish the handshake.

        :raises TimeoutError: at the deadline, in seconds of the monotonic clock.
        """
        finished = False
        while not finished:
            try:
                self.tls.do_handshake()
                finished = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                if self.outgoing.pending:  # the alert tells the hub why
                    self.socket.sendall(self.outgoing.read())
                raise
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            if self.outgoing.pending:
                self.socket.sendall(self.outgoing.read())
            if not finished:
                data = self.socket.recv(CHUNK)
                if not data:
                    raise ConnectionResetError("it was closed in the TLS handshake")
                self.incoming.write(data)


def tls_failure(error: ssl.SSLError, where: str) -> MeziteError:
    """What a failure of TLS means to the person who waits."""
    reason = (error.reason or "").lower().replace("_", " ")
    if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
        return Denied("the hub refused your certificate: run msh login")
    return RemoteError(f"TLS with {where} failed: {reason or error.strerror or 'no reason given'}")


class Pump:
    """
    Bytes both ways between a connection and two file descriptors.

    Nothing is read from one side before the other took all that came before,
    so what it holds is one chunk each way. The end of standard input is passed
    on while the hub still sends; the end of what the hub sends is the end.
    """

    def __init__(self, connection: Connection, source: int, sink: int, early: bytes = b"") -> None:
        """:param early: what has come on the connection already, and is for the sink."""
        self._connection = connection
        self._source = source
        self._sink = sink
        self._read_buffer = memoryview(bytearray(CHUNK))
        self._receive_buffer = memoryview(bytearray(CHUNK))
        self._plain = memoryview(bytearray(PLAIN))
        self._to_sink = [memoryview(early)] if early else []
        self._to_socket = memoryview(b"")
        self._source_open = True
        self._hub_open = True
        self._sink_gone = False

    def run(self) -> None:
        """Carry bytes until the hub has ended, or the sink is gone."""
        files = {self._source, self._sink}
        blocking = {file: os.get_blocking(file) for file in files}
        for file in files:
            _enlarge(file)
            os.set_blocking(file, False)
        try:
            self._carry()
        finally:
            for file, was_blocking in blocking.items():
                os.set_blocking(file, was_blocking)

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.socket.close()

    def _carry(self) -> None:
        self._decrypt()  # what came along with the end of the handshake
        self._loop()
        self._say_goodbye()

    def _loop(self) -> None:
        poll = select.poll()
        connection = self._connection
        hub = connection.socket.fileno()
        masks = {hub: 0, self._source: 0, self._sink: -1}
        while (self._hub_open or self._to_sink) and not self._sink_gone:
            self._collect_outgoing()
            is_sending = self._to_socket or connection.has_unsent()
            wanted = {
                hub: (select.POLLIN if self._hub_open and not self._to_sink else 0)
                | (select.POLLOUT if is_sending else 0),
                self._source: select.POLLIN if not is_sending and self._takes_more() else 0,
                self._sink: select.POLLOUT if self._to_sink else 0,
            }
            for file, mask in wanted.items():
                if masks[file] == mask:
                    continue
                masks[file] = mask
                if mask or file == self._sink:
                    poll.register(file, mask)
                else:
                    # What is closed or broken is reported whatever is asked for: look
                    # away. Of the sink we want to hear it.
                    poll.unregister(file)
            for file, events in self._ready(poll):
                if file == hub:
                    self._hub_ready(events)
                elif file == self._sink:
                    self._sink_ready(events)
                else:
                    self._source_ready()
            self._tend()

    def _ready(self, poll: select.poll) -> list[tuple[int, int]]:
        """Wait for something to do; between two waits nothing is half done."""
        return poll.poll(self._patience())

    def _takes_more(self) -> bool:
        """Whether standard input may be read."""
        return self._source_open

    def _patience(self) -> int | None:
        """How long to wait at most for something to happen, in milliseconds."""
        return self._connection.patience

    def _tend(self) -> None:
        """Do what is due at this time."""
        self._connection.tend()

    def _hub_ready(self, events: int) -> None:
        if events & select.POLLOUT:
            self._send()
        if events & ~select.POLLOUT and self._hub_open and not self._to_sink:
            self._receive()

    def _sink_ready(self, events: int) -> None:
        if self._to_sink:
            self._write()
        elif events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
            self._sink_gone = True

    def _source_ready(self) -> None:
        try:
            count = os.readv(self._source, [self._read_buffer])
        except BlockingIOError:
            return
        if count:
            self._connection.tls.write(self._read_buffer[:count])
        else:
            self._source_open = False
            self._finish()
        self._collect_outgoing()
        self._send()

    def _finish(self) -> None:
        """Tell the hub that nothing more comes; TLS 1.3 lets it go on sending."""
        try:
            self._connection.tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass

    def _say_goodbye(self) -> None:
        """End the TLS connection as it should be, if that can be done at once."""
        if self._source_open and not self._to_socket:
            try:
                self._finish()
                self._collect_outgoing()
                self._send()
            except OSError:
                pass  # ssl.SSLError is one; the hub will see the end of TCP

    def _collect_outgoing(self) -> None:
        if not self._to_socket and self._connection.outgoing.pending:
            self._to_socket = memoryview(self._connection.outgoing.read())

    def _send(self) -> None:
        try:
            self._to_socket = self._to_socket[self._connection.socket.send(self._to_socket) :]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            # The hub listens no more, but why may still be waiting to be read.
            self._to_socket = memoryview(b"")
            self._source_open = False

    def _receive(self) -> None:
        try:
            count = self._connection.socket.recv_into(self._receive_buffer)
        except BlockingIOError:
            return
        if count:
            self._connection.incoming.write(self._receive_buffer[:count])
            self._decrypt()
        else:
            self._hub_open = False  # without a goodbye, but SSH has its own

    def _decrypt(self) -> None:
        """Take all that can be decrypted; the rest is part of one record."""
        tls, end = self._connection.tls, 0
        try:
            while True:
                # At most one record each time, and the buffer holds all of a chunk's.
                count: int = tls.read(PLAIN, self._plain[end:])  # type: ignore
                if not count:
                    self._hub_open = False
                    break
                end += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._hub_open = False
        except ssl.SSLError as error:
            raise tls_failure(error, "the hub") from None
        if end:
            self._opened(self._plain[:end])
        if self._to_sink:
            self._write()

    def _opened(self, plain: memoryview) -> None:
        """Take what was decrypted."""
        self._to_sink.append(plain)

    def _write(self) -> None:
        waiting = self._to_sink
        try:
            written = os.writev(self._sink, waiting[:PIECES])
        except BlockingIOError:
            return
        except OSError:
            self._sink_gone = True  # whoever started us has ended
            return
        while written:
            if len(waiting[0]) <= written:
                written -= len(waiting.pop(0))
            else:
                waiting[0] = waiting[0][written:]
                written = 0


def _enlarge(file: int) -> None:
    """Let a pipe hold more; what is no pipe, or may not, stays as it is."""
    try:
        fcntl.fcntl(file, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (OSError, AttributeError):
        pass
