"""
The records of one TLS connection: bytes in, plain bytes out, and back.

It owns OpenSSL's connection and its two memory BIOs, and always empties them.
It moves no bytes over a network and closes nothing: that is
:mod:`mezite.wire.transport`.

pyOpenSSL's calls take a new buffer and ask after errors for every 16 KiB, and
the end of what can be opened is an exception: a quarter of a relay's time.
Here OpenSSL is called with buffers that all connections use in turn. That needs
names that pyOpenSSL does not promise; without them it is done without
(:class:`PlainRecords`, and ``tests/benchmarks/relay.py`` for the difference).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import define, field
from cryptography import x509
from OpenSSL import SSL

from mezite.wire import alpn
from mezite.wire.contexts import refusal_of
from mezite.wire.error import HandshakeFailed, NotTls, detail_of

Piece = bytes | memoryview

# Bytes given to OpenSSL at once. Its memory BIOs never shrink, so that this bounds what a
# connection in use keeps: twice 4/3 of it. Larger slices are not faster.
_SLICE: Final = 64 * 1024
# RFC 8446, section 5.1: a record carries at most 2^14 bytes.
_RECORD: Final = 16 * 1024
# A record of TLS 1.3 or 1.2 grows by 22 or 29 bytes; the rest is for answers of TLS itself.
_SEALED_SLICE: Final = _SLICE + 32 * (_SLICE // _RECORD) + 1024

# For all connections in turn: where plain bytes and sealed ones are put together.
_opened: Final = bytearray(320 * 1024)
_sealed: Final = bytearray(512 * 1024)
_opened_view: Final = memoryview(_opened)
_sealed_view: Final = memoryview(_sealed)


@define(eq=False)
class PlainRecords:
    """What OpenSSL does for one connection, by the calls that pyOpenSSL documents."""

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
            # There is a session as soon as a ClientHello was understood.
            kind = NotTls if self._connection.get_session() is None else HandshakeFailed
            raise kind(refusal_of(self._connection) or detail_of(error)) from error
        return True

    def forget_peer(self) -> None:
        """Keep nothing of the peer's certificate, where OpenSSL can be brought to that."""

    def hold(self, data: Piece) -> None:
        """Take what arrived, and open it later."""
        if data:
            self._connection.bio_write(data)

    def open(self, data: Piece) -> tuple[bytes, SSL.Error | None]:
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
            try:
                while True:
                    opened(recv(_RECORD))
            except SSL.WantReadError:
                if start >= len(data):
                    break
            except SSL.Error as error:
                # Its traceback would hold all of this, and itself.
                end = error.with_traceback(None)
        return b"".join(chunks), end

    def seal(self, pieces: Sequence[Piece]) -> Iterator[Piece]:
        """
        What is to be sent for these bytes; each part is good until the next is asked for.

        :raises SSL.Error: nothing can be sent any more.
        """
        for slice_ in _slices(pieces):
            self._connection.send(slice_)
            yield from self.answers()

    def answers(self) -> list[bytes]:
        """What TLS has to say by itself: handshake messages, alerts, new keys."""
        found: list[bytes] = []
        read = self._connection.bio_read
        try:
            while True:
                chunk = read(_SEALED_SLICE)
                found.append(chunk)
                if len(chunk) < _SEALED_SLICE:
                    break
        except SSL.WantReadError:
            pass
        return found

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
        """
        The peer's own certificate.

        :raises HandshakeFailed: OpenSSL took it, where nothing is verified, and nobody can read it.
        """
        try:
            return self._connection.get_peer_certificate(as_cryptography=True)
        except (ValueError, x509.InvalidVersion) as error:
            raise HandshakeFailed("the certificate that was presented is damaged") from error

    @property
    def peer_chain(self) -> tuple[x509.Certificate, ...]:
        """What the peer presented, its own certificate first."""
        return tuple(self._connection.get_peer_cert_chain(as_cryptography=True) or ())


