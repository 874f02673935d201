"""
How the methods of the auth service are called: with a bearer, in time, and page by page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from google.protobuf.message import Message

from mezite.error import LimitReached
from mezite.rpc.channel import GrpcChannel
from mezite.rpc.proto import auth_pb2 as pb

M = TypeVar("M", bound=Message)
Item = TypeVar("Item")

_SERVICE: Final = pb.DESCRIPTOR.services_by_name["AuthService"].full_name

# A page has about a hundred entries; ten thousand nodes are what a hub is made for.
_PAGES: Final = 1000


class AuthCalls:
    """
    The channel to ``mezite.v1.AuthService``.

    ``bearer`` is a token that is sent with each call while it is set. All methods
    raise what :meth:`GrpcChannel.call` raises.
    """

    def __init__(
        self, channel: GrpcChannel, bearer: str | None = None, *, timeout: float = 10.0
    ) -> None:
        self.channel = channel
        self.bearer = bearer
        self.timeout = timeout

    def close(self) -> None:
        """End the channel."""
        self.channel.close()

    async def _call(self, request: Message, response_type: type[M]) -> M:
        method = request.DESCRIPTOR.name.removesuffix("Request")
        metadata = [("authorization", f"Bearer {self.bearer}")] if self.bearer else []
        return await self.channel.call(
            f"/{_SERVICE}/{method}",
            request,
            response_type,
            timeout=self.timeout,
            metadata=metadata,
        )

    async def _all(
        self, request: Any, response_type: type[M], items: Callable[[M], Iterable[Item]]
    ) -> list[Item]:
        """Follow the page tokens to their end, or to a bound that no honest list reaches."""
        found: list[Item] = []
        for _ in range(_PAGES):
            answer: Any = await self._call(request, response_type)
            found.extend(items(answer))
            if not answer.next_page_token:
                return found
            request.page_token = answer.next_page_token
        raise LimitReached(f"the list has more than {_PAGES} pages")
