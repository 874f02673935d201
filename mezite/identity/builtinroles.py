"""
The roles that every cluster has, and that nobody changes.

What ``admin`` and ``auditor`` may do is over Mezite itself
(:mod:`mezite.hub.callers`): they open no node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mezite.identity.rolesdoc import Allow, Role
from mezite.identity.terms import Anything, Template
from mezite.identity.traits import OWN_LOGINS
from mezite.names import RoleName

ACCESS: Final = RoleName("access")
ADMIN: Final = RoleName("admin")
AUDITOR: Final = RoleName("auditor")

BUILT_IN: Final[Mapping[RoleName, Role]] = {
    role.name: role
    for role in (
        Role(
            ACCESS,
            "Every node, as the user's own logins and as the login that is named like the user.",
            allow=Allow(
                node_labels={"*": (Anything(),)},
                logins=(Template("", None, ""), Template("", OWN_LOGINS, "")),
            ),
        ),
        Role(ADMIN, "Administers the cluster. Opens no node."),
        Role(AUDITOR, "Sees what administrators see, and changes nothing. Opens no node."),
    )
}
