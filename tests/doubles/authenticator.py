"""
A security key in memory, with the browser around it: WebAuthn's other half.

It makes ES256 credentials, with an attestation of none or of its own
signature ("packed", self attestation), as WebAuthn Level 2 sections 6 and 8 say.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

import cbor2
from attrs import define, field
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from webauthn.helpers import base64url_to_bytes, bytes_to_base64url

_PRESENT = 0x01
_WITH_CREDENTIAL = 0x40


@define(eq=False)
class Authenticator:
    """One key, as a browser on a page of ``origin`` uses it."""

    origin: str
    attestation: str = "none"
    sign_count: int = 0
    counts: bool = True
    credential_id: bytes = field(factory=lambda: secrets.token_bytes(16))
    _key: ec.EllipticCurvePrivateKey = field(
        init=False, factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def create(self, options: str, **changes: Any) -> str:
        """What the page sends after ``navigator.credentials.create()``."""
        asked = json.loads(options)
        excluded = [each["id"] for each in asked.get("excludeCredentials", ())]
        assert bytes_to_base64url(self.credential_id) not in excluded, "it is registered already"
        client_data = self._client_data("webauthn.create", asked["challenge"], changes)
        data = self._data(changes.get("rp_id", asked["rp"]["id"]), with_credential=True)
        statement: dict[str, Any] = {}
        if self.attestation == "packed":
            signed = data + hashlib.sha256(client_data).digest()
            statement = {"alg": -7, "sig": self._key.sign(signed, ec.ECDSA(SHA256()))}
        made = cbor2.dumps({"fmt": self.attestation, "attStmt": statement, "authData": data})
        return self._answer(clientDataJSON=client_data, attestationObject=made)

    def get(self, options: str, **changes: Any) -> str:
        """What the page sends after ``navigator.credentials.get()``."""
        asked = json.loads(options)
        allowed = [each["id"] for each in asked["allowCredentials"]]
        assert bytes_to_base64url(self.credential_id) in allowed, "it is not asked for"
        if self.counts:
            self.sign_count += 1
        client_data = self._client_data("webauthn.get", asked["challenge"], changes)
        data = self._data(changes.get("rp_id", asked["rpId"]))
        signature = self._key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(SHA256()))
        return self._answer(clientDataJSON=client_data, authenticatorData=data, signature=signature)

    def _client_data(self, kind: str, challenge: str, changes: dict[str, Any]) -> bytes:
        values = {
            "type": changes.get("type", kind),
            "challenge": changes.get("challenge", challenge),
            "origin": changes.get("origin", self.origin),
            "crossOrigin": False,
        }
        return json.dumps(values).encode()

    def _data(self, rp_id: str, *, with_credential: bool = False) -> bytes:
        flags = _PRESENT | (_WITH_CREDENTIAL if with_credential else 0)
        data = hashlib.sha256(rp_id.encode()).digest()
        data += bytes([flags]) + self.sign_count.to_bytes(4, "big")
        if with_credential:
            data += bytes(16) + len(self.credential_id).to_bytes(2, "big") + self.credential_id
            data += self._public_key()
        return data

    def _public_key(self) -> bytes:
        numbers = self._key.public_key().public_numbers()
        # COSE_Key: EC2, ES256, P-256.
        return cbor2.dumps(
            {
                1: 2,
                3: -7,
                -1: 1,
                -2: numbers.x.to_bytes(32, "big"),
                -3: numbers.y.to_bytes(32, "big"),
            }
        )

    def _answer(self, **response: bytes) -> str:
        encoded = bytes_to_base64url(self.credential_id)
        return json.dumps(
            {
                "id": encoded,
                "rawId": encoded,
                "type": "public-key",
                "response": {name: bytes_to_base64url(value) for name, value in response.items()},
            }
        )


def challenge_of(options: str) -> bytes:
    """The challenge of a request."""
    return base64url_to_bytes(json.loads(options)["challenge"])
