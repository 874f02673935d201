"""
How machines come into the cluster and stay in it.

A :class:`JoinService` owns the names that a node may not take, what a token
lets a machine be, and the certificates of nodes. That one use of a token is
used up together with the name it claims is the promise of
:class:`mezite.store.interfaces.IJoining`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attrs import field, frozen
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.logger import Logger

from mezite.audit.events import Actor, EventType
from mezite.auth.error import BadRequest, NameNotAllowed, NodeRemoved, WrongNode
from mezite.auth.jointokens import label_pairs
from mezite.auth.nodenames import principals_of, refuse_reserved
from mezite.auth.trail import AuditTrail
from mezite.error import AlreadyExists, Denied
from mezite.identity import sshissuing, x509
from mezite.identity.authorities import Authorities
from mezite.identity.hostpatterns import HostPattern
from mezite.identity.sshkeys import load_public_line
from mezite.identity.tokens import hash_token
from mezite.names import AgentId, ClusterName, NodeName, check_labels
from mezite.store.error import NodeKeyReplaced, TokenRefused
from mezite.store.interfaces import IJoining, IJoinTokens, INodes, ISerials
from mezite.store.records import JoinTokenRecord, NodeRecord, NodeWord

# A node's host certificate; agents renew it after two thirds.
HOST_LIFETIME: Final = 24 * 3600.0
# A node's TLS certificate lives longer, so that a machine which was off for a
# holiday can still dial in and renew both. It opens nothing for a node that was
# removed: the hub asks the store as well.
NODE_TLS_LIFETIME: Final = 30 * 86400.0

# Ours have 44 characters.
_TOKEN_LIMIT: Final = 256
_VERSION_LIMIT: Final = 64
# Service managers start a refused agent every few seconds; the audit hears of it seldom.
_REFUSAL_SECONDS: Final = 600.0
_REFUSALS_LIMIT: Final = 1000
# "auth" is the gRPC service in SNI; the other is everybody's own machine.


@frozen
class HostCertificates:
    """
    What a node keeps, and what it checks users and the hub against.

    ``valid_before`` is when the first of the two certificates ends;
    ``generation``, that of the authorities, which grows when they change.
    """

    agent_id: AgentId
    node: NodeName
    cluster: ClusterName
    ssh_certificate: str
    tls_certificate_pem: bytes
    cluster_ca_pem: bytes
    user_ca_lines: tuple[str, ...]
    host_ca_lines: tuple[str, ...]
    generation: int
    valid_before: float


@frozen
class _Request:
    """What a machine that wants to join has shown, its keys found to be good."""

    token: JoinTokenRecord
    word: NodeWord
    by: Actor
    ssh_public_line: str
    tls_pem: bytes
    tls_key: bytes = field(init=False)

    @tls_key.default
    def _hash_key(self) -> bytes:
        return x509.key_hash(x509.load_public_key(self.tls_pem))


class JoinService:
    """Admits nodes, once more if need be, and renews their certificates."""

    _log = Logger()

    def __init__(
        self,
        nodes: INodes,
        join_tokens: IJoinTokens,
        joining: IJoining,
        serials: ISerials,
        trail: AuditTrail,
        *,
        cluster: ClusterName,
        hub_names: Iterable[str],
        authorities: Callable[[], Authorities],
        wall_clock: Callable[[], float],
    ) -> None:
        self._nodes = nodes
        self._join_tokens = join_tokens
        self._joining = joining
        self._serials = serials
        self._trail = trail
        self._cluster = cluster
        self._hub_names = tuple(dict.fromkeys([*hub_names, cluster.text]))
        self._authorities = authorities
        self._wall_clock = wall_clock
        # When a refusal of this name with this token was noted last.
        self._refused: dict[tuple[NodeName, str], float] = {}

    async def remove_node(self, record: NodeRecord, *, by: Actor, reason: str = "") -> None:
        """
        Forget a node; its host name is free again.

        ``reason`` is for the audit, where nobody asked for it.

        :raises NoSuchNode:
        """
        event = self._trail.event(
            EventType.NODE_REMOVED,
            by,
            target=record.agent_id,
            node=record.name,
            reason=reason,
        )
        await self._nodes.remove(record.agent_id, event=event)
        self._log.info("{by} removed the node {node}", by=by.name, node=record.name)

    async def validate(self, token: str) -> bool:
        """Whether one could join with this token now; nothing is used up."""
        return await self._find(token) is not None

    async def _find(self, token: str) -> JoinTokenRecord | None:
        if len(token) > _TOKEN_LIMIT:
            return None
        return await self._join_tokens.find(hash_token(token), self._wall_clock())

    async def join(
        self,
        token: str,
        *,
        node: NodeName,
        labels: Mapping[str, str],
        version: str,
        ssh_public_line: str,
        tls_public_key_pem: bytes,
        address: str,
    ) -> HostCertificates:
        """
        Admit a machine: it gets an agent id, and its host name is bound to that.

        Whatever is wrong with the request is found before the token is spent.
        A token for one node to join once more gives it the id that it had.

        :raises TokenRefused: unknown, used up or expired.
        :raises NodeNameTaken: another node holds the name; the sentence names it.
        :raises NodeNameReserved:
        :raises NameNotAllowed: the token is for other names.
        :raises WrongNode: the token is for another node to join once more.
        :raises BadPublicKey:
        :raises BadRequest:
        """
        # Asked first, so that strangers cost one look-up and no signature.
        found = await self._find(token)
        if found is None:
            raise TokenRefused()
        request = _Request(
            found,
            NodeWord(check_labels(labels), _checked_version(version)),
            Actor(str(node), address),
            ssh_public_line,
            tls_public_key_pem,
        )
        try:
            if found.rejoins is not None:
                return await self._readmit(request, node, found.rejoins)
            return await self._admit(request, node)
        except (AlreadyExists, Denied) as error:
            await self._note_refusal(request, node, error)
            raise

    async def _admit(self, request: _Request, node: NodeName) -> HostCertificates:
        token, word = request.token, request.word
        refuse_reserved(node, self._hub_names, self._cluster)
        if token.hostnames and not any(HostPattern(text).matches(node) for text in token.hostnames):
            raise NameNotAllowed(node, token.hostnames)
        now = self._wall_clock()
        record = NodeRecord(
            agent_id=AgentId.new(),
            name=node,
            labels=check_labels({**word.labels, **token.labels}),
            version=word.version,
            joined=now,
            hub_labels=dict(token.labels),
            address=request.by.address,
            token_id=token.token_id,
            tls_key=request.tls_key,
        )
        certificates = await self._issue(record, request.ssh_public_line, request.tls_pem)
        event = self._trail.event(
            EventType.NODE_JOINED,
            request.by,
            target=record.agent_id,
            node=node,
            token_id=token.token_id,
            labels=label_pairs(record.labels),
        )
        await self._joining.admit(token.secret_hash, record, now, event=event)
        self._log.info("node {node} joined as {agent_id}", node=node, agent_id=record.agent_id)
        return certificates

    async def _readmit(
        self, request: _Request, node: NodeName, agent_id: AgentId
    ) -> HostCertificates:
        token = request.token
        record = await self._nodes.get(agent_id)
        if record is None:
            raise TokenRefused()
        if record.name != node:
            raise WrongNode(node, record.name)
        certificates = await self._issue(record, request.ssh_public_line, request.tls_pem)
        event = self._trail.event(
            EventType.NODE_REJOINED,
            request.by,
            target=agent_id,
            node=node,
            token_id=token.token_id,
        )
        await self._joining.readmit(
            token.secret_hash,
            agent_id,
            self._wall_clock(),
            tls_key=request.tls_key,
            version=request.word.version,
            event=event,
        )
        self._log.info("node {node} joined once more as {agent_id}", node=node, agent_id=agent_id)
        return certificates

    async def _note_refusal(
        self, request: _Request, node: NodeName, error: AlreadyExists | Denied
    ) -> None:
        """For the audit; an agent that is started again and again is noted now and then."""
        now, key = self._wall_clock(), (node, request.token.token_id)
        if now - self._refused.get(key, 0.0) < _REFUSAL_SECONDS:
            return
        if len(self._refused) >= _REFUSALS_LIMIT:
            self._refused.clear()
        self._refused[key] = now
        await self._trail.record(
            self._trail.event(
                EventType.NODE_JOIN_REFUSED,
                request.by,
                node=node,
                success=False,
                error=str(error),
                token_id=request.token.token_id,
            )
        )

    async def renew(
        self,
        identity: x509.NodeIdentity,
        *,
        tls_key: bytes | None,
        ssh_public_line: str,
        tls_public_key_pem: bytes,
        address: str = "",
    ) -> HostCertificates:
        """
        New certificates for a node that proved its identity with the old ones.

        The host name is the one in the store, where it was bound to the agent
        id; no message can change it.

        :param tls_key: the hash of the key that the node proved itself by.
        :raises NodeRemoved:
        :raises NodeKeyReplaced: it joined once more with another key.
        :raises BadPublicKey:
        """
        record = await self._nodes.get(identity.agent_id)
        if record is None or identity.cluster != self._cluster:
            raise NodeRemoved(identity.node)
        if not record.accepts(tls_key):
            raise NodeKeyReplaced(record.name)
        new_key = x509.key_hash(x509.load_public_key(tls_public_key_pem))
        issued = await self._issue(record, ssh_public_line, tls_public_key_pem)
        if new_key != record.tls_key:
            event = self._trail.event(
                EventType.NODE_CERT_ISSUED,
                Actor(str(record.name), address),
                target=record.agent_id,
                node=record.name,
                key=new_key.hex(),
            )
            await self._nodes.bind_key(record.agent_id, record.tls_key, new_key, event=event)
        return issued

    async def _issue(
        self, record: NodeRecord, ssh_public_line: str, tls_public_key_pem: bytes
    ) -> HostCertificates:
        tls_key = x509.load_public_key(tls_public_key_pem)
        load_public_line(ssh_public_line)
        serial = await self._serials.next()
        authorities = self._authorities()
        now = float(int(self._wall_clock()))
        tls = x509.issue_node(
            authorities.cluster_ca,
            tls_key,
            x509.NodeIdentity(self._cluster, record.agent_id, record.name),
            now=now,
            lifetime=NODE_TLS_LIFETIME,
        )
        valid_before = min(now + HOST_LIFETIME, tls.not_valid_after_utc.timestamp())
        ssh = sshissuing.issue_host(
            authorities.host_ca,
            ssh_public_line,
            agent_id=record.agent_id,
            principals=principals_of(record, self._hub_names),
            serial=serial,
            now=now,
            lifetime=valid_before - now,
        )
        self._log.info(
            "certificates {serial} issued to node {node}", serial=serial, node=record.name
        )
        return HostCertificates(
            agent_id=record.agent_id,
            node=record.name,
            cluster=self._cluster,
            ssh_certificate=ssh,
            tls_certificate_pem=tls.public_bytes(Encoding.PEM),
            cluster_ca_pem=authorities.tls_pem,
            user_ca_lines=authorities.user_lines,
            host_ca_lines=authorities.host_lines,
            generation=authorities.generation,
            valid_before=valid_before,
        )


def _checked_version(version: str) -> str:
    if len(version) > _VERSION_LIMIT or not version.isprintable():
        raise BadRequest(f"a version is printable and has at most {_VERSION_LIMIT} characters")
    return version
