"""
A session's channel, and a record of what goes through it.

A :class:`RecordedChannel` stands between a session's process and its channel.
Either side is held up by the other, and by the record.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from mezite.agent.childprocess import Ended
from mezite.agent.shell import IProcessOutput
from mezite.agent.signals import signal_name
from mezite.recording.events import Stream
from mezite.recording.recorder import Recorder
from mezite.ssh.channel import STDERR
from mezite.ssh.sftpreports import BadReport, ReportReader


@implementer(IPushProducer)
@define(eq=False)
class Valve:
    """A producer that several have paused, and that runs when none does."""

    producer: Any
    _held_by: set[str] = field(init=False, factory=set)

    def hold(self, who: str) -> None:
        if not self._held_by:
            self.producer.pauseProducing()
        self._held_by.add(who)

    def release(self, who: str) -> None:
        if who in self._held_by:
            self._held_by.discard(who)
            if not self._held_by:
                self.producer.resumeProducing()

    def pauseProducing(self) -> None:
        self.hold("consumer")

    def resumeProducing(self) -> None:
        self.release("consumer")

    def stopProducing(self) -> None:
        self.producer.stopProducing()


@implementer(IProcessOutput, IPushProducer)
class RecordedChannel:
    """
    :param channel: what a :class:`~mezite.agent.shell.SessionProcess` has otherwise.
    :param has_bytes: whether the bytes are what is recorded, and not what a
        transfer reports.
    """

    def __init__(self, channel: Any, recorder: Recorder, *, has_bytes: bool = True) -> None:
        self._channel = channel
        self._recorder = recorder
        self._has_bytes = has_bytes
        self._inward = Valve(channel)
        self._outward: Valve | None = None
        self._reports = ReportReader()
        recorder.on_pressure = self._press

    # From the process.

    def write(self, data: bytes) -> None:
        if self._has_bytes:
            self._recorder.output(data)
        self._channel.write(data)

    def writeExtended(self, kind: int, data: bytes) -> None:
        if self._has_bytes or kind == STDERR:
            self._recorder.output(data, Stream.ERROR)
        self._channel.writeExtended(kind, data)

    def reported(self, data: bytes) -> None:
        """What a transfer says of itself."""
        try:
            for report in self._reports.receive(data):
                self._recorder.note(report.kind, report.fields, report.caption)
        except BadReport as error:
            self._recorder.fail(error)

    def output_ended(self) -> None:
        self._channel.output_ended()

    def process_ended(self, ended: Ended) -> None:
        if ended.signal is None:
            self._recorder.exited(ended.code)
        else:
            name = signal_name(ended.signal)
            self._recorder.exited(128 + ended.signal, name, dumped_core=ended.dumped_core)
        self._channel.process_ended(ended)

    # From the person.

    def received(self, data: bytes) -> None:
        """This came for the process."""
        if self._has_bytes:
            self._recorder.input(data)

    def resized(self, columns: int, rows: int) -> None:
        self._recorder.resized(columns, rows)

    def closed(self) -> None:
        """Nobody is there any more; whatever the process still does, nobody sees."""
        self._recorder.close("the client closed the session")

    # Who holds up whom.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._outward = Valve(producer)
        self._channel.registerProducer(self._outward, streaming)

    def unregisterProducer(self) -> None:
        self._channel.unregisterProducer()

    def pauseProducing(self) -> None:
        self._inward.hold("process")

    def resumeProducing(self) -> None:
        self._inward.release("process")

    def stopProducing(self) -> None:
        self._channel.stopProducing()

    def _press(self, is_high: bool) -> None:
        valves = [self._outward, self._inward if self._recorder.has_input else None]
        for valve in valves:
            if valve is not None and is_high:
                valve.hold("record")
            elif valve is not None:
                valve.release("record")
