"""
What the hub says of a session that is about to begin.
"""

from __future__ import annotations

from attrs import field, frozen

from mezite.recording.recordings import SessionRecord
from mezite.ssh.sessionwatch import SessionBounds


@frozen
class SessionPermit:
    """
    Whether it may begin, why (not), in a sentence for the person, what ends it,
    and what is recorded of it.
    """

    allowed: bool
    reason: str
    bounds: SessionBounds = field(factory=SessionBounds)
    record: SessionRecord = field(factory=SessionRecord)
    # Extensions of the certificate that do not hold on this node.
    withheld: frozenset[str] = frozenset()
