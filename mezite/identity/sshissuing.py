"""
SSH certificates for users and hosts, as their authorities issue them.

What they say is :mod:`mezite.identity.sshcert`'s, which also refuses those that are
not good.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from mezite.identity.authority import CLOCK_ERROR, CLOCK_SKEW, SshAuthority
from mezite.identity.sshblob import CertificateFields, CertificateKind
from mezite.identity.sshcert import HUB_KEY_ID, PRINCIPALS_LIMIT, REQUESTS
from mezite.identity.sshfields import BlobFields, string
from mezite.identity.sshkeys import subject_blob
from mezite.names import AgentId, LoginName, UserName

# What a session needs; agent and X11 forwarding let the node reach back to the
# person's own machine, and nobody asked for them.
DEFAULT_EXTENSIONS: Final = frozenset({"permit-port-forwarding", "permit-pty"})


def issue_user(
    authority: SshAuthority,
    public_line: str,
    *,
    user: UserName,
    logins: Iterable[LoginName],
    serial: int,
    now: float,
    lifetime: float,
    extensions: Collection[str] = DEFAULT_EXTENSIONS,
    critical_options: Mapping[str, bytes] = MappingProxyType({}),
    requests: Sequence[str] = (),
    key_id: str | None = None,
) -> str:
    """
    A certificate line for this person's key; the logins are its principals.

    The key may be one on a security token.

    A certificate without principals is good for every login, so at least one
    login must be given.

    :param requests: the ids of the access requests that it carries.
    :param key_id: what it is known by in logs; the user's name, which is what
        agents and hubs take it for, if nothing is said.
    :raises BadPublicKey: the key cannot be read or gets no certificate.
    """
    fields = CertificateFields(
        public_blob=subject_blob(public_line, tokens=True),
        serial=serial,
        kind=CertificateKind.USER,
        key_id=(user.text if key_id is None else key_id).encode(),
        principals=tuple(sorted({login.text.encode() for login in logins})),
        valid_after=max(0, int(now - CLOCK_SKEW)),
        valid_before=int(now + lifetime),
        critical_options={name.encode(): value for name, value in critical_options.items()},
        extensions={
            **{extension.encode(): b"" for extension in extensions},
            **({REQUESTS.encode(): ",".join(requests).encode()} if requests else {}),
        },
    )
    return _issue(authority, fields)


def issue_host(
    authority: SshAuthority,
    public_line: str,
    *,
    agent_id: AgentId | None,
    principals: Iterable[str],
    serial: int,
    now: float,
    lifetime: float,
) -> str:
    """
    A certificate line for the host key of this agent, or of a hub (``None``).

    :raises BadPublicKey: the key cannot be read or gets no certificate.
    """
    fields = CertificateFields(
        public_blob=subject_blob(public_line, tokens=False),
        serial=serial,
        kind=CertificateKind.HOST,
        key_id=(HUB_KEY_ID if agent_id is None else agent_id.text).encode(),
        principals=tuple(sorted({principal.encode() for principal in principals})),
        # An agent renews what it cannot use yet; the hub's is to be of use at once.
        valid_after=max(0, int(now - (CLOCK_ERROR if agent_id is None else CLOCK_SKEW))),
        valid_before=int(now + lifetime),
        critical_options={},
        extensions={},
    )
    return _issue(authority, fields)


def _issue(authority: SshAuthority, fields: CertificateFields) -> str:
    assert fields.principals, "a certificate without principals is good for every name"
    assert len(fields.principals) <= PRINCIPALS_LIMIT
    signed = fields.encoded(os.urandom(32), authority.public_blob)
    signature = string(b"ssh-ed25519") + string(authority.private_key.sign(signed))
    blob = signed + string(signature)
    name = BlobFields(blob).string().decode()
    return f"{name} {base64.b64encode(blob).decode()} {fields.key_id.decode()}"
