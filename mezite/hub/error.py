"""
What goes wrong at the hub.
"""

from __future__ import annotations

from mezite.error import Denied, MeziteError, NotFound, RemoteError, Unavailable


class HubCannotStart(MeziteError):
    """The hub cannot begin its work; the sentence says what to change."""


class NodeOffline(Unavailable):
    """The node is known, and no live tunnel leads to it."""


class UnknownNode(NotFound):
    """No node of that name or id has ever joined."""


class AccessRefused(Denied):
    """The access rules do not let this user reach this node."""


class TunnelRefused(Denied):
    """A tunnel whose certificate does not lead to a node that is known."""


class BadStream(RemoteError):
    """An agent opened a stream and did not say properly what for."""
