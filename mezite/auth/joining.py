"""
How machines come into the cluster and stay in it.

A :class:`JoinService` owns join tokens as people handle them, the names that a
node may not take, and the certificates of nodes. That one use of a token is
used up together with the name it claims is the promise of
:class:`mezite.store.interfaces.IJoining`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from attrs import frozen
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.logger import Logger

from mezite.audit.chain import time_text
from mezite.audit.events import Actor, EventType
from mezite.auth.error import BadRequest, NodeNameReserved, NodeRemoved
from mezite.auth.trail import AuditTrail
from mezite.identity import sshcert, x509
from mezite.identity.authorities import Authorities
from mezite.identity.sshkeys import load_public_line
from mezite.identity.tokens import hash_token, new_token, token_id
from mezite.names import AgentId, ClusterName, InvalidName, NodeName, check_labels
from mezite.store.error import TokenRefused
from mezite.store.interfaces import IJoining, IJoinTokens, INodes, ISerials
from mezite.store.records import JoinTokenRecord, NodeRecord

# A node's host certificate; agents renew it after two thirds.
HOST_LIFETIME: Final = 24 * 3600.0
# A node's TLS certificate lives longer, so that a machine which was off for a
# holiday can still dial in and renew both. It opens nothing for a node that was
# removed: the hub asks the store as well.
NODE_TLS_LIFETIME: Final = 30 * 86400.0

TOKEN_LIFETIME: Final = 3600.0
TOKEN_SHORTEST: Final = 60.0
TOKEN_LONGEST: Final = 30 * 86400.0
TOKEN_USES_LIMIT: Final = 10_000
# Ours have 44 characters.
_TOKEN_LIMIT: Final = 256
_VERSION_LIMIT: Final = 64
# "auth" is the gRPC service in SNI; the other is everybody's own machine.
_RESERVED: Final = frozenset({"auth", "localhost"})


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


class JoinService:
    """Makes join tokens, admits nodes, and renews their certificates."""

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

    async def create_token(
        self, *, ttl: float = TOKEN_LIFETIME, uses: int = 1, by: Actor
    ) -> tuple[JoinTokenRecord, str]:
        """
        Make a join token; its text is shown now and never again.

        :raises BadRequest: it would live too short or too long, or admit none or too many.
        """
        if not TOKEN_SHORTEST <= ttl <= TOKEN_LONGEST:
            raise BadRequest(
                f"a join token lives for {TOKEN_SHORTEST:.0f} s to {TOKEN_LONGEST / 86400:.0f} days"
            )
        if not 1 <= uses <= TOKEN_USES_LIMIT:
            raise BadRequest(f"a join token has 1 to {TOKEN_USES_LIMIT} uses")
        text = new_token()
        secret_hash = hash_token(text)
        now = self._wall_clock()
        record = JoinTokenRecord(
            token_id=token_id(secret_hash),
            secret_hash=secret_hash,
            created_by=by.name,
            created=now,
            expires=now + ttl,
            uses_left=uses,
            max_uses=uses,
        )
        event = self._trail.event(
            EventType.TOKEN_CREATED,
            by,
            target=record.token_id,
            uses=uses,
            expires=time_text(record.expires),
        )
        await self._join_tokens.add(record, event=event)
        self._log.info(
            "join token {token_id} created by {by}", token_id=record.token_id, by=by.name
        )
        return record, text

    async def remove_token(self, token_id: str, *, by: Actor) -> None:
        """
        Revoke a token, so that nobody joins with it any more.

        :raises NoSuchToken:
        """
        event = self._trail.event(EventType.TOKEN_DELETED, by, target=token_id)
        await self._join_tokens.remove(token_id, event=event)
        self._log.info("join token {token_id} removed by {by}", token_id=token_id, by=by.name)

    async def remove_node(self, record: NodeRecord, *, by: Actor) -> None:
        """
        Forget a node; its host name is free again.

        :raises NoSuchNode:
        """
        event = self._trail.event(
            EventType.NODE_REMOVED,
            by,
            target=record.agent_id,
            node=record.name,
        )
        await self._nodes.remove(record.agent_id, event=event)
        self._log.info("{by} removed the node {node}", by=by.name, node=record.name)

    async def validate(self, token: str) -> bool:
        """Whether one could join with this token now; nothing is used up."""
        if len(token) > _TOKEN_LIMIT:
            return False
        return await self._join_tokens.is_valid(hash_token(token), self._wall_clock())

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

        :raises TokenRefused: unknown, used up or expired.
        :raises NodeNameTaken: another node holds the name; the sentence names it.
        :raises NodeNameReserved:
        :raises BadPublicKey:
        :raises BadRequest:
        """
        # Asked first, so that strangers cost one look-up and no signature.
        if not await self.validate(token):
            raise TokenRefused()
        self._refuse_reserved(node)
        now = self._wall_clock()
        record = NodeRecord(
            agent_id=AgentId.new(),
            name=node,
            labels=check_labels(labels),
            version=_checked_version(version),
            joined=now,
        )
        certificates = await self._issue(record, ssh_public_line, tls_public_key_pem)
        secret_hash = hash_token(token)
        event = self._trail.event(
            EventType.NODE_JOINED,
            Actor(str(node), address),
            target=record.agent_id,
            node=node,
            token_id=token_id(secret_hash),
            labels=tuple(f"{key}={value}" for key, value in record.labels.items()),
        )
        await self._joining.admit(secret_hash, record, now, event=event)
        self._log.info("node {node} joined as {agent_id}", node=node, agent_id=record.agent_id)
        return certificates

    async def renew(
        self, identity: x509.NodeIdentity, *, ssh_public_line: str, tls_public_key_pem: bytes
    ) -> HostCertificates:
        """
        New certificates for a node that proved its identity with the old ones.

        The host name is the one in the store, where it was bound to the agent
        id; no message can change it.

        :raises NodeRemoved:
        :raises BadPublicKey:
        """
        record = await self._nodes.get(identity.agent_id)
        if record is None or identity.cluster != self._cluster:
            raise NodeRemoved(identity.node)
        return await self._issue(record, ssh_public_line, tls_public_key_pem)

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
        ssh = sshcert.issue_host(
            authorities.host_ca,
            ssh_public_line,
            agent_id=record.agent_id,
            principals=self._principals(record),
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

    def _principals(self, record: NodeRecord) -> list[str]:
        """Every name under which a client asks for the node."""
        own = (record.name.text, record.agent_id.text)
        return [*own, *(f"{name}.{hub}" for name in own for hub in self._hub_names)]

    def _refuse_reserved(self, node: NodeName) -> None:
        """
        Refuse a name that leads elsewhere.

        The hub's own public name is one, and so is every name below a hub's: the
        node ``db1.hub`` would have a host certificate for node ``db1`` of ``hub``.
        Node ids are typed where names are. The bare name of the cluster may be
        taken: by default it is the name of the hub's machine, which may be a node.
        """
        name = node.text
        is_hubs = name in self._hub_names and name != self._cluster.text
        try:
            AgentId.parse(name)
            is_id = True
        except InvalidName:
            is_id = False
        if name in _RESERVED or is_hubs or is_id:
            raise NodeNameReserved(node)
        for hub in self._hub_names:
            if name.endswith(f".{hub}"):
                raise NodeNameReserved(node, hub)


def _checked_version(version: str) -> str:
    if len(version) > _VERSION_LIMIT or not version.isprintable():
        raise BadRequest(f"a version is printable and has at most {_VERSION_LIMIT} characters")
    return version
