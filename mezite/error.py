"""
The kinds of things that go wrong.

Every package has errors of its own under these. The kind decides what is done
about an error (see each class); ``str(error)`` is a sentence that the person
at the other end may read, and what only operators may know is an attribute.
"""

from __future__ import annotations


class MeziteError(Exception):
    """Anything that Mezite itself raises."""


class LocalError(MeziteError):
    """Ours, a bug: logged with its traceback, and the connection is dropped."""


class RemoteError(MeziteError):
    """Theirs: the peer broke a protocol; logged without traceback, and dropped."""


class BadInput(MeziteError):
    """What a person or a peer asked for cannot be understood; nothing was done."""


class NotFound(MeziteError):
    """What was named does not exist."""


class AlreadyExists(MeziteError):
    """What was to be made is there already, and is not replaced."""


class Denied(MeziteError):
    """Understood and refused; the same request will be refused again."""


class NotAuthenticated(Denied):
    """Refused because the caller has not proved who they are."""


class ProofNeeded(Denied):
    """Refused until the caller, who is known, has proved once more who they are."""


class Unavailable(MeziteError):
    """It cannot be done now, and may be tried again; ``wait`` says when, in seconds, if known."""

    wait: float | None = None


class LimitReached(Unavailable):
    """A bound that keeps the system alive was reached."""


class TimedOut(Unavailable):
    """A wait came to its deadline."""
