"""Tests of how an event is said to syslog, and how far was told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.audit.chain import ChainedLine
from mezite.audit.copies import CopyPoint, copy_of
from mezite.audit.events import Actor, AuditEvent, EventType
from mezite.config.audit import SyslogTarget
from mezite.hub import auditsyslog
from mezite.hub.auditcopying import ICopyTarget
from mezite.hub.auditsyslog import AuditSyslog, syslog_message
from tests.audit.test_chain import chained

LOGIN = AuditEvent(type=EventType.USER_LOGIN, time=1000.25, actor=Actor("ada", "192.0.2.1"))
REFUSED = attrs.evolve(LOGIN, type=EventType.USER_LOGIN_FAILED, success=False, error="no")
LINES = chained([LOGIN, REFUSED])


class FakeSocket:
    """Takes what is sent, until it is broken."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.is_broken = self.has_ended = self.is_closed = False

    def send(self, data: bytes) -> None:
        if self.is_broken:
            raise ConnectionRefusedError("refused")
        self.sent.append(data)

    sendall = send

    def recv(self, size: int, flags: int) -> bytes:
        if self.has_ended:
            return b""
        raise BlockingIOError

    def close(self) -> None:
        self.is_closed = True


class MessageTests(SynchronousTestCase):
    def test_message(self) -> None:
        """Facility 13, a severity by the outcome, the event's time and code, and its copy."""
        copies = [copy_of(line) for line in LINES]
        time = "1970-01-01T00:16:40.250000Z"
        self.assertEqual(
            [syslog_message(line, "hub.example.com").decode() for line in LINES],
            [
                f"<110>1 {time} hub.example.com mezhub - MZ1000I - {copies[0]}",
                f"<108>1 {time} hub.example.com mezhub - MZ1000W - {copies[1]}",
            ],
        )

    def test_damaged(self) -> None:
        """A line that somebody changed is a warning without its contents."""
        message = syslog_message(ChainedLine(7, "x\ny", b""), "h").decode()
        self.assertTrue(message.startswith("<108>1 - h mezhub - - - {"))
        self.assertTrue(message.endswith('"seq":7,"damaged":true}'))


class AuditSyslogTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = Path(self.mktemp()).resolve()
        directory.mkdir(parents=True)
        self.state = directory / "state"
        self.sockets: list[FakeSocket] = []
        self.patch(auditsyslog, "_connect", self.connect)

    def connect(self, family: int, kind: int, where: Any) -> FakeSocket:
        self.sockets.append(FakeSocket())
        return self.sockets[-1]

    def make(self, target: str = "unix:/dev/log") -> AuditSyslog:
        return AuditSyslog(SyslogTarget.parse(target), "hub", self.state)

    def test_interface(self) -> None:
        """It is a target of copies."""
        verifyObject(ICopyTarget, self.make())

    def test_remembered(self) -> None:
        """How far was told survives, for this server alone."""
        self.assertIsNone(self.make().last())
        self.make().write(LINES)
        self.assertEqual(self.make().last(), CopyPoint(2, LINES[1].hash))
        self.assertIsNone(self.make("unix:/other").last())
        for text in ("", "x", "[]", "{}", '{"target":"unix:/dev/log","seq":"1","hash":""}'):
            self.state.write_text(text)
            self.assertIsNone(self.make().last())

    def test_datagrams(self) -> None:
        """Over a socket or UDP each event is one datagram, and never too long for one."""
        target = self.make("udp://127.0.0.1:9")
        long = chained([attrs.evolve(LOGIN, details={str(n): ("x" * 900,) * 9 for n in range(9)})])
        target.write([*LINES, *long])
        (used,) = self.sockets
        self.assertEqual(used.sent[:2], [syslog_message(line, "hub") for line in LINES])
        self.assertIn(b'"too_long":true', used.sent[2])

    def test_octets_counted(self) -> None:
        """Over TCP each message follows its length."""
        self.make("tcp://127.0.0.1:9").write(LINES[:1])
        message = syslog_message(LINES[0], "hub")
        self.assertEqual(self.sockets[0].sent, [str(len(message)).encode() + b" " + message])

    def test_connected_again(self) -> None:
        """A connection that failed or ended is made again."""
        target = self.make("tcp://127.0.0.1:9")
        target.write(LINES[:1])
        self.sockets[0].has_ended = True
        target.write(LINES[1:])
        self.assertTrue(self.sockets[0].is_closed)
        self.assertEqual(len(self.sockets[1].sent), 1)
        self.sockets[1].is_broken = True
        self.assertRaises(OSError, target.write, LINES[1:])
        self.assertTrue(self.sockets[1].is_closed)
        target.write(LINES[1:])
        self.assertEqual(len(self.sockets), 3)
        self.assertEqual(target.last(), CopyPoint(2, LINES[1].hash))
