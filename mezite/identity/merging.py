"""
What the options of several roles come to.

Permissions add up, restrictions too: the shortest lengths of time and the
fewest sessions, forwarding and copies if any role permits them, a second factor
and what else binds if any role wants it, the strictest recording, and the
addresses that all roles have in common.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import reduce
from typing import TypeVar

from mezite.identity.networks import Networks, overlap
from mezite.identity.rolesdoc import Options, Recording

N = TypeVar("N", int, float)


def merge(*, openers: Iterable[Options], others: Iterable[Options]) -> Options:
    """
    The options of all of somebody's roles.

    Permissions count only from roles that open a node (``openers``): a role
    made for something else, say to ask for other roles, must not permit
    forwarding by the way. Restrictions count from all.
    """
    permitting = list(openers)
    restricting = [*permitting, *others]
    return Options(
        max_session_ttl=_least(each.max_session_ttl for each in restricting),
        port_forwarding=any(each.port_forwarding for each in permitting),
        agent_forwarding=any(each.agent_forwarding for each in permitting),
        file_copy=any(each.file_copy for each in permitting),
        require_session_mfa=any(each.require_session_mfa for each in restricting),
        record_session=_strictest(each.record_session for each in restricting),
        record_input=any(each.record_input for each in restricting),
        max_sessions=_least(each.max_sessions for each in restricting),
        idle_timeout=_least(each.idle_timeout for each in restricting),
        disconnect_expired=any(each.disconnect_expired for each in restricting),
        pin_source_address=any(each.pin_source_address for each in restricting),
        source_addresses=_common(each.source_addresses for each in restricting),
    )


def _strictest(values: Iterable[Recording | None]) -> Recording:
    """Of those that are given at all: a role that says nothing undoes no ``best_effort``."""
    return max((value for value in values if value is not None), default=Recording.STRICT)


def _least(values: Iterable[N | None]) -> N | None:
    """The least of those that are given at all."""
    return min((value for value in values if value is not None), default=None)


def _common(sources: Iterable[Networks | None]) -> Networks | None:
    return reduce(overlap, sources, None)
