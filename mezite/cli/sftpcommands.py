"""
What ``msh sftp`` does with commands that nobody types at a prompt.

:func:`open_session` connects, and is the prompt's too; :func:`run_lines` reads
commands from a file, as ``sftp -b`` does.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from attrs import frozen

from mezite.cli.copying import Whom
from mezite.cli.transferprogress import progress_on
from mezite.client.copylocal import LocalFiles
from mezite.client.copynodes import CopyNodes, FileThread
from mezite.client.copyplaces import Location
from mezite.client.copysides import FileTrouble, is_directory
from mezite.client.copytree import Copier, CopyOptions
from mezite.client.globbing import escaped
from mezite.client.node import dial_node
from mezite.client.sftpfiles import decoded
from mezite.client.sftpline import MAX_LINE, Command, parse
from mezite.client.sftpsession import CommandFailed, SftpSession
from mezite.error import BadInput, MeziteError
from mezite.names import AgentId, LoginName, NodeName


@frozen
class SftpRequest:
    """The command line of ``msh sftp``; ``path`` is a directory, or a file to fetch."""

    whom: Whom
    place: Location
    local: str | None = None
    quiet: bool = False


@frozen(eq=False)
class OpenSession:
    """A session, and what it needs until it is closed."""

    session: SftpSession
    nodes: CopyNodes
    thread: FileThread


async def open_session(reactor: Any, request: SftpRequest) -> OpenSession:
    """
    Connect to the node.

    :raises MeziteError: if it cannot be reached.
    """
    whom = request.whom
    found = whom.resolve(request.place)
    if found is None:
        raise BadInput("which node? write [LOGIN@]NODE[:PATH]")

    async def dial(node: NodeName | AgentId, login: LoginName) -> Any:
        return await dial_node(reactor, whom.profile, node, login)

    nodes = CopyNodes(reactor, dial)
    thread = FileThread(reactor)

    async def run_shell(line: str | None, directory: str) -> int:
        code: int = await thread.run(lambda: _in_shell(line, directory))
        return code

    @contextmanager
    def new_copier(options: CopyOptions, shows_progress: bool) -> Iterator[Copier]:
        quiet = request.quiet or not shows_progress
        with progress_on(sys.stderr, quiet=quiet) as progress:
            yield Copier(options, progress, lambda sentence: progress.say(f"msh: {sentence}"))

    try:
        session = SftpSession(
            await nodes.files(*found),
            LocalFiles(thread.run, os.getcwd()),
            say=say,
            complain=complain,
            new_copier=new_copier,
            run_shell=run_shell,
            wall_clock=time.time,
            width=_width,
        )
        await session.begin()
    except BaseException:
        nodes.close()
        raise
    return OpenSession(session, nodes, thread)


async def go_to(session: SftpSession, request: SftpRequest) -> bool:
    """
    Go to the directory of the request, or fetch the file that it names instead.

    Returns whether the session is to go on.

    :raises MeziteError: if neither works.
    """
    pattern = request.place.path
    if not pattern:
        return True
    if request.local is None and await _is_directory(session, pattern):
        await session.run(Command("cd", arguments=(pattern,)))
        return True
    target = () if request.local is None else (escaped(request.local),)
    await session.run(Command("get", arguments=(pattern, *target)))
    return False


async def _is_directory(session: SftpSession, pattern: str) -> bool:
    try:
        return is_directory(await session.remote.look(await session.path(pattern)))
    except FileTrouble:
        return False


async def run_lines(reactor: Any, request: SftpRequest, lines: BinaryIO, *, stops: bool) -> int:
    """
    Do what each line says.

    :param stops: whether to end at the first that fails, with status 1.
    :raises MeziteError: if the connection is what fails.
    """
    opened = await open_session(reactor, request)
    session = opened.session
    try:
        try:
            if not await go_to(session, request):
                return 0
        except (FileTrouble, CommandFailed) as error:
            tell(error)
            return 1
        while not session.has_left:
            line = await opened.thread.run(lambda: lines.readline(MAX_LINE + 1))
            if not line:
                break
            if not await _line(session, decoded(line), request.quiet) and stops:
                return 1
        return 0
    finally:
        opened.nodes.close()


async def _line(session: SftpSession, line: str, quiet: bool) -> bool:
    """Whether all is as it should be."""
    may_fail = line.lstrip().startswith(("-", "@-"))
    try:
        command = parse(line)
        if command is None:
            return True
        if not quiet and not command.is_silent:
            say(f"sftp> {line.strip()}")
        await session.run(command)
    except (FileTrouble, CommandFailed, BadInput) as error:
        tell(error)
        return may_fail
    return True


def say(text: str) -> None:
    """A line of what was asked for."""
    sys.stdout.write(text.encode("utf-8", "replace").decode() + "\n")
    sys.stdout.flush()


def complain(sentence: str) -> None:
    sys.stderr.write(f"msh: {sentence}\n")
    sys.stderr.flush()


def tell(error: MeziteError) -> None:
    """What went wrong, unless that has been told already."""
    if not isinstance(error, CommandFailed):
        complain(str(error))


def _in_shell(line: str | None, directory: str) -> int:
    shell = os.environ.get("SHELL") or "/bin/sh"
    words = [shell] if line is None else [shell, "-c", line]
    # What is begun inherits what its thread blocks, and Ctrl-C is for it then.
    before = signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    try:
        # To run what a person types is what "!" is for.
        process = subprocess.Popen(words, cwd=directory)  # noqa: S603
    except OSError as error:
        raise FileTrouble(f"{shell}: {(error.strerror or 'failed').lower()}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return process.wait()


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
