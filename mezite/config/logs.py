"""
How log lines are written, and which.

``twist`` owns the log: it opens the file and begins to write. Before it does,
:func:`choose_observer` puts our level and our lines in the place of its own.
"""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import IO, Any, Final

from twisted.logger import (
    FileLogObserver,
    LogEvent,
    eventAsText,
    formatEvent,
    jsonFileLogObserver,
    textFileLogObserver,
)
from twisted.logger import LogLevel as TwistedLevel

from mezite.config.keys import LogFormat, LogLevel

# Peers choose parts of what is logged. Their control characters, C1 and the separators of
# lines among them, must neither begin a line of their own nor move an operator's cursor.
_HARMLESS: Final = {
    code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"
} | {0x2028: "\\u2028", 0x2029: "\\u2029"}


# What older parts of Twisted say of themselves, such as a line for each port that is opened for
# a question to a resolver, and one when it is closed. Our own lines have names.
_OLD: Final = "log_legacy"


def _is_chatter(event: LogEvent) -> bool:
    return event.get("log_namespace") == _OLD and event.get("log_level") is TwistedLevel.info


def text_lines(stream: IO[Any]) -> FileLogObserver:
    """An observer that writes a line for people; more lines of one event are indented."""

    def line(event: LogEvent) -> str | None:
        text = eventAsText(event, includeSystem=False)
        if not text.strip() or _is_chatter(event):
            return None
        level = getattr(event.get("log_level"), "name", "info")
        body = text.translate(_HARMLESS).replace("\n", "\n\t")
        stamp, space, rest = body.partition(" ")
        return f"{stamp}{space}{level.upper():8} {rest}\n"

    return FileLogObserver(stream, line)


def json_lines(stream: IO[Any]) -> FileLogObserver:
    """An observer that writes one JSON object a line: time, level, namespace, message."""

    def line(event: LogEvent) -> str | None:
        if _is_chatter(event):
            return None
        entry = {
            "time": _iso(event.get("log_time")),
            "level": getattr(event.get("log_level"), "name", "info"),
            "namespace": str(event.get("log_namespace", "-")),
            "message": formatEvent(event),
        }
        if event.get("log_failure") is not None:
            entry["traceback"] = eventAsText(
                event, includeTimestamp=False, includeSystem=False, includeTraceback=True
            )
        return json.dumps(entry) + "\n"

    return FileLogObserver(stream, line)


def choose_observer(
    twist: MutableMapping[str, Any], level: LogLevel, form: LogFormat | None
) -> None:
    """
    Change what ``twist`` will begin to log with.

    ``twist`` is its options (``options.parent`` of a plugin's options). What
    was given to it as ``--log-level`` or ``--log-format`` stays, as far as it
    can be told from its defaults; no ``form`` means: as ``twist`` would, text
    on a terminal and JSON elsewhere.
    """
    if twist.get("logLevel", TwistedLevel.info) is TwistedLevel.info:
        twist["logLevel"] = TwistedLevel.levelWithName(level.value)
    by_default = textFileLogObserver if _is_terminal(twist) else jsonFileLogObserver
    chosen = twist.get("fileLogObserverFactory", by_default)
    if chosen is by_default and form is not None:
        twist["fileLogObserverFactory"] = text_lines if form is LogFormat.TEXT else json_lines
    elif chosen is textFileLogObserver:
        twist["fileLogObserverFactory"] = text_lines
    elif chosen is jsonFileLogObserver:
        twist["fileLogObserverFactory"] = json_lines


def _is_terminal(twist: MutableMapping[str, Any]) -> bool:
    is_terminal = getattr(twist.get("logFile"), "isatty", None)
    return bool(is_terminal is not None and is_terminal())


def _iso(when: object) -> str | None:
    if not isinstance(when, int | float):
        return None
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")
