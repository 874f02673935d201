"""
Options and kinds of values that the commands of msh and mezctl share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import click
from attrs import define

from mezite.config.durations import parse_duration as parse_duration
from mezite.error import BadInput
from mezite.names import HostPort

DEFAULT_PORT: Final = 3080

_F = TypeVar("_F", bound=Callable[..., Any])


@define(eq=False)
class Invocation:
    """
    How this run of the program was asked for; click carries it as ``obj``.

    A command whose own failures must not be mistaken for those of what it runs
    sets ``failure_code``, which then stands for every kind of error.
    ``verbosity`` below 0 leaves out warnings, above 0 tells what goes on.
    """

    debug: bool = False
    verbosity: int = 0
    failure_code: int | None = None


class Duration(click.ParamType[float]):
    """A length of time, in seconds."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        if isinstance(value, int | float):
            return float(value)
        try:
            return parse_duration(value)
        except BadInput as error:
            self.fail(str(error), param, ctx)


class Address(click.ParamType[HostPort]):
    """The address of a hub, with port 3080 unless another is given."""

    name = "host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> HostPort:
        if isinstance(value, HostPort):
            return value
        try:
            return HostPort.parse(value, default_port=DEFAULT_PORT)
        except BadInput as error:
            self.fail(str(error), param, ctx)


def format_option(function: _F) -> _F:
    """``--format=text|json``, as the argument ``output_format``."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(["text", "json"]),
        default="text",
        help="A table to read, or a JSON array.",
    )(function)


def _remember_debug(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(Invocation).debug = True


def debug_option(function: _F) -> _F:
    """``--debug``, which is kept in the :class:`Invocation`."""
    return click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_remember_debug,
        help="Show the log, and the traceback of an unexpected failure.",
    )(function)


resume_option = click.option(
    "--no-resume",
    "no_resume",
    is_flag=True,
    help="A connection that is cut ends, and is not taken up again.",
)
