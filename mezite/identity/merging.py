"""
What the options of several roles come to.

Permissions add up, restrictions too: the shortest life, forwarding and copies
if any role permits them, a second factor if any role wants it, and the
strictest recording.
"""

from __future__ import annotations

from collections.abc import Iterable

from mezite.identity.rolesdoc import Options


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
        max_session_ttl=min(
            (each.max_session_ttl for each in restricting if each.max_session_ttl is not None),
            default=None,
        ),
        port_forwarding=any(each.port_forwarding for each in permitting),
        agent_forwarding=any(each.agent_forwarding for each in permitting),
        file_copy=any(each.file_copy for each in permitting),
        require_session_mfa=any(each.require_session_mfa for each in restricting),
        record_session=max(
            (each.record_session for each in restricting), default=Options().record_session
        ),
    )
