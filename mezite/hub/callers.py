"""
Who is calling the auth service, and which method needs what.

:data:`PERMISSIONS` is the only list: a method that is not in it cannot be
called. What a caller may do beyond that (one's own node, one's own name) the
method itself decides.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from mezite.audit.events import Actor
from mezite.auth.access import host_of
from mezite.auth.apitokens import ApiTokenService
from mezite.auth.error import PasswordChangeRequired
from mezite.auth.locking import LockService
from mezite.auth.login import LoginService
from mezite.auth.rights import is_administrator, is_auditor, predates, role_names
from mezite.error import Denied, NotAuthenticated, ProofNeeded
from mezite.identity.locks import Attempt
from mezite.identity.tokens import ApiAccess, is_api_token
from mezite.identity.x509 import NodeIdentity, UserIdentity, check_source, issued_at
from mezite.names import ClusterName
from mezite.rpc.server import Call, Caller
from mezite.store.error import NodeKeyReplaced, NoSuchBearer
from mezite.store.interfaces import INodes, IUsers
from mezite.store.records import NodeRecord, UserRecord


class Permission(enum.Enum):
    """What a caller must have proved."""

    NOTHING = "nothing"
    PASSWORD_LOGIN = "a login by password"  # noqa: S105 - names a right
    # Whoever has got hold of somebody's bearer must not make more of it than it is.
    PROVED = "a login by password, and a proof of at most ten minutes ago"
    USER = "a user's login"
    NODE = "a node's certificate"
    AUDITOR = "an auditor's or an administrator's login, or the admin socket"
    ADMIN = "an administrator's login, or the admin socket"


PERMISSIONS: Final[Mapping[str, Permission]] = {
    "Ping": Permission.NOTHING,
    "AuthenticateLocal": Permission.NOTHING,
    "ChangePassword": Permission.NOTHING,
    "ValidateJoinToken": Permission.NOTHING,
    "GenerateHostCerts": Permission.NOTHING,
    "GetInvite": Permission.NOTHING,
    "AcceptInvite": Permission.NOTHING,
    "IssueUserCerts": Permission.PASSWORD_LOGIN,
    "ProveAgain": Permission.PASSWORD_LOGIN,
    "BeginTotp": Permission.PROVED,
    "ConfirmTotp": Permission.PROVED,
    "RemoveTotp": Permission.PROVED,
    "CreateRecoveryCodes": Permission.PROVED,
    "BeginWebauthn": Permission.PROVED,
    "FinishWebauthn": Permission.PROVED,
    "RemoveWebauthn": Permission.PROVED,
    "ListSecondFactors": Permission.USER,
    "WhoAmI": Permission.USER,
    "Logout": Permission.USER,
    "ListNodes": Permission.USER,
    "CreateAccessRequest": Permission.USER,
    "ListAccessRequests": Permission.USER,
    "GetAccessRequest": Permission.USER,
    # Of a role that may review, which the method itself decides.
    "ReviewAccessRequest": Permission.USER,
    "CancelAccessRequest": Permission.USER,
    "ListSessions": Permission.USER,
    # Of one's own sessions, or for auditors, which the methods themselves decide.
    "ListRecordings": Permission.USER,
    "GetRecording": Permission.USER,
    "ReadRecording": Permission.USER,
    "RegisterAgent": Permission.NODE,
    "AgentHeartbeat": Permission.NODE,
    "DeregisterAgent": Permission.NODE,
    "AuthorizeSession": Permission.NODE,
    "ResumeSession": Permission.NODE,
    "ReportSessions": Permission.NODE,
    "ListUsers": Permission.AUDITOR,
    "ListTokens": Permission.AUDITOR,
    "GetStatus": Permission.AUDITOR,
    "GetNode": Permission.AUDITOR,
    "ListRoles": Permission.AUDITOR,
    "GetRole": Permission.AUDITOR,
    "ExplainAccess": Permission.AUDITOR,
    "ListApiTokens": Permission.AUDITOR,
    "ListAuditEvents": Permission.AUDITOR,
    "VerifyAudit": Permission.AUDITOR,
    "GetAuthorities": Permission.AUDITOR,
    "ListLocks": Permission.AUDITOR,
    "GetOpenSshSetup": Permission.AUDITOR,
    "CreateOpenSshNode": Permission.ADMIN,
    "DeleteNode": Permission.ADMIN,
    "AllowRejoin": Permission.ADMIN,
    "CreateUser": Permission.ADMIN,
    "UpdateUser": Permission.ADMIN,
    "DeleteUser": Permission.ADMIN,
    "CreateInvite": Permission.ADMIN,
    "ResetUser": Permission.ADMIN,
    "ResetSecondFactors": Permission.ADMIN,
    "CreateToken": Permission.ADMIN,
    "DeleteToken": Permission.ADMIN,
    "CreateApiToken": Permission.ADMIN,
    "DeleteApiToken": Permission.ADMIN,
    "CreateRole": Permission.ADMIN,
    "DeleteRole": Permission.ADMIN,
    "RotateAuthority": Permission.ADMIN,
    "RollbackAuthority": Permission.ADMIN,
    "CreateLock": Permission.ADMIN,
    "DeleteLock": Permission.ADMIN,
    "EndSession": Permission.ADMIN,
    "HoldRecording": Permission.ADMIN,
    "ReleaseRecording": Permission.ADMIN,
    "DeleteRecording": Permission.ADMIN,
}

# Of the methods for users, those that change nothing. What is for auditors never does.
READS: Final = frozenset(
    {
        "WhoAmI",
        "ListNodes",
        "ListAccessRequests",
        "GetAccessRequest",
        "ListSessions",
        "ListRecordings",
        "GetRecording",
        "ReadRecording",
    }
)

# What only a login by password will do for, or a token; no certificate, and not the socket.
_BY_LOGIN: Final = frozenset({Permission.PASSWORD_LOGIN, Permission.PROVED})

# The one of these methods that a token can be made for; the others change with what a user
# logs in, and are for nobody but the user.
ISSUING: Final = "IssueUserCerts"

# A token that is stolen must not make another, which would outlive its revocation; and it
# ends by being revoked. Nor must it change how its owner logs in.
NOT_BY_TOKEN: Final = frozenset(
    {
        "CreateApiToken",
        "Logout",
        "ListSecondFactors",
    }
)


@frozen
class Subject:
    """
    The proved caller of one call; at most one of the two records is there.

    ``is_admin`` is also true for the admin socket, which has no user. Every
    administrator is an auditor, too.
    """

    user: UserRecord | None = None
    node: NodeRecord | None = None
    is_admin: bool = False
    is_auditor: bool = False
    address: str = ""
    # Whether they have proved lately who they are, with what they log in with.
    has_proved: bool = False
    # Of the API token that the caller speaks with, if it is one.
    access: ApiAccess | None = None

    @property
    def actor(self) -> Actor:
        """Who acts, as the audit names them."""
        return Actor(self.name, self.address)

    @property
    def is_known(self) -> bool:
        """Whether the caller has proved to be somebody."""
        return self.user is not None or self.node is not None or self.is_admin

    @property
    def name(self) -> str:
        """For records of who did something."""
        if self.user is not None:
            return str(self.user.name)
        if self.node is not None:
            return str(self.node.name)
        return "local" if self.is_admin else "nobody"


class Callers:
    """Proves callers against the store: a removed user or node calls no more."""

    def __init__(
        self,
        *,
        cluster: ClusterName,
        users: IUsers,
        nodes: INodes,
        logins: LoginService,
        api_tokens: ApiTokenService,
        locks: LockService,
    ) -> None:
        self._cluster = cluster
        self._users = users
        self._nodes = nodes
        self._logins = logins
        self._api_tokens = api_tokens
        self._locks = locks

    async def identify(self, method: str, call: Call) -> Subject:
        """
        Who calls this method; what they may is :func:`permit`'s.

        :raises NotAuthenticated: nothing, or nothing valid, was shown.
        :raises Denied: a node that was removed, or a user with a one-time password.
        :raises Locked: or NodeLocked.
        """
        permission = PERMISSIONS[method]
        if permission is Permission.NOTHING:
            return Subject(address=call.caller.address)
        if permission is Permission.NODE:
            return await self._node(call)
        subject = await self._person(call, bearer_only=permission in _BY_LOGIN)
        if subject.user is not None:
            # The admin socket is nobody's: there is always a way to take a lock away.
            user = subject.user
            await self._locks.check(Attempt(user=user.name, roles=role_names(user)))
            if call.caller.recognize is not None:
                call.caller.recognize(str(user.name))
        return subject

    async def _node(self, call: Call) -> Subject:
        identity = call.caller.identity
        if not isinstance(identity, NodeIdentity) or identity.cluster != self._cluster:
            raise NotAuthenticated("this is for nodes, by their certificate")
        record = await self._nodes.get(identity.agent_id)
        # The name is compared too: the certificate may be older than a removal
        # after which the id came back from a backup under another name.
        if record is None or record.name != identity.node:
            raise Denied(f"node {identity.node} ({identity.agent_id}) was removed; join it again")
        if not record.accepts(call.caller.tls_key):
            raise NodeKeyReplaced(record.name)
        await self._locks.check_node(record.name, record.agent_id)
        return Subject(node=record, address=call.caller.address)

    async def _person(self, call: Call, *, bearer_only: bool) -> Subject:
        bearer = bearer_of(call.metadata)
        identity = call.caller.identity
        user: UserRecord | None = None
        has_proved = False
        if bearer is not None and is_api_token(bearer):
            return await self._program(call, bearer)
        if bearer is not None:
            found = await self._logins.caller_of(bearer)
            if found is not None:
                user, has_proved = found.record, found.has_proved
        elif call.caller.is_local_admin and not bearer_only:
            return Subject(is_admin=True, is_auditor=True, address=call.caller.address)
        elif (
            isinstance(identity, UserIdentity)
            and identity.cluster == self._cluster
            and not bearer_only
        ):
            user = await self._certified(identity, call.caller)
        if user is None or user.disabled:
            raise NoSuchBearer()
        if user.must_change_password:
            # Whoever reads a one-time password over a shoulder gets no further with it.
            raise PasswordChangeRequired()
        return Subject(
            user=user,
            is_admin=is_administrator(user),
            is_auditor=is_auditor(user),
            address=call.caller.address,
            has_proved=has_proved,
        )

    async def _program(self, call: Call, secret: str) -> Subject:
        holder = await self._api_tokens.holder_of(secret)
        if holder is None:
            raise NotAuthenticated("the API token has expired or was revoked, or is none")
        # Whether the user still has a one-time password is no matter: nobody logs in with it
        # here, and the accounts of programs are made without anybody to choose another.
        return Subject(
            user=holder.user,
            is_admin=is_administrator(holder.user),
            is_auditor=is_auditor(holder.user),
            address=call.caller.address,
            access=holder.token.access,
        )

    async def _certified(self, identity: UserIdentity, caller: Caller) -> UserRecord | None:
        """The user whom a certificate names, if it is one of theirs and good from there."""
        if caller.certificate is None:
            return None
        check_source(caller.certificate, host_of(caller.address))
        user = await self._users.get(identity.user)
        is_older = user is not None and predates(issued_at(caller.certificate), user)
        return None if is_older else user


def permit(method: str, subject: Subject) -> None:
    """
    Let this subject call this method.

    :raises Denied: who they are is not enough, or what their token is good for.
    :raises ProofNeeded: they are to prove it once more, and to call again.
    """
    permission = PERMISSIONS[method]
    if subject.access is not None:
        _permit_token(method, permission, subject.access)
    if permission is Permission.ADMIN and not subject.is_admin:
        raise Denied("this is for administrators")
    if permission is Permission.AUDITOR and not subject.is_auditor:
        raise Denied("this is for administrators and auditors")
    if permission is Permission.PROVED and not subject.has_proved:
        raise ProofNeeded(
            "this changes how you log in: prove once more who you are, by your password and your"
            " second factor, for the last proof is more than ten minutes old"
        )


def _permit_token(method: str, permission: Permission, access: ApiAccess) -> None:
    if method == "WhoAmI":
        return
    issues = method == ISSUING
    match access:
        case ApiAccess.CERTIFICATES if not issues:
            raise Denied("this API token is good for certificates only")
        case ApiAccess.FULL | ApiAccess.READ_ONLY if issues:
            raise Denied("this API token is not good for certificates")
        case ApiAccess.READ_ONLY if method not in READS and permission is not Permission.AUDITOR:
            raise Denied("this API token only reads")
    if method in NOT_BY_TOKEN or (permission in _BY_LOGIN and not issues):
        raise Denied("this is not for API tokens")


def bearer_of(metadata: Mapping[str, str]) -> str | None:
    """The token of ``authorization: Bearer TOKEN`` (RFC 6750, section 2.1)."""
    value = metadata.get("authorization")
    if value is None:
        return None
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated("the authorization is not a bearer token")
    return token.strip()
