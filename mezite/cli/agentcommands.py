"""
mezctl's command about the agent of this machine, which needs no hub.
"""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

import click

from mezite.cli import tables
from mezite.cli.options import format_option
from mezite.error import Denied, MeziteError

# Some hundred bytes, and a sentence of what is wrong.
_ANSWER_LIMIT: Final = 64 * 1024
# The agent answers at once unless its loop hangs.
ANSWER_SECONDS: Final = 5.0
_NOT_CONNECTED: Final = 1
# The year 10000, which no calendar of Python's has.
_END: Final = 253_402_300_800
_MOMENTS: Final = ("since", "error_since", "certificates_end", "tls_certificate_ends")


class NoAgent(MeziteError):
    """No agent answers for this data directory."""


@click.group()
def agent() -> None:
    """The agent on this machine."""


@agent.command(
    name="status",
    epilog="\b\nExamples:\n  mezctl agent status"
    "\n  mezctl agent status --data-dir=/srv/agent --format=json",
)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The agent's data directory; else that of an agent started without options.",
)
@format_option
def show_status(data_dir: Path | None, output_format: str) -> int:
    """
    Show what this machine's agent is doing, and why.

    Works while the hub is away. The exit code is 0 if the agent is connected to
    its hub, and 1 if it is not, or does not run.
    """
    row = _row(ask_agent(data_dir or default_data_dir()))
    if output_format == "json":
        tables.print_rows([row], list(row), "json")
    else:
        _print(row)
    return 0 if row["state"] == "connected" else _NOT_CONNECTED


def default_data_dir() -> Path:
    """Where an agent that is started without options, from this account, keeps its keys."""
    from mezite.config.agent import load_agent

    return load_agent({}, os.environ).data_dir


def ask_agent(directory: Path) -> dict[str, Any]:
    """
    What the agent of this data directory tells.

    :raises NoAgent:
    :raises Denied: it is another account's.
    """
    from mezite.agent.statussocket import SOCKET_NAME

    path = directory / SOCKET_NAME
    deadline = time.monotonic() + ANSWER_SECONDS
    answer = b""
    try:
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(ANSWER_SECONDS)
            asking.connect(str(path))
            while chunk := asking.recv(4096):
                answer += chunk
                asking.settimeout(max(0.01, deadline - time.monotonic()))
                if len(answer) > _ANSWER_LIMIT:
                    break
    except TimeoutError:
        raise NoAgent(
            f"the agent in {directory} did not answer within {ANSWER_SECONDS:g} s: it hangs;"
            " restart it, and keep its log"
        ) from None
    except PermissionError:
        raise Denied(
            f"{path} is for root and the account that the agent runs as: try with sudo"
        ) from None
    except OSError:
        raise NoAgent(
            f"no agent runs with the data directory {directory}: start twist mezd,"
            " or say with --data-dir where its data is"
        ) from None
    told = read_answer(answer)
    if told is None:
        raise NoAgent(f"what answers at {path} is no agent")
    return told


def read_answer(answer: bytes) -> dict[str, Any] | None:
    """
    What an agent told; None if no agent says such a thing.

    Root asks agents of other accounts, whose word this is.
    """
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    if not isinstance(told, dict) or not isinstance(told.get("state"), str):
        return None
    numbers = (told.get(key) for key in (*_MOMENTS, "next_dial_in"))
    return told if all(each is None or _is_moment(each) for each in numbers) else None


def _is_moment(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < _END


def _row(told: dict[str, Any]) -> dict[str, Any]:
    return {
        key: tables.timestamp(value) if key in _MOMENTS else value for key, value in told.items()
    }


def _print(row: dict[str, Any]) -> None:
    now = time.time()
    until, ago = tables.until(now), tables.ago(now)
    lines = [
        ("agent", row.get("sentence")),
        ("node", f"{row.get('node') or '-'} ({row.get('agent_id') or 'not joined'})"),
        ("cluster", row.get("cluster")),
        ("hub", row.get("hub")),
        ("since", ago(row.get("since"))),
        ("sessions", row.get("sessions")),
        ("certificates end", until(row.get("certificates_end"))),
        ("version", row.get("version")),
    ]
    if row.get("error") is not None:
        lines.insert(1, ("error", f"{row['error']} ({ago(row.get('error_since'))})"))
    if row.get("next_dial_in") is not None:
        lines.insert(1, ("next try", f"in {tables.duration(row['next_dial_in'])}"))
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        click.echo(f"{name:<{width}}  {tables.cell(value)}")
