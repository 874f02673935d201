"""Tests of the commands of msh, up to where the network begins."""

from __future__ import annotations

import getpass
import json
import time
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.cli import main
from mezite.cli.msh import msh, program
from mezite.client import dialer, login, places
from mezite.client.error import LoginExpired, NotLoggedIn
from mezite.client.profile import Profile
from mezite.error import BadInput
from mezite.names import HostPort, UserName
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from tests.doubles.authservice import AnsweringChannel
from tests.doubles.logins import Cluster


class MshTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = Path(self.mktemp()).absolute()
        self.patch(places, "home", lambda: str(self.home))
        self.patch(getpass, "getuser", lambda: "eve")
        self.patch(main, "run", self.run_at_once)
        self.cluster = Cluster(time.time())

    def run_at_once(self, work: Any) -> Any:
        outcome: list[Any] = []
        Deferred.fromCoroutine(work(object())).addBoth(outcome.append)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def invoke(self, *arguments: str, given: str | None = None) -> Result:
        return CliRunner().invoke(msh, arguments, input=given, standalone_mode=False)

    def log_in(self, **changes: Any) -> Profile:
        return self.cluster.log_in(self.home, "127.0.0.1:3080", **changes)


class LoginTests(MshTests):
    def setUp(self) -> None:
        super().setUp()
        self.requests: list[Any] = []
        self.passwords: list[str] = []

        async def log_in(reactor: object, request: Any, conversation: Any, profiles: Any) -> Any:
            self.requests.append(request)
            self.passwords.append(conversation.password(request.user))
            return self.log_in(user=request.user.text)

        self.patch(login, "log_in", log_in)

    def test_all_options(self) -> None:
        """What is typed is what is asked for."""
        out = Path(self.mktemp()).absolute()
        result = self.invoke(
            *("login", "--proxy=hub.example.com:443", "--user=ada", "--ttl=30m"),
            *("--password-stdin", "--ca-pin=sha256:00", f"--out={out}"),
            given="secret word\n",
        )
        self.assertIsNone(result.exception)
        (request,) = self.requests
        self.assertEqual(request.hub, HostPort("hub.example.com", 443))
        self.assertEqual(request.user, UserName("ada"))
        self.assertEqual((request.ttl, request.pin), (1800, "sha256:00"))
        self.assertEqual(self.passwords, ["secret word"])
        self.assertTrue(out.exists())
        self.assertIn("ada is logged in at 127.0.0.1:3080 for 59m", result.output)

    def test_remembered(self) -> None:
        """Hub and user are those of the latest login, and the port has a default."""
        self.log_in(user="bob")
        self.assertIsNone(self.invoke("login", "--password-stdin", given="x\n").exception)
        self.assertEqual(self.requests[0].hub, HostPort("127.0.0.1", 3080))
        self.assertEqual(self.requests[0].user, UserName("bob"))
        result = self.invoke("login", "--password-stdin", "--proxy=hub.example.com", given="x\n")
        self.assertIsNone(result.exception)
        self.assertEqual(self.requests[1].hub, HostPort("hub.example.com", 3080))
        self.assertEqual(self.requests[1].user, UserName("eve"))

    def test_what_is_missing(self) -> None:
        """A first login without a hub, two kinds of trust, and no password are told so."""
        result = self.invoke("login")
        self.assertIn("--proxy", str(result.exception))
        result = self.invoke("login", "--proxy=h", "--ca-pin=x", "--ca-file=y")
        self.assertIn("--ca-file", str(result.exception))
        result = self.invoke("login", "--proxy=h", "--password-stdin", given="")
        self.assertIsInstance(result.exception, BadInput)
        result = self.invoke("login", "--proxy=h", given="")
        self.assertIn("--password-stdin", str(result.exception))


