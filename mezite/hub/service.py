"""
The hub, put together: from settings, store and authorities to the open port.

Owns the order in which things begin and end.
What the parts are is :mod:`mezite.hub.assembly`'s.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from mezite.config.hub import HubConfig
from mezite.error import MeziteError
from mezite.hub import adminsocket
from mezite.hub.adminservice import Expiries
from mezite.hub.assembly import assemble
from mezite.hub.certificates import OwnCertificates
from mezite.hub.draining import Draining
from mezite.hub.error import HubCannotStart
from mezite.hub.presence import LOOK_SECONDS
from mezite.hub.recordings import THREADS as RECORDING_THREADS
from mezite.hub.rotationclock import RotationClock
from mezite.hub.router import BACKLOG
from mezite.hub.services import Setting
from mezite.hub.web.site import HubFacts
from mezite.hub.workers.pool import WorkerPool
from mezite.identity.authorities import Authorities
from mezite.names import HostPort
from mezite.store.interfaces import IStore
from mezite.store.transactions import PoolThreads, Threads
from mezite.tasks import background, within
from mezite.wire.credentials import Credentials

# Certificates are renewed and what has expired is forgotten this often.
_UPKEEP_SECONDS: Final = 3600.0
# What access requests give ends by the clock; this is how soon it is written down and told.
_SWEEP_SECONDS: Final = 5.0
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
        key_files: Any,
        reactor: Any,
        wall_clock: Callable[[], float] = time.time,
        run_in_thread: Callable[..., Deferred[Any]] = deferToThread,
        recording_threads: Threads | None = None,
    ) -> None:
        """
        :param key_files: where ``authorities`` came from, and changed ones go: an
            :class:`~mezite.store.keyfiles.IAuthorityFiles`.
        """
        self.config = config
        self._store = store
        self._reactor = reactor
        self._wall_clock = wall_clock
        self._own = OwnCertificates(config, authorities, wall_clock, self._web_credentials())
        self.facts = HubFacts(
            cluster_name=str(authorities.cluster),
            hub_name=config.hub_name,
            public_address=str(config.public_addr),
            ca_pin=authorities.cluster_ca.pin,
        )
        self._ports: list[IListeningPort] = []
        self._upkeep: LoopingCall | None = None
        self._sweep: LoopingCall | None = None
        self._look: LoopingCall | None = None
        self._parts = assemble(
            Setting(
                config=config,
                store=store,
                authorities=authorities,
                key_files=key_files,
                on_rotation=self._rotated,
                facts=self.facts,
                contexts=self._own.contexts,
                ssh_key=self._own.ssh_key,
                reactor=reactor,
                wall_clock=wall_clock,
                run_in_thread=run_in_thread,
                recording_threads=recording_threads
                or PoolThreads(reactor, RECORDING_THREADS, "mezite-recordings"),
                expiries=self._expiries,
            )
        )
        self.workers = self._parts.workers
        self._pool: WorkerPool | None = None
        if self.workers.are_wanted:
            self._pool = WorkerPool(self.workers, reactor, config.log_level.value)
        self.registry = self._parts.registry
        self.live = self._parts.live
        self.router = self._parts.router
        self._draining = Draining(self.registry, self.live, reactor, config.drain_grace)
        self._rotation_clock = RotationClock(self._parts.services.rotation, reactor, wall_clock)

    @property
    def authorities(self) -> Authorities:
        """Who signs now, and who is trusted."""
        return self._parts.services.rotation.authorities

    def startService(self) -> None:
        """
        Open the port and the admin socket.

        :raises HubCannotStart: one of them cannot be opened.
        """
        super().startService()
        self._open_port(self.config.listen)
        self._ports.append(
            adminsocket.listen(self._reactor, self.config.data_dir, self._parts.admin_listener)
        )
        self._parts.audit.start()
        self._upkeep = LoopingCall(self._try_upkeep)
        self._upkeep.clock = self._reactor
        self._upkeep.start(_UPKEEP_SECONDS, now=False)
        self._sweep = LoopingCall(self._end_requests)
        self._sweep.clock = self._reactor
        self._sweep.start(_SWEEP_SECONDS, now=True)
        self._look = LoopingCall(self._look_at_tunnels)
        self._look.clock = self._reactor
        self._look.start(LOOK_SECONDS, now=False)
        self._parts.recordings.start()
        self._parts.spool.start()
        self._parts.unended.start()
        self._rotation_clock.start()
        self._log.info(
            "hub of {cluster} listens on {address}",
            cluster=self.facts.cluster_name,
            address=self.config.listen,
        )

    def _open_port(self, listen: HostPort) -> None:
        if self._pool is not None:
            self._pool.start(listen)
            self.router.doStart()
            return
        try:
            self._ports.append(
                self._reactor.listenTCP(
                    listen.port, self.router, backlog=BACKLOG, interface=listen.host
                )
            )
        except CannotListenError as error:
            reason = getattr(error.socketError, "strerror", None) or error.socketError
            raise HubCannotStart(f"cannot listen on {listen}: {reason}") from None

    def hurry(self) -> None:
        """Asked to stop a second time: wait for nobody."""
        self._log.warn("asked to stop again: sessions end now")
        self._draining.hurry()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        for repeated in (self._upkeep, self._sweep, self._look):
            if repeated is not None and repeated.running:
                repeated.stop()
        self._parts.reports.stop()
        self._parts.webhooks.stop()
        self._rotation_clock.stop()
        for port in self._ports:
            await maybeDeferred(port.stopListening)
        if self._pool is not None:
            self._pool.stop_listening()
            self.router.doStop()
        self._parts.attendance.stop()
        self._parts.unended.stop()
        self._parts.opener.refuse_all()
        await self._draining.run()
        for grpc in self._parts.grpc:
            seconds = 0.0 if self._draining.is_hurried else _DRAIN_SECONDS
            try:
                await within(self._reactor, seconds, grpc.drain(), doing="draining gRPC")
            except MeziteError as error:
                self._log.info("{error}", error=error)
        try:
            await within(
                self._reactor,
                _DRAIN_SECONDS,
                self._save_presence(),
                doing="noting what was going on",
            )
        except MeziteError as error:
            self._log.warn("{error}", error=error)
        self._parts.services.locks.stop()
        for tunnel in self.registry:
            tunnel.mux.close()
        if self._pool is not None:
            await self._pool.stop()
        await self._parts.spool.stop()
        await self._parts.audit.stop()
        await self._parts.recordings.stop()
        await self._store.close()
        self._log.info("hub stopped")

    async def _save_presence(self) -> None:
        await self._parts.opener.close()
        for tunnel in self.registry:
            await self._parts.presence.save(tunnel)

    # Certificates, and what else is done now and then.

    def _web_credentials(self) -> Credentials | None:
        certificate, key = self.config.tls_cert_file, self.config.tls_key_file
        if certificate is None or key is None:
            return None
        try:
            return Credentials(certificate_pem=certificate.read_bytes(), key_pem=key.read_bytes())
        except OSError as error:
            raise HubCannotStart(f"cannot read {error.filename}: {error.strerror}") from None

    def _rotated(self, authorities: Authorities) -> None:
        """For connections that begin; those that are there stay as they are."""
        self._own.rotate(authorities)
        self._parts.reports.ask()
        self.facts.ca_pin = authorities.cluster_ca.pin
        self._rotation_clock.look()

    def _expiries(self) -> Expiries:
        authority = self.authorities.cluster_ca.certificate
        return Expiries(
            certificate=self._own.expires,
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
        self._own.renew()
        try:
            # Whatever renews the public certificate need not tell us.
            self._own.contexts.replace(web=self._web_credentials())
        except MeziteError as error:
            self._log.warn("the web certificate stays as it was: {error}", error=error)
        background(self._forget_expired(now), doing="forgetting what has expired")

    def _look_at_tunnels(self) -> Deferred[None]:
        return background(self._parts.presence.look(), doing="noting which nodes are there")

    def _end_requests(self) -> Deferred[None]:
        requests = self._parts.services.requests
        return background(requests.sweep(), doing="ending access requests")

    async def _forget_expired(self, now: float) -> None:
        await self._store.bearers.purge(now)
        await self._store.api_tokens.purge(now)
        await self._parts.upkeep.run()
        await self._parts.audit.upkeep()
