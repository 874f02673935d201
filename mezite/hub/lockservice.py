"""
The auth service's methods about locks.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen
from google.protobuf.message import Message

from mezite.auth.locking import LockService
from mezite.error import BadInput
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.hub.nodes import NodeDirectory
from mezite.hub.paging import page
from mezite.identity.builtinroles import BUILT_IN
from mezite.identity.locks import Lock, LockTarget
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.error import NoSuchRole, NoSuchUser
from mezite.store.interfaces import IRoles, IUsers


@frozen
class LockMethods:
    """The methods, by what they are called."""

    locks: LockService
    users: IUsers
    roles: IRoles
    directory: NodeDirectory

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "CreateLock": self.create_lock,
            "ListLocks": self.list_locks,
            "DeleteLock": self.delete_lock,
        }

    async def create_lock(
        self, who: Subject, _call: Call, request: pb.CreateLockRequest
    ) -> Message:
        """Lock what is there: a name that was mistyped would lock nobody, and say nothing."""
        wanted = request.target
        target = LockTarget.parse(
            user=wanted.user, node=wanted.node, role=wanted.role, login=wanted.login
        )
        await self._check_exists(target)
        if request.ttl_seconds < 0:
            raise BadInput("ttl_seconds is a length of time, or 0 for a lock without an end")
        lock = await self.locks.create(
            target,
            ttl=float(request.ttl_seconds) if request.ttl_seconds else None,
            message=request.message,
            by=who.actor,
        )
        return pb.CreateLockResponse(lock=lock_message(lock))

    async def _check_exists(self, target: LockTarget) -> None:
        if target.user is not None and await self.users.get(target.user) is None:
            raise NoSuchUser(target.user)
        if (
            target.role is not None
            and target.role not in BUILT_IN
            and await self.roles.get(target.role) is None
        ):
            raise NoSuchRole(target.role)
        if target.node is not None:
            await self.directory.find(target.node.text)

    async def list_locks(self, _who: Subject, _call: Call, request: pb.ListLocksRequest) -> Message:
        locks, next_token = page(
            await self.locks.holding(), _key, request.page_size, request.page_token
        )
        return pb.ListLocksResponse(
            locks=[lock_message(lock) for lock in locks], next_page_token=next_token
        )

    async def delete_lock(
        self, who: Subject, _call: Call, request: pb.DeleteLockRequest
    ) -> Message:
        await self.locks.remove(request.lock_id, by=who.actor)
        return pb.DeleteLockResponse()


def lock_message(lock: Lock) -> pb.Lock:
    """A lock as lists show it."""
    target = lock.target
    return pb.Lock(
        lock_id=lock.lock_id,
        target=pb.LockTarget(
            user="" if target.user is None else target.user.text,
            node="" if target.node is None else target.node.text,
            role="" if target.role is None else target.role.text,
            login="" if target.login is None else target.login.text,
        ),
        message=lock.message,
        created_by=lock.created_by,
        created=int(lock.created),
        expires=0 if lock.expires is None else int(lock.expires),
    )


def _key(lock: Lock) -> str:
    return f"{lock.created:020.6f} {lock.lock_id}"
