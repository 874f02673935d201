"""
How somebody shows the hub who they are: a password and a second factor, or an invite.

People take their time, so no connection waits for an answer of theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from mezite.error import BadInput, Denied
from mezite.names import UserName

if TYPE_CHECKING:
    from mezite.rpc.client import AuthClient
    from mezite.rpc.proto import auth_pb2 as pb

T = TypeVar("T")
Dial = Callable[[], Awaitable["AuthClient"]]
# What can be typed; a security key needs a browser.
_TYPED: Final = ("totp", "recovery_code")


async def authenticate(
    dial: Dial, user: UserName, password: str, conversation: Any, code: str = ""
) -> pb.AuthenticateLocalResponse:
    """
    A bearer for a password, and for a code if one is needed and was not given.

    :raises NotAuthenticated: if one of them is wrong.
    """
    answer = await call(dial, lambda hub: hub.authenticate_local(user.text, password, code))
    if not answer.second_factor_required:
        return answer
    typed = ask_for_code(conversation, answer.second_factors)
    return await call(dial, lambda hub: hub.authenticate_local(user.text, password, typed))


async def accept_invite(
    dial: Dial, user: UserName, invite: str, conversation: Any, code: str = ""
) -> pb.AcceptInviteResponse:
    """
    A bearer for an invite, once a password was chosen and an app enrolled, if that is wanted.

    :raises Denied: the invite is not valid.
    """
    found = await call(dial, lambda hub: hub.get_invite(invite))
    if found.user != user.text:
        raise BadInput(f"this invite is for {found.user}: give --user={found.user}")
    password = conversation.chosen_password(user)
    if found.second_factor_required:
        code = code or ask_for_code(conversation, found.second_factors)
    elif found.HasField("totp"):
        code = conversation.enrol(found.totp, found.must_enrol)
    answer = await call(dial, lambda hub: hub.accept_invite(invite, password, code))
    if answer.recovery_codes:
        conversation.show_recovery_codes(list(answer.recovery_codes))
    return answer


def ask_for_code(conversation: Any, kinds: Any) -> str:
    """
    A code of the second factor, as the person types it.

    :raises Denied: they have nothing that can be typed.
    """
    if not any(kind in _TYPED for kind in kinds):
        raise Denied(
            "your second factor is a security key, which only a browser can ask:"
            " log in there, and add an authenticator app"
        )
    typed: str = conversation.second_factor()
    return typed


async def call(dial: Dial, question: Callable[[AuthClient], Awaitable[T]]) -> T:
    """Ask on a connection of its own."""
    client = await dial()
    try:
        return await question(client)
    finally:
        client.close()
