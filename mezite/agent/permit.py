"""
What the hub says of a session that is about to begin.
"""

from __future__ import annotations

from attrs import frozen

from mezite.identity.rolesdoc import Recording


@frozen
class SessionBounds:
    """
    What ends a session from without; lengths of time in seconds.

    ``idle_timeout`` is how long nothing may move either way.
    """

    idle_timeout: float | None = None
    ends_with_certificate: bool = False


@frozen
class SessionRecord:
    """Whether a session is recorded, and what the person types with it."""

    mode: Recording = Recording.STRICT
    has_input: bool = False


@frozen
class SessionPermit:
    """
    Whether it may begin, why (not), in a sentence for the person, what ends it,
    and what is recorded of it.
    """

    allowed: bool
    reason: str
    bounds: SessionBounds = SessionBounds()
    record: SessionRecord = SessionRecord()
    # Extensions of the certificate that do not hold on this node.
    withheld: frozenset[str] = frozenset()
