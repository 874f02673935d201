from __future__ import annotations

import os
from typing import Any

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.descriptors import READ_SIZE, DescriptorEnd, widen
from tests.ssh.test_channel import RecordingProducer


class DescriptorEndTests(SynchronousTestCase):
    """Our ends of pipes and terminals, turned by hand."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.heard = bytearray()
        self.ends = 0

    def _ended(self) -> None:
        self.ends += 1

    def reading(self, fd: int) -> DescriptorEnd:
        return DescriptorEnd(self.reactor, fd, on_data=self.heard.extend, on_end=self._ended)

    def turn(self, end: DescriptorEnd) -> None:
        """What a reactor does with a descriptor that is ready."""
        for act in (
            end.doRead if end in self.reactor.readers else None,
            end.doWrite if end in self.reactor.writers else None,
        ):
            if act is not None:
                reason: Any = act()
                if reason is not None:
                    end.connectionLost(reason)

    def test_read(self) -> None:
        """What is written is heard, in pieces, and then the end."""
        read_end, write_end = os.pipe()
        end = self.reading(read_end)
        widen(read_end)
        os.write(write_end, b"x" * (READ_SIZE + 5))
        self.turn(end)
        self.assertEqual(len(self.heard), READ_SIZE)
        self.turn(end)
        self.turn(end)
        self.assertEqual((len(self.heard), self.ends), (READ_SIZE + 5, 0))
        os.close(write_end)
        self.turn(end)
        self.assertEqual(self.ends, 1)
        self.assertNotIn(end, self.reactor.readers)
        self.assertRaises(OSError, os.fstat, read_end)
        end.close()
        self.assertEqual(self.ends, 1)

    def test_terminal_end(self) -> None:
        """A terminal that nobody has open any more has ended."""
        master, slave = os.openpty()
        end = self.reading(master)
        os.close(slave)
        self.turn(end)
        self.assertEqual(self.ends, 1)

    def test_pause(self) -> None:
        """A paused end is not read."""
        read_end, write_end = os.pipe()
        end = self.reading(read_end)
        end.pauseProducing()
        os.write(write_end, b"x")
        self.turn(end)
        self.assertEqual(self.heard, b"")
        end.resumeProducing()
        self.turn(end)
        self.assertEqual(self.heard, b"x")
        end.close()
        os.close(write_end)

    def test_write_pressure(self) -> None:
        """Whoever writes more than the pipe takes is paused, and resumed after."""
        read_end, write_end = os.pipe()
        end = DescriptorEnd(self.reactor, write_end, on_data=None, on_end=self._ended)
        producer = RecordingProducer()
        end.registerProducer(producer, True)
        for _ in range(40):
            end.write(bytes(READ_SIZE))
        self.assertEqual(set(producer.told), {"pause"})
        drained = 0
        for _ in range(10_000):
            self.turn(end)
            if end not in self.reactor.writers:
                break
            drained += len(os.read(read_end, READ_SIZE))
        self.assertEqual(producer.told.count("resume"), 1)
        end.finish()
        self.turn(end)
        os.set_blocking(read_end, False)
        while data := os.read(read_end, READ_SIZE):
            drained += len(data)
        self.assertEqual((drained, self.ends), (40 * READ_SIZE, 1))
        os.close(read_end)

    def test_finish_while_full(self) -> None:
        """An end that is finished while its producer is paused still closes."""
        read_end, write_end = os.pipe()
        end = DescriptorEnd(self.reactor, write_end, on_data=None, on_end=self._ended)
        end.registerProducer(RecordingProducer(), True)
        for _ in range(4):
            end.write(bytes(READ_SIZE))
        end.finish()
        heard = 0
        for _ in range(10_000):
            self.turn(end)
            if self.ends:
                break
            heard += len(os.read(read_end, READ_SIZE))
        os.set_blocking(read_end, False)
        while data := os.read(read_end, READ_SIZE):
            heard += len(data)
        self.assertEqual((heard, self.ends), (4 * READ_SIZE, 1))
        os.close(read_end)

    def test_reader_gone(self) -> None:
        """When nobody reads any more, the producer may go on, and is not heard."""
        read_end, write_end = os.pipe()
        end = DescriptorEnd(self.reactor, write_end, on_data=None, on_end=self._ended)
        producer = RecordingProducer()
        end.registerProducer(producer, True)
        for _ in range(4):
            end.write(bytes(READ_SIZE))
        os.close(read_end)
        self.turn(end)
        self.assertEqual((producer.told[-1], self.ends), ("resume", 1))
        end.write(b"more")
        end.finish()
