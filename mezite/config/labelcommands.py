"""
Labels that a node gets from commands, as the file says them.

What they print is :mod:`mezite.agent.commandlabels`' to find out; here stands
what may be asked for.
"""

from __future__ import annotations

from typing import Final

from attrs import frozen

from mezite.config.document import Items, Section, Value
from mezite.config.durations import parse_duration_between
from mezite.config.settings import one_text, texts
from mezite.error import BadInput
from mezite.names import check_labels

# Each is a process now and then; who needs more writes one script.
COMMANDS_LIMIT: Final = 16
DEFAULT_PERIOD: Final = 600.0
_KEYS: Final = ("command", "period")


@frozen
class LabelCommand:
    """A label whose value is what a command prints, asked for every ``period`` seconds."""

    key: str
    command: tuple[str, ...]
    period: float


def label_commands(value: Value) -> tuple[LabelCommand, ...]:
    """
    The value of ``agent.commands``: for each label a command and perhaps a period.

    :raises ValueError:
    """
    if not isinstance(value, Section):
        raise ValueError(
            "it stands in a file only, with a line KEY: and, below it, command: [PROGRAM, ...]"
        )
    if len(value.entries) > COMMANDS_LIMIT:
        raise ValueError(f"at most {COMMANDS_LIMIT} labels come from commands")
    check_labels(dict.fromkeys(value.entries, ""))
    return tuple(_label_command(key, entry.value) for key, entry in value.entries.items())


def _label_command(key: str, value: Value) -> LabelCommand:
    if not isinstance(value, Section) or not set(value.entries) <= {*_KEYS}:
        raise ValueError(f"{key}: below it stand command: [PROGRAM, ...] and perhaps period: 10m")
    command = value.entries.get("command")
    # A text would have to be taken apart as a shell does, and no shell is wanted here.
    if command is None or not isinstance(command.value, Items) or not command.value.items:
        raise ValueError(f"{key}: command is a list: [PROGRAM, ARGUMENT, ...]")
    words = texts(command.value)
    period = value.entries.get("period")
    try:
        seconds = (
            DEFAULT_PERIOD
            if period is None
            else parse_duration_between(one_text(period.value), "10s", "7d")
        )
    except BadInput as error:
        raise ValueError(f"{key}: period: {error}") from None
    return LabelCommand(key, words, seconds)
