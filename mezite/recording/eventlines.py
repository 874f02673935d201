"""
A recording's events as JSON for programs: exact, an object for each.
"""

from __future__ import annotations

import base64
from typing import Any

from mezite.recording.events import (
    Caption,
    Event,
    Exited,
    Header,
    Input,
    Marker,
    Note,
    Output,
    Resized,
    Unknown,
)


def header_object(header: Header) -> dict[str, Any]:
    """What the recording is of."""
    return {
        "type": "header",
        "recording": f"{header.session}.{header.number}" if header.session else None,
        "timestamp": header.timestamp,
        "columns": header.columns,
        "rows": header.rows,
        "node": header.node,
        "login": header.login,
        "user": header.user,
        "address": header.address,
        "kind": header.kind.value,
        "terminal": header.has_terminal,
        "input": header.has_input,
        **({} if header.command is None else _bytes(header.command, "command")),
        "env": dict(header.environment),
    }


def event_object(event: Event) -> dict[str, Any]:
    """One event; ``text`` has its bytes, or ``base64`` if they are no text."""
    tree: dict[str, Any] = {"time": event.time / 1_000_000}
    match event:
        case Output(data=data, stream=stream):
            tree |= {"type": "output", "stream": stream.name.lower(), **_bytes(data)}
        case Input(data=data):
            tree |= {"type": "input", **_bytes(data)}
        case Resized(columns=columns, rows=rows):
            tree |= {"type": "resize", "columns": columns, "rows": rows}
        case Marker(label=label):
            tree |= {"type": "marker", "label": _text(label)}
        case Caption(text=text):
            tree |= {"type": "caption", "text": _text(text)}
        case Note(kind=kind, fields=fields):
            tree |= {"type": "note", "event": _text(kind), "fields": dict(fields)}
        case Exited(status=status):
            tree |= {"type": "exit", "status": status}
        case Unknown(code=code, data=text):
            tree |= {"type": "unknown", "code": _text(code), "text": _text(text)}
    return tree


def _bytes(data: bytes, name: str = "text") -> dict[str, str]:
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        encoded = base64.b64encode(data).decode()
        return {"base64" if name == "text" else f"{name}_base64": encoded}


def _text(text: str) -> str:
    # JSON may carry half of a pair of surrogates; UTF-8 does not.
    return text.encode("utf-8", "replace").decode()
