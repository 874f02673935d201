"""Tests of the store in memory: the contracts, and nothing else."""

from __future__ import annotations

from mezite.store.memory import MemoryStore
from tests.contracts import apitokens as token_contracts
from tests.contracts import audit as audit_contracts
from tests.contracts import locks as lock_contracts
from tests.contracts import nodes as node_contracts
from tests.contracts import proofs as proof_contracts
from tests.contracts import recordings as recording_contracts
from tests.contracts import requests as request_contracts
from tests.contracts import roles as role_contracts
from tests.contracts import store as contracts


class _InMemory:
    def make_store(self) -> MemoryStore:
        return MemoryStore()


class MemoryUsersTests(_InMemory, contracts.UsersContract):
    """Users in memory."""


class MemoryRolesTests(_InMemory, role_contracts.RolesContract):
    """Roles in memory."""


class MemoryAuditTests(_InMemory, audit_contracts.AuditContract):
    """The audit in memory."""


class MemoryLocksTests(_InMemory, lock_contracts.LocksContract):
    """Locks in memory."""


class MemoryApiTokensTests(_InMemory, token_contracts.ApiTokensContract):
    """API tokens in memory."""


class MemoryRequestsTests(_InMemory, request_contracts.RequestsContract):
    """Access requests in memory."""


class MemoryRecordingsTests(_InMemory, recording_contracts.RecordingsContract):
    """What is known of recordings in memory."""


class MemoryNodesTests(_InMemory, contracts.NodesContract):
    """Nodes in memory."""


class MemoryJoinTokensTests(_InMemory, contracts.JoinTokensContract):
    """Join tokens in memory."""


class MemoryRejoiningTests(_InMemory, node_contracts.RejoiningContract):
    """Joining once more, in memory."""


class MemoryJoiningTests(_InMemory, contracts.JoiningContract):
    """Joining in memory."""


class MemoryBearersTests(_InMemory, contracts.BearersContract):
    """Bearers in memory."""


class MemorySerialsTests(_InMemory, contracts.SerialsContract):
    """Serials in memory."""


class MemoryInvitesTests(_InMemory, proof_contracts.InvitesContract):
    """Invites in memory."""


class MemorySecondFactorsTests(_InMemory, proof_contracts.SecondFactorsContract):
    """Second factors in memory."""


class MemoryStoreTests(_InMemory, contracts.WholeStoreContract):
    """The store in memory."""
