"""
What the store keeps, one value per row.

Records own their fields and no rule: whether a token is spent or a user may
log in is decided by those who ask. Times are POSIX seconds.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, field, frozen

from mezite.audit.chain import GENESIS, ChainedLine, decode_event
from mezite.audit.error import BadAuditLine
from mezite.audit.events import AuditEvent, Detail
from mezite.identity.hostproof import SshdFacts
from mezite.identity.roles import LabelSelector
from mezite.identity.rolesdoc import Role
from mezite.identity.traits import Traits
from mezite.names import AgentId, LoginName, NodeName, RoleName, UserName


@frozen
class UserRecord:
    """A person who may log in; ``logins`` and ``node_labels`` are their own, beside the roles."""

    name: UserName
    password_hash: str = field(repr=False)
    logins: tuple[LoginName, ...]
    node_labels: LabelSelector
    is_admin: bool
    must_change_password: bool
    created: float
    disabled: bool = False
    roles: tuple[RoleName, ...] = ()
    traits: Traits = field(factory=dict)


@frozen
class RoleRecord:
    """A role that an administrator wrote; the built-in ones are not stored."""

    role: Role
    created: float
    changed: float


@frozen
class MachineFacts:
    """What a node tells of its machine."""

    addresses: tuple[str, ...] = ()
    os: str = ""
    arch: str = ""


@frozen
class NodeWord:
    """
    What an agent says of its node.

    ``command_labels`` are the keys of those labels that commands gave.
    ``facts`` are None where they are as they were.
    """

    labels: Mapping[str, str]
    version: str
    command_labels: tuple[str, ...] = ()
    facts: MachineFacts | None = None


@frozen
class NodeRecord:
    """
    A machine that has joined; ``last_seen`` is None until its first heartbeat.

    ``labels`` are all that it has: what the agent says, and ``hub_labels``,
    which the join token gave and which win. ``address`` is where its tunnel
    came from last. ``tls_key`` is the hash of the key that the node proves
    itself by; None, for any, on a node that joined before this was kept. ``sshd`` is
    how a machine without an agent is reached, which an administrator added.
    """

    agent_id: AgentId
    name: NodeName
    labels: Mapping[str, str]
    version: str
    joined: float
    last_seen: float | None = None
    hub_labels: Mapping[str, str] = field(factory=dict)
    command_labels: tuple[str, ...] = ()
    facts: MachineFacts = field(factory=MachineFacts)
    address: str = ""
    token_id: str = ""
    rejoined: float | None = None
    tls_key: bytes | None = None
    sshd: SshdFacts | None = None

    @property
    def has_agent(self) -> bool:
        return self.sshd is None

    def told(self, word: NodeWord) -> NodeRecord:
        """The same node, of which its agent said this."""
        keys = word.labels.keys() - self.hub_labels.keys()
        return evolve(
            self,
            labels={**word.labels, **self.hub_labels},
            version=word.version,
            command_labels=tuple(sorted(keys & set(word.command_labels))),
            facts=self.facts if word.facts is None else word.facts,
        )

    @property
    def word(self) -> NodeWord:
        """What its agent said last, as far as that is known."""
        return NodeWord(self.labels, self.version, self.command_labels)

    def accepts(self, tls_key: bytes | None) -> bool:
        """Whether who holds this key is the node."""
        if not self.has_agent:
            return False
        return self.tls_key is None or (tls_key is not None and tls_key == self.tls_key)


@frozen
class JoinTokenRecord:
    """
    A join token, known by the hash of its secret only.

    ``labels`` are those that its nodes get, ``hostnames`` the patterns of names
    that they may claim, none for any. ``rejoins`` is the one node that may
    join once more with it, if it is for that.
    """

    token_id: str
    secret_hash: bytes = field(repr=False)
    created_by: str
    created: float
    expires: float
    uses_left: int
    max_uses: int
    labels: Mapping[str, str] = field(factory=dict)
    hostnames: tuple[str, ...] = ()
    description: str = ""
    rejoins: AgentId | None = None


@frozen
class BearerRecord:
    """
    The right to speak as a user until ``expires``, known by the hash of its secret only.

    :param proved: when its holder last proved who they are, where that is known.
    """

    secret_hash: bytes = field(repr=False)
    user: UserName
    expires: float
    proved: float | None = None


@frozen
class AuditRecord:
    """
    An event as it is kept: its number in the chain, its line, and the hash.

    Of a line that no audit wrote (somebody changed it) there is no event.
    """

    seq: int
    event: AuditEvent | None
    line: str
    hash: bytes

    @classmethod
    def of(cls, kept: ChainedLine) -> AuditRecord:
        """What a line says."""
        try:
            _, event = decode_event(kept.line)
        except BadAuditLine:
            return cls(kept.seq, None, kept.line, kept.hash)
        return cls(kept.seq, event, kept.line, kept.hash)


@frozen
class AuditChain:
    """Where the chain ends, and where it begins: after the last event that was pruned."""

    first_seq: int = 0
    first_hash: bytes = GENESIS
    last_seq: int = 0
    last_hash: bytes = GENESIS


def pruning(event: AuditEvent, before: AuditChain, after: AuditChain) -> AuditEvent:
    """
    The event of a retention, once it is known what it removed.

    Whoever checks the chain compares it with where the chain begins.
    """
    told: dict[str, Detail] = {
        "removed": after.first_seq - before.first_seq,
        "last_seq": after.first_seq,
        "hash": after.first_hash.hex(),
    }
    return evolve(event, details={**event.details, **told})


@frozen
class AuditQuery:
    """
    Which events are wanted; what is empty matches all.

    :param types: alternatives, each ``user.login`` or, for all below, ``user.*``.
    :param user: who acted, or whom it was done to.
    :param since: POSIX seconds, included; ``until`` is not.
    """

    types: tuple[str, ...] = ()
    user: str = ""
    node: str = ""
    session_id: str = ""
    since: float | None = None
    until: float | None = None
