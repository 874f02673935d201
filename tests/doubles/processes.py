"""
Processes of sessions that a test plays.
"""

from __future__ import annotations

from typing import Any

from attrs import define, field

from mezite.agent.childprocess import Launch
from mezite.agent.shell import Terminal, WindowSize


@define(eq=False)
class PlayedProcess:
    """Stands for a :class:`~mezite.agent.shell.SessionProcess`, and notes what it is told."""

    channel: Any
    fails: OSError | None = None
    launched: Launch | None = None
    terminal: Terminal | None = None
    heard: bytearray = field(factory=bytearray)
    sizes: list[WindowSize] = field(factory=list)
    signals: list[int] = field(factory=list)
    breaks: int = 0
    input_ended: bool = False
    hung_up: bool = False

    async def start_on_pipes(self, launch: Launch) -> None:
        if self.fails is not None:
            raise self.fails
        self.launched = launch

    async def start_on_terminal(self, launch: Launch, terminal: Terminal) -> None:
        await self.start_on_pipes(launch)
        self.terminal = terminal

    def write(self, data: bytes) -> None:
        self.heard += data

    def end_input(self) -> None:
        self.input_ended = True

    def resize(self, size: WindowSize) -> None:
        self.sizes.append(size)

    def send_break(self) -> None:
        self.breaks += 1

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def hang_up(self) -> None:
        self.hung_up = True
