"""
Users as the auth service's messages show and take them.
"""

from __future__ import annotations

from collections.abc import Iterable

from mezite.identity.traits import check_traits
from mezite.rpc.proto import auth_pb2 as pb
from mezite.store.records import UserRecord


def user_message(record: UserRecord, *, has_second_factor: bool = False) -> pb.User:
    """A user as administrators see them."""
    return pb.User(
        name=str(record.name),
        logins=[str(login) for login in record.logins],
        node_labels=record.node_labels.pairs(),
        is_admin=record.is_admin,
        must_change_password=record.must_change_password,
        created=int(record.created),
        disabled=record.disabled,
        has_password=bool(record.password_hash),
        has_second_factor=has_second_factor,
        roles=[str(role) for role in record.roles],
        traits=[
            pb.Trait(name=name, values=values) for name, values in sorted(record.traits.items())
        ],
    )


def read_traits(traits: Iterable[pb.Trait]) -> dict[str, tuple[str, ...]]:
    """
    The traits of a message; the values of two with one name belong together.

    :raises BadTraits:
    """
    read: dict[str, tuple[str, ...]] = {}
    for trait in traits:
        read[trait.name] = (*read.get(trait.name, ()), *trait.values)
    return check_traits(read)
