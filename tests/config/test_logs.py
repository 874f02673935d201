"""Tests of how log lines are written."""

from __future__ import annotations

import io
import json
from typing import Any

from twisted.logger import LogLevel as TwistedLevel
from twisted.logger import jsonFileLogObserver, textFileLogObserver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.config.keys import LogFormat, LogLevel
from mezite.config.logs import choose_observer, json_lines, text_lines


class Terminal(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def event(text: str, **fields: object) -> dict[str, Any]:
    return {
        "log_format": "{text}",
        "text": text,
        "log_time": 0.25,
        "log_level": TwistedLevel.warn,
        "log_namespace": "mezite.hub",
        **fields,
    }


class LinesTests(SynchronousTestCase):
    def test_json(self) -> None:
        """An event is one JSON object on one line."""
        stream = io.StringIO()
        json_lines(stream)(event("two\nlines"))
        (line,) = stream.getvalue().splitlines()
        self.assertEqual(
            json.loads(line),
            {
                "time": "1970-01-01T00:00:00.250+00:00",
                "level": "warn",
                "namespace": "mezite.hub",
                "message": "two\nlines",
            },
        )

    def test_json_failure(self) -> None:
        """A failure stays within the line of its event."""
        stream = io.StringIO()
        json_lines(stream)(event("x", log_failure=Failure(ValueError("deep"))))
        (line,) = stream.getvalue().splitlines()
        self.assertIn("deep", json.loads(line)["traceback"])

    def test_text(self) -> None:
        """A line for people has the level and the message."""
        stream = io.StringIO()
        text_lines(stream)(event("a tunnel is up"))
        self.assertIn("WARN", stream.getvalue())
        self.assertTrue(stream.getvalue().endswith(" a tunnel is up\n"))

    def test_what_peers_write_is_harmless(self) -> None:
        """Neither a new line nor a terminal's command gets out of a message."""
        stream = io.StringIO()
        text_lines(stream)(event("a\n2026 INFO forged\r\x1b[2J\x9b\u2028"))
        lines = stream.getvalue().split("\n")
        self.assertEqual(lines[1:], ["\t2026 INFO forged\\x0d\\x1b[2J\\x9b\\u2028", ""])

    def test_empty(self) -> None:
        """An event that says nothing is no line."""
        stream = io.StringIO()
        text_lines(stream)({"log_format": ""})
        self.assertEqual(stream.getvalue(), "")

    def test_chatter(self) -> None:
        """Twisted's own small talk is no line; what it warns of is."""
        for make in (json_lines, text_lines):
            stream = io.StringIO()
            lines = make(stream)
            old = {"log_namespace": "log_legacy"}
            lines(event("UDP Port closed", log_level=TwistedLevel.info, **old))
            self.assertEqual(stream.getvalue(), "")
            lines(event("it broke", log_level=TwistedLevel.critical, **old))
            self.assertIn("it broke", stream.getvalue())


class ChooseObserverTests(SynchronousTestCase):
    def chosen(
        self, twist: dict[str, Any], form: LogFormat | None, level: LogLevel = LogLevel.INFO
    ) -> dict[str, Any]:
        choose_observer(twist, level, form)
        return twist

    def test_format(self) -> None:
        """The format that was set is used, on a terminal or not."""
        for stream, default in (
            (Terminal(), textFileLogObserver),
            (io.StringIO(), jsonFileLogObserver),
        ):
            for form, expected in ((LogFormat.TEXT, text_lines), (LogFormat.JSON, json_lines)):
                twist = {"logFile": stream, "fileLogObserverFactory": default}
                self.assertIs(self.chosen(twist, form)["fileLogObserverFactory"], expected)

    def test_no_format(self) -> None:
        """Where no format was set, twist's choice is made with our lines."""
        twist = {"logFile": io.StringIO(), "fileLogObserverFactory": jsonFileLogObserver}
        self.assertIs(self.chosen(twist, None)["fileLogObserverFactory"], json_lines)
        twist = {"logFile": Terminal(), "fileLogObserverFactory": textFileLogObserver}
        self.assertIs(self.chosen(twist, None)["fileLogObserverFactory"], text_lines)

    def test_options_of_twist(self) -> None:
        """What was given to twist itself is stronger than a setting."""
        twist = {
            "logFile": io.StringIO(),
            "fileLogObserverFactory": textFileLogObserver,
            "logLevel": TwistedLevel.debug,
        }
        self.chosen(twist, LogFormat.JSON, LogLevel.ERROR)
        self.assertIs(twist["fileLogObserverFactory"], text_lines)
        self.assertIs(twist["logLevel"], TwistedLevel.debug)

    def test_level(self) -> None:
        """Each level of ours is one of Twisted's."""
        for level in LogLevel:
            twist = self.chosen({"logLevel": TwistedLevel.info}, None, level)
            self.assertEqual(twist["logLevel"].name, level.value)
