"""
Every method of the auth service, each behind the permission that it needs.

What each does is in the modules whose names end in ``service``; who may call it
stands in :mod:`mezite.hub.callers`.
"""

from __future__ import annotations

from collections.abc import Mapping

from mezite.auth.opensshnodes import OpenSshNodeService
from mezite.auth.verification import Verification
from mezite.hub.adminservice import AdminService
from mezite.hub.apitokenservice import ApiTokenMethods
from mezite.hub.auditkeeping import AuditKeeping
from mezite.hub.auditservice import AuditMethods
from mezite.hub.authservice import AuthService, Handler, methods
from mezite.hub.callers import Callers
from mezite.hub.callerservice import CallerMethods
from mezite.hub.caservice import AuthorityMethods
from mezite.hub.lockservice import LockMethods
from mezite.hub.nodes import NodeDirectory
from mezite.hub.nodeservice import NodeMethods
from mezite.hub.openssh.trusting import SeenTrust
from mezite.hub.opensshservice import OpenSshMethods
from mezite.hub.presence import Presence
from mezite.hub.proofservice import ProofMethods
from mezite.hub.recordings import HubRecordings
from mezite.hub.requestservice import RequestMethods
from mezite.hub.roleservice import RoleMethods
from mezite.hub.services import Services, Setting
from mezite.hub.tunnels import TunnelRegistry
from mezite.hub.workers.control import Workers
from mezite.rpc.server import Method


def method_table(
    setting: Setting,
    services: Services,
    registry: TunnelRegistry,
    workers: Workers,
    directory: NodeDirectory,
    presence: Presence,
    sessions: Mapping[str, Handler],
    keeping: AuditKeeping,
    recordings: HubRecordings,
    seen_trust: SeenTrust,
) -> Mapping[str, Method]:
    """Every gRPC method, each behind the permission that it needs."""
    store, wall_clock = setting.store, setting.wall_clock
    auth = AuthService(
        facts=setting.facts,
        logins=services.proofs.logins,
        issuing=services.issuing,
        joining=services.joining,
        access=services.access,
        directory=directory,
        presence=presence,
        authorities=lambda: services.rotation.authorities,
        locks=services.locks,
        wall_clock=wall_clock,
    )
    admin = AdminService(
        facts=setting.facts,
        store=store,
        requests=services.requests,
        logins=services.proofs.logins,
        invites=services.proofs.invites,
        directory=directory,
        registry=registry,
        workers=workers.statuses,
        expiries=setting.expiries,
        copies=keeping.statuses_now,
        started=wall_clock(),
        wall_clock=wall_clock,
    )
    roles = RoleMethods(
        roles=services.roles,
        people=services.people,
        access=services.access,
        directory=directory,
    )
    nodes = NodeMethods(
        facts=setting.facts,
        join_tokens=store.join_tokens,
        tokens=services.tokens,
        joining=services.joining,
        directory=directory,
        wall_clock=wall_clock,
    )
    callers = Callers(
        cluster=setting.cluster,
        users=store.users,
        nodes=store.nodes,
        logins=services.proofs.logins,
        api_tokens=services.api_tokens,
        locks=services.locks,
    )
    openssh = OpenSshMethods(
        OpenSshNodeService(
            store.nodes, services.trail, setting.cluster, setting.config.hub_names, wall_clock
        ),
        lambda: services.rotation.authorities,
    )
    locks = LockMethods(services.locks, store.users, store.roles, directory)
    own = CallerMethods(services.proofs.logins)
    audit = AuditMethods(
        store.audit, Verification(store.audit, setting.reactor, setting.run_in_thread)
    )
    authorities = AuthorityMethods(services.rotation, directory, registry, seen_trust.is_seen)
    proofs = ProofMethods(
        setting.facts, services.proofs.invites, services.proofs.enrolment, services.proofs.logins
    )
    return methods(
        callers,
        services.trail,
        auth.handlers(),
        admin.handlers(),
        roles.handlers(),
        own.handlers(),
        ApiTokenMethods(services.api_tokens).handlers(),
        nodes.handlers(),
        audit.handlers(),
        RequestMethods(services.requests).handlers(),
        authorities.handlers(),
        proofs.handlers(),
        sessions,
        recordings.methods.handlers(),
        openssh.handlers(),
        locks.handlers(),
    )
