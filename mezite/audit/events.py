"""
The events of the audit.

An :class:`AuditEvent` says who did what, from where, to whom, and with what
outcome. What a type means and which details it has is in
docs/reference/audit.rst; how events become lines that nobody can change
unseen, in :mod:`mezite.audit.chain`.
"""

from __future__ import annotations

import enum
import uuid
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

# Texts come from strangers too, such as the client's own words for an error.
TEXT_LENGTH: Final = 1024
# 32 details of 16 values: an event stays below 1 MiB whatever is put into it, and is
# seldom more than 500 octets.
DETAILS: Final = 32
VALUES: Final = 16

Detail = str | int | bool | tuple[str, ...]


class EventType(enum.Enum):
    """
    What happened: the type as lists show it, and a code that never changes.

    A code ends in I for what was done and W for what was refused or went wrong.
    """

    USER_LOGIN = ("user.login", "MZ1000I")
    USER_LOGIN_FAILED = ("user.login.failed", "MZ1000W")
    USER_LOGOUT = ("user.logout", "MZ1001I")
    USER_PROVED = ("user.proved", "MZ1003I")
    USER_CERT_ISSUED = ("user.cert.issued", "MZ1002I")
    USER_CREATED = ("user.created", "MZ1010I")
    USER_UPDATED = ("user.updated", "MZ1011I")
    USER_DELETED = ("user.deleted", "MZ1012I")
    USER_INVITED = ("user.invited", "MZ1013I")
    USER_INVITE_ACCEPTED = ("user.invite.accepted", "MZ1014I")
    USER_INVITE_REFUSED = ("user.invite.refused", "MZ1014W")
    USER_PASSWORD_CHANGED = ("user.password.changed", "MZ1015I")
    USER_PASSWORD_RESET = ("user.password.reset", "MZ1016I")
    USER_TOTP_ENROLLED = ("user.totp.enrolled", "MZ1020I")
    USER_TOTP_REMOVED = ("user.totp.removed", "MZ1021I")
    USER_WEBAUTHN_ADDED = ("user.webauthn.added", "MZ1022I")
    USER_WEBAUTHN_REMOVED = ("user.webauthn.removed", "MZ1023I")
    USER_RECOVERY_CODES_CREATED = ("user.recovery_codes.created", "MZ1024I")
    USER_RECOVERY_CODE_USED = ("user.recovery_code.used", "MZ1025I")
    AUTHZ_DENIED = ("authz.denied", "MZ1100W")
    ROLE_CREATED = ("role.created", "MZ1200I")
    ROLE_UPDATED = ("role.updated", "MZ1201I")
    ROLE_DELETED = ("role.deleted", "MZ1202I")
    TOKEN_CREATED = ("token.created", "MZ1300I")
    TOKEN_DELETED = ("token.deleted", "MZ1301I")
    API_TOKEN_CREATED = ("api_token.created", "MZ1310I")
    API_TOKEN_REVOKED = ("api_token.revoked", "MZ1311I")
    NODE_JOINED = ("node.joined", "MZ1400I")
    NODE_JOIN_REFUSED = ("node.join.refused", "MZ1400W")
    NODE_CONNECTED = ("node.connected", "MZ1401I")
    NODE_LEFT = ("node.left", "MZ1402I")
    NODE_REMOVED = ("node.removed", "MZ1403I")
    NODE_REJOIN_ALLOWED = ("node.rejoin.allowed", "MZ1404I")
    NODE_REJOINED = ("node.rejoined", "MZ1405I")
    NODE_CERT_ISSUED = ("node.cert.issued", "MZ1406I")
    NODE_CREATED = ("node.created", "MZ1407I")
    NODE_HOST_KEY_REFUSED = ("node.host_key.refused", "MZ1409W")
    SESSION_START = ("session.start", "MZ1500I")
    SESSION_END = ("session.end", "MZ1501I")
    SESSION_TERMINATED = ("session.terminated", "MZ1502I")
    SESSION_WATCHED = ("session.watched", "MZ1503I")
    SESSION_RESUMED = ("session.resumed", "MZ1504I")
    LOCK_CREATED = ("lock.created", "MZ1600I")
    LOCK_DELETED = ("lock.deleted", "MZ1601I")
    LOCK_EXPIRED = ("lock.expired", "MZ1602I")
    ACCESS_REQUEST_CREATED = ("access_request.created", "MZ1700I")
    ACCESS_REQUEST_APPROVED = ("access_request.approved", "MZ1701I")
    ACCESS_REQUEST_DENIED = ("access_request.denied", "MZ1702I")
    ACCESS_REQUEST_CANCELLED = ("access_request.cancelled", "MZ1703I")
    ACCESS_REQUEST_REVOKED = ("access_request.revoked", "MZ1704I")
    ACCESS_REQUEST_EXPIRED = ("access_request.expired", "MZ1705I")
    CA_ROTATED = ("ca.rotated", "MZ1800I")
    RECORDING_UPLOADED = ("recording.uploaded", "MZ1900I")
    RECORDING_INTERRUPTED = ("recording.interrupted", "MZ1900W")
    RECORDING_PLAYED = ("recording.played", "MZ1901I")
    RECORDING_DELETED = ("recording.deleted", "MZ1902I")
    RECORDING_HELD = ("recording.held", "MZ1903I")
    RECORDING_RELEASED = ("recording.released", "MZ1904I")
    AUDIT_PRUNED = ("audit.pruned", "MZ2000I")
    HUB_STARTED = ("hub.started", "MZ2001I")
    HUB_STOPPED = ("hub.stopped", "MZ2002I")

    def __init__(self, text: str, code: str) -> None:
        self.text = text
        self.code = code


BY_TEXT: Final[Mapping[str, EventType]] = {each.text: each for each in EventType}


def _clean(text: str) -> str:
    """Text that breaks no line and no terminal, of a bounded length."""
    shown = text
    if not text.isprintable():
        shown = "".join(
            each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text
        )
    if len(shown) > TEXT_LENGTH:
        shown = shown[: TEXT_LENGTH - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return shown


def _microseconds(time: float) -> float:
    return round(time, 6)


def _clean_detail(value: Detail) -> Detail:
    if isinstance(value, str):
        return _clean(value)
    if isinstance(value, bool | int):
        return value
    return tuple(_clean(each) for each in value[:VALUES])


def _clean_details(details: Mapping[str, Detail]) -> Mapping[str, Detail]:
    kept = sorted(details.items())[:DETAILS]
    return {name: _clean_detail(value) for name, value in kept}


@frozen
class Actor:
    """
    Who acts, and from where.

    ``name`` is a user's name, a node's name for its agent, ``local`` for the
    admin socket, ``hub`` for what the hub does by itself, or ``nobody``.
    """

    name: str = field(converter=_clean)
    address: str = field(converter=_clean, default="")


HUB: Final = Actor("hub")


@frozen
class AuditEvent:
    """
    Something that happened, or was refused.

    :param time: POSIX seconds; microseconds are kept.
    :param target: what it was done to: the name of a user or role, the id of
        a token, lock or request.
    :param error: why it failed, for operators; empty if it did not.
    """

    type: EventType
    time: float = field(converter=_microseconds)
    actor: Actor
    target: str = field(converter=_clean, default="")
    node: str = field(converter=_clean, default="")
    login: str = field(converter=_clean, default="")
    session_id: str = field(converter=_clean, default="")
    success: bool = True
    error: str = field(converter=_clean, default="")
    details: Mapping[str, Detail] = field(converter=_clean_details, factory=dict)
    id: str = field(factory=lambda: str(uuid.uuid4()))
