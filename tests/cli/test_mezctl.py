"""Tests of mezctl's commands, from the command line to the hub's answers."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from mezite.cli import administration, main
from mezite.cli.administration import Door
from mezite.cli.mezctl import mezctl
from mezite.error import Unavailable
from mezite.names import HostPort
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from tests.doubles.adminservice import AGENT_ID, HUB, PIN, AdminDouble, node
from tests.rpc.wire import Pair, methods


@frozen
class Ended:
    """What a run of the program left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class MezctlTestCase(SynchronousTestCase):
    """Runs mezctl against a hub in memory, over gRPC in memory."""

    def setUp(self) -> None:
        self.hub = AdminDouble()
        self.doors: list[Door] = []
        self.pairs: list[Pair] = []
        self.patch(main, "run", self.run_in_memory)
        self.patch(Door, "dial", self.dial())

    def dial(self) -> Callable[[Door, Any], Coroutine[Any, Any, AuthClient]]:
        async def dial(door: Door, reactor: Any) -> AuthClient:
            self.doors.append(door)
            pair = Pair()
            pair.factory.methods = methods(self.hub)
            self.pairs.append(pair)
            return pair.client

        return dial

    def run_in_memory(self, work: Callable[[Any], Coroutine[Any, Any, Any]]) -> Any:
        running: Deferred[Any] = Deferred.fromCoroutine(work(None))
        for pair in self.pairs:
            pair.pump.flush()
        results: list[Any] = []
        running.addBoth(results.append)
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        return result

    def mezctl(self, *arguments: str, given: bytes = b"") -> Ended:
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "argv", ["mezctl", *arguments])
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        self.patch(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = main.run_program(mezctl)
        self.assertNotIn("Traceback", err.getvalue())
        return Ended(code, out.getvalue(), err.getvalue())

    def refused(self, code: int, *arguments: str, given: bytes = b"") -> str:
        """The sentence of a command that must fail with this code."""
        ended = self.mezctl(*arguments, given=given)
        self.assertEqual((ended.code, ended.out), (code, ""), ended.err)
        self.assertTrue(ended.err.startswith("mezctl: "), ended.err)
        self.assertEqual(ended.err.count("\n"), 1, ended.err)
        return ended.err


class UsersTests(MezctlTestCase):
    def test_create(self) -> None:
        """A user is made with a one-time password, and told how to log in."""
        ended = self.mezctl("users", "create", "ada", "--logins=ada, root", "--one-time-password")
        self.assertEqual(ended.code, 0)
        self.assertIn("abcd-efgh", ended.out)
        self.assertIn(f"msh login --proxy={HUB} --user=ada --ca-pin={PIN}", ended.out)
        self.assertEqual(list(self.hub.users["ada"].logins), ["ada", "root"])
        self.assertEqual(list(self.hub.users["ada"].node_labels), ["*=*"])

    def test_create_as_json(self) -> None:
        """In JSON the new user is an object, with the password of one use."""
        (row,) = self.mezctl(
            *("users", "create", "ada", "--logins=ada", "--admin", "--format=json"),
            "--one-time-password",
        ).json
        self.assertEqual(row["name"], "ada")
        self.assertEqual(row["one_time_password"], "abcd-efgh")
        self.assertIsNone(row["invite_url"])
        self.assertIs(row["is_admin"], True)

    def test_invite(self) -> None:
        """Without any password there is an invite, as a page and as a command."""
        ended = self.mezctl("users", "create", "ada", "--logins=ada", "--invite-ttl=3d")
        self.assertIn(f"    https://{HUB}/web/invite/mzi_secret\n", ended.out)
        self.assertIn(f"msh login --proxy={HUB} --user=ada --invite=mzi_secret\n", ended.out)
        self.assertNotIn("One-time", ended.out)
        (row,) = self.mezctl("users", "invite", "ada", "--format=json").json
        self.assertEqual((row["name"], row["invite_token"]), ("ada", "mzi_secret"))
        self.assertEqual(self.hub.invited, [("ada", 3 * 86400), ("ada", 86400)])
        self.refused(2, "users", "create", "x", "--one-time-password", "--password-stdin")
        self.refused(5, "users", "invite", "eve")

    def test_reset(self) -> None:
        """A reset makes an invite in place of the password; second factors are another matter."""
        self.mezctl("users", "create", "ada", "--logins=ada", "--password-stdin", given=b"x" * 9)
        self.hub.users["ada"].has_second_factor = True
        ended = self.mezctl("users", "reset", "ada")
        self.assertIn("The password of ada is worth nothing any more.\n", ended.out)
        self.assertIn("--invite=mzi_secret", ended.out)
        (row,) = self.mezctl("users", "ls", "--format=json").json
        self.assertEqual((row["has_password"], row["has_second_factor"]), (False, True))
        ended = self.mezctl("users", "reset-totp", "ada")
        self.assertEqual(ended.out, "User ada has no second factor any more.\n")
        (row,) = self.mezctl("users", "ls", "--format=json").json
        self.assertIs(row["has_second_factor"], False)
        self.refused(5, "users", "reset", "eve")
        self.refused(2, "users", "reset", "a b")
        self.refused(5, "users", "reset-totp", "eve")

    def test_labels(self) -> None:
        """Labels come in one option or in several."""
        self.mezctl(
            "users",
            "create",
            "ada",
            "--logins=ada",
            "--node-labels=env=dev,env=test",
            "--node-labels=role=db",
        )
        wanted = ["env=dev", "env=test", "role=db"]
        self.assertEqual(list(self.hub.users["ada"].node_labels), wanted)

    def test_password(self) -> None:
        """A password comes from the first line of standard input."""
        ended = self.mezctl(
            "users",
            "create",
            "ada",
            "--logins=ada",
            "--password-stdin",
            given="pässwort 1 \r\nmore".encode(),
        )
        self.assertEqual(self.hub.passwords["ada"], "pässwort 1 ")
        self.assertNotIn("One-time", ended.out)

    def test_bad_passwords(self) -> None:
        """No password, a broken one and an endless one are refused before the hub is asked."""
        for given in (b"", b"\n", b"\xff\xfe\n", b"x" * 100_000):
            self.refused(
                2, "users", "create", "ada", "--logins=ada", "--password-stdin", given=given
            )
        self.assertEqual(self.doors, [])

    def test_bad_values(self) -> None:
        """Names, logins and labels that cannot be are refused before the hub is asked."""
        for arguments in (
            ["a b", "--logins=ada"],
            ["ada", "--logins=,"],
            ["ada", "--logins=-x"],
            ["ada", "--logins=ada", "--node-labels=dev"],
            ["ada"],
            ["\udcff", "--logins=ada"],
        ):
            self.refused(2, "users", "create", *arguments)
        self.assertEqual(self.doors, [])

    def test_twice(self) -> None:
        """A name that is taken is said to be."""
        self.mezctl("users", "create", "ada", "--logins=ada")
        sentence = self.refused(6, "users", "create", "ada", "--logins=ada")
        self.assertIn("there is a user ada already", sentence)

    def test_ls(self) -> None:
        """Users are listed for people and for programs."""
        self.mezctl("users", "create", "ada", "--logins=ada,root")
        self.assertIn("ada root", self.mezctl("users", "ls").out)
        (row,) = self.mezctl("users", "ls", "--format=json").json
        self.assertEqual(row["logins"], ["ada", "root"])
        self.assertEqual(row["created"], "2025-06-15T15:06:40Z")
        self.assertNotIn("one_time_password", row)

    def test_rm(self) -> None:
        """A user is removed once."""
        self.mezctl("users", "create", "ada", "--logins=ada")
        self.assertEqual(self.mezctl("users", "rm", "ada").out, "User ada was removed.\n")
        self.assertIn("there is no user ada", self.refused(5, "users", "rm", "ada"))


class TokensTests(MezctlTestCase):
    def test_create(self) -> None:
        """Standard output has the command for the new node, and nothing else."""
        ended = self.mezctl("tokens", "create")
        self.assertEqual(ended.out, f"twist mezd --hub={HUB} --token=mzt_secret --ca-pin={PIN}\n")
        self.assertIn("once, within 1h", ended.err)
        self.assertEqual(self.hub.tokens["t1"].max_uses, 1)

    def test_create_as_json(self) -> None:
        """In JSON the token comes with the pin and the command."""
        (row,) = self.mezctl("tokens", "create", "--ttl=30m", "--uses=5", "--format", "json").json
        self.assertEqual((row["token"], row["ca_pin"], row["uses"]), ("mzt_secret", PIN, 5))
        self.assertTrue(row["join_command"].startswith("twist mezd --hub="))
        self.assertEqual(row["expires"], "2025-06-15T15:36:40Z")

    def test_bad_values(self) -> None:
        """Lives and uses that cannot be are refused before the hub is asked."""
        for option in ("--ttl=5", "--ttl=0s", "--ttl=9999999999d", "--uses=0", "--uses=x"):
            self.refused(2, "tokens", "create", option)
        self.assertEqual(self.doors, [])

    def test_what_it_gives(self) -> None:
        """Labels and names are separated by commas, or given one by one."""
        self.mezctl(
            "tokens",
            "create",
            "--roles=node",
            "--labels=env=prod,team=db",
            "--labels=rack=7",
            "--hostnames=db1, db2,web-*",
            "--description=rack 7",
        )
        token = self.hub.tokens["t1"]
        self.assertEqual(dict(token.labels), {"env": "prod", "team": "db", "rack": "7"})
        self.assertEqual(list(token.hostnames), ["db1", "db2", "web-*"])
        token.rejoins = AGENT_ID
        text = self.mezctl("tokens", "ls").out
        for word in ("env=prod rack=7 team=db", "db1 db2 web-*", "rack 7", AGENT_ID, "local"):
            self.assertIn(word, text)
        for option in ("--labels=env", "--roles=hub"):
            self.refused(2, "tokens", "create", option)

    def test_ls_and_rm(self) -> None:
        """Tokens are listed without their secrets, and revoked by their ids."""
        self.mezctl("tokens", "create")
        (row,) = self.mezctl("tokens", "ls", "--format=json").json
        self.assertEqual((row["token_id"], row["uses_left"]), ("t1", 1))
        self.assertNotIn("mzt_secret", self.mezctl("tokens", "ls").out)
        self.assertEqual(
            self.mezctl("tokens", "rm", "t1", "--format=json").json, [{"token_id": "t1"}]
        )
        self.refused(5, "tokens", "rm", "t1")
        self.refused(2, "tokens", "rm", "\udcff")


class NodesTests(MezctlTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.hub.nodes = {"db1": node("db1", env="prod"), "web1": node("web1", env="dev")}

    def test_ls(self) -> None:
        """Nodes are listed with status, labels and when they were last seen."""
        rows = self.mezctl("nodes", "ls", "--format=json").json
        self.assertEqual([row["hostname"] for row in rows], ["db1", "web1"])
        self.assertEqual(
            rows[0],
            {
                "hostname": "db1",
                "status": "online",
                "labels": {"env": "prod"},
                "last_seen": "2025-06-15T15:06:40Z",
                "agent_id": AGENT_ID,
                "version": "0.1.0",
                "kind": "agent",
                "joined": "2025-06-15T15:05:40Z",
                "address": None,
                "online_since": "2025-06-15T15:05:45Z",
                "offline_since": None,
            },
        )
        self.assertIn("env=prod", self.mezctl("nodes", "ls").out)

    def test_offline(self) -> None:
        """People read since when a node is offline; programs have a key for it."""
        self.hub.nodes["db1"].status = pb.NODE_STATUS_OFFLINE
        self.hub.nodes["db1"].online_since = 0
        self.hub.nodes["db1"].offline_since = 1_750_000_000
        self.assertIn("offline since 2025-06-15 15:06 UTC", self.mezctl("nodes", "ls").out)
        row = self.mezctl("nodes", "ls", "--format=json").json[0]
        self.assertEqual((row["status"], row["offline_since"]), ("offline", "2025-06-15T15:06:40Z"))

    def test_show(self) -> None:
        """All that is known is shown, and whose word each label is."""
        node = self.hub.nodes["db1"]
        node.labels.update({"kernel": "6.1", "rack": "7"})
        node.hub_labels.append("env")
        node.command_labels.append("kernel")
        node.address = "192.0.2.1:4711"
        node.facts.addresses.extend(["10.0.0.1", "10.0.0.2"])
        text = self.mezctl("nodes", "show", "DB1").out
        for words in (
            "env=prod (from the hub)",
            "kernel=6.1 (from a command)",
            "rack=7 (from the agent)",
            "10.0.0.1 10.0.0.2",
            "192.0.2.1:4711",
            AGENT_ID,
        ):
            self.assertIn(words, text)
        (row,) = self.mezctl("nodes", "show", "db1", "--format=json").json
        self.assertEqual(row["addresses"], ["10.0.0.1", "10.0.0.2"])
        self.assertEqual(row["label_sources"]["env"], "the hub")
        self.refused(5, "nodes", "show", "0123abcd")
        self.refused(2, "nodes", "show", "a b")

    def test_allow_rejoin(self) -> None:
        """Standard output has the command for the node, and nothing else."""
        ended = self.mezctl("nodes", "allow-rejoin", "db1", "--ttl=30m")
        self.assertTrue(ended.out.startswith("twist mezd "))
        self.assertEqual(ended.out.count("\n"), 1)
        self.assertIn("on db1, once, within 30m", ended.err)
        (row,) = self.mezctl("nodes", "allow-rejoin", "db1", "--format=json").json
        self.assertEqual((row["agent_id"], row["token"]), (AGENT_ID, "mzt_secret"))
        self.refused(5, "nodes", "allow-rejoin", "db9")

    def test_none(self) -> None:
        """No nodes are an empty array."""
        self.hub.nodes = {}
        self.assertEqual(self.mezctl("nodes", "ls", "--format=json").json, [])

    def test_labels(self) -> None:
        """Nodes are chosen by label."""
        (row,) = self.mezctl("nodes", "ls", "env=dev", "--format=json").json
        self.assertEqual(row["hostname"], "web1")
        self.refused(2, "nodes", "ls", "dev")

    def test_rm(self) -> None:
        """A node is forgotten by its name, however it is spelled, once."""
        self.assertEqual(self.mezctl("nodes", "rm", "DB1").out, "Node db1 was removed.\n")
        self.refused(5, "nodes", "rm", "db1")
        self.refused(2, "nodes", "rm", "10.0.0.1")
        self.assertIn(AGENT_ID, self.refused(5, "nodes", "rm", AGENT_ID.upper()))


class StatusTests(MezctlTestCase):
    def test_text(self) -> None:
        """Each fact has a line, and times say how far they are."""
        out = self.mezctl("status").out
        self.assertIn(PIN, out)
        self.assertIn("(1h ago)", out.replace(" 0m", ""))
        self.assertIn("(in 1d", out)

    def test_workers(self) -> None:
        """Each worker is told with what it holds, and one that is not there as such."""
        out = self.mezctl("status").out
        self.assertRegex(out, "worker 1 +pid 4711, 3 tunnels, 5 streams, 8 connections")
        self.assertRegex(out, "worker 2 +is being begun again")
        (row,) = self.mezctl("status", "--format=json").json
        self.assertEqual(
            row["workers"][0],
            {"number": 1, "pid": 4711, "tunnels": 3, "streams": 5, "connections": 8},
        )
        self.assertIsNone(row["workers"][1]["pid"])

    def test_json(self) -> None:
        """In JSON it is one object."""
        (row,) = self.mezctl("status", "--format=json").json
        self.assertEqual(row["ca_pin"], PIN)
        self.assertEqual(row["public_address"], HUB)
        self.assertEqual(row["certificate_expires"], "2025-06-16T15:06:40Z")


class DoorTests(MezctlTestCase):
    def test_options(self) -> None:
        """The hub is found by its directory or its address, before the command."""
        self.mezctl("--data-dir=/srv/mezite", "status")
        self.mezctl("--proxy=hub.example.com", "status")
        self.mezctl("status")
        self.assertEqual(
            self.doors,
            [
                Door(Path("/srv/mezite"), None),
                Door(None, HostPort("hub.example.com", 3080)),
                Door(None, None),
            ],
        )

    def test_token(self) -> None:
        """A token is read from a file or the environment, and goes with an address."""
        path = Path(self.mktemp())
        path.write_text("mza_x\n")
        hub = HostPort("hub.example.com", 3080)
        self.mezctl("--proxy=hub.example.com", f"--token-file={path}", f"--ca-pin={PIN}", "status")
        self.patch(os, "environ", {**os.environ, "MEZITE_TOKEN": "mza_y"})
        self.mezctl("--proxy=hub.example.com", "status")
        self.mezctl("status")
        self.assertEqual(
            self.doors, [Door(None, hub, "mza_x", PIN), Door(None, hub, "mza_y"), Door()]
        )
        self.refused(2, f"--token-file={path}", "status")
        self.refused(2, "--proxy=hub.example.com", "--token-file=/nowhere", "status")
        for text, words in (("", "no token"), ("a b", "no token"), ("mzt_x", "join token")):
            path.write_text(text)
            sentence = self.refused(2, "--proxy=h", f"--token-file={path}", "status")
            self.assertIn(words, sentence)

    def test_both(self) -> None:
        """It is not found by both."""
        self.refused(2, "--data-dir=/srv/mezite", "--proxy=hub.example.com", "status")

    def test_unreachable(self) -> None:
        """A hub that is not there is one sentence, and its exit code."""

        async def dial(door: Door, reactor: Any) -> AuthClient:
            raise Unavailable("no hub is running in /srv/mezite")

        self.patch(Door, "dial", dial)
        self.assertIn("no hub is running", self.refused(7, "status"))

    def test_connection_is_closed(self) -> None:
        """The connection is closed, whatever the answer was."""
        self.mezctl("status")
        self.refused(5, "users", "rm", "ada")
        for pair in self.pairs:
            pair.pump.flush()
            self.assertFalse(pair.channel.is_open)

    def test_other_answers(self) -> None:
        """A hub that fails, or lacks a method, is one sentence."""

        async def fail(hub: AdminDouble, call: object, request: object) -> pb.GetStatusResponse:
            raise ZeroDivisionError

        self.patch(AdminDouble, "get_status", fail)
        self.refused(1, "status")
        self.flushLoggedErrors(ZeroDivisionError)
        self.patch(AdminDouble, "get_status", None)
        self.assertIn("GetStatus", self.refused(1, "status"))

    def test_help(self) -> None:
        """Every command has a page of help, and the creating ones have examples."""
        for arguments in (
            [],
            ["users"],
            ["users", "create"],
            ["users", "ls"],
            ["users", "rm"],
            ["tokens", "create"],
            ["nodes", "rm"],
            ["status"],
        ):
            ended = self.mezctl(*arguments, "--help")
            self.assertEqual(ended.code, 0)
            self.assertIn("Usage: mezctl", ended.out)
        self.assertIn("mezctl tokens create --ttl 30m", self.mezctl("tokens", "create", "-h").out)

    def test_default_data_dir(self) -> None:
        """Without options the directory is the one that the hub would use."""
        self.patch(administration.os, "environ", {"MEZITE_DATA_DIR": "/srv/mezite"})
        self.assertEqual(administration.default_data_dir(), Path("/srv/mezite"))
