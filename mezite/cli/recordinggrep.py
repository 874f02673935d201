"""
``msh recordings grep``: where something was to be seen, in all recordings.

The search runs here, in the recordings that the person may see: the hub does not
render other people's terminals.
"""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click
from attrs import define, field

from mezite.cli import main, tables
from mezite.cli.playcommand import is_file
from mezite.cli.recordingviews import (
    identity_in,
    identity_option,
    progress,
    proxy_option,
    query,
    query_options,
    with_client,
)
from mezite.error import BadInput, MeziteError
from mezite.names import HostPort

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from mezite.recording.search import Found, LineSearch
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb

_PATTERN_LENGTH: Final = 1000
# Python's matcher may take hours over one line; it looks for signals while it does.
_MATCH_SECONDS: Final = 2.0
_PLACES: Final = 100
_MATCH_COLOUR: Final = ("\x1b[1;31m", "\x1b[m")
_NOTHING_FOUND: Final = 1


@click.command(
    name="grep",
    epilog="\b\nExamples:\n  msh recordings grep 'rm -rf' --user ada --from 7d"
    "\n  msh recordings grep -i 'connection refused' -C 3 --node db1"
    "\n  msh recordings grep -F '$HOME' session.cast",
)
@click.argument("pattern")
@click.argument("among", nargs=-1, metavar="[ID|FILE]...")
@query_options
@click.option("-i", "--ignore-case", is_flag=True, help="Small and capital letters are the same.")
@click.option(
    "-F", "--fixed-strings", is_flag=True, help="The pattern is a text, not an expression."
)
@click.option(
    "-C",
    "--context",
    type=click.IntRange(0, 100),
    default=0,
    metavar="N",
    help="Show N lines before and after, too.",
)
@identity_option
@proxy_option
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Lines to read, or an object a line.",
)
def grep(
    pattern: str,
    among: tuple[str, ...],
    ignore_case: bool,
    fixed_strings: bool,
    context: int,
    identity: Path | None,
    proxy: HostPort | None,
    output_format: str,
    **wanted: Any,
) -> int:
    """
    Search recordings for what was to be seen in them.

    Every line that stood on the terminal counts, once: also what scrolled by, was
    overwritten, or was shown in an editor. Shown are the recording, how long after
    its beginning the line was first seen, and the line. PATTERN is a regular
    expression of Python. The exit status is 1 if nothing was found.
    """
    match = BoundedPattern(pattern, ignore_case=ignore_case, is_fixed=fixed_strings)
    found = _Results(output_format)
    files = [Path(each) for each in among if is_file(each)]
    ids = [each for each in among if not is_file(each)]
    asked = query(**wanted)
    key = identity_in(identity)

    async def work(reactor: Any) -> None:
        for path in files:
            await _search_file(reactor, path, match, context, found, key)
        if ids or not files:
            await with_client(reactor, proxy, search_hub)

    async def search_hub(reactor: Any, client: AuthClient) -> None:
        for recording in await _chosen(client, ids, asked):
            await _search_hub(reactor, client, recording, match, context, found, key)

    main.run(work)
    return 0 if found.count else _NOTHING_FOUND


class BoundedPattern:
    """
    A regular expression that is given up when it takes too long over a line.

    For the main thread only: the clock is a signal.
    """

    def __init__(self, pattern: str, *, ignore_case: bool = False, is_fixed: bool = False) -> None:
        if len(pattern) > _PATTERN_LENGTH:
            raise BadInput(f"a pattern has at most {_PATTERN_LENGTH} characters")
        try:
            self._pattern = re.compile(
                re.escape(pattern) if is_fixed else pattern, re.IGNORECASE if ignore_case else 0
            )
        except (re.error, RecursionError, OverflowError) as error:
            raise BadInput(f"{pattern!r} is no regular expression: {error}") from None

    def places(self, line: str) -> list[tuple[int, int]]:
        """
        Where the pattern is in this line.

        :raises BadInput: if that cannot be told in time.
        """
        with _alarm(_MATCH_SECONDS):
            found: list[tuple[int, int]] = []
            for each in self._pattern.finditer(line):
                found.append(each.span())
                if len(found) == _PLACES:
                    break
            return found


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise BadInput("the pattern takes too long: write it with fewer * and + in one another")

    previous = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


async def _chosen(
    client: AuthClient, ids: list[str], asked: pb.ListRecordingsRequest
) -> list[pb.Recording]:
    from mezite.client.hubrecordings import find_recording

    if ids:
        return [await find_recording(client, each) for each in ids]
    # The oldest first, as a log is read.
    return (await client.list_recordings(asked))[::-1]


