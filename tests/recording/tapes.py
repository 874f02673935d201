"""
Recordings that tests play.
"""

from __future__ import annotations

import io

from mezite.recording.events import Event, Header, Output
from mezite.recording.format import Encoder
from mezite.recording.tape import Tape

HEADER = Header(1_700_000_000, 40, 8, session="5b1f6b1e", number=1, user="ada", node="db1")


def cast(events: list[Event], header: Header = HEADER) -> bytes:
    """A recording's file."""
    encoder = Encoder(header)
    lines = [encoder.begin(), *map(encoder.encode, events), encoder.end()]
    return b"".join(lines)


def tape(events: list[Event], header: Header = HEADER) -> Tape:
    return Tape(io.BytesIO(cast(events, header)))


def written(*pieces: tuple[float, str]) -> list[Event]:
    """Output at these seconds."""
    return [Output(round(seconds * 1_000_000), text.encode()) for seconds, text in pieces]
