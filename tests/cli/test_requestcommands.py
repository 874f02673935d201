"""Tests of access requests at the prompt of msh and mezctl."""

from __future__ import annotations

import json
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred, succeed

from mezite.cli import administration
from mezite.cli.mezctl import mezctl
from mezite.client import dialer, login, requesting
from mezite.client.requesting import NotApproved
from mezite.error import BadInput, Unavailable
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from tests.cli.test_msh import MshTests
from tests.doubles.authservice import AnsweringChannel

NOW = 1_800_000_000


def request(*states: str, reason: str = "") -> pb.AccessRequest:
    """A request that went through these states."""
    steps = ("pending", *states)
    numbers = [pb.AccessRequestState.Value(f"ACCESS_REQUEST_STATE_{s.upper()}") for s in steps]
    return pb.AccessRequest(
        id="1f0c22ab9e",
        user="ada",
        roles=["ssh-production"],
        nodes=["db1"],
        reason="disk full",
        state=numbers[-1],
        created=NOW,
        expires=NOW + 3600,
        window_seconds=3600,
        changes=[
            pb.AccessRequestChange(
                state=number, time=NOW + at, by="rex" if at else "ada", reason=reason if at else ""
            )
            for at, number in enumerate(numbers)
        ],
    )


class RequestCommandTestCase(MshTests):
    """An auth service that answers, and a login to ask it with."""

    def setUp(self) -> None:
        super().setUp()
        self.asked: list[Any] = []
        # What GetAccessRequest answers in turn; the last one stays.
        self.found: list[Any] = [request("approved")]
        self.decided = request("approved", reason="go")

        def get(asked: Any, metadata: object) -> pb.GetAccessRequestResponse:
            self.asked.append(asked)
            answer = self.found.pop(0) if len(self.found) > 1 else self.found[0]
            if isinstance(answer, Exception):
                raise answer
            return pb.GetAccessRequestResponse(request=answer)

        def answering(kind: Any, **fields: Any) -> Any:
            def answer(asked: Any, metadata: object) -> Any:
                self.asked.append(asked)
                return kind(**fields)

            return answer

        def review(asked: Any, metadata: object) -> pb.ReviewAccessRequestResponse:
            self.asked.append(asked)
            return pb.ReviewAccessRequestResponse(request=self.decided)

        self.methods = {
            "CreateAccessRequest": answering(pb.CreateAccessRequestResponse, request=request()),
            "ListAccessRequests": answering(
                pb.ListAccessRequestsResponse, requests=[request(), request("denied")]
            ),
            "GetAccessRequest": get,
            "ReviewAccessRequest": review,
            "CancelAccessRequest": answering(
                pb.CancelAccessRequestResponse, request=request("cancelled")
            ),
        }

        async def dial(reactor: object, profile: object) -> AuthClient:
            return AuthClient(AnsweringChannel(self.methods))  # type: ignore[arg-type]

        self.patch(dialer, "dial_auth", dial)
        self.patch(requesting, "dial_auth", dial)
        self.log_in()

    def mezctl(self, *arguments: str) -> Result:
        def ask(question: Any) -> Any:
            outcome: list[Any] = []
            client = AuthClient(AnsweringChannel(self.methods))  # type: ignore[arg-type]
            Deferred.fromCoroutine(question(client)).addCallback(outcome.append)
            return outcome[0]

        self.patch(administration, "ask", ask)
        return CliRunner().invoke(mezctl, arguments, standalone_mode=False)


