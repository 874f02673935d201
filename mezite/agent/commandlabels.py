"""
Labels whose values commands print.

A :class:`CommandLabels` runs each command now and then while the agent runs,
and keeps what it printed last. A command that fails gives no label: an old
value might be believed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mezite.config.labelcommands import LabelCommand
from mezite.error import MeziteError
from mezite.tasks import background


class CommandLabels(Service):
    """Keeps the labels fresh; ``run`` gives the value that a command prints."""

    _log = Logger()

    def __init__(
        self,
        commands: Sequence[LabelCommand],
        run: Callable[[Sequence[str]], Awaitable[str]],
        clock: IReactorTime,
    ) -> None:
        self._commands = commands
        self._run = run
        self._clock = clock
        self._running: list[Deferred[None]] = []
        self._failures: dict[str, str] = {}
        self.labels: dict[str, str] = {}

    def startService(self) -> None:
        super().startService()
        self._running = [
            background(self._repeat(command), doing=f"asking for the label {command.key}")
            for command in self._commands
        ]

    def stopService(self) -> None:
        super().stopService()
        running, self._running = self._running, []
        for each in running:
            each.cancel()

    async def _repeat(self, command: LabelCommand) -> None:
        while True:
            await self._ask(command)
            await deferLater(self._clock, command.period)

    async def _ask(self, command: LabelCommand) -> None:
        key = command.key
        try:
            self.labels[key] = await self._run(command.command)
            self._failures.pop(key, None)
        except CancelledError:
            raise
        except MeziteError as error:
            self.labels.pop(key, None)
            # The same failure every minute is said once.
            if self._failures.get(key) != str(error):
                self._failures[key] = str(error)
                self._log.warn(
                    "no label {key}: {program}: {error}",
                    key=key,
                    program=command.command[0],
                    error=error,
                )
        except Exception:
            # A bug must not be the last time that the command runs.
            self.labels.pop(key, None)
            self._log.failure("asking for the label {key} failed", key=key)
