"""
What can be wrong with keys, certificates, pins and selectors.
"""

from __future__ import annotations

from typing import Any, Final

from mezite.error import BadInput, Denied, RemoteError, Unavailable


class BadAuthority(BadInput):
    """The stored key or certificate of an authority cannot be used."""


class WrongPassphrase(BadAuthority):
    """The passphrase does not open the key, is missing, or is not called for."""


class AuthorityExpired(Unavailable):
    """An authority whose own certificate has ended; it signs nothing more."""

    def __init__(self) -> None:
        super().__init__("the cluster's certificate authority has expired")


class BadPublicKey(BadInput):
    """A public key that cannot be read, or of a kind that gets no certificate."""


class BadPin(BadInput):
    """Text that is not the pin of an authority."""


class BadSelector(BadInput):
    """Text that does not select nodes by their labels."""


class BadPattern(BadInput):
    """Text that is not a pattern, or one of a kind that could take long to match."""


class BadRole(BadInput):
    """
    A role document that says nothing, or something else than was meant.

    ``where`` leads to the place: keys, and numbers in lists. The sentence says
    the same in words, and what is accepted there; :mod:`mezite.config.roles`
    knows the line.
    """

    def __init__(self, where: tuple[str | int, ...], problem: str) -> None:
        key = ".".join(part for part in where if isinstance(part, str))
        super().__init__(f"{key}: {problem}" if key else problem)
        self.where = where


class BadTraits(BadInput):
    """Traits of a user that are too many, too long or not printable."""


class BadRequestText(BadInput):
    """An access request that asks for nothing, for too much, or without a reason."""


class NotPossible(BadInput):
    """A request is in a state in which this cannot be done to it (any more)."""

    def __init__(self, request: str, step: str, state: str) -> None:
        super().__init__(f"the request {request} is {state}: one cannot {step} it")
        self.request = request
        self.state = state


class BadCertificate(RemoteError):
    """A certificate, signed by an authority of ours, that names nobody."""


class CertificateRefused(Denied):
    """
    A certificate that proves nothing here.

    The sentence is for the peer; ``reason`` is for those who run the hub or the
    node, and may quote what the certificate says.
    """

    def __init__(self, sentence: str, *, reason: str) -> None:
        super().__init__(sentence)
        self.reason = reason


_NOTHING_TO_DO: Final = "no rotation is under way"
_UNDER_WAY: Final = "a rotation is under way: see mezctl ca status, or mezctl ca rollback"
_WHY_NOT: Final = {
    ("prepare", "begin"): _UNDER_WAY,
    ("rotate", "begin"): _UNDER_WAY,
    ("rollback", "begin"): "a rotation is being rolled back: wait for its end, or finish it",
    ("prepare", "finish"): "the new authority signs nothing yet: let it, by --phase=rotate, first",
    ("rotate", "switch"): "the new authority signs already",
    ("rollback", "switch"): "the rotation is being rolled back",
    ("rollback", "roll back"): "the rotation is being rolled back already",
}


class NotInThisPhase(BadInput):
    """A step that the phase of a rotation does not have."""

    def __init__(self, phase: Any, step: Any) -> None:
        super().__init__(_WHY_NOT.get((phase.value, step.value), _NOTHING_TO_DO))
        self.phase = phase
        self.step = step
