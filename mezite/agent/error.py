"""
What goes wrong on a node.
"""

from __future__ import annotations

from mezite.error import BadInput, Denied, LocalError, Unavailable


class BrokenState(BadInput):
    """What the data directory holds cannot be used, and is left as it is."""


class StateInUse(Unavailable):
    """Another agent works with this data directory."""


class NotJoined(BadInput):
    """This node has not joined, and was not told how to."""


class JoinRefused(Denied):
    """The hub, or what pretends to be it, is not to be joined; trying again changes nothing."""


class BadIssue(LocalError):
    """The hub issued certificates that do not fit this node's keys."""


class TunnelDown(Unavailable):
    """The hub cannot be asked now."""

    def __init__(self) -> None:
        super().__init__("the node is not connected to the hub")


class NoAddress(Unavailable):
    """A name that is to lead to the hub leads nowhere now; the sentence says why."""


class ForwardRefused(Denied):
    """The node does not listen there; the sentence is for the person."""


class CommandFailed(Unavailable):
    """A command that was to print a label's value did not."""


class SocketRefused(Denied):
    """A unix socket that could not be opened; the reason is for the person."""
