"""
The REST API: which method of HTTP on which path is which method of gRPC.

:data:`ROUTES` is the only list. How a route's path, query and body become the
method's message is :mod:`mezite.hub.web.operations`'; what the caller must have
proved stands in :data:`mezite.hub.callers.PERMISSIONS`, as for gRPC.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

from attrs import frozen

PREFIX: Final = "/v1/webapi"


class SessionUse(enum.Enum):
    """What an operation does with the cookie of a session."""

    NOTHING = enum.auto()
    # Sets it, from the answer's token, which is not shown.
    BEGIN = enum.auto()
    # Tells its CSRF token.
    SHOW = enum.auto()
    # Takes it back.
    END = enum.auto()


@frozen
class Route:
    """
    One operation.

    A part ``{field}`` of the path is that field of the request. Without a
    body (GET and DELETE) all other fields come from the query; with one, all
    others are the keys of its object. ``body`` names a field whose keys these
    are instead; an ``update_mask`` is then made of the keys that are there.
    ``answer`` names the one field of the response that is answered.
    """

    method: str
    path: str
    rpc: str
    summary: str
    status: int = 200
    body: str = ""
    answer: str = ""
    # Keys without which the body, or the query, is refused.
    required: tuple[str, ...] = ()
    session: SessionUse = SessionUse.NOTHING
    # Fields of the response that are for gRPC only.
    hidden: tuple[str, ...] = ()

    @property
    def has_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH")

    @property
    def changes(self) -> bool:
        """Whether it does more than show something."""
        return self.method != "GET"


ROUTES: Final[tuple[Route, ...]] = (
    # For everybody.
    Route("GET", "/ping", "Ping", "Says who answers, with the pin of the cluster's authority."),
    Route(
        "POST",
        "/login",
        "AuthenticateLocal",
        "Logs in with a password, and a second factor where one is required: sets the cookie of"
        " the session, and answers with its CSRF token.",
        required=("user", "password"),
        session=SessionUse.BEGIN,
        hidden=("token",),
    ),
    Route(
        "POST",
        "/password",
        "ChangePassword",
        "Replaces a password, by proving the old one. Ends the user's sessions.",
        status=204,
        required=("user", "old_password", "new_password"),
    ),
    Route(
        "POST",
        "/invite",
        "GetInvite",
        "What an invite is for, and what must be given to accept it.",
        required=("token",),
    ),
    Route(
        "POST",
        "/invite/accept",
        "AcceptInvite",
        "Accepts an invite with a new password: sets the cookie of the session.",
        required=("token", "password"),
        session=SessionUse.BEGIN,
        hidden=("token",),
    ),
    # For users.
    Route(
        "GET",
        "/session",
        "WhoAmI",
        "Says who the caller is, and in a session its CSRF token.",
        session=SessionUse.SHOW,
    ),
    Route(
        "POST",
        "/session/proof",
        "ProveAgain",
        "Proves once more who the caller is, as changes of second factors want it: sets the"
        " cookie of the session anew.",
        required=("password",),
        session=SessionUse.BEGIN,
        hidden=("token",),
    ),
    Route("DELETE", "/session", "Logout", "Ends the session.", status=204, session=SessionUse.END),
    Route(
        "POST",
        "/certificates",
        "IssueUserCerts",
        "Issues SSH and X.509 certificates to the caller, who has logged in with a password.",
        required=("ssh_public_key", "tls_public_key"),
    ),
    Route("GET", "/factors", "ListSecondFactors", "The caller's second factors."),
    Route("POST", "/factors/totp", "BeginTotp", "Offers a secret for an authenticator app."),
    Route(
        "POST",
        "/factors/totp/confirm",
        "ConfirmTotp",
        "Enrols the app that shows this code.",
        required=("code",),
    ),
    Route("DELETE", "/factors/totp", "RemoveTotp", "Forgets the app.", status=204),
    Route(
        "POST",
        "/factors/recovery-codes",
        "CreateRecoveryCodes",
        "Makes ten recovery codes in place of all others.",
        status=201,
    ),
    Route("POST", "/factors/webauthn", "BeginWebauthn", "Says how to ask a new security key."),
    Route(
        "POST",
        "/factors/webauthn/confirm",
        "FinishWebauthn",
        "Adds the security key that answered.",
        required=("credential",),
    ),
    Route(
        "DELETE", "/factors/webauthn/{id}", "RemoveWebauthn", "Forgets a security key.", status=204
    ),
    Route("GET", "/nodes", "ListNodes", "The nodes that the caller may reach, or see."),
    Route("GET", "/requests", "ListAccessRequests", "The access requests that the caller may see."),
    Route(
        "POST",
        "/requests",
        "CreateAccessRequest",
        "Asks for roles, for a time.",
        status=201,
        answer="request",
        required=("reason",),
    ),
    Route("GET", "/requests/{id}", "GetAccessRequest", "One access request.", answer="request"),
    Route(
        "POST",
        "/requests/{id}/review",
        "ReviewAccessRequest",
        "Approves, denies or revokes an access request, as one of its reviewers.",
        answer="request",
    ),
    Route(
        "POST",
        "/requests/{id}/cancel",
        "CancelAccessRequest",
        "Takes back an access request of the caller's own.",
        answer="request",
    ),
    Route(
        "GET", "/sessions", "ListSessions", "The live sessions: one's own and what one may review."
    ),
    Route(
        "GET",
        "/recordings",
        "ListRecordings",
        "The recordings of the caller's sessions, or of all for auditors.",
    ),
    Route(
        "GET",
        "/recordings/{id}",
        "GetRecording",
        "One recording, without its content.",
        answer="recording",
    ),
    # For auditors.
    Route("GET", "/users", "ListUsers", "All users."),
    Route("GET", "/tokens", "ListTokens", "The join tokens that can still be used."),
    Route(
        "GET", "/nodes/{node}", "GetNode", "One node, with all that is known of it.", answer="node"
    ),
    Route("GET", "/status", "GetStatus", "What the hub is, and how it is."),
    Route("GET", "/roles", "ListRoles", "All roles, without their documents."),
    Route("GET", "/roles/{name}", "GetRole", "One role, with its document.", answer="role"),
    Route(
        "GET",
        "/access/explain",
        "ExplainAccess",
        "Whether a user may use a login on a node, and which rule decides it.",
        required=("user", "node"),
    ),
    Route("GET", "/api-tokens", "ListApiTokens", "The API tokens that have not expired."),
    Route("GET", "/audit", "ListAuditEvents", "The events of the audit that match."),
    Route("GET", "/audit/verify", "VerifyAudit", "Whether the audit is as it was written."),
    Route(
        "GET",
        "/authorities",
        "GetAuthorities",
        "The authorities, and how far the rotation of each is.",
    ),
    Route("GET", "/locks", "ListLocks", "The locks that hold."),
    Route("GET", "/openssh/setup", "GetOpenSshSetup", "What an sshd without an agent is to trust."),
    # For administrators.
    Route("DELETE", "/sessions/{session_id}", "EndSession", "Ends a live session.", status=204),
    Route(
        "POST",
        "/recordings/{id}/hold",
        "HoldRecording",
        "Keeps a recording from being removed.",
        answer="recording",
        required=("reason",),
    ),
    Route(
        "DELETE",
        "/recordings/{id}/hold",
        "ReleaseRecording",
        "Lets a recording that is held go the way of others again.",
        answer="recording",
    ),
    Route("DELETE", "/recordings/{id}", "DeleteRecording", "Removes a recording.", status=204),
    Route(
        "POST",
        "/locks",
        "CreateLock",
        "Locks users, nodes, roles or logins, at once.",
        status=201,
        answer="lock",
    ),
    Route("DELETE", "/locks/{lock_id}", "DeleteLock", "Takes a lock away.", status=204),
    Route(
        "POST",
        "/nodes/openssh",
        "CreateOpenSshNode",
        "Adds a machine without an agent, whose sshd the hub dials.",
        status=201,
        answer="node",
        required=("hostname", "address"),
    ),
    Route("DELETE", "/nodes/{node}", "DeleteNode", "Forgets a node.", status=204),
    Route(
        "POST",
        "/nodes/{node}/rejoin",
        "AllowRejoin",
        "Makes a token with which a node that lost its data joins once more.",
        status=201,
    ),
    Route(
        "POST",
        "/users",
        "CreateUser",
        "Adds a user; without a password an invite is made and answered.",
        status=201,
        required=("name",),
    ),
    Route(
        "PATCH",
        "/users/{user.name}",
        "UpdateUser",
        "Replaces the fields of a user that the body has.",
        body="user",
        answer="user",
    ),
    Route("DELETE", "/users/{name}", "DeleteUser", "Forgets a user.", status=204),
    Route(
        "POST",
        "/users/{user}/invite",
        "CreateInvite",
        "Makes an invite for a user, in place of any other.",
        status=201,
        answer="invite",
    ),
    Route(
        "POST",
        "/users/{user}/reset",
        "ResetUser",
        "Makes an invite, and ends the user's password and sessions.",
        status=201,
        answer="invite",
    ),
    Route(
        "DELETE",
        "/users/{user}/factors",
        "ResetSecondFactors",
        "Forgets a user's second factors.",
        status=204,
    ),
    Route("POST", "/tokens", "CreateToken", "Makes a join token.", status=201),
    Route("DELETE", "/tokens/{token_id}", "DeleteToken", "Revokes a join token.", status=204),
    Route(
        "POST",
        "/roles",
        "CreateRole",
        "Adds a role from its document, or replaces it.",
        status=201,
        answer="role",
        required=("document",),
    ),
    Route("DELETE", "/roles/{name}", "DeleteRole", "Forgets a role that no user has.", status=204),
    Route(
        "POST",
        "/api-tokens",
        "CreateApiToken",
        "Makes an API token for a user; its secret is answered once.",
        status=201,
        required=("user", "name"),
    ),
    Route(
        "DELETE", "/api-tokens/{token_id}", "DeleteApiToken", "Revokes an API token.", status=204
    ),
    Route(
        "POST",
        "/authorities/rotate",
        "RotateAuthority",
        "Begins the rotation of authorities, or moves it on by one phase.",
        required=("types",),
    ),
    Route(
        "POST",
        "/authorities/rollback",
        "RollbackAuthority",
        "Lets the old authorities sign again.",
        required=("types",),
    ),
)

# Methods that have no route, and why; those of nodes need a certificate, for which
# browsers are never asked, and so need no reason.
WITHOUT_ROUTE: Final[Mapping[str, str]] = {
    "ValidateJoinToken": "agents ask it, in gRPC, before they join",
    "GenerateHostCerts": "agents join and renew in gRPC, with keys that never leave them",
    "ReadRecording": "content is bytes, by the megabyte; JSON would make text of them",
}
