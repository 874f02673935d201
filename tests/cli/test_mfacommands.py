"""Tests of msh's commands about second factors and the password, up to the hub."""

from __future__ import annotations

import json
from typing import Any

from google.protobuf.message import Message

from mezite.client import dialer
from mezite.client.error import NotLoggedIn
from mezite.error import BadInput, Denied, NotAuthenticated, ProofNeeded, Unavailable
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from tests.cli.test_msh import MshTests
from tests.doubles.authservice import AnsweringChannel

PASSWORD = "correct horse"
LINK = "otpauth://totp/Mezite:ada?secret=ABCD"


class FactorTestCase(MshTests):
    """A hub at which ada may need a code."""

    def setUp(self) -> None:
        super().setUp()
        self.code = ""
        self.bearer = "mzb_x"
        # How many codes of a new app come too late.
        self.late = 0
        self.broken = False
        self.factors = pb.ListSecondFactorsResponse(policy="optional")
        self.changed: list[tuple[str, ...]] = []
        self.channels: list[AnsweringChannel] = []
        self.patch(dialer, "dial_unauthenticated", self.dial)
        self.patch(dialer, "dial_auth", self.dial)

    async def dial(self, *_where: object) -> AuthClient:
        self.channels.append(
            AnsweringChannel(
                {
                    "AuthenticateLocal": self.authenticate,
                    "ChangePassword": self.change,
                    "ListSecondFactors": lambda request, metadata: self.factors,
                    "BeginTotp": self.begin,
                    "ConfirmTotp": self.confirm,
                    "RemoveTotp": self.remove,
                    "RemoveWebauthn": self.remove_key,
                    "CreateRecoveryCodes": self.codes,
                    "ProveAgain": self.prove,
                    "Logout": self.logout,
                }
            )
        )
        return AuthClient(self.channels[-1])  # type: ignore[arg-type]

    def check(self, metadata: dict[str, str]) -> None:
        if metadata.get("authorization") != f"Bearer {self.bearer}":
            raise NotAuthenticated("you are not logged in")

    def called(self) -> list[str]:
        """What the hub was asked, each on a connection of its own."""
        return [name for channel in self.channels for name in channel.called]

    def authenticate(self, request: Any, metadata: dict[str, str]) -> Message:
        if request.password == PASSWORD and self.code and not request.second_factor_code:
            return pb.AuthenticateLocalResponse(
                second_factor_required=True, second_factors=["totp"]
            )
        if (request.user, request.password) != ("ada", PASSWORD) or (
            request.second_factor_code != self.code
        ):
            raise NotAuthenticated("the user name or the password is wrong")
        return pb.AuthenticateLocalResponse(token="mzb_x")

    def prove(self, request: Any, metadata: dict[str, str]) -> Message:
        self.check(metadata)
        if request.password != PASSWORD:
            raise NotAuthenticated("the user name or the password is wrong")
        if self.code and not request.second_factor_code:
            return pb.ProveAgainResponse(second_factor_required=True, second_factors=["totp"])
        self.changed.append(("proved", request.second_factor_code))
        self.bearer = "mzb_y"
        return pb.ProveAgainResponse(token="mzb_y")

    def change(self, request: Any, metadata: dict[str, str]) -> Message:
        self.changed.append(
            (request.old_password, request.new_password, request.second_factor_code)
        )
        return pb.ChangePasswordResponse()

    def begin(self, request: Any, metadata: dict[str, str]) -> Message:
        self.check(metadata)
        return pb.BeginTotpResponse(totp=pb.TotpEnrolment(uri=LINK, secret="ABCD"))

    def confirm(self, request: Any, metadata: dict[str, str]) -> Message:
        self.check(metadata)
        if self.late:
            self.late -= 1
            raise ProofNeeded("prove once more who you are")
        if request.code != "123456":
            raise BadInput("this is not the code")
        self.changed.append(("totp",))
        return pb.ConfirmTotpResponse(recovery_codes=["aaaa-bbbb", "cccc-dddd"])

    def remove(self, request: Any, metadata: dict[str, str]) -> Message:
        self.check(metadata)
        self.changed.append(("removed totp",))
        return pb.RemoveTotpResponse()

    def remove_key(self, request: Any, metadata: dict[str, str]) -> Message:
        self.check(metadata)
        self.changed.append((f"removed {request.id}",))
        return pb.RemoveWebauthnResponse()

    def codes(self, request: Any, metadata: dict[str, str]) -> Message:
        self.check(metadata)
        return pb.CreateRecoveryCodesResponse(recovery_codes=["eeee-ffff"])

    def logout(self, request: Any, metadata: dict[str, str]) -> Message:
        self.check(metadata)
        if self.broken:
            raise Unavailable("the connection was lost")
        return pb.LogoutResponse()

    def stdin(self, *arguments: str, given: str) -> Any:
        result = self.invoke(*arguments, "--password-stdin", given=given)
        self.assertTrue(all(channel.is_closed for channel in self.channels))
        return result