async def _search_hub(
    reactor: Any,
    client: AuthClient,
    recording: pb.Recording,
    match: BoundedPattern,
    context: int,
    results: _Results,
    identity: X25519PrivateKey | None,
) -> None:
    from mezite.client.hubrecordings import reader_of

    if recording.encrypted and identity is None:
        click.echo(f"msh: {recording.id} is encrypted, and was not searched", err=True)
        return
    reader = reader_of(client, recording.id, identity)
    search = _Search(reactor, recording.id, match, context, results)
    try:
        with progress(recording.id, recording.size) as advance:
            before = 0
            while chunks := await reader.more():
                for chunk in chunks:
                    await search.receive(chunk.content())
                advance(reader.received - before)
                before = reader.received
            search.finish()
    except BadInput as error:
        if not _is_its_own(error):
            raise
        click.echo(f"msh: {recording.id}: {error}", err=True)
    finally:
        results.flush()


async def _search_file(
    reactor: Any,
    path: Path,
    match: BoundedPattern,
    context: int,
    results: _Results,
    identity: X25519PrivateKey | None,
) -> None:
    from mezite.client.recordings import open_file

    with await open_file(path, identity) as file:
        search = _Search(reactor, str(path), match, context, results)
        while data := file.read(_SLICE):
            await search.receive(data)
        search.finish()
    results.flush()


_SLICE: Final = 256 * 1024


def _is_its_own(error: MeziteError) -> bool:
    """Whether the others can be searched after it: one is damaged, or another's key opens it."""
    from mezite.recording.error import BadChunk, BadRecording
    from mezite.recording.sealing import WrongIdentity

    return isinstance(error, BadChunk | BadRecording | WrongIdentity)


class _Search:
    """One recording being searched, as its bytes come."""

    def __init__(
        self, reactor: Any, name: str, match: BoundedPattern, context: int, results: _Results
    ) -> None:
        from mezite.recording.format import Decoder

        self._reactor = reactor
        self._name = name
        self._match = match
        self._context = context
        self._results = results
        self._decoder = Decoder()
        self._search: LineSearch | None = None

    async def receive(self, data: bytes) -> None:
        from twisted.internet.task import deferLater

        from mezite.recording.events import Header
        from mezite.recording.search import LineSearch

        for each in self._decoder.receive(data):
            if isinstance(each, Header):
                self._search = LineSearch(each, self._match.places, self._context)
            elif self._search is not None:
                self._results.add(self._name, self._search.receive(each))
        # Rendering takes all of a processor; the connection must be heard meanwhile.
        await deferLater(self._reactor, 0, lambda: None)

    def finish(self) -> None:
        if self._search is not None:
            self._results.add(self._name, self._search.finish())


@define(eq=False)
class _Results:
    """What was found, as it is shown: after the bar of progress, which is in its way."""

    output_format: str
    count: int = 0
    _waiting: list[str] = field(factory=list)

    def add(self, name: str, found: list[Found]) -> None:
        line_of: Callable[[str, Found], str]
        line_of = _json_line if self.output_format == "json" else _text_line
        for each in found:
            self.count += bool(each.places)
            if self.output_format == "text" and each.is_apart:
                self._waiting.append("--")
            self._waiting.append(line_of(name, each))
        if not sys.stderr.isatty() or len(self._waiting) > _WAITING:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for line in waiting:
            click.echo(line, color=True)


# Lines that are held back while a bar of progress is shown.
_WAITING: Final = 5000


def _text_line(name: str, found: Found) -> str:
    from mezite.client.playkeys import clock

    text, at = [], 0
    begin, end = _MATCH_COLOUR if tables.is_coloured(sys.stdout) else ("", "")
    for first, last in found.places:
        match = tables.cell(found.line.text[first:last]) if last > first else ""
        text.append(_plain(found.line.text[at:first]) + begin + match + end)
        at = last
    text.append(_plain(found.line.text[at:]))
    mark = ":" if found.places else "-"
    return f"{tables.cell(name)}{mark}{clock(found.line.time)}{mark}{''.join(text)}"


def _plain(text: str) -> str:
    return "".join(
        each if each.isprintable() or each == "\t" else "\N{REPLACEMENT CHARACTER}" for each in text
    )


def _json_line(name: str, found: Found) -> str:
    tree = {
        "recording": name,
        "time": found.line.time / 1_000_000,
        "line": found.line.text,
        "matches": [list(place) for place in found.places],
    }
    return json.dumps(tree)
