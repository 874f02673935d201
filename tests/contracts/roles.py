"""
What every store does with roles.
"""

from __future__ import annotations

import attrs
from zope.interface.verify import verifyObject

from mezite.identity.rolesdoc import Role
from mezite.names import RoleName
from mezite.store.error import NoSuchRole, RoleExists, RoleInUse, TooManyRoles
from mezite.store.interfaces import ROLES_LIMIT, IRoles
from mezite.store.records import RoleRecord
from tests.contracts.store import BOB, DEVELOPER, StoreContract

OPS = RoleRecord(Role(RoleName("ops")), 1.0, 1.0)


class RolesContract(StoreContract):
    """What :class:`IRoles` promises."""

    def test_interface(self) -> None:
        """The interface is provided."""
        verifyObject(IRoles, self.store.roles)

    def test_round_trip(self) -> None:
        """A role is kept with everything in it."""
        self.assertIsNone(self.answer(self.store.roles.get(DEVELOPER.role.name)))
        self.answer(self.store.roles.put(DEVELOPER, replace=False))
        self.assertEqual(self.answer(self.store.roles.get(DEVELOPER.role.name)), DEVELOPER)

    def test_replace(self) -> None:
        """A role is replaced only if that is wanted, and stays as old as it is."""
        self.answer(self.store.roles.put(DEVELOPER, replace=True))
        other = RoleRecord(Role(DEVELOPER.role.name), 2000.0, 2000.0)
        self.assertIn(
            "developer", self.refusal(self.store.roles.put(other, replace=False), RoleExists)
        )
        self.assertEqual(self.answer(self.store.roles.list()), (DEVELOPER,))
        self.answer(self.store.roles.put(other, replace=True))
        replaced = attrs.evolve(other, created=DEVELOPER.created)
        self.assertEqual(self.answer(self.store.roles.list()), (replaced,))

    def test_built_in(self) -> None:
        """What is built in is neither replaced nor removed, nor listed."""
        admin = RoleRecord(Role(RoleName("admin")), 1.0, 1.0)
        refused = self.refusal(self.store.roles.put(admin, replace=True), RoleExists)
        self.assertIn("built in", refused)
        self.refusal(self.store.roles.remove(RoleName("admin")), NoSuchRole)
        self.assertEqual(self.answer(self.store.roles.list()), ())

    def test_list_and_named(self) -> None:
        """Roles are listed by name, and looked up by names."""
        self.answer(self.store.roles.put(OPS, replace=False))
        self.answer(self.store.roles.put(DEVELOPER, replace=False))
        self.assertEqual(self.answer(self.store.roles.list()), (DEVELOPER, OPS))
        wanted = [RoleName("ops"), RoleName("access"), RoleName("none")]
        self.assertEqual(self.answer(self.store.roles.named(wanted)), {RoleName("ops"): OPS})
        self.assertEqual(self.answer(self.store.roles.named([])), {})

    def test_bound(self) -> None:
        """There are as many roles as can be overseen; those that are there can be replaced."""
        for number in range(ROLES_LIMIT):
            role = RoleRecord(Role(RoleName(f"r{number}")), 1.0, 1.0)
            self.answer(self.store.roles.put(role, replace=False))
        self.refusal(self.store.roles.put(OPS, replace=False), TooManyRoles)
        self.answer(self.store.roles.put(attrs.evolve(role, changed=2.0), replace=True))

    def test_remove(self) -> None:
        """A role is removed once nobody has it."""
        self.answer(self.store.roles.put(OPS, replace=False))
        self.answer(self.store.users.create(attrs.evolve(BOB, roles=(OPS.role.name,))))
        removing = self.store.roles.remove(OPS.role.name)
        self.assertIn("held by bob", self.refusal(removing, RoleInUse))
        self.assertEqual(self.answer(self.store.roles.list()), (OPS,))
        self.answer(self.store.users.remove(BOB.name))
        self.answer(self.store.roles.remove(OPS.role.name))
        self.refusal(self.store.roles.remove(OPS.role.name), NoSuchRole)