class RequestCommandTests(RequestCommandTestCase):
    def test_create(self) -> None:
        """What is typed is what is asked for, and what comes next is said."""
        result = self.invoke(
            *("request", "create", "--roles=ssh-production, dba", "--reason=disk full"),
            *("--nodes=DB1,8a4c6f0e-29c5-4d3b-9d0c-3a1f0f5a7b11", "--ttl=2h"),
        )
        self.assertIsNone(result.exception)
        (asked,) = self.asked
        self.assertEqual(list(asked.roles), ["ssh-production", "dba"])
        self.assertEqual(list(asked.nodes), ["db1", "8a4c6f0e-29c5-4d3b-9d0c-3a1f0f5a7b11"])
        self.assertEqual((asked.reason, asked.window_seconds), ("disk full", 7200))
        self.assertIn("msh login --request 1f0c22ab9e", result.output)

    def test_mistyped(self) -> None:
        """What cannot be is refused before the hub is asked."""
        for words in (
            ["--roles=A b", "--reason=x"],
            ["--roles=x", "--reason=x", "--nodes=a b"],
            ["--roles=x", "--reason=x", "--ttl=soon"],
            ["--roles=x", "--reason=x", "--password-stdin"],
            ["--roles=x"],
            ["--reason=x"],
        ):
            self.assertIsNotNone(self.invoke("request", "create", *words).exception, words)
        self.assertIsInstance(
            self.invoke("request", "create", "--roles=A b", "--reason=x").exception, BadInput
        )
        self.assertEqual(self.asked, [])

    def test_ls(self) -> None:
        """Lists say what was asked for and where it stands, to people and to programs."""
        result = self.invoke("request", "ls", "--state=pending", "--state=denied", "--user=ada")
        (asked,) = self.asked
        self.assertEqual(
            sorted(asked.states),
            [pb.ACCESS_REQUEST_STATE_PENDING, pb.ACCESS_REQUEST_STATE_DENIED],
        )
        self.assertEqual(asked.user, "ada")
        for word in ("1f0c22ab9e", "ssh-production", "db1", "disk full", "denied"):
            self.assertIn(word, result.output)
        for shown in (
            self.invoke("request", "ls", "--format=json"),
            self.mezctl("requests", "ls", "--format=json"),
        ):
            rows = json.loads(shown.output)
            self.assertEqual([row["state"] for row in rows], ["pending", "denied"])
            self.assertEqual(rows[0]["created"], "2027-01-15T08:00:00Z")

    def test_show(self) -> None:
        """One request is shown with what became of it."""
        self.found = [request("approved", "revoked", reason="done")]
        for result in (
            self.invoke("request", "show", "1f0c22ab9e"),
            self.mezctl("requests", "show", "1f0c22ab9e"),
        ):
            for word in ("revoked", "rex", "done", "disk full", "1h"):
                self.assertIn(word, result.output)
        (row,) = json.loads(self.invoke("request", "show", "x", "--format=json").output)
        self.assertEqual([each["by"] for each in row["changes"]], ["ada", "rex", "rex"])

    def test_review(self) -> None:
        """Each decision is the one that was typed."""
        for name, program in (
            ("approve", self.invoke),
            ("deny", self.invoke),
            ("revoke", self.invoke),
            ("approve", self.mezctl),
            ("deny", self.mezctl),
            ("revoke", self.mezctl),
        ):
            self.asked.clear()
            group = "request" if program == self.invoke else "requests"
            result = program(group, name, "1f0c22ab9e", "--reason=so")
            self.assertIn("Request 1f0c22ab9e of ada is approved, until 2027-", result.output)
            (asked,) = self.asked
            decision = pb.AccessRequestDecision.Name(asked.decision)
            self.assertEqual(decision, f"ACCESS_REQUEST_DECISION_{name.upper()}")
            self.assertEqual((asked.id, asked.reason), ("1f0c22ab9e", "so"))

    def test_cancel(self) -> None:
        """Only msh takes back: mezctl is nobody's."""
        result = self.invoke("request", "cancel", "1f0c22ab9e")
        self.assertIn("of ada is cancelled.", result.output)
        self.assertIsNotNone(self.mezctl("requests", "cancel", "1f0c22ab9e").exception)
        self.assertIsNotNone(self.mezctl("requests", "create").exception)


class WaitingTests(RequestCommandTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.logins: list[Any] = []
        self.pauses: list[float] = []

        async def log_in(reactor: object, wanted: Any, conversation: Any, profiles: Any) -> Any:
            self.logins.append(wanted)
            conversation.password(wanted.user)
            return self.log_in(user=wanted.user.text)

        def pause(reactor: object, seconds: float) -> Deferred[None]:
            self.pauses.append(seconds)
            return succeed(None)

        self.patch(login, "log_in", log_in)
        self.patch(requesting, "deferLater", pause)

    def wait(self, *options: str) -> Result:
        words = ("--roles=ssh-production", "--reason=x", "--wait", "--password-stdin")
        return self.invoke("request", "create", *words, *options, given="secret\n")

    def test_approved(self) -> None:
        """It is asked until it is approved, past a hub that is away, and logs in with it."""
        self.found = [request(), Unavailable("away"), request(), request("approved")]
        result = self.wait()
        self.assertIsNone(result.exception)
        self.assertEqual(len(self.pauses), 3)
        (wanted,) = self.logins
        self.assertEqual(wanted.requests, ("1f0c22ab9e",))
        self.assertIn("approved by rex", result.output)
        self.assertIn("ada is logged in", result.output)

    def test_not_approved(self) -> None:
        """Any other end is a failure that says why, and nobody is logged in."""
        for state, words in (
            ("denied", "is denied by rex: no"),
            ("cancelled", "is cancelled by rex: no"),
            ("expired", "is expired"),
        ):
            self.found = [request(), request(state, reason="no")]
            error = self.wait().exception
            self.assertIsInstance(error, NotApproved)
            self.assertIn(words, str(error))
        self.assertEqual(self.logins, [])


class LoginWithRequestTests(RequestCommandTestCase):
    def test_option(self) -> None:
        """Requests that are named at login are asked to be carried."""
        wanted: list[Any] = []

        async def log_in(reactor: object, asked: Any, conversation: Any, profiles: Any) -> Any:
            wanted.append(asked)
            return self.log_in()

        self.patch(login, "log_in", log_in)
        words = ("login", "--request=1f", "--request=2e", "--password-stdin")
        self.assertIsNone(self.invoke(*words, given="x\n").exception)
        self.assertEqual(wanted[0].requests, ("1f", "2e"))