@define(eq=False)
class DirectRecords(PlainRecords):
    """The same by OpenSSL's own calls, into the shared buffers."""

    _ssl: Any = field(init=False)
    _into: Any = field(init=False)
    _from: Any = field(init=False)
    # The BIOs have held more than a few bytes, and keep the memory.
    _is_grown: bool = field(init=False, default=True)

    def __attrs_post_init__(self) -> None:
        connection: Any = self._connection
        self._ssl = connection._ssl
        self._into = connection._into_ssl
        self._from = connection._from_ssl

    def hold(self, data: Piece) -> None:
        super().hold(data)
        self._is_grown |= len(data) > _RECORD

    def answers(self) -> list[bytes]:
        found: list[bytes] = []
        while (count := _bio_read(self._from, _sealed_at, len(_sealed))) > 0:
            found.append(bytes(_sealed_view[:count]))
            self._is_grown |= count > _RECORD
        return found

    def open(self, data: Piece) -> tuple[bytes, SSL.Error | None]:
        chunks: list[bytes] = []
        ssl, read, target, last = self._ssl, _ssl_read, _opened_at, len(_opened) - _RECORD
        source = _from_buffer(data)
        size = len(data)
        start = filled = 0
        while True:
            count = min(_SLICE, size - start)
            if count:
                if _bio_write(self._into, source + start, count) != count:
                    raise MemoryError("OpenSSL has no memory for what arrived")
                start += count
                self._is_grown |= count > _RECORD
            while (count := read(ssl, target + filled, _RECORD)) > 0:
                filled += count
                if filled > last:
                    chunks.append(bytes(_opened_view[:filled]))
                    filled = 0
            if _get_error(ssl, count) != _WANT_READ:
                # pyOpenSSL says in its own words what it is, after what came before it.
                opened, end = super().open(b"")
                return b"".join((*chunks, _opened_view[:filled], opened)), end
            if start >= size:
                break
        if self._is_grown and size < _RECORD:
            self._renew()
        whole = bytes(_opened_view[:filled])
        return (b"".join((*chunks, whole)) if chunks else whole), None

    def seal(self, pieces: Sequence[Piece]) -> Iterator[Piece]:
        ssl, target, room = self._ssl, _sealed_at, len(_sealed)
        filled = 0
        for slice_ in _slices(pieces):
            # Without partial writes, and with a memory BIO, it is all or an error.
            if _ssl_write(ssl, _from_buffer(slice_), len(slice_)) <= 0:
                self._connection.send(slice_)  # which raises, and says why
            count = _bio_read(self._from, target + filled, room - filled)
            filled += max(count, 0)
            self._is_grown |= count > _RECORD
            if room - filled < _SEALED_SLICE:
                yield _sealed_view[:filled]
                filled = 0
        if filled:
            yield _sealed_view[:filled]

    def _renew(self) -> None:
        """
        Take new BIOs, now that nothing arrives in bulk.

        Nothing is lost: OpenSSL has just found the one empty, and the other is
        emptied before anything is read. An idle connection keeps 5 KB of the
        handshake otherwise, and one that has carried a file 170 KB.
        """
        if _waiting(self._into, _where) > 0 or _waiting(self._from, _where) > 0:
            return
        into, from_ = _new_bio(_memory()), _new_bio(_memory())
        if not into or not from_:
            raise MemoryError("OpenSSL has no memory for a connection's bytes")
        self._is_grown = False
        # OpenSSL owns them from here on, and frees those that it had.
        _set_bio(self._ssl, into, from_)
        connection: Any = self._connection
        self._into = connection._into_ssl = into
        self._from = connection._from_ssl = from_


def records_of(connection: SSL.Connection) -> PlainRecords:
    """The fastest way to use this connection."""
    return Records(connection)


def _slices(pieces: Sequence[Piece]) -> Iterator[Piece]:
    """
    The same bytes in slices that make full records, if there are so many.

    Small pieces are put together, and before a large one only as much of it
    as fills their record: nothing large is copied.
    """
    small: list[Piece] = []
    gathered = 0
    for piece in pieces:
        if gathered + len(piece) <= _RECORD:
            small.append(piece)
            gathered += len(piece)
            continue
        view = memoryview(piece)
        if gathered:
            small.append(view[: _RECORD - gathered])
            view = view[_RECORD - gathered :]
            yield b"".join(small)
            small, gathered = [], 0
        while len(view) > _SLICE:
            yield view[:_SLICE]
            view = view[_SLICE:]
        if len(view) > _RECORD:
            whole = len(view) - len(view) % _RECORD
            yield view[:whole]
            view = view[whole:]
        if view:
            small.append(view)
            gathered = len(view)
    if gathered:
        yield b"".join(small) if len(small) > 1 else small[0]


def _choose() -> type[PlainRecords]:
    """:class:`DirectRecords`, if pyOpenSSL still has the names that it needs."""
    global _ssl_read, _ssl_write, _bio_read, _bio_write, _get_error, _from_buffer
    global _new_bio, _memory, _set_bio, _waiting, _where
    global _WANT_READ, _opened_at, _sealed_at
    try:
        library, ffi = SSL._lib, SSL._ffi  # type: ignore[attr-defined]
        _ssl_read, _ssl_write = library.SSL_read, library.SSL_write
        _bio_read, _bio_write = library.BIO_read, library.BIO_write
        _get_error, _WANT_READ = library.SSL_get_error, library.SSL_ERROR_WANT_READ
        _new_bio, _memory, _set_bio = library.BIO_new, library.BIO_s_mem, library.SSL_set_bio
        _waiting, _where = library.BIO_get_mem_data, ffi.new("char **")
        _from_buffer = ffi.from_buffer
        _opened_at, _sealed_at = ffi.from_buffer(_opened), ffi.from_buffer(_sealed)
        DirectRecords(SSL.Connection(SSL.Context(SSL.TLS_METHOD), None))
    except AttributeError:
        return PlainRecords
    return DirectRecords


_ssl_read: Any
_ssl_write: Any
_bio_read: Any
_bio_write: Any
_get_error: Any
_from_buffer: Any
_new_bio: Any
_memory: Any
_set_bio: Any
_waiting: Any
_where: Any
_WANT_READ: int
_opened_at: Any
_sealed_at: Any
Records = _choose()