class MfaTests(FactorTestCase):
    def test_add(self) -> None:
        """An app is enrolled with a login of its own; the codes alone go to standard output."""
        self.log_in()
        result = self.stdin("mfa", "add", "totp", given=f"{PASSWORD}\n123456\n")
        self.assertIsNone(result.exception)
        self.assertEqual(self.changed, [("totp",)])
        self.assertEqual(result.stdout, "aaaa-bbbb\ncccc-dddd\n")
        self.assertIn(LINK, result.stderr)
        wanted = ["AuthenticateLocal", "BeginTotp", "ConfirmTotp", "Logout"]
        self.assertEqual(self.called(), wanted)

    def test_slowly(self) -> None:
        """Who takes their time with the app is asked once more who they are, and it goes on."""
        self.log_in()
        self.code, self.late = "654321", 1
        given = f"{PASSWORD}\n654321\n123456\n{PASSWORD}\n654321\n"
        result = self.stdin("mfa", "add", "totp", given=given)
        self.assertIsNone(result.exception)
        self.assertEqual(self.changed, [("proved", "654321"), ("totp",)])
        self.assertEqual(result.stdout, "aaaa-bbbb\ncccc-dddd\n")
        self.assertEqual(self.called()[-1], "Logout")

    def test_proof_refused(self) -> None:
        """It is asked for once: a wrong answer, or one that does not help, is an error."""
        self.log_in()
        for password, kind in (("wrong", NotAuthenticated), (PASSWORD, ProofNeeded)):
            self.late, self.bearer = 2, "mzb_x"
            given = f"{PASSWORD}\n123456\n{password}\n"
            result = self.stdin("mfa", "add", "totp", given=given)
            self.assertIsInstance(result.exception, kind)
        self.assertNotIn(("totp",), self.changed)

    def test_logout_fails(self) -> None:
        """Recovery codes are shown, whatever becomes of the login."""
        self.log_in()
        self.broken = True
        result = self.stdin("mfa", "recovery-codes", given=f"{PASSWORD}\n")
        self.assertIsNone(result.exception)
        self.assertEqual(result.stdout, "eeee-ffff\n")

    def test_wrong(self) -> None:
        """A wrong password or code is the hub's sentence."""
        self.log_in()
        result = self.stdin("mfa", "add", "totp", given="wrong\n")
        self.assertIsInstance(result.exception, NotAuthenticated)
        result = self.stdin("mfa", "add", "totp", given=f"{PASSWORD}\n000000\n")
        self.assertIsInstance(result.exception, BadInput)
        self.assertEqual(self.changed, [])

    def test_with_a_code(self) -> None:
        """Who has a second factor shows it first, on a line or as an option."""
        self.log_in()
        self.code = "654321"
        self.stdin("mfa", "rm", "totp", given=f"{PASSWORD}\n654321\n")
        self.stdin("mfa", "rm", "0123456789ab", "--otp=654321", given=f"{PASSWORD}\n")
        self.assertEqual(self.changed, [("removed totp",), ("removed 0123456789ab",)])
        result = self.stdin("mfa", "rm", "totp", given=f"{PASSWORD}\n")
        self.assertIn("--otp", str(result.exception))

    def test_recovery_codes(self) -> None:
        """New codes are printed."""
        self.log_in()
        result = self.stdin("mfa", "recovery-codes", given=f"{PASSWORD}\n")
        self.assertEqual(result.stdout, "eeee-ffff\n")

    def test_list(self) -> None:
        """The list has every factor, and how many codes are left."""
        self.log_in()
        self.factors = pb.ListSecondFactorsResponse(
            second_factors=[
                pb.SecondFactor(kind="totp", created=1_750_000_000),
                pb.SecondFactor(kind="webauthn", id="ab12", name="blue", created=1_750_000_000),
            ],
            recovery_codes_left=7,
            policy="required",
        )
        text = self.invoke("mfa", "ls").output
        for words in ("blue", "ab12", "Recovery codes left: 7", "is required in this cluster"):
            self.assertIn(words, text)
        (row,) = json.loads(self.invoke("mfa", "ls", "--format=json").output)
        self.assertEqual([each["kind"] for each in row["second_factors"]], ["totp", "webauthn"])
        self.assertEqual((row["recovery_codes_left"], row["policy"]), (7, "required"))

    def test_refused(self) -> None:
        """What is no factor, and who is not logged in, are told before the hub is asked."""
        self.assertIsInstance(self.invoke("mfa", "ls").exception, NotLoggedIn)
        self.log_in()
        self.assertIsInstance(self.invoke("mfa", "rm", "../x").exception, BadInput)
        self.assertIn("totp", str(self.invoke("mfa", "add", "sms").exception))
        self.assertEqual(self.channels, [])


class PasswdTests(FactorTestCase):
    def test_changed(self) -> None:
        """The old password, and the new one."""
        self.log_in()
        result = self.stdin("passwd", given=f"{PASSWORD}\nbattery staple\n")
        self.assertIn("password of ada was changed", result.output)
        self.assertEqual(self.changed, [(PASSWORD, "battery staple", "")])

    def test_with_a_code(self) -> None:
        """With a second factor the code is used for the change, and for nothing before it."""
        self.log_in()
        self.code = "654321"
        self.stdin("passwd", given=f"{PASSWORD}\n654321\nbattery staple\n")
        self.assertEqual(self.changed, [(PASSWORD, "battery staple", "654321")])

    def test_wrong(self) -> None:
        """With a wrong old password no new one is asked for."""
        self.log_in()
        result = self.stdin("passwd", given="wrong\n")
        self.assertIsInstance(result.exception, Denied)
        self.assertEqual(self.changed, [])


class LoginOptionTests(MshTests):
    def test_invite_names_its_user(self) -> None:
        """An invite is for somebody; who that is must be said."""
        result = self.invoke("login", "--proxy=h", "--invite=mzi_x")
        self.assertIn("--user", str(result.exception))
