"""
Copying files and whole trees from one side to another.

A :class:`Copier` follows links, as scp does, goes on after a file that made
trouble, and counts those. Several small files of a directory are on their way
at once, because each costs turns of the line that its bytes do not.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, TypeVar

from attrs import define, frozen
from twisted.internet.defer import Deferred, DeferredList, FirstError
from zope.interface import Interface

from mezite.client.copyplan import ChangedMeanwhile, CopyPlan, Crumbs
from mezite.client.copypump import pump
from mezite.client.copysides import (
    FileMissing,
    FileTrouble,
    IFileSide,
    IReading,
    IWriting,
    base_name,
    is_directory,
    is_link,
    is_regular,
    joined,
    permission_bits,
)
from mezite.ssh.sftpfields import Attributes

T = TypeVar("T")

# As scp: deeper than people nest, and an end to what only looks like a tree.
MAX_DEPTH: Final = 64
# Each may have 4 MiB in flight.
AT_ONCE: Final = 8


class IMeter(Interface):
    """How far one copy of a file or tree has come."""

    def grow(count: int) -> None:
        """So many more bytes are to be copied than was known."""

    def advance(count: int) -> None:
        """So many more bytes have been copied."""

    def end() -> None:
        """It is over."""


class IProgress(Interface):
    """Who wants to see how far copies have come."""

    def begin(name: str) -> IMeter:
        """The copy of a file or tree of this name begins."""


@frozen
class CopyOptions:
    """What is asked for beyond the bytes of one file."""

    recursive: bool = False
    preserve: bool = False
    # Go on behind what is there already, taking it for the beginning of the file.
    resume: bool = False


@frozen(eq=False)
class Place:
    """A path on a side."""

    side: IFileSide
    path: str

    def __str__(self) -> str:
        return self.side.shown(self.path)

    def inside(self, name: str) -> Place:
        return Place(self.side, joined(self.path, name))

    async def look(self) -> Attributes:
        return await self.side.look(self.path)


@define(eq=False)
class Copier:
    """:param complain: is given a sentence for each file that made trouble."""

    options: CopyOptions
    progress: IProgress
    complain: Callable[[str], None]
    failures: int = 0

    async def copy(self, source: Place, target: Place) -> None:
        """Copy a file or a tree to exactly this place."""
        await self.attempt(source, self._copy(source, target))

    async def attempt(self, source: Place, work: Awaitable[None]) -> None:
        """Await this; trouble with the source, or with where it goes, is told and counted."""
        try:
            await work
        except FileTrouble as error:
            self.failed(str(error))
        except (ChangedMeanwhile, Crumbs) as error:
            self.failed(f"{source}: {error}")

    def failed(self, sentence: str) -> None:
        """Tell and count a file that made trouble."""
        self.failures += 1
        self.complain(sentence)

    async def _copy(self, source: Place, target: Place) -> None:
        found = await source.look()
        meter = self.progress.begin(base_name(source.path) or str(source))
        try:
            if not is_directory(found):
                meter.grow(found.size or 0)
                await self.copy_file(source, target, found, meter)
            elif not self.options.recursive:
                raise FileTrouble(f"{source}: is a directory, which only -r copies")
            else:
                await self._whole_tree(source, target, found, meter)
        finally:
            meter.end()

    # One file.

    async def copy_file(
        self, source: Place, target: Place, found: Attributes, meter: IMeter
    ) -> None:
        """
        Copy one file to exactly this place.

        :raises FileTrouble: with a sentence that names the one or the other.
        """
        if not is_regular(found):
            raise FileTrouble(f"{source}: not a regular file")
        await self._refuse_itself(source, target)
        start = await self._start(target, found) if self.options.resume else 0
        meter.advance(start)
        permissions = permission_bits(found, 0o666)
        reading = await source.side.open_reading(source.path)
        try:
            writing = await target.side.open_writing(target.path, permissions, keep=start > 0)
            try:
                await self._bytes(reading, writing, start, found.size or 0, meter)
                if self.options.preserve:
                    await writing.change(_preserved(found))
            except BaseException:
                _close_some_time(writing)
                raise
            await writing.close()
        finally:
            _close_some_time(reading)

    async def _bytes(
        self, reading: IReading, writing: IWriting, start: int, size: int, meter: IMeter
    ) -> None:
        plan = CopyPlan(start=start, expected=size, chunk=min(reading.most, writing.most))
        await pump(reading, writing, plan, meter.advance)

    async def _start(self, target: Place, found: Attributes) -> int:
        try:
            there = await target.look()
        except FileMissing:
            return 0
        if not is_regular(there):
            raise FileTrouble(f"{target}: not a regular file")
        if there.size is None or there.size > (found.size or 0):
            raise FileTrouble(f"{target}: is longer than what it should be the beginning of")
        return there.size

    async def _refuse_itself(self, source: Place, target: Place) -> None:
        if source.side is not target.side:
            return
        try:
            theirs = await target.side.identity(target.path)
        except FileTrouble:
            return
        if theirs == await source.side.identity(source.path):
            raise FileTrouble(f"{source} and {target} are the same file")

    # A tree.

    async def _whole_tree(
        self, source: Place, target: Place, found: Attributes, meter: IMeter
    ) -> None:
        walk = _Walk(self, meter)
        await walk.directory(source, target, found, ())


@define(eq=False)
class _Walk:
    """Down one tree."""

    copier: Copier
    meter: IMeter
    # Where the tree is copied to, if that is on the same side.
    own: object = None

    async def directory(
        self, source: Place, target: Place, found: Attributes, above: tuple[object, ...]
    ) -> None:
        if len(above) >= MAX_DEPTH:
            raise FileTrouble(f"{source}: more than {MAX_DEPTH} directories deep")
        identity = await source.side.identity(source.path)
        if identity in above:
            raise FileTrouble(f"{source}: leads back to a directory that it is in")
        if self.own is not None and identity == self.own:
            raise FileTrouble(f"{source}: cannot be copied into itself")
        listed = await source.side.names(source.path)
        is_new, permissions = await self._make(target, found)
        if source.side is target.side and not above:
            self.own = await target.side.identity(target.path)
            if self.own == identity:
                raise FileTrouble(f"{source} and {target} are the same directory")
        files: list[tuple[Place, Place, Attributes]] = []
        directories: list[tuple[Place, Place, Attributes]] = []
        for each in listed:
            item = source.inside(each.name)
            try:
                what = each.attributes
                if is_link(what) or what.permissions is None:
                    what = await item.look()
            except FileTrouble as error:
                self.copier.failed(str(error))
                continue
            (directories if is_directory(what) else files).append(
                (item, target.inside(each.name), what)
            )
            if is_regular(what):
                self.meter.grow(what.size or 0)
        await _each(files, self._one_file)
        for item, where, what in directories:
            deeper = self.directory(item, where, what, (*above, identity))
            await self.copier.attempt(item, deeper)
        await self._finish(target, found, is_new, permissions)

    async def _one_file(self, item: tuple[Place, Place, Attributes]) -> None:
        source, target, found = item
        await self.copier.attempt(source, self.copier.copy_file(source, target, found, self.meter))

    async def _make(self, target: Place, found: Attributes) -> tuple[bool, int]:
        # We write into it; what it is to be in the end is set in the end.
        permissions = permission_bits(found, 0o777) | 0o700
        try:
            await target.side.make_directory(target.path, permissions)
        except FileTrouble as error:
            try:
                there = await target.look()
            except FileTrouble:
                raise error from None
            if not is_directory(there):
                raise FileTrouble(f"{target}: not a directory") from None
            return False, permissions
        return True, permissions

    async def _finish(
        self, target: Place, found: Attributes, is_new: bool, permissions: int
    ) -> None:
        if self.copier.options.preserve:
            await target.side.change(target.path, _preserved(found))
        elif is_new and permission_bits(found, 0o777) != permissions:
            bits = Attributes(permissions=permission_bits(found, 0o777))
            await target.side.change(target.path, bits)


def _preserved(found: Attributes) -> Attributes:
    return Attributes(permissions=permission_bits(found, 0o666), times=found.times)


def _close_some_time(file: Any) -> None:
    """Close without waiting: nothing hangs on how that ends."""
    file.close().addErrback(lambda failure: None)


async def _each(items: Iterable[T], work: Callable[[T], Awaitable[None]]) -> None:
    """Do this with each item, some at once; the first failure ends all."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    workers = [Deferred.fromCoroutine(worker()) for _ in range(AT_ONCE)]
    try:
        await DeferredList(workers, fireOnOneErrback=True, consumeErrors=True)
    except FirstError as error:
        for each in workers:
            each.cancel()
        error.subFailure.raiseException()
