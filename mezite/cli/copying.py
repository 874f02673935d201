"""
What ``msh scp`` does: connect to the nodes that it needs, and copy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from attrs import frozen

from mezite.cli.transferprogress import progress_on
from mezite.client.copylocal import LocalFiles
from mezite.client.copynodes import CopyNodes, FileThread
from mezite.client.copyplaces import Location, at_home, copy_all, parse_location
from mezite.client.copysides import FileTrouble
from mezite.client.copytree import Copier, CopyOptions, Place
from mezite.client.globbing import unescaped
from mezite.client.node import dial_node, parse_node
from mezite.client.profile import Profile
from mezite.names import AgentId, LoginName, NodeName

ChooseLogin = Callable[[Profile, str | None], LoginName]


@frozen
class CopyRequest:
    """The command line of ``msh scp``."""

    sources: Sequence[Location]
    target: Location
    options: CopyOptions
    quiet: bool = False

    @classmethod
    def parse(cls, words: Sequence[str], options: CopyOptions, *, quiet: bool) -> CopyRequest:
        """:raises BadInput: for a word that is no place."""
        *sources, target = [parse_location(word) for word in words]
        return cls(sources, target, options, quiet)


@frozen
class Whom:
    """Who to be where, if a place does not say it itself."""

    profile: Profile
    login: str | None
    choose_login: ChooseLogin

    def resolve(self, location: Location) -> tuple[NodeName | AgentId, LoginName] | None:
        """
        Node and login of a place; None for one on this machine.

        :raises BadInput: if the node or the login cannot be right.
        """
        if location.node is None:
            return None
        login = self.choose_login(self.profile, location.login or self.login)
        return parse_node(location.node, self.profile.hub_name), login


async def run_copy(reactor: Any, whom: Whom, request: CopyRequest) -> int:
    """
    Copy all of it, with a sentence for each file that made trouble.

    Returns scp's exit code: 1 if there was any.

    :raises MeziteError: if a node cannot be reached, or is lost.
    """
    # All that was typed is read before anything is dialed.
    where = {each: whom.resolve(each) for each in (*request.sources, request.target)}
    local = LocalFiles(FileThread(reactor).run)

    async def dial(node: NodeName | AgentId, login: LoginName) -> Any:
        return await dial_node(reactor, whom.profile, node, login)

    nodes = CopyNodes(reactor, dial)

    async def place(location: Location) -> Place:
        found = where[location]
        return Place(local if found is None else await nodes.files(*found), location.path)

    try:
        sources = [await place(each) for each in request.sources]
        target = await place(request.target)
        with progress_on(sys.stderr, quiet=request.quiet) as progress:

            def complain(sentence: str) -> None:
                progress.say(f"msh: {sentence}")

            copier = Copier(request.options, progress, complain)
            try:
                await copy_all(copier, sources, await _target(target))
            except FileTrouble as error:
                copier.failed(str(error))
        return 1 if copier.failures else 0
    finally:
        nodes.close()


async def _target(target: Place) -> Place:
    if isinstance(target.side, LocalFiles):
        return target
    # The home that a path may begin with is known on the node only.
    return Place(target.side, unescaped(await at_home(target.side, target.path)))  # type: ignore[arg-type]
