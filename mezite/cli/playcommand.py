"""
``msh play``: a recording of the hub, or in a file, on the terminal or in a pipe.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import click

from mezite.cli import main
from mezite.cli.options import Address, Duration
from mezite.cli.recordingviews import identity_in, identity_option
from mezite.error import BadInput
from mezite.names import HostPort

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from mezite.recording.tape import Tape
    from mezite.rpc.client import AuthClient

_FORMATS: Final = ("terminal", "text", "json", "asciicast")
_COPY: Final = 1024 * 1024


@click.command(
    epilog="\b\nExamples:"
    "\n  msh play 5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f.1 --speed 2 --idle-limit 2s"
    "\n  msh play session.cast"
    "\n  msh play 5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f.1 --format text | less"
    "\n  msh play session.cast --format json | jq 'select(.type == \"input\")'"
)
@click.argument("recording", metavar="ID|FILE")
@click.option("--proxy", type=Address(), metavar="HOST:PORT", help="The hub; else the latest.")
@click.option(
    "--speed",
    type=click.FloatRange(1 / 16, 64),
    default=1.0,
    metavar="FACTOR",
    help="So many times as fast; + and - change it.",
)
@click.option(
    "--idle-limit", type=Duration(), metavar="2s", help="Skip what is left of longer silences."
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice(_FORMATS),
    help="How it is shown; on a terminal it is played, elsewhere it is text.",
)
@identity_option
@click.option("--raw", is_flag=True, help="Filter nothing out: for recordings that you trust.")
def play(
    recording: str,
    proxy: HostPort | None,
    speed: float,
    idle_limit: float | None,
    output_format: str | None,
    identity: Path | None,
    raw: bool,
) -> None:
    """
    Play a recording.

    It is one of the hub's, by the id that msh recordings ls shows (or that of a
    session with one recording), or a file: an asciicast, or an export in chunks.
    What is encrypted to a key of yours is opened with --identity.

    \b
    space         pause, go on         .         a step, while paused
    left, right   5 s back, forward    0 to 9    to so many tenths
    g, G          to begin and end     + -       faster, slower
    q, Ctrl-C     leave                Ctrl-L    paint anew

    What could do harm to your terminal, such as setting its clipboard or
    making it answer, is filtered out.
    """
    if output_format is None:
        is_terminal = sys.stdout.isatty() and sys.stdin.isatty()
        output_format = "terminal" if is_terminal else "text"
    if output_format == "terminal" and not (sys.stdout.isatty() and sys.stdin.isatty()):
        raise BadInput("this is no terminal: choose --format text, json or asciicast")

    key = identity_in(identity)

    async def work(reactor: Any) -> bool:
        with await _opened(reactor, recording, proxy, key) as file:
            if output_format == "asciicast":
                shutil.copyfileobj(file, sys.stdout.buffer, _COPY)
                return False
            from mezite.recording.tape import Tape

            return await _shown(reactor, Tape(file), output_format, speed, idle_limit, raw)

    if main.run(work):
        raise KeyboardInterrupt


async def _opened(
    reactor: Any, recording: str, proxy: HostPort | None, identity: X25519PrivateKey | None
) -> IO[bytes]:
    from mezite.cli.recordingviews import progress, with_client
    from mezite.client.hubrecordings import find_recording, reader_of
    from mezite.client.recordings import open_file, spooled

    if is_file(recording):
        return await open_file(Path(recording), identity)

    async def fetch(reactor: Any, client: AuthClient) -> IO[bytes]:
        found = await find_recording(client, recording)
        with progress(found.id, found.size) as advance:
            return await spooled(reader_of(client, found.id, identity), advance)

    return await with_client(reactor, proxy, fetch)


def is_file(text: str) -> bool:
    """Whether this is rather a file than the id of a recording."""
    return os.sep in text or os.path.exists(text)


async def _shown(
    reactor: Any,
    tape: Tape,
    output_format: str,
    speed: float,
    idle_limit: float | None,
    raw: bool,
) -> bool:
    from mezite.client.playtext import write_json, write_text

    if output_format == "text":
        write_text(tape, sys.stdout.buffer, sys.stderr.buffer)
        return False
    if output_format == "json":
        write_json(tape, sys.stdout)
        return False
    from mezite.client.playing import Viewer
    from mezite.recording.player import Player

    player = Player(tape, speed=speed, idle_limit=idle_limit, is_raw=raw)
    recorded = tape.header.columns, tape.header.rows
    viewer = Viewer(reactor, player, sys.stdin.fileno(), sys.stdout.fileno(), recorded)
    return await viewer.play()
