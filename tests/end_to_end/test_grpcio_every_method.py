"""
Tests that a stock gRPC client drives every method of a real hub, at its port.

:data:`CALLS` has a line for each method there is: a new one without a line
fails the test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import grpc
import pyotp
import pytest
from attrs import define, field, frozen
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from google.protobuf.field_mask_pb2 import FieldMask

from mezite.cli.local import LocalCluster, local_cluster
from mezite.hub.callers import PERMISSIONS
from mezite.rpc.proto import auth_pb2 as pb

BAD: Final = grpc.StatusCode.INVALID_ARGUMENT
PASSWORD: Final = "correct horse battery"
# Nobody has a session here, so there is none of these.
RECORDING: Final = "9d3c7a52-11aa-4b0e-93f2-6f0b1f0e8f11.1"
ROLE: Final = (
    "{kind: role, version: v1, metadata: {name: ops}, spec: {allow: {logins: [root],"
    " node_labels: {'*': '*'}, request_roles: [access], review_roles: [access]}}}"
)


@define
class State:
    """What one call learns and another needs."""

    bearers: dict[str, str] = field(factory=dict)
    secret: str = ""
    token: str = ""
    known: dict[str, str] = field(factory=dict)
    tls_key: ec.EllipticCurvePrivateKey = field(
        factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    node_certificate: str = ""

    @property
    def tls_public(self) -> str:
        public = self.tls_key.public_key()
        return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@frozen
class CallLine:
    """
    One call: as whom, with what, and what its answer leaves in the state.

    It succeeds, unless ``code`` says with what it is refused by the method itself.
    """

    name: str
    request: Callable[[State], Any]
    who: str = "root1"
    keep: Callable[[State, Any], None] | None = None
    code: grpc.StatusCode | None = None


def ssh_public() -> str:
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def keep_bearer(state: State, answer: Any) -> None:
    state.bearers[answer.user] = answer.token


def keep_proof(state: State, answer: Any) -> None:
    state.bearers["root1"] = answer.token


def keep_token(state: State, answer: Any) -> None:
    state.token, state.known["token"] = answer.token, answer.token_id


def keep_node(state: State, answer: Any) -> None:
    state.node_certificate = answer.tls_certificate
    state.known["agent_id"] = answer.agent_id


def keep_invite(state: State, answer: Any) -> None:
    state.known["invite"] = answer.invite.token


def keep_totp(state: State, answer: Any) -> None:
    state.known["totp"] = answer.totp.secret.replace(" ", "").upper()


def keep_lock(state: State, answer: Any) -> None:
    state.known["lock"] = answer.lock.lock_id


def keep_request(state: State, answer: Any) -> None:
    state.known["request"] = answer.request.id


def living_session() -> pb.LivingSession:
    return pb.LivingSession(session_id="s1", user="kim", login="root")


def is_told_to_end(state: State, answer: Any) -> None:
    (session,) = answer.ended
    assert session.session_id == "s1"
    assert session.reason


def log_in(user: str, password: str = PASSWORD) -> CallLine:
    return CallLine(
        "AuthenticateLocal",
        lambda s: pb.AuthenticateLocalRequest(user=user, password=password),
        who="nobody",
        keep=keep_bearer,
    )


def keep_api_token(state: State, answer: Any) -> None:
    state.secret = answer.secret
    state.known["api_token"] = answer.api_token.token_id


# In this order: later lines need what earlier ones made.
CALLS: Final[tuple[CallLine, ...]] = (
    CallLine("Ping", lambda s: pb.PingRequest(), who="nobody"),
    log_in("root1"),
    CallLine("WhoAmI", lambda s: pb.WhoAmIRequest()),
    CallLine("GetStatus", lambda s: pb.GetStatusRequest()),
    CallLine(
        "IssueUserCerts",
        lambda s: pb.IssueUserCertsRequest(
            ssh_public_key=ssh_public(), tls_public_key=s.tls_public
        ),
    ),
    CallLine("CreateRole", lambda s: pb.CreateRoleRequest(document=ROLE)),
    CallLine("GetRole", lambda s: pb.GetRoleRequest(name="ops")),
    CallLine("ListRoles", lambda s: pb.ListRolesRequest(page_size=2)),
    CallLine(
        "CreateUser",
        lambda s: pb.CreateUserRequest(name="kim", roles=["ops"], password=PASSWORD),
    ),
    CallLine(
        "UpdateUser",
        lambda s: pb.UpdateUserRequest(
            user=pb.User(name="kim", logins=["kim"]), update_mask=FieldMask(paths=["logins"])
        ),
    ),
    CallLine("ListUsers", lambda s: pb.ListUsersRequest()),
    CallLine(
        "ChangePassword",
        lambda s: pb.ChangePasswordRequest(
            user="kim", old_password=PASSWORD, new_password="another " + PASSWORD
        ),
        who="nobody",
    ),
    log_in("kim", "another " + PASSWORD),
    CallLine(
        "UpdateUser",
        lambda s: pb.UpdateUserRequest(
            user=pb.User(name="root1", roles=["ops"]), update_mask=FieldMask(paths=["roles"])
        ),
    ),
    CallLine(
        "CreateAccessRequest",
        lambda s: pb.CreateAccessRequestRequest(roles=["access"], reason="an incident"),
        who="kim",
        keep=keep_request,
    ),
    CallLine("ListAccessRequests", lambda s: pb.ListAccessRequestsRequest()),
    CallLine("GetAccessRequest", lambda s: pb.GetAccessRequestRequest(id=s.known["request"])),
    CallLine(
        "ReviewAccessRequest",
        lambda s: pb.ReviewAccessRequestRequest(
            id=s.known["request"], decision=pb.ACCESS_REQUEST_DECISION_DENY, reason="no"
        ),
    ),
    CallLine(
        "CreateAccessRequest",
        lambda s: pb.CreateAccessRequestRequest(roles=["access"], reason="another"),
        who="kim",
        keep=keep_request,
    ),
    CallLine(
        "CancelAccessRequest",
        lambda s: pb.CancelAccessRequestRequest(id=s.known["request"]),
        who="kim",
    ),
    CallLine("CreateToken", lambda s: pb.CreateTokenRequest(uses=2), keep=keep_token),
    CallLine("ListTokens", lambda s: pb.ListTokensRequest()),
    CallLine(
        "ValidateJoinToken", lambda s: pb.ValidateJoinTokenRequest(token=s.token), who="nobody"
    ),
    CallLine(
        "GenerateHostCerts",
        lambda s: pb.GenerateHostCertsRequest(
            token=s.token,
            hostname="db1",
            ssh_public_key=ssh_public(),
            tls_public_key=s.tls_public,
        ),
        who="nobody",
        keep=keep_node,
    ),
    CallLine("RegisterAgent", lambda s: pb.RegisterAgentRequest(version="1"), who="node"),
    CallLine("AgentHeartbeat", lambda s: pb.AgentHeartbeatRequest(version="1"), who="node"),
    CallLine(
        "AuthorizeSession",
        lambda s: pb.AuthorizeSessionRequest(user="kim", login="root", session_id="s1"),
        who="node",
    ),
    # The hub has opened no stream to this node, or not any more, and knows of no session there.
    CallLine(
        "ResumeSession",
        lambda s: pb.ResumeSessionRequest(session_id="s1", session=living_session()),
        who="node",
        code=grpc.StatusCode.UNAVAILABLE,
    ),
    CallLine(
        "ReportSessions",
        lambda s: pb.ReportSessionsRequest(sessions=[living_session()]),
        who="node",
        keep=is_told_to_end,
    ),
    CallLine("DeregisterAgent", lambda s: pb.DeregisterAgentRequest(), who="node"),
    CallLine("ListNodes", lambda s: pb.ListNodesRequest()),
    CallLine("GetNode", lambda s: pb.GetNodeRequest(node="db1")),
    CallLine(
        "ExplainAccess", lambda s: pb.ExplainAccessRequest(user="kim", login="root", node="db1")
    ),
    CallLine(
        "CreateOpenSshNode",
        lambda s: pb.CreateOpenSshNodeRequest(
            hostname="plain1", address="192.0.2.1", host_keys=["SHA256:" + "A" * 43]
        ),
    ),
    CallLine("GetOpenSshSetup", lambda s: pb.GetOpenSshSetupRequest()),
    CallLine("AllowRejoin", lambda s: pb.AllowRejoinRequest(node="db1")),
    CallLine("DeleteNode", lambda s: pb.DeleteNodeRequest(node="db1")),
    CallLine("DeleteToken", lambda s: pb.DeleteTokenRequest(token_id=s.known["token"])),
    CallLine(
        "CreateApiToken",
        lambda s: pb.CreateApiTokenRequest(user="kim", name="ci"),
        keep=keep_api_token,
    ),
    CallLine("ListApiTokens", lambda s: pb.ListApiTokensRequest()),
    CallLine("DeleteApiToken", lambda s: pb.DeleteApiTokenRequest(token_id=s.known["api_token"])),
    CallLine("ListAuditEvents", lambda s: pb.ListAuditEventsRequest(page_size=5)),
    CallLine("VerifyAudit", lambda s: pb.VerifyAuditRequest()),
    CallLine("ProveAgain", lambda s: pb.ProveAgainRequest(password=PASSWORD), keep=keep_proof),
    CallLine("ListSecondFactors", lambda s: pb.ListSecondFactorsRequest()),
    CallLine("BeginTotp", lambda s: pb.BeginTotpRequest(), keep=keep_totp),
    CallLine(
        "ConfirmTotp", lambda s: pb.ConfirmTotpRequest(code=pyotp.TOTP(s.known["totp"]).now())
    ),
    CallLine("CreateRecoveryCodes", lambda s: pb.CreateRecoveryCodesRequest()),
    CallLine("RemoveTotp", lambda s: pb.RemoveTotpRequest()),
    CallLine("BeginTotp", lambda s: pb.BeginTotpRequest(), keep=keep_totp),
    CallLine(
        "ConfirmTotp", lambda s: pb.ConfirmTotpRequest(code=pyotp.TOTP(s.known["totp"]).now())
    ),
    CallLine("ResetSecondFactors", lambda s: pb.ResetSecondFactorsRequest(user="root1")),
    log_in("root1"),
    # Security keys need a hub with a name, and a browser.
    CallLine("BeginWebauthn", lambda s: pb.BeginWebauthnRequest(), code=BAD),
    CallLine("FinishWebauthn", lambda s: pb.FinishWebauthnRequest(credential="{}"), code=BAD),
    CallLine(
        "RemoveWebauthn",
        lambda s: pb.RemoveWebauthnRequest(id="00"),
        code=grpc.StatusCode.NOT_FOUND,
    ),
    CallLine("ResetUser", lambda s: pb.ResetUserRequest(user="kim")),
    CallLine("CreateInvite", lambda s: pb.CreateInviteRequest(user="kim"), keep=keep_invite),
    CallLine("GetInvite", lambda s: pb.GetInviteRequest(token=s.known["invite"]), who="nobody"),
    CallLine(
        "AcceptInvite",
        lambda s: pb.AcceptInviteRequest(token=s.known["invite"], password="a third " + PASSWORD),
        who="nobody",
    ),
    CallLine(
        "CreateLock",
        lambda s: pb.CreateLockRequest(target=pb.LockTarget(user="kim"), message="wait"),
        keep=keep_lock,
    ),
    CallLine("ListLocks", lambda s: pb.ListLocksRequest()),
    CallLine("DeleteLock", lambda s: pb.DeleteLockRequest(lock_id=s.known["lock"])),
    CallLine("ListRecordings", lambda s: pb.ListRecordingsRequest(user="ada")),
    CallLine(
        "GetRecording",
        lambda s: pb.GetRecordingRequest(id=RECORDING),
        code=grpc.StatusCode.NOT_FOUND,
    ),
    CallLine(
        "ReadRecording",
        lambda s: pb.ReadRecordingRequest(id=RECORDING),
        code=grpc.StatusCode.NOT_FOUND,
    ),
    CallLine(
        "HoldRecording",
        lambda s: pb.HoldRecordingRequest(id=RECORDING, reason="a case"),
        code=grpc.StatusCode.NOT_FOUND,
    ),
    CallLine(
        "ReleaseRecording",
        lambda s: pb.ReleaseRecordingRequest(id=RECORDING),
        code=grpc.StatusCode.NOT_FOUND,
    ),
    CallLine(
        "DeleteRecording",
        lambda s: pb.DeleteRecordingRequest(id=RECORDING),
        code=grpc.StatusCode.NOT_FOUND,
    ),
    CallLine("ListSessions", lambda s: pb.ListSessionsRequest()),
    CallLine(
        "EndSession",
        lambda s: pb.EndSessionRequest(session_id="s1"),
        code=grpc.StatusCode.NOT_FOUND,
    ),
    CallLine("GetAuthorities", lambda s: pb.GetAuthoritiesRequest()),
    CallLine("RotateAuthority", lambda s: pb.RotateAuthorityRequest(types=["user"])),
    CallLine("RollbackAuthority", lambda s: pb.RollbackAuthorityRequest(types=["user"])),
    CallLine("DeleteUser", lambda s: pb.DeleteUserRequest(name="kim")),
    CallLine(
        "UpdateUser",
        lambda s: pb.UpdateUserRequest(
            user=pb.User(name="root1"), update_mask=FieldMask(paths=["roles"])
        ),
    ),
    CallLine("DeleteRole", lambda s: pb.DeleteRoleRequest(name="ops")),
    CallLine("Logout", lambda s: pb.LogoutRequest()),
)


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path_factory.mktemp("grpcio"), name="hub.example.com") as cluster:
        cluster.start_hub()
        cluster.add_user("root1", PASSWORD, "--admin", "--logins=root")
        cluster.log_in("root1", PASSWORD)
        yield cluster


def channel(hub: LocalCluster, state: State, who: str) -> grpc.Channel:
    host, _, port = hub.address.rpartition(":")
    authority = (hub.directory / "msh" / f"{host}_{port}" / "ca.pem").read_bytes()
    own: Mapping[str, bytes] = {}
    if who == "node":
        own = {
            "private_key": state.tls_key.private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            ),
            "certificate_chain": state.node_certificate.encode(),
        }
    return grpc.secure_channel(
        hub.address,
        grpc.ssl_channel_credentials(authority, **own),
        [("grpc.ssl_target_name_override", f"auth.{hub.name}")],
    )


class EveryMethodTests:
    def test_lines(self) -> None:
        """There is a line for every method."""
        assert {line.name for line in CALLS} == PERMISSIONS.keys()

    def test_every_method(self, hub: LocalCluster) -> None:
        """Each method answers a stock client."""
        state = State()
        for line in CALLS:
            bearer = state.bearers.get(line.who)
            metadata = [("authorization", f"Bearer {bearer}")] if bearer else []
            with channel(hub, state, line.who) as opened:
                call = opened.unary_unary(
                    f"/mezite.v1.AuthService/{line.name}",
                    request_serializer=lambda message: message.SerializeToString(),
                    response_deserializer=getattr(pb, f"{line.name}Response").FromString,
                )
                try:
                    answer = call(line.request(state), metadata=metadata, timeout=20)
                except grpc.RpcError as error:
                    if error.code() is not line.code:
                        pytest.fail(f"{line.name} as {line.who}: {error.details()}")
                    continue
            if line.code is not None:
                pytest.fail(f"{line.name} was to be refused")
            if line.keep is not None:
                line.keep(state, answer)

    def test_nobody(self, hub: LocalCluster) -> None:
        """A stock client that shows nothing is told so."""
        with channel(hub, State(), "nobody") as opened:
            call = opened.unary_unary(
                "/mezite.v1.AuthService/ListUsers",
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=pb.ListUsersResponse.FromString,
            )
            with pytest.raises(grpc.RpcError) as caught:
                call(pb.ListUsersRequest(), timeout=20)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
