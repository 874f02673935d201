"""
The copy of the audit in syslog (RFC 5424), over a unix socket, UDP or TCP.

Syslog tells nobody what has arrived, so how far this copy has come is kept in
a small file of the hub. Everything here blocks, for some seconds at most, and
is called in a thread, one call at a time.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from attrs import define, field
from zope.interface import implementer

from mezite.audit.chain import ChainedLine, decode_event, time_text
from mezite.audit.copies import CopyPoint, copy_or_note, point_of, short_note
from mezite.audit.error import BadAuditLine
from mezite.config.audit import SyslogTarget
from mezite.hub.auditcopying import ICopyTarget
from mezite.store.privatefiles import read_private, write_private

# "log audit", RFC 5424, section 6.2.1.
_FACILITY: Final = 13
_WARNING: Final = 4
_INFORMATIONAL: Final = 6
# A thread is held no longer by a server that takes nothing.
_SECONDS: Final = 5.0
# Below what a datagram can be; RFC 5426 recommends less, and fragments have their price.
_DATAGRAM: Final = 60_000


@implementer(ICopyTarget)
@define(eq=False)
class AuditSyslog:
    """One syslog server; ``state`` is the file that remembers how far it was told."""

    target: SyslogTarget
    hostname: str
    state: Path
    name: str = "syslog"
    _socket: socket.socket | None = field(init=False, default=None)

    @property
    def where(self) -> str:
        return str(self.target)

    def last(self) -> CopyPoint | None:
        if not self.state.exists():
            return None
        try:
            text = read_private(self.state).decode()
            if json.loads(text).get("target") != self.where:
                return None
            return point_of(text)
        except (BadAuditLine, ValueError, AttributeError):
            # Nothing but this program writes it; whatever it is, it tells nothing.
            return None

    def write(self, lines: Sequence[ChainedLine]) -> None:
        connected = self._connected()
        try:
            for each in lines:
                self._send(connected, each)
        except OSError:
            self.close()
            raise
        last = lines[-1]
        said = {"target": self.where, "seq": last.seq, "hash": last.hash.hex().zfill(64)}
        write_private(self.state, json.dumps(said).encode())

    def put_aside(self) -> None:
        self.state.unlink(missing_ok=True)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, connected: socket.socket, each: ChainedLine) -> None:
        message = syslog_message(each, self.hostname)
        if self.target.scheme == "tcp":
            # Octet counting, RFC 6587, section 3.4.1.
            connected.sendall(b"%d %b" % (len(message), message))
            return
        if len(message) > _DATAGRAM:
            message = syslog_message(each, self.hostname, is_short=True)
        connected.send(message)

    def _connected(self) -> socket.socket:
        if self._socket is not None and self._has_ended(self._socket):
            self.close()
        if self._socket is None:
            self._socket = self._connect()
        return self._socket

    def _connect(self) -> socket.socket:
        address = self.target.address
        if address is None:
            return _connect(socket.AF_UNIX, socket.SOCK_DGRAM, self.target.path)
        kind = socket.SOCK_STREAM if self.target.scheme == "tcp" else socket.SOCK_DGRAM
        found = socket.getaddrinfo(address.host, address.port, type=kind)
        problem: OSError | None = None
        for family, _, _, _, where in found:
            try:
                return _connect(family, kind, where)
            except OSError as error:
                problem = error
        raise problem or OSError(f"{address.host} has no address")

    def _has_ended(self, connected: socket.socket) -> bool:
        """Whether the server has closed: what is sent into such a connection is lost unseen."""
        if self.target.scheme != "tcp":
            return False
        with contextlib.suppress(BlockingIOError):
            return connected.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) == b""
        return False


def syslog_message(each: ChainedLine, hostname: str, *, is_short: bool = False) -> bytes:
    """The event as RFC 5424 frames it; the message is its copy."""
    time, code, severity = "-", "-", _WARNING
    try:
        _, event = decode_event(each.line)
    except BadAuditLine:
        pass
    else:
        time, code = time_text(event.time), event.type.code
        severity = _INFORMATIONAL if event.success else _WARNING
    copy = short_note(each) if is_short else copy_or_note(each)
    priority = _FACILITY * 8 + severity
    return f"<{priority}>1 {time} {hostname} mezhub - {code} - {copy}".encode()


def _connect(family: int, kind: int, where: object) -> socket.socket:
    connecting = socket.socket(family, kind)
    try:
        connecting.settimeout(_SECONDS)
        connecting.connect(where)  # type: ignore[arg-type]
    except BaseException:
        connecting.close()
        raise
    return connecting
