"""
The auth service about authorities: how far each rotation is, and its steps.

:mod:`mezite.auth.rotation` makes the steps; here is who has not learned of
them, and the translation of messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attrs import frozen
from google.protobuf.message import Message

from mezite.auth.rotation import GRACE_DEFAULT, RotationService
from mezite.error import BadInput
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.hub.nodes import NodeDirectory, NodeStatus
from mezite.hub.tunnels import TunnelRegistry
from mezite.identity.authorities import Authorities, fingerprint_of
from mezite.identity.succession import Kind, Phase, Step
from mezite.names import AgentId
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call

# Enough to go and look; the number beside it says how many there are.
_NAMES: Final = 100
# What a step leads to, in the words of the phases.
_LEADS_TO: Final = {Step.SWITCH: Phase.ROTATE, Step.FINISH: Phase.STANDBY}


@frozen
class AuthorityMethods:
    """The methods, by what they are called."""

    rotation: RotationService
    directory: NodeDirectory
    registry: TunnelRegistry
    # Whether a server without an agent was seen to trust the authority of a fingerprint.
    is_seen: Callable[[AgentId, str], bool]

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "GetAuthorities": self.get_authorities,
            "RotateAuthority": self.rotate_authority,
            "RollbackAuthority": self.rollback_authority,
        }

    async def get_authorities(
        self, _who: Subject, _call: Call, _request: pb.GetAuthoritiesRequest
    ) -> Message:
        return pb.GetAuthoritiesResponse(
            authorities=await self._messages(Kind),
            generation=self.rotation.authorities.generation,
        )

    async def rotate_authority(
        self, who: Subject, _call: Call, request: pb.RotateAuthorityRequest
    ) -> Message:
        kinds = _kinds(request.types)
        grace = float(request.grace_period_seconds) or GRACE_DEFAULT
        match request.phase:
            case "":
                await self.rotation.begin(kinds, who.actor, grace=grace)
            case "prepare":
                await self.rotation.begin(kinds, who.actor, grace=None)
            case "rotate" | "standby":
                await self.rotation.advance(kinds, who.actor, Phase(request.phase))
            case other:
                raise BadInput(
                    f"{other[:40]!r} is no phase to go to; there are prepare, rotate and standby"
                )
        return pb.RotateAuthorityResponse(authorities=await self._messages(kinds))

    async def rollback_authority(
        self, who: Subject, _call: Call, request: pb.RollbackAuthorityRequest
    ) -> Message:
        kinds = _kinds(request.types)
        await self.rotation.roll_back(kinds, who.actor)
        return pb.RollbackAuthorityResponse(authorities=await self._messages(kinds))

    async def _messages(self, kinds: Iterable[Kind]) -> list[pb.Authority]:
        wanted = set(kinds)
        authorities = self.rotation.authorities
        statuses = await self.directory.listing()
        return [
            _message(
                authorities,
                kind,
                self._behind(authorities, kind, statuses),
                self._servers_behind(authorities, kind, statuses),
            )
            for kind in Kind
            if kind in wanted
        ]

    def _behind(
        self, authorities: Authorities, kind: Kind, statuses: Iterable[NodeStatus]
    ) -> list[str]:
        """
        The nodes that have not learned of what this kind has come to.

        A connected agent says which generation it has. One that is not has
        missed what happened after it was last seen; while the new authority is
        prepared that is the new one, and later, what it signs.
        """
        succession = authorities.of(kind)
        happened = succession.since if succession.phase is Phase.PREPARE else succession.switched
        behind = []
        for status in statuses:
            if not status.record.has_agent:
                continue
            tunnel = self.registry.find(status.record.agent_id)
            if tunnel is not None:
                is_behind = tunnel.generation < succession.generation
            else:
                is_behind = (status.record.last_seen or status.record.joined) < happened
            if is_behind:
                behind.append(str(status.record.name))
        return behind

    def _servers_behind(
        self, authorities: Authorities, kind: Kind, statuses: Iterable[NodeStatus]
    ) -> list[str]:
        """
        The servers without an agent of which nobody knows that they trust the new authority.

        They are to be told by hand, of the one that signs users' certificates.
        """
        succession = authorities.of(kind)
        if kind is not Kind.USER or succession.other is None:
            return []
        match succession.phase:
            case Phase.PREPARE:
                newer = succession.other
            case Phase.ROTATE:
                newer = succession.signing
            case _:
                # After a rollback the old one signs, which they trust.
                return []
        fingerprint = fingerprint_of(newer)
        return [
            str(status.record.name)
            for status in statuses
            if not status.record.has_agent and not self.is_seen(status.record.agent_id, fingerprint)
        ]


def everybody_has(registry: TunnelRegistry, generation: int) -> bool:
    """Whether every connected agent has certificates of this generation, or of a later one."""
    return all(tunnel.generation >= generation for tunnel in registry)


def _kinds(types: Iterable[str]) -> list[Kind]:
    names = set(types)
    known = {kind.value for kind in Kind}
    if not names or names - known:
        raise BadInput(f"types names authorities: {', '.join(sorted(known))}")
    return [kind for kind in Kind if kind.value in names]


def _message(
    authorities: Authorities, kind: Kind, behind: list[str], servers_behind: list[str]
) -> pb.Authority:
    succession = authorities.of(kind)
    window = succession.window() or (0.0, 0.0)
    step = succession.next_step()
    return pb.Authority(
        type=kind.value,
        phase=succession.phase.value,
        since=int(succession.since),
        switched=int(succession.switched),
        fingerprint=fingerprint_of(succession.signing),
        other_fingerprint="" if succession.other is None else fingerprint_of(succession.other),
        other_is_new=succession.other_number > succession.number,
        grace_period_seconds=int(succession.grace),
        next_phase="" if step is None else _LEADS_TO[step].value,
        next_change=int(window[0]),
        next_change_latest=int(window[1]),
        behind=behind[:_NAMES],
        nodes_behind=len(behind),
        behind_servers=servers_behind[:_NAMES],
        servers_behind=len(servers_behind),
    )
