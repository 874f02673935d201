"""What goes wrong between the two ends of a resumable connection."""

from __future__ import annotations

from mezite.error import Denied, LocalError, MeziteError, RemoteError, Unavailable


class LocalResumeError(LocalError):
    """We used a resumable connection in a way that its state does not allow."""


class RemoteResumeError(RemoteError):
    """The peer broke the protocol of resumption; what carries it is dropped."""


class SessionGone(MeziteError):
    """The other end does not know the connection any more, and never will again."""


class ResumeDenied(Denied):
    """Whoever leads to the other end says no, and would say so again."""


class NotNow(Unavailable):
    """Whoever leads to the other end cannot do so at this moment."""
