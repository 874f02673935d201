"""
The records of one TLS connection: bytes in, plain bytes out, and back.

It owns OpenSSL's connection and its two memory BIOs, and always empties them.
It moves no bytes over a network and closes nothing: that is
:mod:`mezite.wire.transport`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import define
from cryptography import x509
from OpenSSL import SSL

from mezite.wire import alpn
from mezite.wire.contexts import refusal_of
from mezite.wire.error import HandshakeFailed, detail_of

# Bytes given to OpenSSL at once. Its memory BIOs never shrink, so that this bounds what a
# connection keeps: twice 4/3 of it. Larger slices are not faster.
_SLICE: Final = 64 * 1024
# RFC 8446, section 5.1: a record carries at most 2^14 bytes.
_RECORD: Final = 16 * 1024
# A record of TLS 1.3 or 1.2 grows by 22 or 29 bytes; the rest is for answers of TLS itself.
_SEALED_SLICE: Final = _SLICE + 32 * (_SLICE // _RECORD) + 1024
# Where the plain bytes of one read are put together, for all connections in turn: a slice, and
# what a record that was begun before it may add.
_shared = bytearray(_SLICE + 2 * _RECORD)


def _direct_read() -> Callable[[SSL.Connection], int] | None:
    """
    OpenSSL's SSL_read into the shared buffer, as often as there is a whole record.

    pyOpenSSL's ``recv`` takes a buffer and asks after errors for every 16 KiB,
    which is a tenth of a relay's time (``tests/benchmarks/relay.py``). This
    needs names that pyOpenSSL does not promise; without them it is done without.
    """
    try:
        read: Callable[..., int] = SSL._lib.SSL_read  # type: ignore[attr-defined]
        address = SSL._ffi.from_buffer(_shared)  # type: ignore[attr-defined]
        _ = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)._ssl
    except AttributeError:
        return None
    last = len(_shared) - _RECORD

    def read_whole_records(connection: SSL.Connection) -> int:
        filled = 0
        ssl = connection._ssl
        while filled <= last:
            count = read(ssl, address + filled, _RECORD)
            if count <= 0:
                # Why it ends is told by the next recv, which asks again.
                break
            filled += count
        return filled

    return read_whole_records


_read_whole_records = _direct_read()


@define(eq=False)
class Records:
    """What OpenSSL does for one connection, many records at a time."""

    _connection: SSL.Connection

    def shake_hands(self) -> bool:
        """
        Go on with the handshake; whether it is done.

        :raises HandshakeFailed: it cannot be done any more. Anything else that
            is raised comes from a callback of ours, and ends it as well.
        """
        try:
            self._connection.do_handshake()
        except SSL.WantReadError:
            return False
        except SSL.Error as error:
            raise HandshakeFailed(refusal_of(self._connection) or detail_of(error)) from error
        return True

    def hold(self, data: bytes) -> None:
        """Take what arrived, and open it later."""
        if data:
            self._connection.bio_write(data)

    def open(self, data: bytes) -> tuple[bytes, SSL.Error | None]:
        """
        All that can be opened now, and what ended it, if anything did.

        :exc:`OpenSSL.SSL.ZeroReturnError` is the peer's close_notify.
        """
        chunks: list[bytes] = []
        end: SSL.Error | None = None
        recv, opened = self._connection.recv, chunks.append
        whole = memoryview(data)
        start = 0
        while end is None:
            if start < len(data):
                self._connection.bio_write(whole[start : start + _SLICE])
                start += _SLICE
            if _read_whole_records is not None:
                count = _read_whole_records(self._connection)
                if count:
                    opened(bytes(memoryview(_shared)[:count]))
            try:
                while True:
                    opened(recv(_RECORD))
            except SSL.WantReadError:
                if start >= len(data):
                    break
            except SSL.Error as error:
                end = error
        return chunks[0] if len(chunks) == 1 else b"".join(chunks), end

    def seal(self, data: bytes) -> list[bytes]:
        """
        What is to be sent for these bytes.

        :raises SSL.Error: nothing can be sent any more.
        """
        sealed: list[bytes] = []
        whole = memoryview(data)
        for start in range(0, len(data), _SLICE):
            self._connection.send(whole[start : start + _SLICE])
            self._take(sealed)
        return sealed

    def answers(self) -> list[bytes]:
        """What TLS has to say by itself: handshake messages, alerts, new keys."""
        sealed: list[bytes] = []
        self._take(sealed)
        return sealed

    def close(self) -> list[bytes]:
        """Our close_notify."""
        try:
            self._connection.shutdown()
        except SSL.Error:
            pass  # it has been said already, or the connection is past saying anything
        return self.answers()

    @property
    def protocol(self) -> bytes | None:
        """The ALPN name that was agreed on."""
        return self._connection.get_alpn_proto_negotiated() or None

    @property
    def server_name(self) -> str | None:
        """The server name that the client asked for, in lower case."""
        return alpn.parse_server_name(self._connection.get_servername())

    @property
    def peer_certificate(self) -> x509.Certificate | None:
        return self._connection.get_peer_certificate(as_cryptography=True)

    @property
    def peer_chain(self) -> tuple[x509.Certificate, ...]:
        """What the peer presented, its own certificate first."""
        return tuple(self._connection.get_peer_cert_chain(as_cryptography=True) or ())

    def _take(self, sealed: list[bytes]) -> None:
        read = self._connection.bio_read
        try:
            while True:
                chunk = read(_SEALED_SLICE)
                sealed.append(chunk)
                if len(chunk) < _SEALED_SLICE:
                    return
        except SSL.WantReadError:
            pass
