"""
What an agent asks of its hub, as values.

One :class:`HubCalls` speaks over one gRPC channel. Which channel, and what to
do when it is gone, is its owners' business.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from attrs import field, frozen

from mezite import __version__
from mezite.agent.membership import Issued, NodeKeys
from mezite.agent.permit import SessionPermit
from mezite.agent.report import NodeReport
from mezite.identity.rolesdoc import Recording
from mezite.names import LoginName, NodeName, UserName
from mezite.recording.recordings import SessionRecord
from mezite.rpc.channel import GrpcChannel
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from mezite.ssh.fields import printable
from mezite.ssh.sessionwatch import SessionBounds

# Every call has this long, then no answer is an answer.
DEADLINE: Final = 10.0
# What a hub may ask for; a heartbeat each second of 10,000 agents is too many.
_HEARTBEAT_SHORTEST: Final = 2.0
_HEARTBEAT_LONGEST: Final = 3600.0
_HEARTBEAT_DEFAULT: Final = 10.0
_IDLE_SHORTEST: Final = 1.0
_RECORDINGS: Final[Mapping[int, Recording]] = {
    pb.SESSION_RECORDING_OFF: Recording.OFF,
    pb.SESSION_RECORDING_BEST_EFFORT: Recording.BEST_EFFORT,
}


@frozen
class Heard:
    """
    What the hub says to a sign of life.

    ``seconds`` is how often it wants one; ``generation``, that of the cluster's
    authorities, 0 from a hub that does not say.
    """

    seconds: float
    generation: int


@frozen
class Living:
    """A session that was begun and has not ended, as the hub hears of it."""

    session_id: str
    user: str
    login: str
    requests: tuple[str, ...]
    # POSIX seconds.
    certificate_ends: int

    def message(self) -> pb.LivingSession:
        return pb.LivingSession(
            session_id=self.session_id,
            user=self.user,
            login=self.login,
            request_ids=self.requests,
            certificate_expires=self.certificate_ends,
        )


@frozen
class HubCalls:
    """The calls of one channel; each raises the kinds of :mod:`mezite.error`."""

    client: AuthClient = field(repr=False)

    @classmethod
    def on(cls, channel: GrpcChannel) -> HubCalls:
        return cls(AuthClient(channel, timeout=DEADLINE))

    async def join(
        self, token: str, node: NodeName, labels: Mapping[str, str], keys: NodeKeys
    ) -> Issued:
        """
        Redeem a join token.

        :raises Denied: the token is refused.
        :raises AlreadyExists: another node has the name.
        """
        return _issued(
            await self.client.generate_host_certs(
                token=token,
                hostname=node.text,
                labels=labels,
                version=__version__,
                ssh_public_key=keys.ssh_public_line,
                tls_public_key=keys.tls_public_pem.decode("ascii"),
            )
        )

    async def renew(self, keys: NodeKeys) -> Issued:
        """
        New certificates for the node that this channel's connection proves.

        :raises Denied: it is no node of the cluster any more.
        """
        return _issued(
            await self.client.generate_host_certs(
                version=__version__,
                ssh_public_key=keys.ssh_public_line,
                tls_public_key=keys.tls_public_pem.decode("ascii"),
            )
        )

    async def register(self, node: NodeName, report: NodeReport, generation: int) -> Heard:
        """Say that this node serves sessions, and of which authorities its certificates are."""
        answer = await self.client.register_agent(
            labels=report.labels,
            version=__version__,
            hostname=node.text,
            command_labels=report.command_labels,
            facts=_facts(report),
            generation=generation,
        )
        return Heard(_interval(answer.heartbeat_seconds), answer.authorities_generation)

    async def heartbeat(
        self, report: NodeReport, generation: int, *, with_facts: bool = False
    ) -> Heard:
        """Say that this node is alive."""
        answer = await self.client.agent_heartbeat(
            labels=report.labels,
            version=__version__,
            command_labels=report.command_labels,
            facts=_facts(report) if with_facts else None,
            generation=generation,
        )
        return Heard(_interval(answer.heartbeat_seconds), answer.authorities_generation)

    async def deregister(self) -> None:
        """Say that this node stops, on purpose."""
        await self.client.deregister_agent()

    async def authorize(
        self, user: UserName, login: LoginName, session_id: str, requests: Sequence[str] = ()
    ) -> SessionPermit:
        """Ask whether this user may use this login here, by a certificate with these requests."""
        answer = await self.client.authorize_session(user.text, login.text, session_id, requests)
        bounds = SessionBounds(
            idle_timeout=_idle_timeout(answer.idle_timeout_seconds),
            ends_with_certificate=answer.disconnect_expired,
        )
        record = SessionRecord(_recording(answer.recording), answer.record_input)
        withheld = frozenset(answer.withheld_extensions)
        return SessionPermit(answer.allowed, answer.reason, bounds, record, withheld)

    async def resume(self, session_id: str, living: Living) -> SessionPermit:
        """Ask whether this session may go on over the stream that the hub gave this id."""
        answer = await self.client.resume_session(session_id, living.message())
        return SessionPermit(answer.allowed, answer.reason)

    async def report(
        self, living: Iterable[Living], beginning: Iterable[str]
    ) -> list[tuple[str, str]]:
        """
        Tell which sessions live on; gives the ids of those that are to end, and why.

        :param beginning: the ids of those that nobody is in yet.
        """
        messages = [each.message() for each in living]
        answer = await self.client.report_sessions(messages, beginning)
        return [(each.session_id, printable(each.reason.encode())) for each in answer.ended]


def _facts(report: NodeReport) -> pb.NodeFacts:
    facts = report.facts
    return pb.NodeFacts(addresses=facts.addresses, os=facts.os, arch=facts.arch)


def _issued(answer: pb.GenerateHostCertsResponse) -> Issued:
    return Issued(
        hub_name=answer.hub_name,
        ssh_certificate=answer.ssh_certificate.strip(),
        tls_certificate_pem=answer.tls_certificate.encode(),
        cluster_ca_pem=answer.cluster_ca.encode(),
        user_ca=tuple(answer.user_ca),
        generation=answer.authorities_generation,
    )


def _recording(said: int) -> Recording:
    """What a later hub may say, and we do not know, is as strict as it gets."""
    return _RECORDINGS.get(said, Recording.STRICT)


def _idle_timeout(seconds: float) -> float | None:
    """None for 0; what is no length of time is the shortest that there is."""
    if seconds == 0:
        return None
    return seconds if _IDLE_SHORTEST <= seconds < math.inf else _IDLE_SHORTEST


def _interval(seconds: int) -> float:
    if seconds <= 0:
        return _HEARTBEAT_DEFAULT
    return min(_HEARTBEAT_LONGEST, max(_HEARTBEAT_SHORTEST, float(seconds)))
