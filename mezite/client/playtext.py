"""
A recording written down for a pipe or a file: as text, or as JSON lines.
"""

from __future__ import annotations

import json
from typing import IO

from mezite.recording.controls import Control, ControlFilter
from mezite.recording.eventlines import event_object, header_object
from mezite.recording.events import Caption, Kind, Output, Stream
from mezite.recording.lines import Transcript
from mezite.recording.rendering import terminal_text
from mezite.recording.tape import Tape


def write_json(tape: Tape, out: IO[str]) -> None:
    """The header and each event, an object a line."""
    out.write(json.dumps(header_object(tape.header)) + "\n")
    for event in tape.after(-1):
        out.write(json.dumps(event_object(event)) + "\n")


def write_text(tape: Tape, out: IO[bytes], errors: IO[bytes]) -> None:
    """
    What was to be seen.

    Of a terminal, the lines that it was left with; of a command, exactly the bytes
    that it wrote, to ``out`` and ``errors``, but a terminal gets nothing that is not
    harmless; of the rest, the lines for people.
    """
    header = tape.header
    if header.has_terminal and header.kind in (Kind.SHELL, Kind.COMMAND):
        transcript = Transcript(header)
        for event in tape.after(-1):
            _write_lines(transcript.receive(event), out)
        _write_lines(transcript.finish(), out)
        return
    shows_captions = header.kind in (Kind.SFTP, Kind.FORWARDS)
    files = {Stream.OUTPUT: out, Stream.ERROR: errors}
    filters = {stream: ControlFilter() if file.isatty() else None for stream, file in files.items()}
    for event in tape.after(-1):
        match event:
            case Caption(text=text) if shows_captions:
                parts = ControlFilter().receive(text)
                lines = "".join(part for part in parts if not isinstance(part, Control))
                out.write(lines.encode("utf-8", "replace") + b"\n")
            case Output(data=data, stream=stream) if not shows_captions:
                filtering = filters[stream]
                if filtering is not None:
                    # As with players: what is no text is told of, not shown.
                    text = filtering.clean(terminal_text(event, header))
                    data = text.replace("\r\n", "\n").encode("utf-8", "replace")
                files[stream].write(data)


def _write_lines(lines: list[str], out: IO[bytes]) -> None:
    for line in lines:
        out.write(line.encode("utf-8", "replace") + b"\n")