class LogoutAndStatusTests(MshTests):
    def test_status(self) -> None:
        """The status tells who, where and for how long, and never what is secret."""
        self.log_in()
        result = self.invoke("status", "--format=json")
        (row,) = json.loads(result.output)
        self.assertEqual(
            [row[key] for key in ("user", "hub", "logins")],
            ["ada", "127.0.0.1:3080", ["ada", "root"]],
        )
        self.assertGreater(row["time_left"], 3500)
        self.assertIn("59m", self.invoke("status").output)

    def test_expired(self) -> None:
        """An expired login is shown, and is a failure."""
        self.log_in(lifetime=-5)
        result = self.invoke("status")
        self.assertIn("expired", result.output)
        self.assertIsInstance(result.exception, LoginExpired)

    def test_logout(self) -> None:
        """After a logout there is no login, and logging out twice is no failure."""
        self.log_in()
        self.assertIn("logged out", self.invoke("logout").output)
        self.assertIsInstance(self.invoke("status").exception, NotLoggedIn)
        self.assertIsNone(self.invoke("logout").exception)


class LsTests(MshTests):
    def setUp(self) -> None:
        super().setUp()
        self.asked: list[Any] = []

        def nodes(request: Any, metadata: dict[str, str]) -> pb.ListNodesResponse:
            self.asked.append(list(request.labels))
            node = pb.Node(
                hostname="db1",
                agent_id="7",
                status=pb.NODE_STATUS_ONLINE,
                labels={"env": "dev"},
                last_seen=int(time.time()),
            )
            return pb.ListNodesResponse(nodes=[node])

        async def dial_auth(reactor: object, profile: Profile) -> AuthClient:
            methods = {"ListNodes": nodes}
            return AuthClient(AnsweringChannel(methods))  # type: ignore[arg-type]

        self.patch(dialer, "dial_auth", dial_auth)

    def test_listing(self) -> None:
        """Nodes are shown with labels, status and last seen, in both formats."""
        self.log_in()
        (row,) = json.loads(self.invoke("ls", "--format=json").output)
        self.assertEqual(
            set(row),
            {
                "hostname",
                "agent_id",
                "status",
                "labels",
                "last_seen",
                "online_since",
                "offline_since",
            },
        )
        self.assertEqual((row["hostname"], row["labels"]), ("db1", {"env": "dev"}))
        text = self.invoke("ls", "env=dev").output
        for word in ("db1", "online", "env=dev", "ago"):
            self.assertIn(word, text)
        self.assertEqual(self.asked, [[], ["env=dev"]])

    def test_refused(self) -> None:
        """A label without a value, and a login that has ended, are told before dialing."""
        self.log_in(lifetime=-5)
        self.assertIsInstance(self.invoke("ls", "env").exception, BadInput)
        self.assertIsInstance(self.invoke("ls").exception, LoginExpired)
        self.assertEqual(self.asked, [])


class ConfigTests(MshTests):
    def test_config(self) -> None:
        """The configuration names this program and the first login."""
        self.log_in()
        result = self.invoke("config", "--host", "db*", "--host", "web*")
        self.assertIn("Host db* web*\n", result.output)
        self.assertIn("User ada\n", result.output)
        self.assertIn(" proxy ssh --profile ", result.output)

    def test_own_name(self) -> None:
        """ssh's own default is left alone where it is allowed."""
        self.log_in()
        self.patch(getpass, "getuser", lambda: "root")
        self.assertNotIn("User ", self.invoke("config").output.replace("UserKnown", ""))

    def test_no_login(self) -> None:
        """Without a login there is nothing to configure."""
        self.assertIsInstance(self.invoke("config").exception, NotLoggedIn)

    def test_config_saved(self) -> None:
        """--save prints the name of a file, private, with what else is printed."""
        self.log_in()
        printed = self.invoke("config").output
        path = Path(self.invoke("config", "--save").output.strip())
        self.assertEqual(path.read_text(), printed)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_program(self) -> None:
        """The program is named by an absolute path."""
        self.assertTrue(Path(program()[0]).is_absolute())


class ProxySshTests(MshTests):
    def test_help(self) -> None:
        """The command that ssh uses is documented like the others."""
        self.assertIn("ProxyCommand", self.invoke("proxy", "ssh", "--help").output)
