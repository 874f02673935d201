"""
The hub's parts, and how they are joined.

:func:`assemble` makes what one hub consists of; when each begins and ends is
:mod:`mezite.hub.service`'s. Each part knows only the parts it is given here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from argon2 import PasswordHasher
from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import ITransport

from mezite.auth.access import AccessService
from mezite.auth.apitokens import ApiTokenService
from mezite.auth.enrolment import EnrolmentService
from mezite.auth.inviting import InviteService
from mezite.auth.issuing import IssuingService
from mezite.auth.joining import JoinService
from mezite.auth.jointokens import TokenService
from mezite.auth.locking import LockService
from mezite.auth.login import LoginService
from mezite.auth.opensshnodes import OpenSshNodeService
from mezite.auth.passwords import Passwords
from mezite.auth.people import UserService
from mezite.auth.proving import ProvingService
from mezite.auth.requesting import RequestService
from mezite.auth.rights import Rights
from mezite.auth.rolekeeping import RoleService
from mezite.auth.rotation import RotationService
from mezite.auth.secondfactor import SecondFactors
from mezite.auth.trail import AuditTrail
from mezite.auth.verification import Verification
from mezite.auth.webauthn import SecurityKeys
from mezite.config.hub import HubConfig
from mezite.hub import adminsocket
from mezite.hub.adminservice import AdminService, Expiries
from mezite.hub.apitokenservice import ApiTokenMethods
from mezite.hub.attendance import Attendance
from mezite.hub.auditkeeping import AuditKeeping, make_copies
from mezite.hub.auditservice import AuditMethods
from mezite.hub.authservice import AuthService, methods
from mezite.hub.callers import Callers
from mezite.hub.callerservice import CallerMethods
from mezite.hub.caservice import AuthorityMethods, everybody_has
from mezite.hub.jumphost import jump_host
from mezite.hub.livesessions import LiveSessions
from mezite.hub.lockservice import LockMethods
from mezite.hub.metrics import HubMetrics
from mezite.hub.nodes import NodeDirectory
from mezite.hub.nodeservice import NodeMethods
from mezite.hub.openssh.dialing import ServerDialer, network_endpoint
from mezite.hub.openssh.recordings import Feeder, HubSpool
from mezite.hub.openssh.servers import OpenSshServers
from mezite.hub.opensshservice import OpenSshMethods
from mezite.hub.presence import Presence
from mezite.hub.proofservice import ProofMethods
from mezite.hub.readiness import Readiness
from mezite.hub.recordings import HubRecordings
from mezite.hub.requestservice import RequestMethods
from mezite.hub.roleservice import RoleMethods
from mezite.hub.router import Router
from mezite.hub.sessionreview import SessionReview
from mezite.hub.sessions import SessionOpener
from mezite.hub.sessionservice import SessionMethods
from mezite.hub.sshproxy import SshProxyFactory
from mezite.hub.strangers import Strangers
from mezite.hub.tunnels import TunnelRegistry
from mezite.hub.tunnelserver import TunnelServerFactory
from mezite.hub.upkeep import NodeUpkeep
from mezite.hub.web.connectionupgrade import ConnectionUpgrade
from mezite.hub.web.rest import RestApi
from mezite.hub.web.site import HubFacts, build_site
from mezite.hub.webhooks import Place, Webhooks, webhook_agent
from mezite.identity.authorities import Authorities
from mezite.identity.x509 import identity_of, key_hash
from mezite.names import ClusterName
from mezite.rpc.server import Caller, GrpcServerFactory, Method
from mezite.ssh.hostkeys import ReplaceableHostKey
from mezite.store.interfaces import IStore
from mezite.store.transactions import Threads
from mezite.wire.alpn import Route
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


@frozen
class HubParts:
    """What a hub consists of; ``grpc`` are those to be drained at its end."""

    services: Services
    registry: TunnelRegistry
    presence: Presence
    attendance: Attendance
    upkeep: NodeUpkeep
    webhooks: Webhooks
    live: LiveSessions
    recordings: HubRecordings
    review: SessionReview
    opener: SessionOpener
    spool: HubSpool
    audit: AuditKeeping
    router: Router
    admin_listener: GrpcServerFactory
    grpc: tuple[GrpcServerFactory, ...]


def assemble(setting: Setting) -> HubParts:
    """Make the parts of one hub."""
    store, clock = setting.store, setting.reactor
    registry = TunnelRegistry()
    live = LiveSessions(clock)
    metrics = HubMetrics(registry)
    directory = NodeDirectory(store.nodes, registry)
    presence = Presence(store.nodes, registry, setting.wall_clock)
    webhooks = _webhooks(setting, metrics)
    watchers: list[Any] = [webhooks]
    services = _services(setting, registry, watchers)
    attendance = Attendance(services.trail, registry, clock=clock, wall_clock=setting.wall_clock)
    audit = AuditKeeping(
        store.audit,
        services.trail,
        make_copies(setting.config, store.audit, clock, setting.run_in_thread),
        setting.config.audit.keep,
        clock,
        setting.wall_clock,
    )
    metrics.watch_copies(audit)
    recordings = HubRecordings(
        setting.config,
        store,
        services.trail,
        live,
        threads=setting.recording_threads,
        clock=clock,
        wall_clock=setting.wall_clock,
    )
    review = SessionReview(live, registry, services.access, services.locks, services.trail, clock)
    services.locks.when_changed(review.locks_changed)
    watchers.append(review)
    sessions = SessionMethods(
        services.access, live, recordings.keeping, services.trail, setting.wall_clock
    )
    table = review.watching(
        _table(setting, services, registry, directory, presence, sessions, audit, recordings)
    )
    feeder = Feeder(
        recordings.intake, store.recordings, setting.cluster, setting.recording_threads, clock
    )
    spool = HubSpool.below(setting.config.data_dir, feeder, wall_clock=setting.wall_clock)
    servers = _servers(setting, services, sessions, live, spool)
    opener = SessionOpener(
        directory=directory,
        access=services.access,
        live=live,
        servers=servers,
        trail=services.trail,
        metrics=metrics,
        clock=clock,
        wall_clock=setting.wall_clock,
    )
    strangers = Strangers()
    grpc = GrpcServerFactory(
        table, caller_of=lambda transport: _tls_caller(transport, strangers), clock=clock
    )
    admin_listener = GrpcServerFactory(table, caller_of=adminsocket.socket_caller, clock=clock)
    tunnels = TunnelServerFactory(
        cluster=setting.cluster,
        registry=registry,
        nodes=store.nodes,
        presence=presence,
        attendance=attendance,
        locks=services.locks,
        methods=table,
        recordings=recordings.intake,
        clock=clock,
        wall_clock=setting.wall_clock,
    )
    site = build_site(
        setting.facts,
        check=Readiness(store, clock).check,
        metrics=metrics.registry,
        api=RestApi(
            table, clock=clock, wall_clock=setting.wall_clock, recognize=strangers.recognize
        ),
        upgrade=ConnectionUpgrade(
            lambda client: router.upgraded(client),
            clock=clock,
            balancers=setting.config.balancers,
            release=strangers.release,
        ),
        strangers=strangers,
        reactor=clock,
    )
    router = Router(
        {
            Route.WEB: site,
            Route.AUTH: grpc,
            Route.TUNNEL: tunnels,
            Route.SSH: _ssh(setting, services.rotation, opener, strangers),
        },
        contexts=setting.contexts,
        clock=clock,
        balancers=setting.config.balancers,
        strangers=strangers,
    )
    metrics.watch(router)
    upkeep = NodeUpkeep(
        directory,
        services.joining,
        store.join_tokens,
        setting.config.keep_offline,
        setting.wall_clock,
    )
    return HubParts(
        services,
        registry,
        presence,
        attendance,
        upkeep,
        webhooks,
        live,
        recordings,
        review,
        opener,
        spool,
        audit,
        router,
        admin_listener,
        (grpc, admin_listener),
    )


def _webhooks(setting: Setting, metrics: HubMetrics) -> Webhooks:
    return Webhooks(
        [Place.read(each) for each in setting.config.webhooks],
        lambda: webhook_agent(setting.reactor),
        cluster=str(setting.cluster),
        clock=setting.reactor,
        wall_clock=setting.wall_clock,
        count=lambda outcome: metrics.webhooks.labels(outcome).inc(),
    )


def _services(
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


def _table(
    setting: Setting,
    services: Services,
    registry: TunnelRegistry,
    directory: NodeDirectory,
    presence: Presence,
    sessions: SessionMethods,
    keeping: AuditKeeping,
    recordings: HubRecordings,
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
    authorities = AuthorityMethods(services.rotation, directory, registry)
    proofs = ProofMethods(setting.facts, services.proofs.invites, services.proofs.enrolment)
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
        sessions.handlers(),
        recordings.methods.handlers(),
        openssh.handlers(),
        locks.handlers(),
    )


def _servers(
    setting: Setting,
    services: Services,
    sessions: SessionMethods,
    live: LiveSessions,
    spool: HubSpool,
) -> OpenSshServers:
    """The way to servers without an agent."""

    def authorities() -> Authorities:
        return services.rotation.authorities

    dialer = ServerDialer(
        network_endpoint(setting.reactor),
        authorities,
        setting.store.serials,
        services.trail,
        setting.reactor,
        setting.wall_clock,
    )
    names = tuple(dict.fromkeys([*setting.config.hub_names, setting.cluster.text]))
    return OpenSshServers(
        sessions, live, dialer, spool, authorities, names, setting.reactor, setting.wall_clock
    )


def _ssh(
    setting: Setting, rotation: RotationService, opener: SessionOpener, strangers: Strangers
) -> SshProxyFactory:
    """The listener of ``mezite-ssh``, with the jump host behind the hub's own name."""
    return SshProxyFactory(
        cluster=setting.cluster,
        hub_names=setting.config.hub_names,
        opener=opener,
        jump_host=jump_host(
            host_key=setting.ssh_key,
            user_authorities=lambda: rotation.authorities.user_blobs,
            hub_names=setting.config.hub_names,
            opener=opener,
            clock=setting.reactor,
            wall_clock=setting.wall_clock,
            let_in=strangers.release,
        ),
        clock=setting.reactor,
    )


def _tls_caller(transport: ITransport, strangers: Strangers) -> Caller:
    """Who called, as the certificate says that TLS has verified."""
    peer: Any = transport.getPeer()
    certificate = getattr(transport, "peer_certificate", None)
    return Caller(
        identity=None if certificate is None else identity_of(certificate),
        is_local_admin=False,
        address=f"{getattr(peer, 'host', '?')}:{getattr(peer, 'port', 0)}",
        tls_key=None if certificate is None else key_hash(certificate.public_key()),
        certificate=certificate,
        recognize=partial(strangers.recognize, transport),
    )
