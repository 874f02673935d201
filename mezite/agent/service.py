"""
The agent, put together.

An :class:`AgentService` joins first, if the node has not, and then keeps the
tunnel, the certificates and the SSH server of the node going. It listens on
nothing.
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from attrs import evolve
from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from mezite.agent import resumption
from mezite.agent.accounts import SystemAccounts
from mezite.agent.authorizer import HubAuthorizer
from mezite.agent.commandlabels import CommandLabels
from mezite.agent.commandoutput import output_of
from mezite.agent.condition import Condition
from mezite.agent.currentmembership import CurrentMembership
from mezite.agent.error import BrokenState
from mezite.agent.hubaddresses import HubAddresses
from mezite.agent.join import Application, Joining, join_once
from mezite.agent.membership import Membership, NodeKeys
from mezite.agent.readmission import (
    Readmission,
    find_successor,
    renew_directly,
    tls_context,
)
from mezite.agent.recordingservice import RecordingService
from mezite.agent.renewal import RenewalService
from mezite.agent.report import Machine, NodeReport
from mezite.agent.resolvers import SystemResolvers
from mezite.agent.resumption import ResumableSessions
from mezite.agent.sessionends import OpenSessions
from mezite.agent.sshd import NodeSshFactory
from mezite.agent.state import StateDirectory
from mezite.agent.statussocket import status_of
from mezite.agent.tunnelservice import TunnelService
from mezite.config.agent import AgentConfig
from mezite.error import MeziteError
from mezite.names import is_address
from mezite.recording.diskthreads import DiskThreads
from mezite.tasks import background
from mezite.wire import alpn
from mezite.wire.endpoint import TlsClientEndpoint


class AgentService(MultiService):
    """
    One agent.

    ``membership`` is what is on disk, or None; then the node joins first. If
    that is because what is on disk cannot be used, ``broken`` says why, and it is
    put aside once the hub has admitted the node with other keys. ``refused`` is
    called with a sentence when joining has failed for good.
    """

    _log = Logger()

    def __init__(
        self,
        config: AgentConfig,
        state: StateDirectory,
        membership: Membership | None,
        *,
        lock: int,
        broken: BrokenState | None = None,
        banner: str = "",
        reactor: Any,
        refused: Callable[[str], None],
        wall_clock: Callable[[], float] = time.time,
        join: Callable[[Application, NodeKeys], Awaitable[Membership]] | None = None,
    ) -> None:
        super().__init__()
        self._config = config
        self._state = state
        # The data directory's, held for as long as this lives.
        self._lock = lock
        self._membership = membership
        self._broken = broken
        self._banner = banner
        self._reactor = reactor
        self._refused = refused
        self._wall_clock = wall_clock
        self._join = join or self._join_once
        self.condition = Condition(wall_clock)
        self._current: CurrentMembership | None = None
        self._sessions = OpenSessions()
        # None for a node that joined before, and goes where it found the hub then.
        self._hubs = (
            HubAddresses(config.hubs, SystemResolvers(reactor).lookup, reactor)
            if config.hubs
            else None
        )
        self._joining: Deferred[None] | None = None
        self._mending: Deferred[None] | None = None

    def status(self) -> Mapping[str, Any]:
        """What it is doing, in JSON's values."""
        membership = None if self._current is None else self._current.membership
        return status_of(self.condition, membership, len(self._sessions))

    def startService(self) -> None:
        super().startService()
        for warning in self._config.warnings:
            self._log.warn("{warning}", warning=warning)
        if os.geteuid() != 0:
            self._log.warn(
                "not running as root: {login} is the only login that can be used on this node",
                login=_own_login(),
            )
        if self._membership is not None:
            self._serve(self._membership)
        else:
            self._joining = background(self._join_first(), doing="joining")

    def stopService(self) -> Deferred[Any]:
        for running in (self._joining, self._mending):
            if running is not None:
                running.cancel()
        stopped: Deferred[Any] = super().stopService()
        return stopped

    async def _join_first(self) -> None:
        # A process that runs and serves nothing would look well to whoever supervises it.
        try:
            await self._join_and_serve()
        except CancelledError:
            raise
        except MeziteError as error:
            broken = f"{self._broken}. Joining anew failed: " if self._broken is not None else ""
            self._refused(f"{broken}{error}")
        except Exception:
            self._log.failure("joining failed")
            self._refused("joining failed in a way that nobody foresaw; the log says how")

    async def _join_and_serve(self) -> None:
        joining = Joining(
            self._reactor,
            self._wall_clock,
            self._join,
            condition=self.condition,
            hubs=self._hubs,
        )
        keys = self._keys()
        application = Application.of(self._config)
        self._log.info(
            "joining as {node} through {hub}",
            node=application.node,
            hub=", ".join(map(str, self._config.hubs)),
        )
        membership = await joining.join(application, keys)
        if self._broken is None:
            self._state.save(membership)
        else:
            aside = self._state.replace(keys, membership, self._wall_clock())
            self._broken = None
            self._log.info("what could not be used before is kept in {aside}", aside=aside)
        self._log.info(
            "joined cluster {cluster} as {node} ({agent_id})",
            cluster=membership.identity.cluster,
            node=membership.identity.node,
            agent_id=membership.identity.agent_id,
        )
        self._serve(membership)

    def _keys(self) -> NodeKeys:
        """The keys to join with: those on disk, unless they are of no use."""
        if self._broken is None:
            try:
                return self._state.keys()
            except BrokenState as error:
                self._broken = error
        self._log.warn("{broken}. Joining with new keys", broken=self._broken)
        return NodeKeys.generate()

    def _serve(self, membership: Membership) -> None:
        self._log.info(
            "node {node} ({agent_id}) of cluster {cluster}, dialing {hub}",
            node=membership.identity.node,
            agent_id=membership.identity.agent_id,
            cluster=membership.identity.cluster,
            hub=", ".join(map(str, self._config.hubs or [membership.hub])),
        )
        current = self._current = CurrentMembership.of(membership, self._state)
        recording = RecordingService(
            data_dir=self._config.data_dir,
            config=self._config.recording,
            threads=DiskThreads(self._reactor),
            clock=self._reactor,
            wall_clock=self._wall_clock,
            open_stream=lambda header: tunnel.open_stream(header),
        )
        ssh = NodeSshFactory(
            host_key=current.host_key,
            user_authorities=lambda: current.membership.user_authorities,
            authorizer=HubAuthorizer(lambda: tunnel.calls),
            accounts=SystemAccounts(self._in_thread, self._wall_clock, os.geteuid()),
            own_uid=os.geteuid(),
            recordings=recording.recordings,
            reactor=self._reactor,
            wall_clock=self._wall_clock,
            accept_env=self._config.accept_env,  # type: ignore[arg-type]
            is_gateway=self._config.is_gateway,
            banner=self._banner,
            node=membership.identity.node,
            open_sessions=self._sessions,
            on_admitted=lambda avatar: resumable.admitted(avatar),
        )
        resumable = ResumableSessions(
            ssh.serve, self._sessions, lambda: tunnel.calls, self._reactor
        )

        readmission = Readmission(
            current=current,
            clock=self._reactor,
            wall_clock=self._wall_clock,
            renew=lambda membership: renew_directly(self._reactor, membership),
            join=self._join,
            condition=self.condition,
            successor=lambda membership: find_successor(self._reactor, membership),
            application=lambda: evolve(
                Application.of(evolve(self._config, hubs=(current.membership.hub,))),
                node=current.membership.identity.node,
                known_authority=current.membership.certificates.cluster_ca_pem,
            ),
        )
        reactor = self._reactor
        commands = CommandLabels(
            self._config.commands, lambda command: output_of(reactor, command), reactor
        )
        machine = Machine(reactor.seconds)

        def report() -> NodeReport:
            given = commands.labels
            return NodeReport({**self._config.labels, **given}, tuple(given), machine.facts())

        tunnel = TunnelService(
            current=current,
            report=report,
            clock=self._reactor,
            wall_clock=self._wall_clock,
            endpoint=lambda: self._endpoint(current.membership),
            services={
                "ssh": ssh.serve,
                "end-session": self._sessions.serve,
                resumption.SERVICE: resumable.serve,
            },
            on_registered=resumable.tunnel_up,
            on_unwelcome=lambda: self._mend(readmission),
            hub_has=lambda generation: renewal.hub_has(generation),
            on_up=recording.uploads.tunnel_up,
            condition=self.condition,
            hubs=self._hubs,
        )
        renewal = RenewalService(
            current, lambda: tunnel.calls, clock=self._reactor, wall_clock=self._wall_clock
        )
        commands.setServiceParent(self)
        recording.setServiceParent(self)
        renewal.setServiceParent(self)
        tunnel.setServiceParent(self)

    def _mend(self, readmission: Readmission) -> None:
        if self._mending is None or self._mending.called:
            self._mending = background(readmission.mend(), doing="asking why the hub hangs up")

    def _endpoint(self, membership: Membership) -> IStreamClientEndpoint:
        hub = membership.hub
        return TlsClientEndpoint(
            self._reactor,
            hub,
            tls_context(alpn.MEZITE_TUNNEL, membership),
            server_name=None if is_address(hub.host) else hub.host,
        )

    async def _join_once(self, application: Application, keys: NodeKeys) -> Membership:
        return await join_once(self._reactor, application, keys)

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        return deferToThreadPool(self._reactor, self._reactor.getThreadPool(), function, *arguments)


def _own_login() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())
