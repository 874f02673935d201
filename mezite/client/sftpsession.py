"""
What the commands of ``msh sftp`` do.

An :class:`SftpSession` owns the two directories that a person is in, on the
node and here. Reading lines and showing progress are left to
:mod:`mezite.cli.sftpcommands` and :mod:`mezite.cli.sftpprompt`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from attrs import define, field

from mezite.client.copylocal import LocalFiles
from mezite.client.copyplaces import at_home
from mezite.client.copysides import (
    FileTrouble,
    base_name,
    is_directory,
    joined,
    readable,
)
from mezite.client.copytree import Copier, CopyOptions, Place
from mezite.client.globbing import escaped, expand, unescaped
from mezite.client.sftpfiles import RemoteFiles, decoded
from mezite.client.sftpline import SHELL, Command, help_text
from mezite.client.sftplisting import Row, arranged, disk_free, listing
from mezite.error import BadInput, MeziteError
from mezite.ssh.sftpfields import Attributes

_LARGEST: Final = 0xFFFFFFFF


class CommandFailed(MeziteError):
    """A command did not do all that it was asked for; what, has been told."""


@define(eq=False)
class SftpSession:
    """
    :param say: prints a line.
    :param complain: prints a sentence about a file that made trouble.
    :param new_copier: for one command.
    :param run_shell: runs this in the local shell, or a shell, in a directory.
    :param width: of the terminal; None if there is none.
    """

    remote: RemoteFiles
    local: LocalFiles
    say: Callable[[str], None]
    complain: Callable[[str], None]
    new_copier: Callable[[CopyOptions, bool], Any]
    run_shell: Callable[[str | None, str], Awaitable[int]]
    wall_clock: Callable[[], float]
    width: Callable[[], int | None]
    here: str = "/"
    shows_progress: bool = True
    has_left: bool = False
    _home: str = field(default="/", init=False)

    async def begin(self) -> None:
        """Find out where the session begins."""
        self.here = self._home = await self.remote.real_path(".")

    async def run(self, command: Command) -> None:
        """
        Do what was typed.

        :raises FileTrouble: or another sentence, if it does not work.
        :raises CommandFailed: if some of it did not, and that has been told.
        """
        await _ACTS[command.name](self, command)

    # Paths.

    async def at(self, pattern: str) -> str:
        """A pattern of the node's files, as one that is absolute."""
        pattern = await at_home(self.remote, pattern)
        return pattern if pattern.startswith("/") else joined(escaped(self.here), pattern)

    async def path(self, pattern: str) -> str:
        return unescaped(await self.at(pattern))

    def local_pattern(self, pattern: str) -> str:
        return os.path.expanduser(pattern)

    # Where one is.

    async def _cd(self, command: Command) -> None:
        path = await self.path(command.arguments[0]) if command.arguments else self._home
        there = await self.remote.real_path(path)
        if not is_directory(await self.remote.look(there)):
            raise FileTrouble(f"{self.remote.shown(there)}: not a directory")
        self.here = there

    async def _lcd(self, command: Command) -> None:
        path = unescaped(self.local_pattern(command.arguments[0] if command.arguments else "~"))
        if not is_directory(await self.local.look(path)):
            raise FileTrouble(f"{self.local.shown(path)}: not a directory")
        self.local.go_to(path)

    async def _pwd(self, command: Command) -> None:
        self.say(f"Remote working directory: {readable(self.here)}")

    async def _lpwd(self, command: Command) -> None:
        self.say(f"Local working directory: {readable(self.local.directory)}")

    # Listings.

    async def _ls(self, command: Command) -> None:
        pattern = await self.at(command.arguments[0] if command.arguments else ".")
        found = await expand(self.remote, pattern)
        looked = [(path, await self.remote.look(path)) for path in found[:1]]
        if len(found) == 1 and is_directory(looked[0][1]):
            rows = await self._rows(found[0])
            shown = arranged(rows, command.flags)
        else:
            rows = [
                Row(self._relative(path), await self.remote.look(path, follow=False))
                for path in found
            ]
            shown = arranged(rows, command.flags | {"a"})
        text = listing(shown, command.flags, width=self.width(), now=self.wall_clock())
        if text:
            self.say(text)

    async def _rows(self, path: str) -> list[Row]:
        return [
            Row(decoded(entry.name), entry.attributes, decoded(entry.long_name))
            for entry in await self.remote.entries(path)
        ]

    def _relative(self, path: str) -> str:
        prefix = self.here.rstrip("/") + "/"
        return path.removeprefix(prefix)

    async def _df(self, command: Command) -> None:
        path = await self.path(command.arguments[0] if command.arguments else ".")
        self.say(disk_free(await self.remote.file_system(path), command.flags))

    # Copies.

    async def _get(self, command: Command) -> None:
        pattern = await self.at(command.arguments[0])
        target = command.arguments[1] if len(command.arguments) > 1 else ""
        where = Place(self.local, unescaped(self.local_pattern(target)))
        found = [Place(self.remote, path) for path in await expand(self.remote, pattern)]
        await self._copy(command, "Fetching", found, where)

    async def _put(self, command: Command) -> None:
        pattern = self.local_pattern(command.arguments[0])
        target = command.arguments[1] if len(command.arguments) > 1 else "."
        where = Place(self.remote, await self.path(target))
        found = [Place(self.local, path) for path in await expand(self.local, pattern)]
        await self._copy(command, "Uploading", found, where)

    async def _copy(self, command: Command, what: str, sources: list[Place], target: Place) -> None:
        try:
            into = is_directory(await target.look())
        except FileTrouble:
            into = False
        if len(sources) > 1 and not into:
            raise FileTrouble(f"{target}: not a directory")
        options = CopyOptions(
            recursive="r" in command.flags,
            preserve="p" in command.flags,
            resume="a" in command.flags or command.name in ("reget", "reput"),
        )
        with self.new_copier(options, self.shows_progress) as copier:
            for source in sources:
                where = target.inside(base_name(source.path)) if into else target
                self.say(f"{what} {source} to {where}")
                await copier.copy(source, where)
            _check(copier)

    # Changes on the node.

    async def _each(self, pattern: str, act: Callable[[str], Awaitable[None]]) -> None:
        failed = False
        for path in await expand(self.remote, await self.at(pattern)):
            try:
                await act(path)
            except FileTrouble as error:
                failed = True
                self.complain(str(error))
        if failed:
            raise CommandFailed

    async def _rm(self, command: Command) -> None:
        await self._each(command.arguments[0], self.remote.remove)

    async def _rmdir(self, command: Command) -> None:
        await self._each(command.arguments[0], self.remote.remove_directory)

    async def _mkdir(self, command: Command) -> None:
        await self.remote.make_directory(await self.path(command.arguments[0]), 0o777)

    async def _rename(self, command: Command) -> None:
        old, new = command.arguments
        await self.remote.rename(await self.path(old), await self.path(new))

    async def _ln(self, command: Command) -> None:
        if "s" in command.flags:
            await self._symlink(command)
            return
        old, new = command.arguments
        await self.remote.hard_link(await self.path(old), await self.path(new))

    async def _symlink(self, command: Command) -> None:
        target, link = command.arguments
        await self.remote.symbolic_link(unescaped(target), await self.path(link))

    async def _chmod(self, command: Command) -> None:
        permissions = _number(command.arguments[0], "a mode", 8, 0o7777)
        await self._change(command, lambda _: Attributes(permissions=permissions))

    async def _chown(self, command: Command) -> None:
        uid = _number(command.arguments[0], "an owner's number")
        await self._change(command, lambda owner: Attributes(owner=(uid, owner[1])))

    async def _chgrp(self, command: Command) -> None:
        gid = _number(command.arguments[0], "a group's number")
        await self._change(command, lambda owner: Attributes(owner=(owner[0], gid)))

    async def _change(
        self, command: Command, made: Callable[[tuple[int, int]], Attributes]
    ) -> None:
        follow = "h" not in command.flags

        async def act(path: str) -> None:
            found = await self.remote.look(path, follow=follow)
            if found.owner is None:
                raise FileTrouble(f"{self.remote.shown(path)}: the node does not say whose it is")
            change = self.remote.change if follow else self.remote.change_link
            await change(path, made(found.owner))

        await self._each(command.arguments[1], act)

    # Here.

    async def _lmkdir(self, command: Command) -> None:
        path = unescaped(self.local_pattern(command.arguments[0]))
        await self.local.make_directory(path, 0o777)

    async def _lls(self, command: Command) -> None:
        await self._shell(Command(SHELL, arguments=(f"ls {''.join(command.arguments)}",)))

    async def _shell(self, command: Command) -> None:
        line = command.arguments[0] if command.arguments else None
        code = await self.run_shell(line, self.local.directory)
        if code != 0:
            raise FileTrouble(f"the command ended with status {code}")

    async def _progress(self, command: Command) -> None:
        self.shows_progress = not self.shows_progress
        self.say(f"Progress meter {'enabled' if self.shows_progress else 'disabled'}")

    async def _version(self, command: Command) -> None:
        self.say("SFTP protocol version 3")

    async def _help(self, command: Command) -> None:
        self.say(help_text())

    async def _bye(self, command: Command) -> None:
        self.has_left = True


