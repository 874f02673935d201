"""
One call that a server has under way, from its headers to its answer.
"""

from __future__ import annotations

from enum import Enum, auto

from attrs import define, field
from google.protobuf.message import DecodeError, Message
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from mezite.rpc.calls import Call, Method
from mezite.rpc.error import BadMessage
from mezite.rpc.framing import MessageReader


class Phase(Enum):
    """What is waited for."""

    # The client's message.
    RECEIVING = auto()
    # The handler.
    HANDLING = auto()
    # The client's windows.
    SENDING = auto()


@define(eq=False)
class Exchange:
    """
    A call, its phase, and the timer that ends the phase.

    ``held`` counts against the limits of the connection: bytes of the request,
    and later of the answer.
    """

    stream_id: int
    method: Method
    call: Call
    timer: IDelayedCall
    _reader: MessageReader
    phase: Phase = Phase.RECEIVING
    held: int = 0
    running: Deferred[None] | None = None
    _message: bytes | None = field(init=False, default=None)

    def receive(self, data: bytes) -> int:
        """
        Take a part of the request: how many bytes of it there are now.

        :raises MeziteError: if this cannot become one message.
        """
        for message in self._reader.receive(data):
            if self._message is not None:
                raise BadMessage("a unary call has one message, not more")
            self._message = message
        return len(self._message or b"") + self._reader.pending

    def take_request(self) -> Message:
        """
        The request, once its last byte has come.

        :raises MeziteError: if it is not one message of the method's type.
        """
        self._reader.finish()
        if self._message is None:
            raise BadMessage("a unary call has one message, not none")
        data, self._message = self._message, None
        try:
            return self.method.request_type.FromString(data)
        except DecodeError:
            raise BadMessage("the message cannot be read") from None
