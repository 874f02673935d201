"""
The auth service, as a channel to it that answers at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from attrs import define, field
from google.protobuf.message import Message

from mezite.error import BadInput, Denied, NotAuthenticated
from mezite.rpc.proto import auth_pb2 as pb
from tests.doubles.logins import Cluster


@define(eq=False)
class AnsweringChannel:
    """Stands for a GrpcChannel; each method is answered by a function of the test."""

    methods: dict[str, Callable[[Any, dict[str, str]], Message]]
    called: list[str] = field(factory=list)
    is_closed: bool = False

    async def call(
        self,
        path: str,
        request: Message,
        response_type: type[Any],
        *,
        timeout: float = 10.0,
        metadata: Iterable[tuple[str, str]] = (),
    ) -> Any:
        assert not self.is_closed
        name = path.rsplit("/", 1)[1]
        self.called.append(name)
        answer = self.methods[name](request, dict(metadata))
        assert isinstance(answer, response_type)
        return answer

    def close(self) -> None:
        self.is_closed = True


@define(eq=False)
class OneUser:
    """What the auth service does for one user, with the certificates of a cluster."""

    cluster: Cluster
    user: str = "ada"
    password: str = "correct horse"
    must_change_password: bool = False
    logins: list[str] = field(factory=lambda: ["ada", "root"])
    hub_name: str = "hub.example.com"
    # What else is needed, if anything, and what was offered to be enrolled.
    code: str = ""
    factors: list[str] = field(factory=lambda: ["totp", "recovery_code"])
    invite: str = ""
    offers: bool = False
    must_enrol: bool = False
    ttl_seconds: int = field(init=False, default=-1)

    def channel(self) -> AnsweringChannel:
        return AnsweringChannel(
            {
                "AuthenticateLocal": self._authenticate,
                "ChangePassword": self._change,
                "IssueUserCerts": self._issue,
                "GetInvite": self._get_invite,
                "AcceptInvite": self._accept,
            }
        )

    def _check(self, user: str, password: str) -> None:
        if (user, password) != (self.user, self.password):
            raise NotAuthenticated("the user name or the password is wrong")

    def _authenticate(self, request: Any, metadata: dict[str, str]) -> Message:
        self._check(request.user, request.password)
        if self.code and not request.second_factor_code:
            return pb.AuthenticateLocalResponse(
                second_factor_required=True, second_factors=self.factors
            )
        if request.second_factor_code != self.code:
            raise NotAuthenticated("the user name or the password is wrong")
        return pb.AuthenticateLocalResponse(
            token="bearer", user=self.user, must_change_password=self.must_change_password
        )

    def _change(self, request: Any, metadata: dict[str, str]) -> Message:
        self._check(request.user, request.old_password)
        self.password = request.new_password
        self.must_change_password = False
        return pb.ChangePasswordResponse()

    def _get_invite(self, request: Any, metadata: dict[str, str]) -> Message:
        if not self.invite or request.token != self.invite:
            raise Denied("the invite is not valid")
        return pb.GetInviteResponse(
            user=self.user,
            totp=pb.TotpEnrolment(uri="otpauth://totp/x?secret=ABCD", secret="ABCD")
            if self.offers
            else None,
            must_enrol=self.must_enrol,
            second_factor_required=bool(self.code) and not self.offers,
            second_factors=self.factors,
            shortest_password=8,
        )

    def _accept(self, request: Any, metadata: dict[str, str]) -> Message:
        if request.second_factor_code != self.code:
            raise BadInput("this is not the code that the app shows now")
        self.password, self.invite = request.password, ""
        return pb.AcceptInviteResponse(
            token="bearer",
            user=self.user,
            recovery_codes=["aaaa-bbbb"] if self.offers and request.second_factor_code else [],
        )

    def _issue(self, request: Any, metadata: dict[str, str]) -> Message:
        if metadata.get("authorization") != "Bearer bearer" or self.must_change_password:
            raise NotAuthenticated("no")
        self.ttl_seconds = request.ttl_seconds
        lifetime = float(request.ttl_seconds or 43200)
        ssh_certificate, tls_certificate = self.cluster.certify(
            self.user,
            self.logins,
            lifetime,
            request.ssh_public_key,
            request.tls_public_key.encode(),
        )
        return pb.IssueUserCertsResponse(
            ssh_certificate=ssh_certificate,
            tls_certificate=tls_certificate.decode(),
            cluster_ca=self.cluster.x509_authority.certificate_pem.decode(),
            host_ca=[self.cluster.host_authority.public_line()],
            valid_before=int(self.cluster.now + lifetime),
            logins=self.logins,
            cluster_name=self.cluster.name.text,
            hub_name=self.hub_name,
        )
