"""
The hub, put together: from settings, store and authorities to the open port.

Owns the order in which things begin and end. Each part knows only the parts
it is given here.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any, Final

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, ITransport
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from mezite.auth.access import AccessService
from mezite.auth.issuing import IssuingService
from mezite.auth.joining import JoinService
from mezite.auth.login import LoginService
from mezite.auth.people import UserService
from mezite.auth.rights import Rights
from mezite.auth.rolekeeping import RoleService
from mezite.config.hub import HubConfig
from mezite.error import MeziteError
from mezite.hub import adminsocket
from mezite.hub.adminservice import AdminService, Expiries
from mezite.hub.authservice import AuthService, methods
from mezite.hub.callers import Callers
from mezite.hub.certificates import LIFETIME, HubCredentials, make_credentials
from mezite.hub.error import HubCannotStart
from mezite.hub.jumphost import jump_host
from mezite.hub.metrics import HubMetrics
from mezite.hub.nodes import NodeDirectory
from mezite.hub.presence import Presence
from mezite.hub.roleservice import RoleMethods
from mezite.hub.router import Router
from mezite.hub.sessions import SessionOpener
from mezite.hub.sshproxy import SshProxyFactory
from mezite.hub.tunnels import TunnelRegistry
from mezite.hub.tunnelserver import TunnelServerFactory
from mezite.hub.web.site import HubFacts, build_site
from mezite.identity.authorities import Authorities
from mezite.identity.x509 import identity_of
from mezite.rpc.server import Caller, GrpcServerFactory
from mezite.ssh.hostkeys import HostKey, ReplaceableHostKey
from mezite.store.interfaces import IStore
from mezite.tasks import background, within
from mezite.wire.alpn import Route
from mezite.wire.contexts import Credentials, HubContexts

# Certificates are renewed and what has expired is forgotten this often.
_UPKEEP_SECONDS: Final = 3600.0
# Calls under way get this long to end when the hub is asked to stop.
_DRAIN_SECONDS: Final = 5.0


class HubService(Service):
    """One hub, from its start to its end; it closes the store when it has stopped serving."""

    _log = Logger()

    def __init__(
        self,
        *,
        config: HubConfig,
        store: IStore,
        authorities: Authorities,
        reactor: Any,
        wall_clock: Callable[[], float] = time.time,
        run_in_thread: Callable[..., Deferred[Any]] = deferToThread,
    ) -> None:
        self._run_in_thread = run_in_thread
        self.config = config
        self.registry = TunnelRegistry()
        self._store = store
        self._authorities = authorities
        self._reactor = reactor
        self._wall_clock = wall_clock
        self._credentials = self._make_credentials()
        self._ssh_key = ReplaceableHostKey(_host_key(self._credentials))
        self._contexts = HubContexts(
            hub_names=config.hub_names,
            authorities_pem=authorities.cluster_ca.certificate_pem,
            hub=_tls_credentials(self._credentials),
            web=self._web_credentials(),
        )
        self.facts = HubFacts(
            cluster_name=str(authorities.cluster),
            hub_name=config.hub_name,
            public_address=str(config.public_addr),
            ca_pin=authorities.cluster_ca.pin,
        )
        self._ports: list[IListeningPort] = []
        self._grpc: list[GrpcServerFactory] = []
        self._upkeep: LoopingCall | None = None
        self.router = self._assemble()

    def startService(self) -> None:
        """
        Open the port and the admin socket.

        :raises HubCannotStart: one of them cannot be opened.
        """
        super().startService()
        listen = self.config.listen
        try:
            self._ports.append(
                self._reactor.listenTCP(listen.port, self.router, interface=listen.host)
            )
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            raise HubCannotStart(f"cannot listen on {listen}: {reason}") from None
        self._ports.append(
            adminsocket.listen(self._reactor, self.config.data_dir, self._admin_listener)
        )
        self._upkeep = LoopingCall(self._try_upkeep)
        self._upkeep.clock = self._reactor
        self._upkeep.start(_UPKEEP_SECONDS, now=False)
        self._log.info(
            "hub of {cluster} listens on {address}",
            cluster=self.facts.cluster_name,
            address=listen,
        )

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if self._upkeep is not None and self._upkeep.running:
            self._upkeep.stop()
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        for grpc in self._grpc:
            try:
                await within(self._reactor, _DRAIN_SECONDS, grpc.drain(), doing="draining gRPC")
            except MeziteError as error:
                self._log.info("{error}", error=error)
        try:
            await within(
                self._reactor,
                _DRAIN_SECONDS,
                self._save_presence(),
                doing="noting when nodes were last seen",
            )
        except MeziteError as error:
            self._log.warn("{error}", error=error)
        for tunnel in self.registry:
            tunnel.mux.close()
        await self._store.close()
        self._log.info("hub stopped")

    async def _save_presence(self) -> None:
        for tunnel in self.registry:
            await self._presence.save(tunnel)

    # How the parts are joined.

    def _assemble(self) -> Router:
        config, store, authorities = self.config, self._store, self._authorities
        clock, wall_clock = self._reactor, self._wall_clock
        cluster = authorities.cluster
        metrics = HubMetrics(self.registry)
        directory = NodeDirectory(store.nodes, self.registry)
        rights = Rights(store.users, store.roles)
        access = AccessService(rights, store.nodes)
        self._presence = Presence(store.nodes, self.registry, wall_clock)
        logins = LoginService(
            store.users, store.bearers, wall_clock=wall_clock, run_in_thread=self._run_in_thread
        )
        joining = JoinService(
            store.nodes,
            store.join_tokens,
            store.joining,
            store.serials,
            cluster=cluster,
            hub_names=config.hub_names,
            wall_clock=wall_clock,
            authorities=lambda: self._authorities,
        )
        auth = AuthService(
            facts=self.facts,
            logins=logins,
            issuing=IssuingService(
                store.users,
                rights,
                store.serials,
                cluster=cluster,
                wall_clock=wall_clock,
                authorities=lambda: self._authorities,
            ),
            joining=joining,
            access=access,
            directory=directory,
            presence=self._presence,
            wall_clock=wall_clock,
        )
        admin = AdminService(
            facts=self.facts,
            store=store,
            logins=logins,
            joining=joining,
            directory=directory,
            registry=self.registry,
            expiries=self._expiries,
            started=wall_clock(),
            wall_clock=wall_clock,
        )
        callers = Callers(cluster=cluster, users=store.users, nodes=store.nodes, logins=logins)
        roles = RoleMethods(
            roles=RoleService(store.roles, wall_clock=wall_clock),
            people=UserService(store.users, store.bearers),
            access=access,
            directory=directory,
        )
        table = methods(callers, auth.handlers(), admin.handlers(), roles.handlers())
        opener = SessionOpener(
            directory=directory,
            access=access,
            metrics=metrics,
            clock=clock,
            wall_clock=wall_clock,
        )
        grpc = GrpcServerFactory(table, caller_of=_tls_caller, clock=clock)
        self._admin_listener = GrpcServerFactory(
            table, caller_of=adminsocket.socket_caller, clock=clock
        )
        self._grpc = [grpc, self._admin_listener]
        router = Router(
            {
                Route.WEB: build_site(
                    self.facts, check=self._check, metrics=metrics.registry, reactor=clock
                ),
                Route.AUTH: grpc,
                Route.TUNNEL: TunnelServerFactory(
                    cluster=cluster,
                    registry=self.registry,
                    nodes=store.nodes,
                    presence=self._presence,
                    methods=table,
                    clock=clock,
                    wall_clock=wall_clock,
                ),
                Route.SSH: SshProxyFactory(
                    cluster=cluster,
                    hub_names=config.hub_names,
                    opener=opener,
                    jump_host=jump_host(
                        host_key=self._ssh_key,
                        user_authorities=lambda: self._authorities.user_blobs,
                        hub_names=config.hub_names,
                        opener=opener,
                        clock=clock,
                        wall_clock=wall_clock,
                    ),
                    metrics=metrics,
                    clock=clock,
                ),
            },
            contexts=self._contexts,
            clock=clock,
        )
        metrics.watch(router)
        return router

    async def _check(self) -> None:
        """For ``/readyz``: the store answers."""
        await within(self._reactor, _DRAIN_SECONDS, self._store.check(), doing="asking the store")

    # Certificates, and what else is done now and then.

    def _make_credentials(self) -> HubCredentials:
        return make_credentials(
            cluster=self._authorities.cluster,
            cluster_ca=self._authorities.cluster_ca,
            host_ca=self._authorities.host_ca,
            hub_names=self.config.hub_names,
            public_host=self.config.public_addr.host,
            serial=secrets.randbits(63),
            now=self._wall_clock(),
        )

    def _web_credentials(self) -> Credentials | None:
        certificate, key = self.config.tls_cert_file, self.config.tls_key_file
        if certificate is None or key is None:
            return None
        try:
            return Credentials(certificate_pem=certificate.read_bytes(), key_pem=key.read_bytes())
        except OSError as error:
            raise HubCannotStart(f"cannot read {error.filename}: {error.strerror}") from None

    def _expiries(self) -> Expiries:
        authority = self._authorities.cluster_ca.certificate
        return Expiries(
            certificate=self._credentials.expires,
            authority=authority.not_valid_after_utc.timestamp(),
        )

    def _try_upkeep(self) -> None:
        # A LoopingCall whose function fails once is never called again.
        try:
            self._do_upkeep()
        except Exception:
            self._log.failure("upkeep failed; it is tried again in an hour")

    def _do_upkeep(self) -> None:
        now = self._wall_clock()
        if now > self._credentials.expires - LIFETIME / 2:
            self._credentials = self._make_credentials()
            self._contexts.replace(hub=_tls_credentials(self._credentials))
            self._ssh_key.replace(_host_key(self._credentials))
            self._log.info("the hub's certificates were renewed")
        try:
            # Whatever renews the public certificate need not tell us.
            self._contexts.replace(web=self._web_credentials())
        except MeziteError as error:
            self._log.warn("the web certificate stays as it was: {error}", error=error)
        background(self._forget_expired(now), doing="forgetting what has expired")

    async def _forget_expired(self, now: float) -> None:
        await self._store.bearers.purge(now)


def _tls_caller(transport: ITransport) -> Caller:
    """Who called, as the certificate says that TLS has verified."""
    peer: Any = transport.getPeer()
    certificate = getattr(transport, "peer_certificate", None)
    return Caller(
        identity=None if certificate is None else identity_of(certificate),
        is_local_admin=False,
        address=f"{getattr(peer, 'host', '?')}:{getattr(peer, 'port', 0)}",
    )


def _host_key(credentials: HubCredentials) -> HostKey:
    return HostKey.of(credentials.ssh_key, credentials.ssh_certificate)


def _tls_credentials(credentials: HubCredentials) -> Credentials:
    return Credentials(
        certificate_pem=credentials.tls_certificate.public_bytes(Encoding.PEM),
        key_pem=credentials.tls_key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ),
    )
