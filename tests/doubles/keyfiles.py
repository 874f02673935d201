"""
Key files that are kept in memory.
"""

from __future__ import annotations

from attrs import define, field
from zope.interface import implementer

from mezite.identity.authorities import Authorities
from mezite.identity.succession import Kind
from mezite.store.error import DataUnusable
from mezite.store.keyfiles import IAuthorityFiles


@implementer(IAuthorityFiles)
@define(eq=False)
class MemoryKeyFiles:
    """Keeps what it is given, the newest last, unless the disk is full."""

    kept: list[Authorities] = field(factory=list)
    is_full: bool = False

    def fresh_number(self, kind: Kind) -> int:
        return 2 if not self.kept else self.kept[-1].of(kind).last + 1

    def keep(self, authorities: Authorities) -> None:
        if self.is_full:
            raise DataUnusable("/keys/rotation.json cannot be written: No space left on device")
        self.kept.append(authorities)
