"""
The auth service's methods about roles, and about who has them.

Joining users with roles is done in :mod:`mezite.auth`; this translates.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen
from google.protobuf.message import Message

from mezite.auth.access import AccessService
from mezite.auth.people import UserChange, UserService
from mezite.auth.rolekeeping import RoleService
from mezite.config.roles import parse_role_text, role_text
from mezite.error import BadInput
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.hub.nodes import NodeDirectory
from mezite.hub.paging import page
from mezite.hub.usermessages import read_traits, user_message
from mezite.identity.builtinroles import BUILT_IN
from mezite.identity.roles import LabelSelector
from mezite.names import LoginName, RoleName, UserName
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.records import RoleRecord

_CHANGEABLE: Final = ("logins", "node_labels", "is_admin", "disabled", "roles", "traits")


@frozen
class RoleMethods:
    """The methods, by what they are called."""

    roles: RoleService
    people: UserService
    access: AccessService
    directory: NodeDirectory

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "CreateRole": self.create_role,
            "GetRole": self.get_role,
            "ListRoles": self.list_roles,
            "DeleteRole": self.delete_role,
            "UpdateUser": self.update_user,
            "ExplainAccess": self.explain_access,
        }

    async def create_role(
        self, who: Subject, _call: Call, request: pb.CreateRoleRequest
    ) -> Message:
        role = parse_role_text(request.document)
        record = await self.roles.put(role, replace=request.replace, by=who.actor)
        return pb.CreateRoleResponse(role=role_message(record))

    async def get_role(self, _who: Subject, _call: Call, request: pb.GetRoleRequest) -> Message:
        record = await self.roles.get(RoleName.parse(request.name))
        return pb.GetRoleResponse(role=role_message(record))

    async def list_roles(self, _who: Subject, _call: Call, request: pb.ListRolesRequest) -> Message:
        records, next_token = page(
            await self.roles.list(),
            lambda record: str(record.role.name),
            request.page_size,
            request.page_token,
        )
        roles = [role_message(record, with_document=False) for record in records]
        return pb.ListRolesResponse(roles=roles, next_page_token=next_token)

    async def delete_role(
        self, who: Subject, _call: Call, request: pb.DeleteRoleRequest
    ) -> Message:
        await self.roles.remove(RoleName.parse(request.name), by=who.actor)
        return pb.DeleteRoleResponse()

    async def update_user(
        self, who: Subject, _call: Call, request: pb.UpdateUserRequest
    ) -> Message:
        name = UserName.parse(request.user.name)
        change = _change_of(request.user, request.update_mask.paths)
        record = await self.people.change(name, change, by=who.actor)
        return pb.UpdateUserResponse(user=user_message(record))

    async def explain_access(
        self, _who: Subject, _call: Call, request: pb.ExplainAccessRequest
    ) -> Message:
        user = UserName.parse(request.user)
        login = LoginName.parse(request.login) if request.login else None
        node = await self.directory.find(request.node)
        explained = await self.access.explain(user, login, node)
        deciding = explained.deciding
        return pb.ExplainAccessResponse(
            allowed=explained.decision.allowed,
            reason=explained.decision.reason,
            explanation=explained.sentence,
            role=deciding.role if deciding is not None else "",
            rule=deciding.rule if deciding is not None else "",
            findings=[
                pb.RoleFinding(role=each.role, rule=each.rule, sentence=each.sentence)
                for each in explained.findings
            ],
        )


def role_message(record: RoleRecord, *, with_document: bool = True) -> pb.Role:
    """A role as it is shown."""
    role = record.role
    return pb.Role(
        name=str(role.name),
        description=role.description,
        document=role_text(role) if with_document else "",
        built_in=role.name in BUILT_IN,
        created=int(record.created),
        changed=int(record.changed),
    )


def _change_of(user: pb.User, paths: Any) -> UserChange:
    """
    What the mask names, as the message says it.

    :raises BadInput: nothing is named, or something that cannot be changed.
    """
    named = set(paths)
    if not named:
        raise BadInput(f"update_mask names nothing; it may name {', '.join(_CHANGEABLE)}")
    if unknown := named.difference(_CHANGEABLE):
        raise BadInput(
            f"{min(unknown)[:80]!r} cannot be changed; update_mask may name"
            f" {', '.join(_CHANGEABLE)}"
        )
    return UserChange(
        logins=tuple(map(LoginName.parse, user.logins)) if "logins" in named else None,
        node_labels=LabelSelector.parse(user.node_labels) if "node_labels" in named else None,
        is_admin=user.is_admin if "is_admin" in named else None,
        disabled=user.disabled if "disabled" in named else None,
        roles=tuple(map(RoleName.parse, user.roles)) if "roles" in named else None,
        traits=read_traits(user.traits) if "traits" in named else None,
    )
