"""
The hub's parts, and how they are joined.

:func:`assemble` makes what one hub consists of; when each begins and ends is
:mod:`mezite.hub.service`'s. Each part knows only the parts it is given here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from attrs import frozen
from twisted.internet.interfaces import ITransport

from mezite.auth.rotation import RotationService
from mezite.hub import adminsocket
from mezite.hub.attendance import Attendance
from mezite.hub.auditkeeping import AuditKeeping, make_copies
from mezite.hub.jumphost import jump_host
from mezite.hub.livesessions import LiveSessions
from mezite.hub.methodtable import method_table
from mezite.hub.metrics import HubMetrics
from mezite.hub.nodes import NodeDirectory
from mezite.hub.openssh.dialing import ServerDialer, network_endpoint
from mezite.hub.openssh.recordings import Feeder, HubSpool
from mezite.hub.openssh.servers import OpenSshServers
from mezite.hub.openssh.trusting import SeenTrust
from mezite.hub.presence import Presence
from mezite.hub.readiness import Readiness
from mezite.hub.recordings import HubRecordings
from mezite.hub.reports import Reports
from mezite.hub.resumption import ParkedSessions
from mezite.hub.resumptionservice import ResumptionMethods
from mezite.hub.router import Router
from mezite.hub.services import Services, Setting, make_services
from mezite.hub.sessionreview import SessionReview
from mezite.hub.sessions import SessionOpener
from mezite.hub.sessionservice import SessionMethods
from mezite.hub.sshproxy import SshProxyFactory
from mezite.hub.strangers import Strangers
from mezite.hub.tunnels import TunnelRegistry
from mezite.hub.tunnelserver import TunnelServerFactory
from mezite.hub.unended import UnendedSessions
from mezite.hub.upkeep import NodeUpkeep
from mezite.hub.web.connectionupgrade import ConnectionUpgrade
from mezite.hub.web.rest import RestApi
from mezite.hub.web.site import build_site
from mezite.hub.webhooks import Place, Webhooks, webhook_agent
from mezite.hub.workers.control import Workers
from mezite.identity.authorities import Authorities
from mezite.identity.x509 import identity_of, key_hash
from mezite.rpc.server import Caller, GrpcServerFactory
from mezite.wire.alpn import Route


@frozen
class HubParts:
    """What a hub consists of; ``grpc`` are those to be drained at its end."""

    services: Services
    registry: TunnelRegistry
    presence: Presence
    reports: Reports
    attendance: Attendance
    upkeep: NodeUpkeep
    webhooks: Webhooks
    live: LiveSessions
    parking: ParkedSessions
    recordings: HubRecordings
    review: SessionReview
    opener: SessionOpener
    spool: HubSpool
    unended: UnendedSessions
    audit: AuditKeeping
    router: Router
    workers: Workers
    admin_listener: GrpcServerFactory
    grpc: tuple[GrpcServerFactory, ...]


def assemble(setting: Setting) -> HubParts:
    """Make the parts of one hub."""
    store, clock = setting.store, setting.reactor
    registry = TunnelRegistry()
    live = LiveSessions(clock)
    metrics = HubMetrics(registry)
    workers = Workers(setting.config.workers, setting.contexts, setting.config.balancers, clock)
    directory = NodeDirectory(store.nodes, registry, setting.wall_clock)
    presence = Presence(store.nodes, registry, setting.wall_clock)
    webhooks = _webhooks(setting, metrics)
    watchers: list[Any] = [webhooks]
    services = make_services(setting, registry, watchers)
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
        services.reviewing,
        threads=setting.recording_threads,
        clock=clock,
        wall_clock=setting.wall_clock,
    )
    review = SessionReview(live, registry, services.access, services.locks, services.trail, clock)
    services.locks.when_changed(review.locks_changed)
    watchers.append(review)
    sessions = SessionMethods(
        services.access,
        live,
        recordings.keeping,
        services.reviewing,
        services.trail,
        setting.wall_clock,
    )
    parking = ParkedSessions(live, registry, clock, over=lambda session: opener.over(session))
    resumption = ResumptionMethods(
        services.access, live, parking, directory, store.audit, services.trail
    )
    begun = {**sessions.handlers(), **resumption.handlers()}
    seen_trust = SeenTrust()
    table = review.watching(
        method_table(
            setting,
            services,
            registry,
            workers,
            directory,
            presence,
            begun,
            audit,
            recordings,
            seen_trust,
        )
    )
    feeder = Feeder(
        recordings.intake, store.recordings, setting.cluster, setting.recording_threads, clock
    )
    bounds = setting.config.recordings.openssh
    spool = HubSpool.below(setting.config.data_dir, feeder, bounds, wall_clock=setting.wall_clock)
    unended = UnendedSessions(
        store.audit, store.nodes, live, registry, services.trail, clock, setting.wall_clock
    )
    servers = _servers(setting, services, sessions, live, spool, seen_trust)
    opener = SessionOpener(
        directory=directory,
        access=services.access,
        live=live,
        servers=servers,
        parking=parking,
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
    forwarders = (*setting.config.balancers, *setting.config.forwarders)
    site = build_site(
        setting.facts,
        check=Readiness(store, clock).check,
        metrics=metrics.registry,
        api=RestApi(
            table,
            clock=clock,
            wall_clock=setting.wall_clock,
            recognize=strangers.recognize,
            forwarders=forwarders,
        ),
        upgrade=ConnectionUpgrade(
            lambda client: router.upgraded(client),
            clock=clock,
            forwarders=forwarders,
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
    workers.bring_to(router, tunnels)
    metrics.watch(router, workers)
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
        Reports(registry, clock),
        attendance,
        upkeep,
        webhooks,
        live,
        parking,
        recordings,
        review,
        opener,
        spool,
        unended,
        audit,
        router,
        workers,
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


def _servers(
    setting: Setting,
    services: Services,
    sessions: SessionMethods,
    live: LiveSessions,
    spool: HubSpool,
    seen_trust: SeenTrust,
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
        seen_trust,
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
