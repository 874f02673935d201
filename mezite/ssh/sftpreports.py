"""
What an SFTP server did, said by it to the agent that records it.

A line of JSON for each operation, on a pipe of its own: the server writes them
with :func:`report`, a :class:`ReportReader` reads them. Standard library only,
because the server imports it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

# Two paths of 4,096 bytes (PATH_MAX), six characters for each, in base64 too.
LINE_LIMIT: Final = 128 * 1024
_KINDS: Final = frozenset(
    f"sftp.{operation}"
    for operation in (
        "read",
        "write",
        "list",
        "remove",
        "mkdir",
        "rmdir",
        "rename",
        "symlink",
        "link",
        "attributes",
    )
)


class Report(NamedTuple):
    """One operation, as a recording notes it, and a line of it for people."""

    kind: str
    fields: Mapping[str, str | int | bool]
    caption: str


class BadReport(ValueError):
    """What came is no report."""


def report(operation: str, paths: Mapping[str, bytes], facts: Mapping[str, str | int]) -> bytes:
    """The line that says that this was done."""
    fields: dict[str, Any] = {"event": f"sftp.{operation}"}
    for name, path in paths.items():
        text = path.decode("utf-8", "replace")
        fields[name] = text
        if text.encode() != path:
            fields[f"{name}_bytes"] = base64.b64encode(path).decode("ascii")
    return json.dumps({**fields, **facts}).encode("ascii") + b"\n"


class ReportReader:
    """Reports of bytes in any pieces; it holds one line at most."""

    def __init__(self) -> None:
        self._partial = b""

    def receive(self, data: bytes) -> list[Report]:
        """
        The reports that these bytes complete.

        :raises BadReport:
        """
        *lines, self._partial = (self._partial + data).split(b"\n")
        if len(self._partial) > LINE_LIMIT:
            raise BadReport("a report is longer than a report may be")
        return [_report(line) for line in lines]


def _report(line: bytes) -> Report:
    try:
        fields = json.loads(line)
        kind = fields.pop("event")
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise BadReport("a report is no JSON object with an event") from None
    is_known = isinstance(kind, str) and kind in _KINDS
    if not is_known or not all(isinstance(each, str | int) for each in fields.values()):
        raise BadReport("a report is of nothing that there is")
    return Report(kind, fields, _caption(kind, fields))


def _caption(kind: str, fields: Mapping[str, Any]) -> str:
    words = [kind.removeprefix("sftp."), str(fields.get("path", ""))]
    if "to" in fields:
        words += ["->", str(fields["to"])]
    if "bytes" in fields:
        words.append(f"({fields['bytes']} bytes)")
    if "error" in fields:
        words.append(f"failed: {fields['error']}")
    line = " ".join(words)
    return "".join(char if char.isprintable() else "?" for char in line)
