"""
What can go wrong on a person's own machine.
"""

from __future__ import annotations

from mezite.error import BadInput, NotAuthenticated, RemoteError, Unavailable


class NotLoggedIn(NotAuthenticated):
    """There is no login, or there is one no more."""

    def __init__(self, sentence: str = "you are not logged in: run msh login") -> None:
        super().__init__(sentence)


class LoginExpired(NotAuthenticated):
    """The certificates of the login have ended."""

    def __init__(self) -> None:
        super().__init__("your login has expired: run msh login")


class DamagedProfile(BadInput):
    """The files of a login are there and cannot be used."""


class UntrustedHub(RemoteError):
    """What answered at the hub's address is not the hub that was trusted."""


class HubUnreachable(Unavailable):
    """No connection to the hub came about."""


class ForwardFailed(Unavailable):
    """A port or socket that was to be forwarded is not."""
