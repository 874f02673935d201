"""
``msh ssh KEY=VALUE COMMAND``: which nodes that means, and what is said about them.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from typing import Any

import click

from mezite.cli import tables
from mezite.client.dialer import dial_auth
from mezite.client.listing import node_rows
from mezite.client.profile import Profile
from mezite.client.session import LocalFiles
from mezite.client.several import Errand, Outcome, SharedOutput, run_on_each
from mezite.error import NotFound
from mezite.names import NodeName, parse_labels

OWN_FAILURE = 255


def parse_selector(text: str) -> list[str]:
    """``env=staging,role=db``, as :meth:`AuthClient.list_nodes` takes it."""
    labels = text.split(",")
    parse_labels(labels)
    return labels


async def run_on_selected(
    reactor: Any, errand: Errand, labels: list[str], parallel: int, *, is_quiet: bool
) -> int:
    """Run it wherever these labels are, tell what failed, and give the worst exit code."""
    sys.stdout.flush()
    rows = await _listed(reactor, errand.profile, labels)
    if not rows:
        raise NotFound(f"you may reach no node with {','.join(labels)}")
    online = [NodeName.parse(str(row["hostname"])) for row in rows if row["status"] != "offline"]
    outcomes = [_offline(row) for row in rows if row["status"] == "offline"]
    with ExitStack() as stack:
        coloured = tables.is_coloured(sys.stdout), tables.is_coloured(sys.stderr)
        output = SharedOutput(reactor, LocalFiles(), stack, coloured)
        outcomes += await run_on_each(reactor, errand, online, parallel, output)
    if not is_quiet:
        _tell(outcomes)
    return max(OWN_FAILURE if each.code is None else each.code for each in outcomes)


async def _listed(reactor: Any, profile: Profile, labels: list[str]) -> list[dict[str, object]]:
    client = await dial_auth(reactor, profile)
    try:
        return node_rows(await client.list_nodes(labels))
    finally:
        client.close()


def _offline(row: dict[str, object]) -> Outcome:
    seen = tables.ago(time.time())(row["last_seen"])
    return Outcome(NodeName.parse(str(row["hostname"])), problem=f"offline, last seen {seen}")


def _tell(outcomes: list[Outcome]) -> None:
    failures = sorted((each for each in outcomes if each.is_failure), key=lambda each: each.node)
    for each in failures:
        what = each.problem or f"exit status {each.code}"
        click.echo(f"msh: {each.node}: {what}", err=True)
    if failures:
        click.echo(f"msh: failed on {len(failures)} of {len(outcomes)} nodes", err=True)
