"""
Invites and second factors, as the auth service's callers see them.

What they mean is :mod:`mezite.auth.inviting`'s and :mod:`mezite.auth.enrolment`'s;
who may call is decided in :mod:`mezite.hub.callers`.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from attrs import frozen
from google.protobuf.message import Message

from mezite.auth.enrolment import EnrolmentService, TotpOffer
from mezite.auth.error import SecondFactorRequired
from mezite.auth.inviting import InviteService, NewInvite
from mezite.auth.login import LoginService
from mezite.auth.passwords import LENGTHS
from mezite.auth.secondfactor import TOTP, WEBAUTHN, Shown
from mezite.auth.webauthn import key_id
from mezite.error import LocalError
from mezite.hub.authservice import Handler, host_of
from mezite.hub.callers import Subject, bearer_of
from mezite.hub.web.site import HubFacts
from mezite.names import UserName
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call
from mezite.store.proofs import SecurityKeyRecord


@frozen
class ProofMethods:
    """The methods about what people prove who they are with."""

    facts: HubFacts
    invites: InviteService
    enrolment: EnrolmentService
    logins: LoginService

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "GetInvite": self.get_invite,
            "AcceptInvite": self.accept_invite,
            "CreateInvite": self.create_invite,
            "ResetUser": self.reset_user,
            "ResetSecondFactors": self.reset_second_factors,
            "ProveAgain": self.prove_again,
            "ListSecondFactors": self.list_second_factors,
            "BeginTotp": self.begin_totp,
            "ConfirmTotp": self.confirm_totp,
            "RemoveTotp": self.remove_totp,
            "CreateRecoveryCodes": self.create_recovery_codes,
            "BeginWebauthn": self.begin_webauthn,
            "FinishWebauthn": self.finish_webauthn,
            "RemoveWebauthn": self.remove_webauthn,
        }

    async def get_invite(self, _who: Subject, call: Call, request: pb.GetInviteRequest) -> Message:
        invitation = await self.invites.look(request.token, address=host_of(call.caller.address))
        wanted = invitation.wanted
        return pb.GetInviteResponse(
            user=str(invitation.user),
            expires=int(invitation.expires),
            totp=None if invitation.offer is None else _totp_message(invitation.offer),
            must_enrol=invitation.must_enrol,
            second_factor_required=wanted is not None,
            second_factors=() if wanted is None else wanted.kinds,
            webauthn_request="" if wanted is None else wanted.webauthn_request,
            shortest_password=LENGTHS[0],
        )

    async def accept_invite(
        self, _who: Subject, call: Call, request: pb.AcceptInviteRequest
    ) -> Message:
        accepted = await self.invites.accept(
            request.token,
            request.password,
            Shown(request.second_factor_code, request.webauthn_assertion),
            address=host_of(call.caller.address),
        )
        return pb.AcceptInviteResponse(
            token=accepted.login.bearer,
            expires=int(accepted.login.expires),
            user=str(accepted.login.user),
            recovery_codes=accepted.recovery_codes,
        )

    async def create_invite(
        self, who: Subject, _call: Call, request: pb.CreateInviteRequest
    ) -> Message:
        made = await self.invites.invite(
            UserName.parse(request.user), ttl=ttl_of(request.ttl_seconds), by=who.actor
        )
        return pb.CreateInviteResponse(invite=invite_message(self.facts, made))

    async def reset_user(self, who: Subject, _call: Call, request: pb.ResetUserRequest) -> Message:
        made = await self.invites.invite(
            UserName.parse(request.user),
            ttl=ttl_of(request.ttl_seconds),
            reset=True,
            by=who.actor,
        )
        return pb.ResetUserResponse(invite=invite_message(self.facts, made))

    async def reset_second_factors(
        self, who: Subject, _call: Call, request: pb.ResetSecondFactorsRequest
    ) -> Message:
        await self.enrolment.reset(UserName.parse(request.user), by=who.actor)
        return pb.ResetSecondFactorsResponse()

    async def prove_again(self, who: Subject, call: Call, request: pb.ProveAgainRequest) -> Message:
        shown = Shown(request.second_factor_code, request.webauthn_assertion)
        address = host_of(call.caller.address)
        bearer = bearer_of(call.metadata)
        if bearer is None:
            raise LocalError("ProveAgain was admitted without a bearer")
        try:
            login = await self.logins.prove_again(bearer, request.password, address, shown)
        except SecondFactorRequired as wanted:
            return pb.ProveAgainResponse(
                second_factor_required=True,
                second_factors=wanted.kinds,
                webauthn_request=wanted.webauthn_request,
            )
        return pb.ProveAgainResponse(token=login.bearer, expires=int(login.expires))

    async def list_second_factors(
        self, who: Subject, _call: Call, _request: pb.ListSecondFactorsRequest
    ) -> Message:
        proofs = await self.enrolment.of(_user(who))
        app = proofs.totp
        apps = [] if app is None else [pb.SecondFactor(kind=TOTP, created=int(app.created))]
        return pb.ListSecondFactorsResponse(
            second_factors=[*apps, *map(_key_message, proofs.keys)],
            recovery_codes_left=proofs.recovery_codes,
            policy=self.enrolment.policy.value,
        )

    async def begin_totp(self, who: Subject, _call: Call, _request: pb.BeginTotpRequest) -> Message:
        offer = self.enrolment.begin_totp(_user(who))
        return pb.BeginTotpResponse(totp=_totp_message(offer))

    async def confirm_totp(
        self, who: Subject, _call: Call, request: pb.ConfirmTotpRequest
    ) -> Message:
        codes = await self.enrolment.confirm_totp(_user(who), request.code, by=who.actor)
        return pb.ConfirmTotpResponse(recovery_codes=codes)

    async def remove_totp(
        self, who: Subject, _call: Call, _request: pb.RemoveTotpRequest
    ) -> Message:
        await self.enrolment.remove_totp(_user(who), by=who.actor)
        return pb.RemoveTotpResponse()

    async def create_recovery_codes(
        self, who: Subject, _call: Call, _request: pb.CreateRecoveryCodesRequest
    ) -> Message:
        codes = await self.enrolment.new_recovery_codes(_user(who), by=who.actor)
        return pb.CreateRecoveryCodesResponse(recovery_codes=codes)

    async def begin_webauthn(
        self, who: Subject, _call: Call, _request: pb.BeginWebauthnRequest
    ) -> Message:
        options = await self.enrolment.begin_key(_user(who))
        return pb.BeginWebauthnResponse(creation_options=options)

    async def finish_webauthn(
        self, who: Subject, _call: Call, request: pb.FinishWebauthnRequest
    ) -> Message:
        key, codes = await self.enrolment.finish_key(
            _user(who), request.credential, request.name, by=who.actor
        )
        return pb.FinishWebauthnResponse(second_factor=_key_message(key), recovery_codes=codes)

    async def remove_webauthn(
        self, who: Subject, _call: Call, request: pb.RemoveWebauthnRequest
    ) -> Message:
        await self.enrolment.remove_key(_user(who), request.id, by=who.actor)
        return pb.RemoveWebauthnResponse()


def invite_message(facts: HubFacts, made: NewInvite) -> pb.Invite:
    """An invite as the one who made it passes it on."""
    user = str(made.record.user)
    address = facts.public_address.removesuffix(":443")
    command = shlex.join(
        [
            "msh",
            "login",
            f"--proxy={facts.public_address}",
            f"--user={user}",
            f"--invite={made.secret}",
            f"--ca-pin={facts.ca_pin}",
        ]
    )
    return pb.Invite(
        user=user,
        token=made.secret,
        url=f"https://{address}/web/invite/{made.secret}",
        expires=int(made.record.expires),
        login_command=command,
    )


def ttl_of(seconds: int) -> float | None:
    """A lifetime of a message, in which 0 is none."""
    return float(seconds) if seconds else None


def _user(who: Subject) -> UserName:
    if who.user is None:
        raise LocalError("a method for users was admitted without one")
    return who.user.name


def _totp_message(offer: TotpOffer) -> pb.TotpEnrolment:
    return pb.TotpEnrolment(uri=offer.uri, secret=offer.secret, qr_svg=offer.qr_svg)


def _key_message(key: SecurityKeyRecord) -> pb.SecondFactor:
    return pb.SecondFactor(
        kind=WEBAUTHN,
        id=key_id(key),
        name=key.name,
        created=int(key.created),
        last_used=int(key.last_used or 0),
    )
