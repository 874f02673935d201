"""
Why somebody is not let in, or gets no certificate.
"""

from __future__ import annotations

from collections.abc import Sequence

from mezite.error import (
    AlreadyExists,
    BadInput,
    Denied,
    LimitReached,
    NotAuthenticated,
    Unavailable,
)
from mezite.identity.locks import Lock
from mezite.names import NodeName, RoleName, UserName


class LoginRefused(NotAuthenticated):
    """
    A login that failed, with one sentence for every cause.

    ``reason`` is for operators: it may tell a wrong password from an unknown user.
    """

    def __init__(self, reason: str) -> None:
        super().__init__("the user name or the password is wrong")
        self.reason = reason


class TooManyFailures(LimitReached):
    """This user failed too often from this address; nothing was tried."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"too many failed logins: try again in {max(1, round(wait))} s")
        self.wait = wait


class TooManyLogins(LimitReached):
    """More passwords are being checked than may wait; nothing was tried."""

    def __init__(self) -> None:
        super().__init__("too many people are logging in at once: try again in a few seconds")
        self.wait = 3.0


class SecondFactorRequired(NotAuthenticated):
    """
    The password is right, and a second factor was not shown.

    ``webauthn_request`` is what a browser asks a security key with; empty if
    the user has none.
    """

    def __init__(self, kinds: tuple[str, ...], webauthn_request: str = "") -> None:
        super().__init__("a code of your second factor is needed as well")
        self.kinds = kinds
        self.webauthn_request = webauthn_request


class SecondFactorMissing(Denied):
    """The cluster wants a second factor of everybody, and this user has none."""

    def __init__(self, user: UserName) -> None:
        super().__init__(
            "this cluster requires a second factor, and you have none yet:"
            f" ask an administrator for a new invite (mezctl users reset {user})"
        )
        self.user = user


class SecondFactorsOff(Denied):
    """The cluster uses no second factors."""

    def __init__(self) -> None:
        super().__init__("second factors are turned off here (auth.second_factor)")


class LastSecondFactor(Denied):
    """The cluster wants a second factor of everybody, and this is the user's only one."""

    def __init__(self) -> None:
        super().__init__(
            "this cluster requires a second factor: add another before you remove the only one"
        )


class EnrolmentRequired(BadInput):
    """An invite is accepted without the second factor that the cluster wants."""

    def __init__(self) -> None:
        super().__init__(
            "this cluster requires a second factor: enrol an authenticator app,"
            " and give the code that it shows"
        )


class WrongCode(BadInput):
    """An app that is being enrolled shows another code."""

    def __init__(self) -> None:
        super().__init__(
            "this is not the code that the app shows now; its clock must be right,"
            " and after some minutes one begins again"
        )


class BadSecurityKey(BadInput):
    """What should have come from a security key did not; ``reason`` is for operators."""

    def __init__(self, reason: str) -> None:
        super().__init__("the security key was not added: its answer is not valid here")
        self.reason = reason


class NoSecurityKeysHere(BadInput):
    """Browsers use security keys only where a hub has a name."""

    def __init__(self) -> None:
        super().__init__(
            "security keys need a hub with a name: proxy.public_addr is an address here"
        )


class BadPassword(BadInput):
    """A new password that is not accepted."""


class BadRequest(BadInput):
    """A lifetime, a number of uses or a text out of its bounds."""


class UserDisabled(NotAuthenticated):
    """The user was removed or disabled since they proved who they are."""

    def __init__(self, user: UserName) -> None:
        super().__init__(f"{user} is not a user of this cluster any more")
        self.user = user


class Locked(Denied):
    """Somebody who has proved who they are, and is locked; the sentence has the lock's message."""

    def __init__(self, lock: Lock) -> None:
        super().__init__(lock.sentence)
        self.lock = lock


class NodeLocked(Unavailable):
    """A node that is locked; it may try again, since locks are taken away again."""

    def __init__(self, lock: Lock) -> None:
        super().__init__(lock.sentence)
        self.lock = lock


class AddressUnknown(Denied):
    """A certificate was to be bound to an address, and there is none to bind it to."""

    def __init__(self, user: UserName) -> None:
        super().__init__(
            f"certificates of {user} are good from one address only, and yours is not known"
        )
        self.user = user


class WrongAddress(Denied):
    """Nobody with these roles may come from there."""

    def __init__(self, user: UserName, address: str) -> None:
        super().__init__(f"the roles of {user} do not let them come from {address}")
        self.user = user
        self.address = address


class PasswordChangeRequired(Denied):
    """A one-time password was used, and gives the right to change it only."""

    def __init__(self) -> None:
        super().__init__(
            "your password must be changed before you get certificates:"
            " run msh login, which asks for a new one"
        )


class NoLogins(Denied):
    """A certificate without logins would be good for all of them."""

    def __init__(self, user: UserName) -> None:
        super().__init__(f"{user} has no logins; an administrator can give some to a user")
        self.user = user


class TooManyLoginNames(Denied):
    """Roles that give more logins than a certificate can name."""

    def __init__(self, user: UserName, number: int, limit: int) -> None:
        super().__init__(
            f"the roles of {user} give {number} logins, and a certificate names {limit} at most"
        )
        self.user = user


class RequestRefused(Denied):
    """Somebody asks for a role that they may not ask for, or use a request that gives nothing."""


class ReviewRefused(Denied):
    """Somebody decides about a request who may not: their own, or none of theirs."""


class BuiltInRole(BadInput):
    """A role that every cluster has, and that nobody changes."""

    def __init__(self, name: RoleName) -> None:
        super().__init__(f"the role {name} is built in")
        self.name = name


class NodeNameReserved(AlreadyExists):
    """
    A host name that stands for something else than a node, or for another node.

    ``hub`` is the name of the hub below which it lies, if it does.
    """

    def __init__(self, node: NodeName, hub: str | None = None) -> None:
        if hub is None:
            sentence = f"the host name {node} has another meaning here"
            advice = "join with another --hostname"
        else:
            short = node.text.removesuffix(f".{hub}")
            sentence = f"the host name {node} lies below {hub}, where it means the node {short}"
            advice = f"join with --hostname {short}"
        super().__init__(f"{sentence}; {advice}")
        self.node = node
        self.hub = hub


class NameNotAllowed(Denied):
    """A host name that the join token does not let anybody claim."""

    def __init__(self, node: NodeName, patterns: Sequence[str]) -> None:
        shown = ", ".join(patterns[:5]) + (", ..." if len(patterns) > 5 else "")
        super().__init__(f"this join token is for {shown}, and not for the host name {node}")
        self.node = node


class WrongNode(Denied):
    """A token with which one node may join once more, shown by another."""

    def __init__(self, node: NodeName, meant: NodeName) -> None:
        super().__init__(
            f"this token lets {meant} join once more, and not {node}:"
            f" start mezd with --hostname={meant} if this is that machine"
        )
        self.node = node
        self.meant = meant


class NodeOnline(AlreadyExists):
    """The node is connected, so what it has is good."""

    def __init__(self, node: NodeName) -> None:
        super().__init__(
            f"{node} is connected and need not join again; if what is connected is not the"
            f" machine that you mean, stop its agent first, or run: mezctl nodes rm {node}"
        )
        self.node = node


class NodeRemoved(Denied):
    """The node is not in the store any more, or the certificate is from elsewhere."""

    def __init__(self, node: NodeName) -> None:
        super().__init__(f"node {node} is not part of this cluster any more; join it again")
        self.node = node
