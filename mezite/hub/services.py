"""
What decides and issues, over the store: the services of one hub, and what they are made from.

:func:`make_services` joins them; what is put before them, for people and agents to
reach, is :mod:`mezite.hub.assembly`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from argon2 import PasswordHasher
from attrs import frozen
from twisted.internet.defer import Deferred

from mezite.auth.access import AccessService
from mezite.auth.apitokens import ApiTokenService
from mezite.auth.enrolment import EnrolmentService
from mezite.auth.inviting import InviteService
from mezite.auth.issuing import IssuingService
from mezite.auth.joining import JoinService
from mezite.auth.jointokens import TokenService
from mezite.auth.locking import LockService
from mezite.auth.login import LoginService
from mezite.auth.passwords import Passwords
from mezite.auth.people import UserService
from mezite.auth.proving import ProvingService
from mezite.auth.requesting import RequestService
from mezite.auth.reviewing import Reviewing
from mezite.auth.rights import Rights
from mezite.auth.rolekeeping import RoleService
from mezite.auth.rotation import RotationService
from mezite.auth.secondfactor import SecondFactors
from mezite.auth.trail import AuditTrail
from mezite.auth.webauthn import SecurityKeys
from mezite.config.hub import HubConfig
from mezite.hub.adminservice import Expiries
from mezite.hub.caservice import everybody_has
from mezite.hub.tunnels import TunnelRegistry
from mezite.hub.web.site import HubFacts
from mezite.identity.authorities import Authorities
from mezite.names import ClusterName
from mezite.ssh.hostkeys import ReplaceableHostKey
from mezite.store.interfaces import IStore
from mezite.store.transactions import Threads
from mezite.wire.contexts import HubContexts


@frozen
class Setting:
    """
    What a hub is made from.

    :param authorities: who signs at the start, and who is trusted.
    :param key_files: an :class:`~mezite.store.keyfiles.IAuthorityFiles`.
    :param on_rotation: told of the authorities that count from now on.
    """

    config: HubConfig
    store: IStore
    authorities: Authorities
    key_files: Any
    on_rotation: Callable[[Authorities], None]
    facts: HubFacts
    contexts: HubContexts
    ssh_key: ReplaceableHostKey
    reactor: Any
    wall_clock: Callable[[], float]
    run_in_thread: Callable[..., Deferred[Any]]
    recording_threads: Threads
    expiries: Callable[[], Expiries]

    @property
    def cluster(self) -> ClusterName:
        return self.authorities.cluster


@frozen
class Proofs:
    """How people prove who they are, and come to be able to."""

    second_factors: SecondFactors
    enrolment: EnrolmentService
    logins: LoginService
    invites: InviteService


@frozen
class Services:
    """What decides and issues, over the store."""

    trail: AuditTrail
    rotation: RotationService
    proofs: Proofs
    locks: LockService
    issuing: IssuingService
    tokens: TokenService
    joining: JoinService
    access: AccessService
    roles: RoleService
    people: UserService
    api_tokens: ApiTokenService
    requests: RequestService
    reviewing: Reviewing


def make_services(
    setting: Setting, registry: TunnelRegistry, request_watchers: Sequence[Any]
) -> Services:
    """Whoever is to hear how access requests change is an IRequestWatcher."""
    store, wall_clock = setting.store, setting.wall_clock
    rights = Rights(store.users, store.roles, store.requests, wall_clock=wall_clock)
    trail = AuditTrail(store.audit, wall_clock=wall_clock)
    requests = RequestService(
        store.requests,
        store.roles,
        rights,
        trail,
        wall_clock=wall_clock,
        longest=setting.config.requests_max_duration,
        watchers=request_watchers,
    )
    locks = LockService(store.locks, trail, clock=setting.reactor, wall_clock=wall_clock)
    rotation = RotationService(
        setting.authorities,
        setting.key_files,
        trail,
        wall_clock=wall_clock,
        run_in_thread=setting.run_in_thread,
        is_everybody_ready=lambda generation: everybody_has(registry, generation),
        on_change=setting.on_rotation,
    )
    return Services(
        trail=trail,
        locks=locks,
        rotation=rotation,
        proofs=_proofs(setting, trail, locks),
        issuing=IssuingService(
            store.users,
            rights,
            store.serials,
            trail,
            cluster=setting.cluster,
            wall_clock=wall_clock,
            authorities=lambda: rotation.authorities,
        ),
        tokens=TokenService(store.join_tokens, trail, wall_clock=wall_clock),
        joining=JoinService(
            store.nodes,
            store.join_tokens,
            store.joining,
            store.serials,
            trail,
            cluster=setting.cluster,
            hub_names=setting.config.hub_names,
            wall_clock=wall_clock,
            authorities=lambda: rotation.authorities,
        ),
        access=AccessService(rights, store.nodes, store.roles, locks, trail),
        reviewing=Reviewing(rights, store.nodes),
        roles=RoleService(store.roles, trail, wall_clock=wall_clock),
        people=UserService(store.users, store.bearers, requests, trail),
        api_tokens=ApiTokenService(store.api_tokens, store.users, trail, wall_clock=wall_clock),
        requests=requests,
    )


def _proofs(setting: Setting, trail: AuditTrail, locks: LockService) -> Proofs:
    store, wall_clock = setting.store, setting.wall_clock
    cluster = str(setting.cluster)
    keys = SecurityKeys(lambda: setting.config.public_addr, cluster, wall_clock)
    second_factors = SecondFactors(
        setting.config.second_factor, keys, store.second_factors, trail, wall_clock
    )
    enrolment = EnrolmentService(
        store.second_factors, second_factors, trail, cluster=cluster, wall_clock=wall_clock
    )
    passwords = Passwords(setting.run_in_thread, PasswordHasher())
    proving = ProvingService(store.users, passwords, second_factors, trail, wall_clock=wall_clock)
    logins = LoginService(
        store.users,
        store.bearers,
        trail,
        passwords=passwords,
        proving=proving,
        locks=locks,
        wall_clock=wall_clock,
    )
    invites = InviteService(
        store.users,
        store.invites,
        trail,
        passwords=passwords,
        proving=proving,
        second_factors=second_factors,
        enrolment=enrolment,
        logins=logins,
        wall_clock=wall_clock,
    )
    return Proofs(second_factors, enrolment, logins, invites)
