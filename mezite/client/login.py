"""
Logging in: whom to trust, who one is, and the certificates that say so.

It makes the keys, which never leave this machine, and leaves their files to
:mod:`mezite.client.profile`. What has to be asked of the person goes through
an :class:`IConversation`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from twisted.logger import Logger
from zope.interface import Interface

from mezite.client import places
from mezite.client.dialer import dial_unauthenticated
from mezite.client.error import DamagedProfile, UntrustedHub
from mezite.client.learning import one_line
from mezite.client.profile import Credentials, Profile, Profiles, write_private
from mezite.client.proving import Dial, accept_invite, authenticate, call
from mezite.error import BadInput, MeziteError, RemoteError
from mezite.identity.authority import parse_pin, pin_of
from mezite.names import ClusterName, HostPort, LoginName, UserName
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from mezite.wire import trust

# A handful of authorities in PEM; more is not a file of authorities.
_CA_FILE_LIMIT: Final = 262144
_log = Logger()


class IConversation(Interface):
    """What only the person can say; each method waits for the answer."""

    def password(user: UserName) -> str:
        """The user's password."""

    def new_password() -> str:
        """A new password, in place of the one-time password."""

    def chosen_password(user: UserName) -> str:
        """The first password of somebody who holds an invite."""

    def second_factor() -> str:
        """A code of the user's authenticator app, or a recovery code."""

    def enrol(offer: pb.TotpEnrolment, is_required: bool) -> str:
        """
        The code that an app shows which was given this secret; empty if none is wanted.
        """

    def show_recovery_codes(codes: Sequence[str]) -> None:
        """Show codes that nobody can show again."""

    def confirm_authority(hub: HostPort, pin: str) -> bool:
        """
        Whether the authority with this fingerprint is the hub's.

        Raises :class:`BadInput`, naming the options, where nobody can be asked.
        """


@frozen
class LoginRequest:
    """
    What is to be logged in to, and how the hub is to be known.

    Of ``pin`` and ``ca_file`` at most one is given. ``ttl`` is in seconds, None
    for the hub's default. ``code`` is one of the second factor, if it was given
    beforehand; with an ``invite`` no password is needed. ``requests`` are the
    ids of approved access requests that the certificates are to carry.
    """

    hub: HostPort
    user: UserName
    ttl: float | None = None
    pin: str | None = None
    ca_file: Path | None = None
    # An API token in place of a password; then ``user`` does not count.
    token: str | None = field(default=None, repr=False)
    invite: str | None = field(default=None, repr=False)
    code: str = field(default="", repr=False)
    requests: tuple[str, ...] = ()
    # Whether connections to nodes are taken up again; None for what was said before.
    resumes: bool | None = None


async def log_in(
    reactor: Any, request: LoginRequest, conversation: Any, profiles: Profiles
) -> Profile:
    """
    Prove who the user is, and keep the certificates that the hub issues.

    :raises UntrustedHub: if what answers is not the hub that is trusted.
    :raises NotAuthenticated: if the password or the code is wrong.
    :raises Denied: if the invite is not valid.
    """
    authority, is_known = await authority_of(
        reactor,
        request.hub,
        pin=request.pin,
        ca_file=request.ca_file,
        confirm=conversation.confirm_authority,
        profiles=profiles,
    )

    async def dial() -> AuthClient:
        nonlocal authority
        try:
            return await dial_unauthenticated(reactor, request.hub, authority)
        except RemoteError as error:
            if not is_known:
                raise
            authority = await _successor(reactor, request.hub, authority, error)
            return await dial_unauthenticated(reactor, request.hub, authority)

    if request.token is not None:
        return await _log_in_as_program(await dial(), request, profiles)
    # Whoever is not there, or not who they were, is told before a password is asked for.
    (await dial()).close()
    bearer = await _bearer(dial, request, conversation)
    client = await dial()
    client.bearer = bearer
    try:
        profile, credentials = await _issue(client, request, profiles)
    finally:
        client.close()
    profiles.save(profile, credentials)
    return profile


async def _successor(reactor: Any, hub: HostPort, known: bytes, refusal: RemoteError) -> bytes:
    """
    The authority that takes over from a known one, with its word for it, PEM.

    :raises UntrustedHub: the hub shows none.
    """
    trusted = x509.load_pem_x509_certificates(known)
    for authority in trusted:
        try:
            found = await trust.fetch_authority(reactor, hub, pin=pin_of(authority))
            if not set(x509.load_pem_x509_certificates(found)) <= set(trusted):
                return found
        except MeziteError as error:
            _log.debug("no successor of {pin}: {error}", pin=pin_of(authority), error=error)
    raise UntrustedHub(
        f"{hub} is not the hub that you trusted before"
        f" ({refusal.__cause__ or refusal}); if it was set up anew, or its"
        " authority was rotated while you were away, give its --ca-pin"
    ) from refusal


