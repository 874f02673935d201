"""
msh's commands about recordings: which there are, and taking one home.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

import click

from mezite.cli import main, tables
from mezite.cli.auditcommands import Moment
from mezite.cli.logins import valid_profile
from mezite.cli.options import Address, format_option
from mezite.error import AlreadyExists, BadInput
from mezite.names import HostPort

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb

T = TypeVar("T")
_F = TypeVar("_F", bound=Callable[..., Any])

STATES: Final = ("live", "complete", "interrupted")
_COMMAND_SHOWN: Final = 40

proxy_option = click.option(
    "--proxy", type=Address(), metavar="HOST:PORT", help="The hub; else that of the latest login."
)


identity_option = click.option(
    "--identity",
    type=click.Path(path_type=Path),
    metavar="KEYFILE",
    help="A private key, for what is encrypted to it.",
)


def identity_in(path: Path | None) -> X25519PrivateKey | None:
    """The key in this file, if one was given."""
    from mezite.client.recordings import read_identity

    return None if path is None else read_identity(path)


def at_hub(proxy: HostPort | None, work: Callable[[Any, AuthClient], Coroutine[Any, Any, T]]) -> T:
    """Connect with the login there, do this, and close."""
    return main.run(lambda reactor: with_client(reactor, proxy, work))


async def with_client(
    reactor: Any,
    proxy: HostPort | None,
    work: Callable[[Any, AuthClient], Coroutine[Any, Any, T]],
) -> T:
    """The same on a reactor that runs."""
    from mezite.client.dialer import dial_auth

    client = await dial_auth(reactor, valid_profile(proxy))
    try:
        return await work(reactor, client)
    finally:
        client.close()


def query_options(function: _F) -> _F:
    """Which recordings, as arguments of :func:`query`."""
    options = [
        click.option("--user", default="", metavar="NAME", help="Of this user's sessions."),
        click.option("--node", default="", metavar="NODE", help="On this node, by name or id."),
        click.option("--from", "since", type=Moment(), metavar="TIME", help="From this time on."),
        click.option("--to", "until", type=Moment(), metavar="TIME", help="Before this time."),
        click.option(
            "--state", "states", type=click.Choice(STATES), multiple=True, help="May be repeated."
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def query(
    *, user: str, node: str, since: int | None, until: int | None, states: tuple[str, ...]
) -> pb.ListRecordingsRequest:
    from mezite.rpc.proto import auth_pb2 as pb

    return pb.ListRecordingsRequest(
        user=user,
        node=node,
        since=since or 0,
        until=until or 0,
        states=[pb.RecordingState.Value(f"RECORDING_STATE_{each.upper()}") for each in states],
    )


@click.group()
def recordings() -> None:
    """What was recorded of your sessions, and of others as far as your roles let you see."""


@recordings.command(
    name="ls",
    epilog="\b\nExamples:\n  msh recordings ls --from 2h"
    "\n  msh recordings ls --user ada --node db1 --state live --format json",
)
@query_options
@proxy_option
@format_option
def list_recordings(proxy: HostPort | None, output_format: str, **wanted: Any) -> None:
    """
    Show recordings, the newest first.

    A TIME is 2026-11-21T10:00:00Z, 2026-11-21 (from its beginning in UTC), or
    2h for two hours ago.
    """
    asked = query(**wanted)

    async def question(reactor: Any, client: AuthClient) -> list[dict[str, object]]:
        return [_row(each) for each in await client.list_recordings(asked)]

    rows = at_hub(proxy, question)
    columns: list[str | tables.Column] = ["id", "user", "node", "login", "kind"]
    columns.append(tables.Column("command", text=_shortened))
    columns += ["state", tables.Column("created", text=tables.ago(time.time()))]
    columns.append(tables.Column("seconds", "length", text=_length))
    columns.append(tables.Column("size", text=_size))
    if output_format == "json":
        columns += ["session_id", "encrypted", "reason", "held_by"]
    tables.print_rows(rows, columns, output_format)


def _row(recording: pb.Recording) -> dict[str, object]:
    from mezite.rpc.proto import auth_pb2 as pb

    state = pb.RecordingState.Name(recording.state).removeprefix("RECORDING_STATE_")
    kind = pb.RecordingKind.Name(recording.kind).removeprefix("RECORDING_KIND_")
    return {
        "id": recording.id,
        "user": recording.user,
        "node": recording.node,
        "login": recording.login,
        "kind": kind.lower(),
        "command": recording.command or None,
        "state": state.lower(),
        "created": tables.timestamp(recording.created),
        "seconds": round(recording.seconds, 3),
        "size": recording.size,
        "session_id": recording.session_id,
        "encrypted": recording.encrypted,
        "reason": recording.reason or None,
        "held_by": recording.held_by or None,
    }


def _shortened(value: object) -> str:
    text = tables.cell(value)
    return (
        text if len(text) <= _COMMAND_SHOWN else f"{text[:_COMMAND_SHOWN]}\N{HORIZONTAL ELLIPSIS}"
    )


def _length(value: object) -> str:
    return tables.duration(value) if isinstance(value, float) else tables.cell(value)


def _size(value: object) -> str:
    size = float(value) if isinstance(value, int) else 0.0
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


@recordings.command(
    name="export",
    epilog="\b\nExamples:\n  msh recordings export 5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f.1"
    " --to session.cast"
    "\n  msh recordings export 5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f.1 --to - | gzip > s.cast.gz",
)
@click.argument("recording", metavar="ID")
@click.option("--to", "target", required=True, metavar="FILE", help="Where to; - is a pipe.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(["asciicast", "chunks"]),
    default="asciicast",
    show_default=True,
    help="For players, or as the hub keeps it, with its chain.",
)
@click.option("--force", is_flag=True, help="Put it in the place of a file that is there.")
@identity_option
@proxy_option
def export(
    recording: str,
    target: str,
    output_format: str,
    force: bool,
    identity: Path | None,
    proxy: HostPort | None,
) -> None:
    """
    Write a recording to a file.

    It is checked on the way; a file appears only once it is whole. What is
    encrypted is opened with --identity; without it, it is exported as chunks only,
    as it is. Then give the file its id as its name, ID.mze, and msh play opens it.
    """
    key = identity_in(identity)
    if target == "-":
        if sys.stdout.isatty():
            raise BadInput("a recording may harm a terminal: msh play shows it")
        at_hub(
            proxy, lambda reactor, client: _fetch_to(client, recording, output_format, None, key)
        )
        return
    path = Path(target)
    # Said before anything is fetched, and made sure of when it is put there.
    if path.exists() and not force:
        raise AlreadyExists(f"{target} is there already; --force replaces it")

    async def work(reactor: Any, client: AuthClient) -> tuple[str, str]:
        return await _fetch_to(client, recording, output_format, (path, force), key)

    name, state = at_hub(proxy, work)
    note = "" if state == "complete" else f"; it is {state}"
    click.echo(f"Recording {name} is in {target}{note}.", err=True)


async def _fetch_to(
    client: AuthClient,
    wanted: str,
    output_format: str,
    target: tuple[Path, bool] | None,
    identity: X25519PrivateKey | None,
) -> tuple[str, str]:
    from mezite.client.hubrecordings import HubRecording, find_recording, reader_of
    from mezite.client.recordings import all_content

    found = await find_recording(client, wanted)
    reader = reader_of(client, found.id, identity)
    with _Destination(target) as out, progress(found.id, found.size) as advance:
        if output_format == "asciicast":
            before = 0
            async for content in all_content(reader):
                out.write(content)
                advance(reader.received - before)
                before = reader.received
        elif found.encrypted and identity is None:
            source, offset = HubRecording(client, found.id), 0
            while data := (await source.read(offset)).data:
                out.write(data)
                offset += len(data)
                advance(len(data))
            return found.id, "encrypted, and was not checked"
        else:
            while chunks := await reader.more():
                for chunk in chunks:
                    out.write(chunk.data)
                    advance(chunk.size)
    return found.id, reader.state.value


class _Destination:
    """Standard output, or a file that appears when all is in it."""

    def __init__(self, target: tuple[Path, bool] | None) -> None:
        self._target = target
        self._file: IO[bytes] | None = None

    def __enter__(self) -> IO[bytes]:
        if self._target is None:
            return sys.stdout.buffer
        path, _ = self._target
        try:
            # Only its owner reads it: a recording may show anything.
            descriptor, name = tempfile.mkstemp(prefix=".msh-", dir=path.parent)
        except OSError as error:
            raise BadInput(f"{path.parent} cannot be written to: {error.strerror}") from None
        self._name = name
        self._file = os.fdopen(descriptor, "wb")
        return self._file

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._file is None or self._target is None:
            return
        path, may_replace = self._target
        try:
            with self._file as file:
                file.flush()
                os.fsync(file.fileno())
            if kind is None:
                if may_replace:
                    os.replace(self._name, path)
                else:
                    os.link(self._name, path)
        except FileExistsError:
            raise AlreadyExists(f"{path} is there already; --force replaces it") from None
        finally:
            if os.path.exists(self._name):
                os.unlink(self._name)


@contextmanager
def progress(name: str, size: int) -> Iterator[Callable[[int], None]]:
    """How far a recording has come, on a terminal; gives what is to be told of bytes."""
    from mezite.cli.transferprogress import progress_on

    with progress_on(sys.stderr, quiet=False) as shown:
        meter = shown.begin(name)
        meter.grow(size)
        yield meter.advance
