"""
What goes wrong at the hub.
"""

from __future__ import annotations

from mezite.error import Denied, LimitReached, MeziteError, NotFound, Unavailable
from mezite.names import NodeName, UserName


class HubCannotStart(MeziteError):
    """The hub cannot begin its work; the sentence says what to change."""


class NodeOffline(Unavailable):
    """The node is known, and no live tunnel leads to it."""


class UnknownNode(NotFound):
    """No node of that name or id has ever joined."""


class AccessRefused(Denied):
    """The access rules do not let this user reach this node."""


class TooManySessions(LimitReached):
    """One user has as many connections to a node as one user may have."""

    def __init__(self, user: UserName, node: NodeName, limit: int) -> None:
        super().__init__(f"{user} has {limit} connections to {node} already: end some of them")


class SessionLimitReached(LimitReached):
    """One user has as many sessions as their roles allow."""

    def __init__(self, limit: int) -> None:
        number = "one session" if limit == 1 else f"{limit} sessions"
        super().__init__(
            f"your roles allow {number} at once, and you have no fewer: end one of those"
            " that msh sessions ls shows"
        )


class HubStopping(Unavailable):
    """Sessions under way may come to their end; there are no new ones."""

    def __init__(self) -> None:
        super().__init__("the hub is being stopped: try again in a minute")


class TunnelRefused(Denied):
    """A tunnel whose certificate does not lead to a node that is known."""


class CopyUnusable(Unavailable):
    """
    What is to become a copy of the audit is something else.

    The sentence is for operators.
    """
