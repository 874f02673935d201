"""
``msh proxy ssh`` through what ends TLS before the hub: TLS in a WebSocket in TLS.

:class:`UpgradedSocket` is used as a socket is, and stands beneath the TLS that
is spoken with the hub. It trusts nobody whom it speaks with itself; see
``docs/protocols/connection-upgrade.rst``. Imported only where it is needed.
"""

from __future__ import annotations

import socket
import ssl
import time

from mezite.client.pump import CHUNK, Connection
from mezite.wire.websocket import (
    BINARY,
    CLOSE,
    NORMAL,
    PING,
    PING_SECONDS,
    PONG,
    SILENCE_SECONDS,
    BrokenFrames,
    ClientFrames,
    Opening,
    UpgradeRefused,
    close_payload,
)

# What one read may open to: itself, and the record that the read before left incomplete.
_READ = CHUNK - 20 * 1024
# Behind the answer may come a ping; a hub's TLS waits for ours. With more than that, a read
# could open to more than there is room for.
_EARLY = 1024


class UpgradedSocket:
    """
    Bytes in the messages of a WebSocket, by the calls of a socket that are used.

    Everything that one read brings is handed out at once, so that whoever waits
    for the file descriptor misses nothing.
    """

    def __init__(self, outer: Connection, frames: ClientFrames) -> None:
        self._outer = outer
        self._frames = frames
        self._unsent = memoryview(b"")
        self._is_over = False
        self._heard_at = self._said_at = time.monotonic()

    # --- as a socket

    def fileno(self) -> int:
        return self._outer.socket.fileno()

    def setblocking(self, flag: bool) -> None:
        self._outer.socket.setblocking(flag)

    def settimeout(self, seconds: float | None) -> None:
        self._outer.socket.settimeout(seconds)

    def recv(self, size: int) -> bytes:
        buffer = memoryview(bytearray(max(size, CHUNK)))
        return bytes(buffer[: self.recv_into(buffer)])

    def recv_into(self, buffer: memoryview) -> int:
        """Read until there is something for the one who asks; 0 is the end."""
        filled = 0
        while not filled and not self._is_over:
            data = self._outer.socket.recv(_READ)
            if not data:
                self._is_over = True
                break
            self._heard_at = time.monotonic()
            self._outer.incoming.write(data)
            self._open()
            filled = self._take_frames(buffer)
        return filled

    def send(self, data: memoryview | bytes) -> int:
        """Take all of it, if nothing waits; what the network does not take is sent by flush."""
        self.flush()
        if not data:
            return 0
        if self._unsent:
            raise BlockingIOError
        self._say(BINARY, bytes(data))
        self.flush()
        return len(data)

    def sendall(self, data: bytes) -> None:
        self._say(BINARY, data)
        self._outer.socket.sendall(self._unsent)
        self._unsent = memoryview(b"")

    def close(self) -> None:
        """Say goodbye, if that can be done at once."""
        try:
            self._outer.socket.setblocking(False)
            self._say(CLOSE, close_payload(NORMAL))
            self.flush()
        except OSError:
            pass
        self._outer.socket.close()

    # --- beside it

    def has_unsent(self) -> bool:
        return bool(self._unsent)

    def flush(self) -> None:
        """Send what was taken, as far as there is room."""
        try:
            while self._unsent:
                self._unsent = self._unsent[self._outer.socket.send(self._unsent) :]
        except BlockingIOError:
            pass

    def tend(self) -> None:
        """
        Give a sign of life when it is due.

        :raises TimeoutError: none came for too long.
        """
        now = time.monotonic()
        if now - self._heard_at >= SILENCE_SECONDS:
            raise TimeoutError(f"it has been silent for {SILENCE_SECONDS:g} s")
        if now - self._said_at >= PING_SECONDS and not self._unsent:
            self._said_at = now
            self._say(PING)
            self.flush()

    # --- inside

    def _open(self) -> None:
        tls = self._outer.tls
        try:
            while plain := tls.read(CHUNK):
                self._frames.receive(plain)
            self._is_over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._is_over = True

    def _take_frames(self, buffer: memoryview) -> int:
        filled = 0
        while (frame := self._next_frame()) is not None:
            opcode, payload = frame
            if opcode == BINARY:
                buffer[filled : filled + len(payload)] = payload
                filled += len(payload)
            elif opcode == PING:
                self._say(PONG, payload)
                self.flush()
            elif opcode == CLOSE:
                self._say(CLOSE, payload[:2])
                self.flush()
                self._is_over = True
                break
        return filled

    def _next_frame(self) -> tuple[int, bytes] | None:
        try:
            return self._frames.next_frame()
        except BrokenFrames as error:
            raise ConnectionResetError(str(error)) from None

    def _say(self, opcode: int, payload: bytes = b"") -> None:
        self._outer.tls.write(self._frames.frame(opcode, payload))
        sealed = self._outer.outgoing.read()
        self._unsent = memoryview(bytes(self._unsent) + sealed if self._unsent else sealed)


class UpgradedConnection(Connection):
    """The TLS that is spoken with the hub, on such a socket."""

    # Signs of life are looked at so often.
    patience = 5000

    def __init__(self, carrying: UpgradedSocket, context: ssl.SSLContext, server_name: str) -> None:
        super().__init__(carrying, context, server_name)  # type: ignore[arg-type]
        self._carrying = carrying

    def has_unsent(self) -> bool:
        return self._carrying.has_unsent()

    def tend(self) -> None:
        self._carrying.tend()


def upgraded(
    connected: socket.socket,
    host: str,
    where: str,
    context: ssl.SSLContext,
    server_name: str,
    deadline: float,
) -> UpgradedConnection:
    """
    Upgrade a fresh connection; the handshake inside is still to be done.

    :raises UpgradeRefused: what answers there does not do it.
    :raises OSError: also TimeoutError, at the deadline.
    """
    name = host if host.isascii() else host.encode("idna").decode()
    outer = Connection(connected, _outer_context(), name)
    outer.handshake(deadline)
    opening = Opening(where)
    outer.tls.write(opening.request())
    connected.sendall(outer.outgoing.read())
    while not opening.is_open:
        opening.receive(_read_plain(outer, deadline))
    if len(opening.rest) > _EARLY:
        raise UpgradeRefused("it speaks before it is spoken to")
    frames = ClientFrames()
    frames.receive(opening.rest)
    return UpgradedConnection(UpgradedSocket(outer, frames), context, server_name)


def _read_plain(outer: Connection, deadline: float) -> bytes:
    while True:
        try:
            plain = outer.tls.read(CHUNK)
        except ssl.SSLWantReadError:
            outer.socket.settimeout(max(0.001, deadline - time.monotonic()))
            data = outer.socket.recv(CHUNK)
            outer.incoming.write(data)
            if data:
                continue
            plain = b""
        except ssl.SSLZeroReturnError:
            plain = b""
        if not plain:
            raise UpgradeRefused("it hung up when asked to upgrade to a WebSocket")
        return plain


def _outer_context() -> ssl.SSLContext:
    """Whoever ends TLS on the way is trusted with nothing, so nothing of it is checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["http/1.1"])
    return context
