"""
What a gRPC service is made of, on the server's side.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from attrs import field, frozen
from cryptography.x509 import Certificate
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from mezite.identity.x509 import Identity


@frozen
class Caller:
    """Who is at the other end of a connection, as far as the connection proves it."""

    identity: Identity | None
    is_local_admin: bool
    # For logs and audit: "ADDRESS:PORT", or what stands for it.
    address: str
    # The hash of the key that the connection was made with, if it proves an identity.
    tls_key: bytes | None = None
    # What the identity stands in.
    certificate: Certificate | None = field(default=None, repr=False)
    # Told the user whose bearer came with a call, once it has been found good.
    recognize: Callable[[str], None] | None = field(default=None, eq=False, repr=False)


@frozen
class Call:
    """What a handler learns about a call besides its message."""

    caller: Caller
    metadata: Mapping[str, str]
    # On the clock of the server's factory. The handler is cancelled then.
    deadline: float | None


@frozen
class Method:
    """A unary method. ``handle`` raises the errors of :mod:`mezite.rpc.status`."""

    request_type: type[Message]
    response_type: type[Message]
    handle: Callable[[Call, Any], Awaitable[Message]]


_WORD_START: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def methods_of(service: ServiceDescriptor, implementation: object) -> dict[str, Method]:
    """
    The methods of a service by path, each served by a coroutine of this object.

    ``IssueUserCerts`` is served by ``issue_user_certs(call, request)``; a
    method that the object lacks is UNIMPLEMENTED.
    """
    methods = {}
    for method in service.methods:
        handle = getattr(implementation, snake_case(method.name), None)
        if handle is not None:
            methods[f"/{service.full_name}/{method.name}"] = Method(
                GetMessageClass(method.input_type), GetMessageClass(method.output_type), handle
            )
    return methods


def snake_case(name: str) -> str:
    """The name of a method in Python, for its name in a proto file."""
    return _WORD_START.sub("_", name).lower()
