"""
What webhooks are told, and how they know who tells it.

Owns the body and the signature of docs/protocols/webhooks.rst; carrying them
is :mod:`mezite.hub.webhooks`'s.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any, Final

from attrs import field, frozen

from mezite.identity.requests import AccessRequest, State

SIGNATURE_HEADER: Final = b"Mezite-Signature"
EVENT_HEADER: Final = b"Mezite-Event"
DELIVERY_HEADER: Final = b"Mezite-Delivery"
_VERSION: Final = "v1"


@frozen
class WebhookMessage:
    """One change of a request, the same for every try to tell it."""

    event: str
    delivery: str
    body: bytes = field(repr=False)


def message_of(request: AccessRequest, cluster: str) -> WebhookMessage:
    """What is told of the request's last change."""
    last = request.changes[-1]
    created = last.state is State.PENDING
    event = f"access_request.{'created' if created else last.state.value}"
    delivery = str(uuid.uuid4())
    told: dict[str, Any] = {
        "id": delivery,
        "event": event,
        "time": int(last.time),
        "cluster": cluster,
        "request": {
            "id": request.id,
            "user": request.user.text,
            "roles": [role.text for role in request.roles],
            "nodes": list(request.nodes),
            "state": last.state.value,
            "reason": request.reason,
            "created": int(request.created),
            "window_seconds": int(request.window),
            "expires": int(request.expires),
            "changes": [
                {
                    "state": change.state.value,
                    "time": int(change.time),
                    "by": change.by,
                    "reason": change.reason,
                }
                for change in request.changes
            ],
        },
    }
    return WebhookMessage(event, delivery, json.dumps(told, ensure_ascii=False).encode())


def signature(secret: bytes, time: int, body: bytes) -> str:
    """The value of the header: when it was signed, and the proof of time and body."""
    signed = hmac.new(secret, f"{time}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={time},{_VERSION}={signed}"
