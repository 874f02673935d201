"""
What goes wrong with what is stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from mezite.error import (
    AlreadyExists,
    BadInput,
    Denied,
    LimitReached,
    NotAuthenticated,
    NotFound,
    Unavailable,
)
from mezite.names import AgentId, NodeName, RoleName, UserName


class UserExists(AlreadyExists):
    """The name belongs to another user."""

    def __init__(self, name: UserName) -> None:
        super().__init__(f"there is a user {name} already")
        self.name = name


class NoSuchUser(NotFound):
    """No user goes by the name."""

    def __init__(self, name: UserName) -> None:
        super().__init__(f"there is no user {name}")
        self.name = name


class NoSuchBearer(NotAuthenticated):
    """A bearer that ended, or never was."""

    def __init__(self) -> None:
        super().__init__("you are not logged in, or your login has ended")


class RoleExists(AlreadyExists):
    """The name belongs to another role, or to one that is built in."""

    def __init__(self, name: RoleName, *, is_built_in: bool = False) -> None:
        advice = "it is built in" if is_built_in else "--force replaces it"
        super().__init__(f"there is a role {name} already: {advice}")
        self.name = name


class NoSuchRole(NotFound):
    """No role goes by the name."""

    def __init__(self, name: RoleName) -> None:
        super().__init__(f"there is no role {name}")
        self.name = name


class RoleInUse(BadInput):
    """A role that users hold: without it, what it denies would be open to them."""

    def __init__(self, name: RoleName, users: Sequence[UserName]) -> None:
        shown = ", ".join(user.text for user in users[:5]) + (", ..." if len(users) > 5 else "")
        super().__init__(f"the role {name} is held by {shown}: take it from them first")
        self.name = name
        self.users = tuple(users)


class TooManyRoles(LimitReached):
    """A cluster has no more roles than somebody can oversee."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a cluster has at most {limit} roles")


class NoSuchRequest(NotFound):
    """No access request has the id, or it is none that the caller may see."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"there is no access request {request_id[:80]!r}")
        self.request_id = request_id


class RequestExists(AlreadyExists):
    """An access request with this id is there already."""

    def __init__(self, request_id: str) -> None:
        super().__init__(f"there is an access request {request_id} already")
        self.request_id = request_id


class TooManyRequests(LimitReached):
    """A user has as many access requests as a user may have."""

    def __init__(self, which: str, limit: int) -> None:
        super().__init__(f"a user has at most {limit} access requests {which}")


class NoSuchNode(NotFound):
    """No node has the agent id; it never joined, or it was removed."""

    def __init__(self, agent_id: AgentId) -> None:
        super().__init__(f"there is no node with the agent id {agent_id}")
        self.agent_id = agent_id


class NodeNameTaken(AlreadyExists):
    """Another agent holds the host name that a new one claims."""

    def __init__(self, node: NodeName, holder: AgentId) -> None:
        super().__init__(
            f"the host name {node} belongs to the agent {holder}; join with another --hostname, or,"
            f" if this is that machine, let an administrator run: mezctl nodes allow-rejoin {node}"
        )
        self.node = node
        self.holder = holder


class NodeExists(AlreadyExists):
    """A node of this name is there."""

    def __init__(self, node: NodeName, holder: AgentId) -> None:
        super().__init__(f"there is a node {node} already; its id is {holder}")
        self.node = node
        self.holder = holder


class NodeKeyReplaced(Denied):
    """The node proves itself by another key since it joined once more."""

    def __init__(self, node: NodeName) -> None:
        super().__init__(
            f"node {node} has joined again with another key, and this one is of no use any more"
        )
        self.node = node


class TokenExists(AlreadyExists):
    """A token with this id or this secret is there already."""

    def __init__(self, token_id: str) -> None:
        super().__init__(f"there is a token {token_id} already")
        self.token_id = token_id


class NoSuchToken(NotFound):
    """No join token has the id; it never existed, was used up, or was removed."""

    def __init__(self, token_id: str) -> None:
        super().__init__(f"there is no join token {token_id!r}")
        self.token_id = token_id


class NoSuchApiToken(NotFound):
    """No API token has the id; it never existed, expired, or was removed."""

    def __init__(self, token_id: str) -> None:
        super().__init__(f"there is no API token {token_id[:64]!r}")
        self.token_id = token_id


class TooManyApiTokens(LimitReached):
    """More API tokens than somebody can oversee."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a user has at most {limit} API tokens: revoke one first")


