"""
Security keys: WebAuthn registrations and assertions, as a second factor.

:class:`SecurityKeys` owns the challenges, each for one user, for one purpose
and for a few minutes, and the check of what a browser answers. What is stored
of a key, and that its count grows there, is :mod:`mezite.store.proofs`'.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

import webauthn
from attrs import field, frozen
from webauthn.helpers import base64url_to_bytes, options_to_json
from webauthn.helpers.structs import (
    AttestationConveyancePreference,
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from mezite.auth.error import BadSecurityKey, LoginRefused, NoSecurityKeysHere
from mezite.auth.pending import Pending
from mezite.names import HostPort, UserName, is_address
from mezite.store.proofs import SecurityKeyRecord

_CHALLENGE_OCTETS: Final = 32
# A registration with an attestation is 1 to 3 KiB of JSON.
RESPONSE_LENGTH: Final = 16_384
# The specification's own bound (section 4, Credential ID).
_ID_LENGTH: Final = 1023
NAME_LENGTH: Final = 64


@frozen
class Assertion:
    """A key has signed: what is to be noted about it."""

    credential_id: bytes
    sign_count: int


@frozen(eq=False)
class SecurityKeys:
    """
    The security keys of one hub, which know it by the host of its public address.

    :param address: the hub's public address.
    """

    _address: Callable[[], HostPort]
    _cluster: str
    _wall_clock: Callable[[], float]
    _registering: Pending[bytes] = field(init=False, factory=Pending)
    _asserting: Pending[bytes] = field(init=False, factory=Pending)

    @property
    def is_possible(self) -> bool:
        """Browsers refuse keys where a hub has an address in place of a name."""
        return not is_address(self._address().host)

    @property
    def origin(self) -> str:
        """What browsers say where they are."""
        address = self._address()
        return f"https://{address.host}" + ("" if address.port == 443 else f":{address.port}")

    def begin_registration(self, user: UserName, keys: Sequence[SecurityKeyRecord]) -> str:
        """
        The options for ``navigator.credentials.create()``, JSON.

        :param keys: those that the user has, which are not to be registered again.
        :raises NoSecurityKeysHere:
        """
        if not self.is_possible:
            raise NoSecurityKeysHere()
        challenge = secrets.token_bytes(_CHALLENGE_OCTETS)
        options = webauthn.generate_registration_options(
            rp_id=self._address().host,
            rp_name=f"Mezite {self._cluster}",
            user_id=self._handle(user),
            user_name=user.text,
            user_display_name=user.text,
            challenge=challenge,
            attestation=AttestationConveyancePreference.NONE,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.DISCOURAGED,
                user_verification=UserVerificationRequirement.DISCOURAGED,
            ),
            exclude_credentials=_descriptors(keys),
        )
        self._registering.put(user.text, challenge, self._wall_clock())
        return options_to_json(options)

    def finish_registration(self, user: UserName, response: str, name: str) -> SecurityKeyRecord:
        """
        The key, of what the browser answered.

        :raises BadSecurityKey: also if nothing was begun, or it took too long.
        """
        now = self._wall_clock()
        challenge = self._registering.take(user.text, now)
        if challenge is None:
            raise BadSecurityKey("nothing was begun; begin again")
        answer = _parsed(response)
        try:
            verified = webauthn.verify_registration_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=self._address().host,
                expected_origin=self.origin,
                require_user_verification=False,
            )
        except Exception as error:
            # The library has errors of its own, and of each parser below it.
            raise BadSecurityKey(f"{type(error).__name__}: {error}") from None
        if len(verified.credential_id) > _ID_LENGTH:
            raise BadSecurityKey("the credential's id is too long")
        return SecurityKeyRecord(
            credential_id=verified.credential_id,
            user=user,
            name=_name(name),
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            created=now,
        )

    def begin_assertion(self, user: UserName, keys: Sequence[SecurityKeyRecord]) -> str:
        """The options for ``navigator.credentials.get()``, JSON; empty if there is no key."""
        if not keys or not self.is_possible:
            return ""
        challenge = secrets.token_bytes(_CHALLENGE_OCTETS)
        options = webauthn.generate_authentication_options(
            rp_id=self._address().host,
            challenge=challenge,
            allow_credentials=_descriptors(keys),
            user_verification=UserVerificationRequirement.DISCOURAGED,
        )
        self._asserting.put(user.text, challenge, self._wall_clock())
        return options_to_json(options)

    def finish_assertion(
        self, user: UserName, response: str, keys: Sequence[SecurityKeyRecord]
    ) -> Assertion:
        """
        Which of these keys has signed, of what the browser answered.

        :raises LoginRefused: for every cause; its reason tells which.
        """
        challenge = self._asserting.take(user.text, self._wall_clock())
        if challenge is None:
            raise LoginRefused("no challenge for a security key")
        try:
            answer = _parsed(response)
            credential_id = base64url_to_bytes(str(answer.get("rawId"))[: 2 * _ID_LENGTH])
        except (BadSecurityKey, ValueError):
            raise LoginRefused("an answer that no security key gives") from None
        key = next((each for each in keys if each.credential_id == credential_id), None)
        if key is None:
            raise LoginRefused("a security key of somebody else")
        try:
            verified = webauthn.verify_authentication_response(
                credential=answer,
                expected_challenge=challenge,
                expected_rp_id=self._address().host,
                expected_origin=self.origin,
                credential_public_key=key.public_key,
                credential_current_sign_count=key.sign_count,
                require_user_verification=False,
            )
        except Exception as error:
            reason = f"security key {key.name}: {type(error).__name__}: {error}"
            raise LoginRefused(reason) from None
        return Assertion(verified.credential_id, verified.new_sign_count)

    def _handle(self, user: UserName) -> bytes:
        """What a key calls the user by: always the same, and no name."""
        return hashlib.sha256(f"mezite {self._cluster} {user}".encode()).digest()


def key_id(record: SecurityKeyRecord) -> str:
    """What a key goes by in listings and commands: a hash, so that it is short."""
    return hashlib.sha256(record.credential_id).hexdigest()[:12]


def _parsed(response: str) -> dict[str, Any]:
    if len(response) > RESPONSE_LENGTH:
        raise BadSecurityKey("the answer is too long")
    try:
        answer = json.loads(response)
    except (ValueError, RecursionError):
        raise BadSecurityKey("the answer is no JSON") from None
    if not isinstance(answer, dict):
        raise BadSecurityKey("the answer is no JSON object")
    return answer


def _descriptors(keys: Sequence[SecurityKeyRecord]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=each.credential_id) for each in keys]


def _name(text: str) -> str:
    shown = "".join(each for each in text if each.isprintable()).strip()[:NAME_LENGTH]
    return shown or "security key"
