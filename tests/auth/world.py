"""
A cluster in memory with a clock that stands still, for tests of its services.
"""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST
from attrs import define, field
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.task import Clock
from zope.interface import implementer

from mezite.audit.events import Actor, AuditEvent
from mezite.auth.access import AccessService
from mezite.auth.enrolment import EnrolmentService
from mezite.auth.inviting import InviteService
from mezite.auth.issuing import IssuingService
from mezite.auth.joining import JoinService
from mezite.auth.jointokens import TokenService
from mezite.auth.locking import LockService
from mezite.auth.login import LoginService
from mezite.auth.passwords import Passwords, RunInThread
from mezite.auth.people import UserService
from mezite.auth.proving import ProvingService
from mezite.auth.requesting import IRequestWatcher, RequestService
from mezite.auth.rights import Rights
from mezite.auth.rolekeeping import RoleService
from mezite.auth.secondfactor import SecondFactors
from mezite.auth.trail import AuditTrail
from mezite.auth.webauthn import SecurityKeys
from mezite.identity.authorities import Authorities
from mezite.identity.authority import SshAuthority, X509Authority
from mezite.identity.requests import AccessRequest
from mezite.identity.secondfactor import SecondFactorPolicy
from mezite.names import ClusterName, HostPort, LoginName, UserName
from mezite.store.memory import MemoryStore
from mezite.store.records import AuditQuery, AuditRecord
from tests.auth.threads import at_once

START = 1_800_000_000.0
CLUSTER = ClusterName("mezite")
HUB = "hub.example.com"
ADA = UserName("ada")
ROOT = LoginName("root")
PASSWORD = "correct horse"
LOCAL = Actor("local", "unix:pid=1,uid=0")
SSH_LINE = (
    Ed25519PrivateKey.generate()
    .public_key()
    .public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    .decode()
)
TLS_PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)
# Made once, since no test depends on which they are.
USER_CA, HOST_CA = SshAuthority.generate(), SshAuthority.generate()
CLUSTER_CA = X509Authority.generate(CLUSTER, START)
AUTHORITIES = Authorities(CLUSTER, USER_CA, HOST_CA, CLUSTER_CA)


@implementer(IRequestWatcher)
@define(eq=False)
class World:
    """The services of one cluster over one store; ``now`` is moved by hand."""

    run_in_thread: RunInThread = at_once
    now: float = START + 0.5
    store: MemoryStore = field(factory=MemoryStore)
    policy: SecondFactorPolicy = SecondFactorPolicy.OPTIONAL
    address: HostPort = field(factory=lambda: HostPort(HUB, 443))
    second_factors: SecondFactors = field(init=False)
    enrolment: EnrolmentService = field(init=False)
    proving: ProvingService = field(init=False)
    clock: Clock = field(factory=Clock)
    locks: LockService = field(init=False)
    logins: LoginService = field(init=False)
    invites: InviteService = field(init=False)
    issuing: IssuingService = field(init=False)
    tokens: TokenService = field(init=False)
    joining: JoinService = field(init=False)
    access: AccessService = field(init=False)
    roles: RoleService = field(init=False)
    people: UserService = field(init=False)
    requests: RequestService = field(init=False)
    # What watchers of access requests were told.
    told: list[AccessRequest] = field(init=False, factory=list)

    def __attrs_post_init__(self) -> None:
        store = self.store
        rights = Rights(store.users, store.roles, store.requests, wall_clock=self.time)
        trail = AuditTrail(store.audit, wall_clock=self.time)
        keys = SecurityKeys(lambda: self.address, str(CLUSTER), self.time)
        self.second_factors = SecondFactors(
            self.policy, keys, store.second_factors, trail, self.time
        )
        self.enrolment = EnrolmentService(
            store.second_factors,
            self.second_factors,
            trail,
            cluster=str(CLUSTER),
            wall_clock=self.time,
        )
        passwords = Passwords(self.run_in_thread, PasswordHasher.from_parameters(CHEAPEST))
        self.proving = ProvingService(
            store.users, passwords, self.second_factors, trail, wall_clock=self.time
        )
        self.locks = LockService(store.locks, trail, clock=self.clock, wall_clock=self.time)
        self.logins = LoginService(
            store.users,
            store.bearers,
            trail,
            passwords=passwords,
            proving=self.proving,
            locks=self.locks,
            wall_clock=self.time,
        )
        self.invites = InviteService(
            store.users,
            store.invites,
            trail,
            passwords=passwords,
            proving=self.proving,
            second_factors=self.second_factors,
            enrolment=self.enrolment,
            logins=self.logins,
            wall_clock=self.time,
        )
        self.issuing = IssuingService(
            store.users,
            rights,
            store.serials,
            trail,
            cluster=CLUSTER,
            authorities=lambda: AUTHORITIES,
            wall_clock=self.time,
        )
        self.tokens = TokenService(store.join_tokens, trail, wall_clock=self.time)
        self.joining = JoinService(
            store.nodes,
            store.join_tokens,
            store.joining,
            store.serials,
            trail,
            cluster=CLUSTER,
            hub_names=[HUB],
            authorities=lambda: AUTHORITIES,
            wall_clock=self.time,
        )
        self.access = AccessService(rights, store.nodes, store.roles, self.locks, trail)
        self.roles = RoleService(store.roles, trail, wall_clock=self.time)
        self.requests = RequestService(
            store.requests,
            store.roles,
            rights,
            trail,
            wall_clock=self.time,
            longest=8 * 3600.0,
            watchers=[self],
        )
        self.people = UserService(store.users, store.bearers, self.requests, trail)

    def time(self) -> float:
        return self.now

    def request_changed(self, request: AccessRequest) -> None:
        """As :class:`IRequestWatcher`."""
        self.told.append(request)

    def audited(self) -> list[AuditEvent]:
        """Every event so far."""
        found: list[tuple[AuditRecord, ...]] = []
        self.store.audit.search(AuditQuery(), limit=1000).addCallback(found.append)
        return [record.event for record in found[0]]
