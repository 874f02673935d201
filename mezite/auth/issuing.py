"""
Certificates for people.

An :class:`IssuingService` owns how long they live and what must be true of a
user who gets them. What stands in them is :mod:`mezite.identity`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from attrs import frozen
from cryptography.hazmat.primitives.serialization import Encoding
from twisted.logger import Logger

from mezite.audit.chain import time_text
from mezite.audit.events import Actor, EventType
from mezite.auth.access import host_of
from mezite.auth.error import (
    AddressUnknown,
    BadRequest,
    NoLogins,
    PasswordChangeRequired,
    RequestRefused,
    TooManyLoginNames,
    UserDisabled,
    WrongAddress,
)
from mezite.auth.rights import Rights, is_auditor
from mezite.auth.trail import AuditTrail
from mezite.error import Denied
from mezite.identity import sshcert, sshissuing, x509
from mezite.identity.authorities import Authorities
from mezite.identity.grants import NO_LOGIN, extensions_of, options_of
from mezite.identity.networks import Networks, lies_in, parse_network, plain_address
from mezite.identity.roles import AccessRules, UserRights
from mezite.identity.rolesdoc import Options
from mezite.names import ClusterName, LoginName, UserName
from mezite.store.interfaces import ISerials, IUsers
from mezite.store.records import UserRecord

DEFAULT_LIFETIME: Final = 12 * 3600.0
LONGEST_LIFETIME: Final = 24 * 3600.0
# Less than the skew that clocks are allowed would be refused by some at birth.
SHORTEST_LIFETIME: Final = 60.0
# Four roles with as many as a document can have.
NETWORKS_LIMIT: Final = 256


@frozen
class UserCertificates:
    """What a person takes home, and what they check nodes and hubs against."""

    user: UserName
    cluster: ClusterName
    serial: int
    ssh_certificate: str
    tls_certificate_pem: bytes
    valid_before: float
    logins: tuple[LoginName, ...]
    user_ca_lines: tuple[str, ...]
    host_ca_lines: tuple[str, ...]
    cluster_ca_pem: bytes


class IssuingService:
    """Issues certificates to users who have proved who they are."""

    _log = Logger()

    def __init__(
        self,
        users: IUsers,
        rights: Rights,
        serials: ISerials,
        trail: AuditTrail,
        *,
        cluster: ClusterName,
        authorities: Callable[[], Authorities],
        wall_clock: Callable[[], float],
    ) -> None:
        self._users = users
        self._rights = rights
        self._serials = serials
        self._trail = trail
        self._cluster = cluster
        self._authorities = authorities
        self._wall_clock = wall_clock

    async def issue_user_certs(
        self,
        user: UserName,
        *,
        ssh_public_line: str,
        tls_public_key_pem: bytes,
        ttl: float | None = None,
        with_token: bool = False,
        requests: Sequence[str] = (),
        by: Actor,
    ) -> UserCertificates:
        """
        Both certificates of this user, for these keys, for this long.

        The rights are those of the store now, not of the login: a user who was
        removed meanwhile gets nothing.

        :param ttl: seconds; more than ``LONGEST_LIFETIME``, or than the user's
            roles allow, is shortened to that.
        :param with_token: an API token is the proof, and the user's password no matter.
        :param requests: the ids of approved access requests of the user, whose
            rights the certificates carry; they end with the first of them.
        :raises UserDisabled:
        :raises PasswordChangeRequired:
        :raises NoLogins: but those who administer, audit, request or review need none.
        :raises TooManyLoginNames:
        :raises WrongAddress: the roles do not let the user come from there.
        :raises AddressUnknown:
        :raises BadRequest: the ttl is too short.
        :raises RequestRefused: a request is not the user's, or gives nothing now.
        :raises BadPublicKey:
        """
        lifetime = _lifetime(ttl)
        tls_key = x509.load_public_key(tls_public_key_pem)
        record = await self._users.get(user)
        if record is None or record.disabled:
            raise UserDisabled(user)
        if record.must_change_password and not with_token:
            raise PasswordChangeRequired()
        carried = tuple(dict.fromkeys(requests))
        rights = await self._rights.of_record(record, carried)
        if rights is None:
            raise NoLogins(user)
        _check_carried(rights, carried)
        rules = AccessRules.of(rights.anywhere())
        logins = _logins(record, rights, rules)
        if rules.options.max_session_ttl is not None:
            lifetime = min(lifetime, rules.options.max_session_ttl)
        left = [each.until - self._wall_clock() for each in rights.requested]
        lifetime = min([lifetime, *left])
        sources = _sources(record.name, rules.options, host_of(by.address))
        serial = await self._serials.next()
        authorities = self._authorities()
        # Whole seconds, as certificates count, so that both end in the same one.
        now = float(int(self._wall_clock()))
        tls = x509.issue_user(
            authorities.cluster_ca,
            tls_key,
            x509.UserIdentity(self._cluster, record.name),
            now=now,
            lifetime=lifetime,
            sources=sources,
        )
        # The cluster CA may end sooner; then so does everything.
        valid_before = tls.not_valid_after_utc.timestamp()
        ssh = sshissuing.issue_user(
            authorities.user_ca,
            ssh_public_line,
            user=record.name,
            logins=logins or (NO_LOGIN,),
            serial=serial,
            now=now,
            lifetime=valid_before - now,
            extensions=extensions_of(rules.options),
            requests=carried,
            critical_options=options_of(sources),
        )
        await self._trail.record(
            self._trail.event(
                EventType.USER_CERT_ISSUED,
                by,
                target=record.name,
                serial=serial,
                logins=tuple(map(str, logins)),
                valid_before=time_text(valid_before),
            )
        )
        self._log.info(
            "certificates {serial} issued to {user}, for {lifetime} s",
            serial=serial,
            user=record.name,
            lifetime=lifetime,
        )
        return UserCertificates(
            user=record.name,
            cluster=self._cluster,
            serial=serial,
            ssh_certificate=ssh,
            tls_certificate_pem=tls.public_bytes(Encoding.PEM),
            valid_before=valid_before,
            logins=logins,
            user_ca_lines=authorities.user_lines,
            host_ca_lines=authorities.host_lines,
            cluster_ca_pem=authorities.tls_pem,
        )


def _check_carried(rights: UserRights, carried: Sequence[str]) -> None:
    given = {each.request_id for each in rights.requested}
    for request_id in carried:
        if request_id not in given:
            raise RequestRefused(
                f"the access request {request_id[:80]!r} gives you nothing now:"
                " msh request ls shows yours"
            )


def _logins(record: UserRecord, rights: UserRights, rules: AccessRules) -> tuple[LoginName, ...]:
    """The logins to be named, the user's own first, as they were given."""
    own = [login for login in record.logins if login in rules.logins]
    logins = tuple(dict.fromkeys((*own, *sorted(rules.logins))))
    has_business = rights.deals_with_requests or rights.reviews_recordings
    if not logins and not is_auditor(record) and not has_business:
        raise NoLogins(record.name)
    if len(logins) > sshcert.PRINCIPALS_LIMIT:
        raise TooManyLoginNames(record.name, len(logins), sshcert.PRINCIPALS_LIMIT)
    return logins


def _sources(user: UserName, options: Options, address: str) -> Networks | None:
    """From where certificates are good; None is everywhere."""
    if not lies_in(options.source_addresses, address):
        raise WrongAddress(user, address or "an unknown address")
    if options.pin_source_address:
        own = plain_address(address)
        if own is None:
            raise AddressUnknown(user)
        return (parse_network(str(own)),)
    if options.source_addresses is not None and len(options.source_addresses) > NETWORKS_LIMIT:
        raise Denied(
            f"the roles of {user} leave more networks than the {NETWORKS_LIMIT} that a"
            " certificate can name"
        )
    return options.source_addresses


def _lifetime(ttl: float | None) -> float:
    if ttl is None:
        return DEFAULT_LIFETIME
    # Written so that a ttl which is not a number fails, too.
    if not ttl >= SHORTEST_LIFETIME:
        raise BadRequest(f"certificates live for {SHORTEST_LIFETIME:.0f} s at least")
    return min(ttl, LONGEST_LIFETIME)