async def _log_in_as_program(
    client: AuthClient, request: LoginRequest, profiles: Profiles
) -> Profile:
    """With a token; whose it is, the hub says."""
    try:
        client.bearer = request.token
        user = UserName.parse((await client.who_am_i()).name)
        profile, credentials = await _issue(client, evolve(request, user=user), profiles)
    finally:
        client.close()
    profiles.save(profile, credentials)
    return profile


async def _bearer(dial: Dial, request: LoginRequest, conversation: Any) -> str:
    user = request.user
    if request.invite is not None:
        accepted = await accept_invite(dial, user, request.invite, conversation, request.code)
        return accepted.token
    password = conversation.password(user)
    answer = await authenticate(dial, user, password, conversation, request.code)
    if answer.must_change_password:
        new = conversation.new_password()
        await call(dial, lambda hub: hub.change_password(user.text, password, new))
        answer = await authenticate(dial, user, new, conversation)
    return answer.token


async def authority_of(
    reactor: Any,
    hub: HostPort,
    *,
    pin: str | None,
    ca_file: Path | None,
    confirm: Callable[[HostPort, str], bool],
    profiles: Profiles,
) -> tuple[bytes, bool]:
    """
    The authority to trust, PEM, and whether it is from an earlier login.

    ``confirm`` is asked about what nothing else tells; see :class:`IConversation`.
    """
    if pin is not None:
        return await trust.fetch_authority(reactor, hub, pin=parse_pin(pin)), False
    if ca_file is not None:
        return read_authority(ca_file), False
    known = profiles.known_authority(hub)
    if known is not None:
        return known, True
    public = await trust.publicly_trusted_pin(reactor, hub)
    if public is not None:
        return await trust.fetch_authority(reactor, hub, pin=public), False
    presented = await trust.presented_authority(reactor, hub)
    if not confirm(hub, presented.pin):
        raise UntrustedHub(f"the authority of {hub} was not confirmed")
    return presented.certificate_pem, False


def read_authority(path: Path) -> bytes:
    """
    The authorities in a file that the person named.

    :raises BadInput: if there are none.
    """
    try:
        with path.open("rb") as file:
            pem = file.read(_CA_FILE_LIMIT)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {(error.strerror or '').lower()}") from None
    try:
        x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise BadInput(f"{path} is not a certificate in PEM") from None
    return pem


async def _issue(
    client: AuthClient, request: LoginRequest, profiles: Profiles
) -> tuple[Profile, Credentials]:
    ssh_key = Ed25519PrivateKey.generate()
    tls_key = ec.generate_private_key(ec.SECP256R1())
    public_line = ssh_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    answer = await client.issue_user_certs(
        ssh_public_key=public_line,
        tls_public_key=tls_key.public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        .decode(),
        ttl_seconds=0 if request.ttl is None else max(1, int(request.ttl)),
        request_ids=request.requests,
    )
    credentials = Credentials(
        ssh_key=ssh_key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        ssh_public_line=f"{public_line} {request.user}",
        ssh_certificate=one_line(answer.ssh_certificate),
        tls_key=tls_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        tls_certificate=answer.tls_certificate.encode(),
        cluster_ca=answer.cluster_ca.encode(),
        host_authorities=tuple(one_line(line) for line in answer.host_ca),
    )
    return _profile(answer, request, profiles), credentials


def _profile(
    answer: pb.IssueUserCertsResponse, request: LoginRequest, profiles: Profiles
) -> Profile:
    try:
        return Profile(
            directory=profiles.directory_of(request.hub),
            hub=request.hub,
            # A hub's name has the form of a cluster's, and often is it.
            hub_name=ClusterName.parse(answer.hub_name).text,
            cluster=ClusterName.parse(answer.cluster_name),
            user=request.user,
            logins=tuple(LoginName.parse(login) for login in answer.logins),
            valid_before=float(answer.valid_before),
            resumes=_resumes(request, profiles),
        )
    except BadInput as error:
        raise RemoteError(f"the hub's answer makes no sense: {error}") from error


def write_identity(profile: Profile, path: Path) -> None:
    """Write the SSH key, and its certificate beside it, where ``ssh -i`` finds both."""
    for suffix, name in (
        ("", places.SSH_KEY),
        (".pub", places.SSH_PUBLIC_KEY),
        ("-cert.pub", places.SSH_CERTIFICATE),
    ):
        write_private(path.with_name(path.name + suffix), profile.read(name))


def _resumes(request: LoginRequest, profiles: Profiles) -> bool:
    if request.resumes is not None:
        return request.resumes
    try:
        known = profiles.remembered(request.hub)
    except DamagedProfile:
        known = None
    return known is None or known.resumes
