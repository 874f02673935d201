"""
Where files are copied from and to, as they are typed: ``[login@]node:path``.

:func:`copy_all` has scp's rules for what is copied where: into a directory that
is there, or to the very name that was given.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from mezite.client.copysides import (
    FileMissing,
    FileTrouble,
    base_name,
    is_directory,
)
from mezite.client.copytree import Copier, Place
from mezite.client.globbing import alternatives, escaped, expand
from mezite.client.sftpfiles import RemoteFiles
from mezite.error import BadInput


@frozen
class Location:
    """A path here (``node`` is None), or on a node."""

    node: str | None
    login: str | None
    path: str


def parse_location(text: str) -> Location:
    """
    As scp reads it: there is a node if a colon comes before any slash.

    :raises BadInput:
    """
    if not text or "\0" in text:
        raise BadInput("a file's name is not empty")
    before, colon, path = text.partition(":")
    if not colon or "/" in before or not before:
        return Location(None, None, text)
    login, at, node = before.rpartition("@")
    if not node or (at and not login):
        raise BadInput(f"{text[:80]!r} names no node: write [LOGIN@]NODE:PATH")
    return Location(node, login if at else None, path)


async def at_home(side: RemoteFiles, pattern: str) -> str:
    """The pattern with what a leading ``~`` or ``~login`` means; nothing is home itself."""
    if not pattern.startswith("~"):
        return pattern or "."
    head, slash, rest = pattern.partition("/")
    return escaped(await side.expanded(head)) + slash + rest


async def copy_all(copier: Copier, sources: Sequence[Place], target: Place) -> None:
    """
    Copy what these patterns name to the target.

    :raises FileTrouble: if the target cannot be what it would have to be.
    """
    into = await _is_directory(target)
    if len(sources) > 1 and not into:
        raise FileTrouble(f"{target}: not a directory")
    for source in sources:
        try:
            found = await _found(source)
        except FileTrouble as error:
            copier.failed(str(error))
            continue
        if len(found) > 1 and not into:
            raise FileTrouble(f"{target}: not a directory")
        for path in found:
            place = Place(source.side, path)
            where = target.inside(base_name(path)) if into else target
            await copier.copy(place, where)


async def _found(source: Place) -> list[str]:
    # A local shell has expanded local names already.
    if not isinstance(source.side, RemoteFiles):
        return [source.path]
    found: list[str] = []
    for pattern in alternatives(source.path):
        found += await expand(source.side, await at_home(source.side, pattern))
    return found


async def _is_directory(place: Place) -> bool:
    try:
        return is_directory(await place.look())
    except FileMissing:
        return False
