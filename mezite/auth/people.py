"""
What administrators change about users after they were created.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import attrs
from attrs import frozen
from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth.error import BadRequest
from mezite.auth.requesting import RequestService
from mezite.auth.trail import AuditTrail
from mezite.identity.roles import LabelSelector
from mezite.identity.sshcert import PRINCIPALS_LIMIT
from mezite.identity.traits import Traits, check_traits
from mezite.names import LoginName, RoleName, UserName
from mezite.store.interfaces import IBearers, IUsers
from mezite.store.records import UserRecord

# All of them are read for each decision about the user.
ROLES_PER_USER: Final = 32
_DISABLED: Final = "the user was disabled"


@frozen
class UserChange:
    """What is to be different; None stays as it is."""

    logins: tuple[LoginName, ...] | None = None
    node_labels: LabelSelector | None = None
    is_admin: bool | None = None
    disabled: bool | None = None
    roles: tuple[RoleName, ...] | None = None
    traits: Traits | None = None


class UserService:
    """Changes users; their passwords are :mod:`mezite.auth.login`'s."""

    _log = Logger()

    def __init__(
        self, users: IUsers, bearers: IBearers, requests: RequestService, trail: AuditTrail
    ) -> None:
        self._users = users
        self._requests = requests
        self._bearers = bearers
        self._trail = trail

    async def change(self, name: UserName, change: UserChange, *, by: Actor) -> UserRecord:
        """
        The user as they are from now on.

        Who is disabled loses their bearers, and their access requests end.

        :raises NoSuchUser:
        :raises NoSuchRole:
        :raises BadRequest: or BadTraits, for too many of something.
        """
        named = attrs.asdict(change, recurse=False)
        values = {key: value for key, value in named.items() if value is not None}
        if change.logins is not None:
            values["logins"] = check_logins(change.logins)
        if change.roles is not None:
            values["roles"] = check_roles(change.roles)
        if change.traits is not None:
            values["traits"] = check_traits(change.traits)
        event = self._trail.event(EventType.USER_UPDATED, by, target=name, **_shown(values))
        if change.disabled:
            # Before, so that none can outlive a hub that dies in between.
            await self._requests.end_all(name, by, _DISABLED)
        record = await self._users.change(
            name, lambda user: attrs.evolve(user, **values), event=event
        )
        if record.disabled:
            await self._bearers.remove_for(name)
            await self._requests.end_all(name, by, _DISABLED)
        self._log.info(
            "user {user} changed by {who}: {keys}",
            user=name,
            who=by.name,
            keys=", ".join(sorted(values)),
        )
        return record


def _shown(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was changed, as the audit shows it."""
    shown: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, LabelSelector):
            shown[key] = tuple(value.pairs())
        elif isinstance(value, Mapping):
            shown[key] = tuple(f"{name}={', '.join(each)}" for name, each in value.items())
        else:
            shown[key] = value if isinstance(value, bool) else tuple(map(str, value))
    return shown


def check_logins(logins: Collection[LoginName]) -> tuple[LoginName, ...]:
    """
    These logins, each once.

    :raises BadRequest: more than a certificate can name.
    """
    kept = tuple(dict.fromkeys(logins))
    if len(kept) > PRINCIPALS_LIMIT:
        raise BadRequest(f"a user has at most {PRINCIPALS_LIMIT} logins")
    return kept


def check_roles(roles: Collection[RoleName]) -> tuple[RoleName, ...]:
    """
    These roles, each once.

    :raises BadRequest: too many.
    """
    kept = tuple(dict.fromkeys(roles))
    if len(kept) > ROLES_PER_USER:
        raise BadRequest(f"a user has at most {ROLES_PER_USER} roles")
    return kept