class TokenRefused(Denied):
    """
    A join token that is unknown, used up or expired.

    One sentence for all three, so that an attacker learns nothing from it.
    """

    def __init__(self) -> None:
        super().__init__("the join token is not valid: it may be mistyped, used up or expired")


class InviteRefused(Denied):
    """
    An invite that is unknown, used or expired.

    One sentence for all, so that an attacker learns nothing from it.
    """

    def __init__(self) -> None:
        super().__init__(
            "the invite is not valid: it may be mistyped, used or expired;"
            " an administrator can make another with: mezctl users reset NAME"
        )


class NoSuchFactor(NotFound):
    """The user has no such second factor, or no such recovery code."""

    def __init__(self) -> None:
        super().__init__("there is no such second factor")


class KeyExists(AlreadyExists):
    """The security key was added before."""

    def __init__(self) -> None:
        super().__init__("this security key is in use already")


class TooManyKeys(LimitReached):
    """More security keys than somebody can oversee."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"a user has at most {limit} security keys")


class LockExists(AlreadyExists):
    """There is a lock with this id."""

    def __init__(self, lock_id: str) -> None:
        super().__init__(f"there is a lock {lock_id} already")


class NoSuchLock(NotFound):
    """No lock with this id, or it is over."""

    def __init__(self, lock_id: str) -> None:
        super().__init__(f"there is no lock {lock_id[:80]!r}")


class TooManyLocks(LimitReached):
    """More locks than somebody can oversee."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"there are {limit} locks already: remove some")


class StoreUnavailable(Unavailable):
    """
    The database did not do what it was asked; nothing was changed.

    ``reason`` is what the database said, for operators only.
    """

    def __init__(self, reason: str, sentence: str = "the hub's database is not available") -> None:
        super().__init__(sentence)
        self.reason = reason


class StoreUnwritable(StoreUnavailable):
    """The database can be read at most: its disk is full, or it is read-only."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, f"the hub's database {reason}")


class DataUnusable(Unavailable):
    """
    What is on disk cannot be used, and the hub must not start with it.

    The sentence is for the operator, and names the file and what to do.
    """


class NoSuchRecording(NotFound):
    """No recording has the id, or it is none that the caller may see."""

    def __init__(self, recording_id: str) -> None:
        super().__init__(f"there is no recording {recording_id[:80]!r}")
        self.recording_id = recording_id


class RecordingExists(AlreadyExists):
    """A recording with this id is there already."""

    def __init__(self, recording_id: str) -> None:
        super().__init__(f"there is a recording {recording_id} already")
        self.recording_id = recording_id


class NoSuchSession(NotFound):
    """No session that is recorded has the id."""

    def __init__(self, session_id: str) -> None:
        super().__init__(f"there is no recorded session {session_id[:80]!r}")
        self.session_id = session_id


class RecordingHeld(Denied):
    """A legal hold keeps the recording."""

    def __init__(self, recording_id: str, by: str) -> None:
        super().__init__(f"recording {recording_id} is held by {by}: it must be released first")
        self.recording_id = recording_id


class RecordingIsLive(Unavailable):
    """The recording still grows."""

    def __init__(self, recording_id: str) -> None:
        super().__init__(f"recording {recording_id} is live: end its session first")
        self.recording_id = recording_id


class RecordingsUnavailable(Unavailable):
    """
    Where recordings are kept cannot be used now.

    :param reason: for operators.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("the hub cannot read or write recordings now: try again later")
        self.reason = reason
