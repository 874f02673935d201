"""
What somebody may, as it is in the store now.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from twisted.logger import Logger

from mezite.identity.builtinroles import ADMIN, AUDITOR, BUILT_IN
from mezite.identity.roles import RequestedRole, UserRights
from mezite.names import RoleName, UserName
from mezite.store.interfaces import IRoles, IUsers
from mezite.store.records import UserRecord
from mezite.store.requests import IAccessRequests


class Rights:
    """Joins users with their roles."""

    _log = Logger()

    def __init__(
        self,
        users: IUsers,
        roles: IRoles,
        requests: IAccessRequests,
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        self._users = users
        self._roles = roles
        self._requests = requests
        self._wall_clock = wall_clock

    async def of(
        self,
        user: UserName,
        carried: Collection[str] | None = None,
        *,
        issued: float | None = None,
    ) -> UserRights | None:
        """
        What a user may; None, which is nothing, for one who is not there or disabled.

        :param issued: when the certificate was that proves them; None also for
            one that was issued to somebody of this name before.
        """
        record = await self._users.get(user)
        if record is None or (issued is not None and predates(issued, record)):
            return None
        return await self.of_record(record, carried)

    async def of_record(
        self, record: UserRecord, carried: Collection[str] | None = None
    ) -> UserRights | None:
        """
        What this user may; None for one who is disabled.

        None also for one with a role that is not there, which the store does
        not let happen: nobody knows what it denied.

        :param carried: the only access requests that count, out of those that
            are approved and have not ended; None for all of them.
        """
        if record.disabled:
            return None
        requests = [
            request
            for request in await self._requests.approved(record.name, self._wall_clock())
            if carried is None or request.id in carried
        ]
        wanted = dict.fromkeys((*record.roles, *(r for each in requests for r in each.roles)))
        written = [name for name in wanted if name not in BUILT_IN]
        found = await self._roles.named(written) if written else {}
        roles = dict(BUILT_IN) | {name: each.role for name, each in found.items()}
        if missing := [name for name in record.roles if name not in roles]:
            self._log.error(
                "{user} has no rights: there is no role {role}",
                user=record.name,
                role=missing[0],
            )
            return None
        return UserRights(
            user=record.name,
            logins=frozenset(record.logins),
            node_labels=record.node_labels,
            is_admin=is_administrator(record),
            roles=tuple(roles[name] for name in dict.fromkeys(record.roles)),
            traits=record.traits,
            requested=tuple(
                RequestedRole(roles[name], request.id, request.expires, frozenset(request.nodes))
                for request in requests
                # A role that is gone denied something, perhaps to the others.
                if all(name in roles for name in request.roles)
                for name in request.roles
            ),
        )


def predates(issued: float, record: UserRecord) -> bool:
    """
    Whether a certificate was issued before this user was created, to another of the name.

    Certificates count whole seconds. Both times are by the hub's clock, so that
    no other clock must be allowed for.
    """
    return issued < math.floor(record.created)


def role_names(record: UserRecord) -> frozenset[RoleName]:
    """The roles of this user, with that of an administrator under its name."""
    return frozenset(record.roles) | ({ADMIN} if is_administrator(record) else frozenset())


def is_administrator(record: UserRecord) -> bool:
    """Whether this user administers the cluster."""
    return record.is_admin or ADMIN in record.roles


def is_auditor(record: UserRecord) -> bool:
    """Whether this user sees what administrators see."""
    return is_administrator(record) or AUDITOR in record.roles
