"""
The messages between a hub's processes, behind four octets of their length each.

``docs/protocols/workers.rst`` is their text. A :class:`MessageReader` takes the bytes of
a stream; it decides nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, Generic, TypeVar

from cryptography import x509
from google.protobuf.message import DecodeError, Message
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from mezite.error import LocalError
from mezite.hub.workers.error import BadMessage
from mezite.rpc.proto.worker_pb2 import Address

# The longest are settings: a web certificate with its chain, two authorities and their keys
# are some 20 KB.
LENGTH_LIMIT: Final = 256 * 1024

_LENGTH: Final = struct.Struct("!I")
M = TypeVar("M", bound=Message)


def encode(message: Message) -> bytes:
    """The message as it travels."""
    data: bytes = message.SerializeToString(deterministic=True)
    if len(data) > LENGTH_LIMIT:
        raise LocalError(f"a message between processes has at most {LENGTH_LIMIT} bytes")
    return _LENGTH.pack(len(data)) + data


class MessageReader(Generic[M]):
    """
    Cuts messages of one kind out of a stream; holds no more than one.

    ``rest`` is what has come and was not read; a caller who wants no further
    message takes the stream's other bytes from there.
    """

    def __init__(self, kind: type[M]) -> None:
        self._kind = kind
        self.rest = b""

    def receive(self, data: bytes) -> Iterator[M]:
        """
        Each message that these bytes complete.

        :raises BadMessage: for a length or a message that no process of ours sends.
        """
        self.rest += data
        while (message := self._next()) is not None:
            yield message

    def _next(self) -> M | None:
        if len(self.rest) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self.rest)
        if length > LENGTH_LIMIT:
            raise BadMessage(f"a message has at most {LENGTH_LIMIT} bytes, not {length}")
        end = _LENGTH.size + length
        if len(self.rest) < end:
            return None
        try:
            message = self._kind.FromString(self.rest[_LENGTH.size : end])
        except DecodeError:
            raise BadMessage(f"this is no {self._kind.__name__}") from None
        self.rest = self.rest[end:]
        return message


def address_message(place: Any) -> Address:
    """Where somebody is, as it travels; empty for what is no place on a network."""
    return Address(host=str(getattr(place, "host", "")), port=int(getattr(place, "port", 0)))


def address_of(message: Address) -> IAddress:
    """Where somebody is, as Twisted says it."""
    kind = IPv6Address if ":" in message.host else IPv4Address
    return kind("TCP", message.host, message.port)


def certificate_of(der: bytes) -> x509.Certificate | None:
    """
    The certificate in this field.

    :raises BadMessage: it is none.
    """
    if not der:
        return None
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError:
        raise BadMessage("this is no certificate") from None
