"""Tests of the SFTP server's program, with files as its input and output."""

from __future__ import annotations

import io
import os
import pwd
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from mezite.agent import sftp
from mezite.agent.sftpfiles import Files
from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpfields import SftpWireError, u32
from mezite.ssh.sftpwire import StatusCode

INIT = wire.encode(wire.Init(3))


class ServeTests(SynchronousTestCase):
    def heard(self, sent: bytes) -> list[wire.Message]:
        """What is answered to these bytes."""
        self.answers: list[wire.Message] = []
        given, taken = self.mktemp(), self.mktemp()
        with open(given, "wb") as file:
            file.write(sent)
        source = os.open(given, os.O_RDONLY)
        sink = os.open(taken, os.O_WRONLY | os.O_CREAT)
        try:
            sftp.serve(Files(), source, sink)
        finally:
            os.close(source)
            os.close(sink)
            with open(taken, "rb") as file:
                packets = wire.PacketReader().receive(file.read())
                self.answers = [wire.decode(packet) for packet in packets]
        return self.answers

    def test_version(self) -> None:
        """The server speaks version 3, even to those who know newer ones."""
        (answer,) = self.heard(wire.encode(wire.Init(6)))
        assert isinstance(answer, wire.Version)
        self.assertEqual(answer.version, 3)
        self.assertIn((b"posix-rename@openssh.com", b"1"), answer.extensions)

    def test_old_client(self) -> None:
        """A client that knows only older versions is not served."""
        with self.assertRaises(SftpWireError):
            self.heard(wire.encode(wire.Init(2)))

    def test_no_greeting(self) -> None:
        """A request before the greeting is not answered."""
        with self.assertRaises(SftpWireError):
            self.heard(wire.encode(wire.Stat(1, b"/")))
        self.assertEqual(self.answers, [])

    def test_pipeline(self) -> None:
        """Requests that come at once are answered in their order."""
        requests = b"".join(wire.encode(wire.Stat(n, b"/")) for n in range(500))
        _, *answers = self.heard(INIT + requests)
        self.assertEqual([one.request_id for one in answers if isinstance(one, wire.Attrs)],
                         list(range(500)))  # fmt: skip

    def test_broken_request(self) -> None:
        """A request with broken fields is refused, and the next one served."""
        broken = b"\x11" + u32(7) + u32(100) + b"/"
        unknown = b"\x63" + u32(8)
        stream = INIT
        for packet in (broken, unknown):
            stream += u32(len(packet)) + packet
        _, first, second, third = self.heard(stream + wire.encode(wire.Stat(9, b"/")))
        assert isinstance(first, wire.Status)
        assert isinstance(second, wire.Status)
        self.assertEqual((first.request_id, first.code), (7, StatusCode.BAD_MESSAGE))
        self.assertEqual((second.request_id, second.code), (8, StatusCode.OP_UNSUPPORTED))
        self.assertIsInstance(third, wire.Attrs)

    def test_second_greeting(self) -> None:
        """A greeting in the middle, or an answer, ends the session."""
        for stray in (wire.Init(3), wire.Status(1, 0, b"")):
            with self.assertRaises(SftpWireError):
                self.heard(INIT + wire.encode(stray))

    def test_oversized(self) -> None:
        """A packet too long ends the session; what came before is answered."""
        with self.assertRaises(SftpWireError):
            self.heard(INIT + u32(wire.MAX_PACKET + 1) + b"x")
        self.assertEqual(len(self.answers), 1)

    def test_truncated(self) -> None:
        """An end in the middle of a packet is told as such."""
        with self.assertRaises(SftpWireError):
            self.heard(INIT + wire.encode(wire.Stat(1, b"/"))[:-1])
        self.assertEqual(len(self.answers), 1)


class BecomeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.complaint = io.StringIO()
        self.patch(sys, "stderr", self.complaint)

    def test_unknown_person(self) -> None:
        """Nobody is served as somebody who does not exist."""
        self.assertEqual(sftp.main(["--become", "no-such-person"]), 2)
        self.assertEqual(
            self.complaint.getvalue(),
            "sftp: there is no account 'no-such-person' on this machine\n",
        )

    def test_only_root_becomes_others(self) -> None:
        """Without root's rights there is only oneself to be."""
        self.patch(os, "getuid", lambda: 4711)
        self.assertEqual(sftp.main(["--become", "root"]), 2)
        self.assertEqual(self.complaint.getvalue(), "sftp: only root can become 'root'\n")

    def test_cannot_return_is_verified(self) -> None:
        """One who could become root again is not served."""
        other = pwd.getpwnam("nobody")
        self.patch(os, "getuid", lambda: other.pw_uid)
        self.patch(os, "getresuid", lambda: (other.pw_uid,) * 3)
        self.patch(os, "setuid", lambda uid: None)
        self.assertEqual(sftp.main(["--become", "nobody"]), 2)
        self.assertEqual(self.complaint.getvalue(), "sftp: could not become 'nobody' for good\n")

    def test_usage(self) -> None:
        """Anything else is a mistake in how it was called."""
        self.assertEqual(sftp.main(["--root"]), 2)


class LightnessTests(SynchronousTestCase):
    def test_imports(self) -> None:
        """Neither Twisted nor anything else that is slow to import is imported."""
        script = (
            "import mezite.agent.sftp, sys;"
            "print(sorted({m.partition('.')[0] for m in sys.modules}"
            " & {'twisted', 'zope', 'attr', 'attrs', 'cryptography', 'asyncio', 'OpenSSL'}))"
        )
        printed = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True)
        self.assertEqual(printed.stdout.strip(), b"[]")
