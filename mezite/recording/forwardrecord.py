"""
What is forwarded in a session, for its recording: from where, to where, how much.

A :class:`ForwardRecord` begins that recording when something is first forwarded;
a :class:`Flow` counts what goes through one channel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred

from mezite.error import MeziteError
from mezite.identity.rolesdoc import Recording
from mezite.recording.error import RecordingFailed
from mezite.recording.events import Kind
from mezite.recording.recorder import Recorder
from mezite.tasks import background


@define(eq=False)
class ForwardRecord:
    """
    :param recordings: the session's (:mod:`mezite.recording.recordings`).
    :param on_lost: called if the session must end, because this record does.
    :param refused: makes the error of a forward that cannot be recorded.
    """

    _recordings: Any
    _on_lost: Callable[[Exception], None]
    _refused: Callable[[str], MeziteError] = RecordingFailed
    _recorder: Recorder | None = field(init=False, default=None)
    _failure: RecordingFailed | None = field(init=False, default=None)
    # Who waits for the recording that is being begun.
    _beginning: list[Deferred[None]] | None = field(init=False, default=None)
    _count: int = field(init=False, default=0)
    _is_closed: bool = field(init=False, default=False)

    async def ready(self) -> None:
        """
        Something is to be forwarded.

        :raises MeziteError: it has to be recorded, and cannot be.
        """
        if self._recorder is None and self._recordings.mode is not Recording.OFF:
            await self._begin()
        if self._failure is not None:
            raise self._refused(str(self._failure))

    async def _begin(self) -> None:
        if self._beginning is not None:
            waiting: Deferred[None] = Deferred()
            self._beginning.append(waiting)
            await waiting
            return
        self._beginning = []
        try:
            self._recorder = await self._recordings.begin(
                self._on_lost, is_forwards=True, kind=Kind.FORWARDS, has_terminal=False
            )
        except RecordingFailed as error:
            self._failure = error
        others, self._beginning = self._beginning, None
        for other in others:
            other.callback(None)
        if self._is_closed:
            self.close()

    def note(
        self, kind: str, fields: Mapping[str, str | int | bool], caption: str | None = None
    ) -> None:
        """Something was forwarded, or is no longer."""
        if self._recorder is not None:
            self._recorder.note(kind, fields, caption)

    def flow(self, kind: str, target: str, origin: str) -> Flow:
        """A channel that is open now."""
        self._count += 1
        flow = Flow(self, self._count)
        fields: dict[str, str | int] = {
            "forward": flow.number,
            "kind": kind,
            "target": target,
            "origin": origin,
        }
        self.note("forward.open", fields, f"{kind} {flow.number}: {origin} -> {target}")
        return flow

    def soon(self) -> None:
        """Something may be forwarded later, by somebody who cannot wait then."""

        async def begin() -> None:
            try:
                await self.ready()
            except MeziteError as error:
                self._on_lost(error)

        background(begin(), doing="recording what is forwarded")

    def close(self) -> None:
        """The connection has ended."""
        self._is_closed = True
        if self._recorder is not None:
            self._recorder.close()


@define(eq=False)
class Flow:
    """One channel; ``sent`` from the client's side, ``received`` by it."""

    _record: ForwardRecord
    number: int
    sent: int = 0
    received: int = 0
    _is_closed: bool = field(init=False, default=False)

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            fields = {"forward": self.number, "sent": self.sent, "received": self.received}
            self._record.note(
                "forward.close",
                fields,
                f"{self.number}: closed, {self.sent} bytes sent, {self.received} received",
            )
