"""
A recording's header as a tree, of which asciicast makes the first line.

What players look at stands where asciicast has it, what is ours in ``mezite``.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any, Final

from mezite.recording.error import BadRecording
from mezite.recording.events import COLUMNS, ROWS, Header, Kind

FORMAT: Final = 1
_LARGEST_SIDE: Final = 0xFFFF


def header_tree(header: Header) -> dict[str, Any]:
    """What the first line of a recording says."""
    environment = {key: _clean(value) for key, value in header.environment.items()}
    tree: dict[str, Any] = {
        "version": 2,
        "width": side(header.columns, COLUMNS),
        "height": side(header.rows, ROWS),
        "timestamp": header.timestamp,
    }
    about: dict[str, Any] = {
        "format": FORMAT,
        "session": header.session,
        "number": header.number,
        "node": header.node,
        "login": header.login,
        "user": header.user,
        "address": header.address,
        "kind": header.kind.value,
        "terminal": header.has_terminal,
        "input": header.has_input,
    }
    if header.command is not None:
        tree["command"] = header.command.decode("utf-8", "replace")
        if tree["command"].encode() != header.command:
            about["command"] = base64.b64encode(header.command).decode()
    if environment:
        tree["env"] = environment
    return {**tree, "mezite": about}


def side(given: int, default: int) -> int:
    """A width or a height that players take."""
    # Clients without a size send 0, on which players fail.
    return min(given, _LARGEST_SIDE) or default


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def header_of(tree: object) -> Header:
    """
    What a first line says, ours or another's.

    :raises BadRecording:
    """
    if not isinstance(tree, dict) or tree.get("version") != 2:
        raise BadRecording("this is no asciicast of version 2")
    about = tree.get("mezite", {})
    fields = _Fields(tree)
    ours = _Fields(about if isinstance(about, dict) else {})
    command: bytes | None = None
    if "command" in tree:
        command = fields.text("command").encode()
    if "command" in ours.tree:
        try:
            command = base64.b64decode(ours.text("command"), validate=True)
        except (binascii.Error, ValueError):
            raise BadRecording("the command of the recording is not base64") from None
    environment = tree.get("env") or {}
    if not isinstance(environment, dict):
        raise BadRecording("the environment of the recording is no mapping")
    try:
        kind = Kind(ours.text("kind", Kind.SHELL.value))
    except ValueError:
        raise BadRecording("the recording is of a kind that is not known") from None
    return Header(
        timestamp=fields.number("timestamp"),
        columns=fields.number("width", COLUMNS),
        rows=fields.number("height", ROWS),
        session=ours.text("session"),
        number=ours.number("number"),
        node=ours.text("node"),
        login=ours.text("login"),
        user=ours.text("user"),
        address=ours.text("address"),
        kind=kind,
        command=command,
        has_terminal=ours.tree.get("terminal") is not False,
        has_input=ours.tree.get("input") is True,
        environment={key: str(value) for key, value in environment.items()},
    )


class _Fields:
    """The members of a header, each of the type that it must have."""

    def __init__(self, tree: Mapping[str, object]) -> None:
        self.tree = tree

    def text(self, name: str, default: str = "") -> str:
        value = self.tree.get(name)
        value = default if value is None else value
        if not isinstance(value, str) or _clean(value) != value:
            raise BadRecording(f"the {name} in the recording's header is no text")
        return value

    def number(self, name: str, default: int = 0) -> int:
        value = self.tree.get(name)
        value = default if value is None else value
        if not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
            raise BadRecording(f"the {name} in the recording's header is no number")
        return int(value)
