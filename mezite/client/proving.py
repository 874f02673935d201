"""
How somebody shows the hub who they are: a password and a second factor, or an invite.

People take their time, so no connection waits for an answer of theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from attrs import define, field

from mezite.error import BadInput, Denied, ProofNeeded
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


@define
class OwnLogin:
    """
    A login for one purpose, beside the certificates that there are.

    Each question is asked on a connection of its own. Where the proof of the login has become
    too old for one, the person is asked once more, and it goes on.
    """

    dial: Dial
    user: UserName
    conversation: Any
    # Given before it was asked for; good once.
    code: str = field(default="", repr=False)
    _bearer: str = field(default="", init=False, repr=False)

    async def begin(self) -> None:
        """
        Log in.

        :raises NotAuthenticated: the password or the code is wrong.
        """
        password = self.conversation.password(self.user)
        code, self.code = self.code, ""
        answer = await authenticate(self.dial, self.user, password, self.conversation, code)
        self._bearer = answer.token

    async def ask(self, question: Callable[[AuthClient], Awaitable[T]]) -> T:
        """What the hub answers."""
        try:
            return await call(self._dial, question)
        except ProofNeeded:
            await self._prove()
        return await call(self._dial, question)

    async def end(self) -> None:
        """Log out."""
        await call(self._dial, lambda hub: hub.logout())

    async def _dial(self) -> AuthClient:
        client = await self.dial()
        client.bearer = self._bearer
        return client

    async def _prove(self) -> None:
        password = self.conversation.password(self.user)
        answer = await call(self._dial, lambda hub: hub.prove_again(password))
        if answer.second_factor_required:
            typed = ask_for_code(self.conversation, answer.second_factors)
            answer = await call(self._dial, lambda hub: hub.prove_again(password, typed))
        self._bearer = answer.token


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