def _check(copier: Copier) -> None:
    if copier.failures:
        raise CommandFailed


def _number(text: str, what: str, radix: int = 10, most: int = _LARGEST) -> int:
    try:
        number = int(text, radix)
    except ValueError:
        number = -1
    if not 0 <= number <= most or not text.isalnum():
        raise BadInput(f"{text[:40]!r} is not {what}")
    return number


_Act = Callable[[SftpSession, Command], Awaitable[None]]
_ACTS: Final[Mapping[str, _Act]] = {
    SHELL: SftpSession._shell,
    "bye": SftpSession._bye,
    "cd": SftpSession._cd,
    "chgrp": SftpSession._chgrp,
    "chmod": SftpSession._chmod,
    "chown": SftpSession._chown,
    "df": SftpSession._df,
    "get": SftpSession._get,
    "help": SftpSession._help,
    "lcd": SftpSession._lcd,
    "lls": SftpSession._lls,
    "lmkdir": SftpSession._lmkdir,
    "ln": SftpSession._ln,
    "lpwd": SftpSession._lpwd,
    "ls": SftpSession._ls,
    "mkdir": SftpSession._mkdir,
    "progress": SftpSession._progress,
    "put": SftpSession._put,
    "pwd": SftpSession._pwd,
    "reget": SftpSession._get,
    "rename": SftpSession._rename,
    "reput": SftpSession._put,
    "rm": SftpSession._rm,
    "rmdir": SftpSession._rmdir,
    "symlink": SftpSession._symlink,
    "version": SftpSession._version,
}
