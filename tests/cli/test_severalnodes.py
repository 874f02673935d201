"""Tests of which nodes are meant by labels, and of what is said about them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.cli import severalnodes
from mezite.client.session import SessionRequest
from mezite.client.several import Errand, Outcome
from mezite.error import BadInput, NotFound
from mezite.names import LoginName, NodeName
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from tests.doubles.authservice import AnsweringChannel

ONLINE, OFFLINE = pb.NODE_STATUS_ONLINE, pb.NODE_STATUS_OFFLINE


class RunOnSelectedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.nodes: list[pb.Node] = []
        self.asked: list[list[str]] = []
        self.codes: dict[str, int | str] = {}
        self.said: list[str] = []
        self.visited: list[NodeName] = []

        async def dial_auth(reactor: object, profile: object) -> AuthClient:
            return AuthClient(AnsweringChannel({"ListNodes": self.listed}))  # type: ignore[arg-type]

        async def run_on_each(
            reactor: object, errand: object, nodes: Sequence[NodeName], *rest: object
        ) -> list[Outcome]:
            self.visited = list(nodes)
            return [self.outcome(node) for node in nodes]

        self.patch(severalnodes, "dial_auth", dial_auth)
        self.patch(severalnodes, "run_on_each", run_on_each)
        self.patch(severalnodes, "SharedOutput", lambda *_: None)
        self.patch(severalnodes.click, "echo", lambda text, err: self.said.append(text))

    def listed(self, request: Any, metadata: object) -> pb.ListNodesResponse:
        self.asked.append(list(request.labels))
        return pb.ListNodesResponse(nodes=self.nodes)

    def outcome(self, node: NodeName) -> Outcome:
        code = self.codes.get(node.text, 0)
        if isinstance(code, str):
            return Outcome(node, problem=code)
        return Outcome(node, code)

    def run_it(self, *, is_quiet: bool = False) -> Deferred[int]:
        errand: Any = Errand(None, LoginName("root"), SessionRequest(command=b"x"))  # type: ignore
        labels = severalnodes.parse_selector("env=dev,role=db")
        return Deferred.fromCoroutine(
            severalnodes.run_on_selected(object(), errand, labels, 20, is_quiet=is_quiet)
        )

    def add(self, name: str, status: int = ONLINE, last_seen: int = 0) -> None:
        node = pb.Node(hostname=name, agent_id=name, last_seen=last_seen)
        node.status = status  # type: ignore[assignment]
        self.nodes.append(node)

    def test_all_is_well(self) -> None:
        """Where nothing fails nothing is said."""
        self.add("db2")
        self.add("db1")
        self.assertEqual(self.successResultOf(self.run_it()), 0)
        self.assertEqual(self.asked, [["env=dev", "role=db"]])
        self.assertEqual([node.text for node in self.visited], ["db1", "db2"])
        self.assertEqual(self.said, [])

    def test_the_worst(self) -> None:
        """Failures are told by node, and the exit code is the worst."""
        for name in ("db1", "db2", "db3"):
            self.add(name)
        self.codes = {"db1": 3, "db2": 7}
        self.assertEqual(self.successResultOf(self.run_it()), 7)
        self.assertEqual(
            self.said,
            ["msh: db1: exit status 3", "msh: db2: exit status 7", "msh: failed on 2 of 3 nodes"],
        )
        self.codes = {"db1": "db1 is not connected"}
        self.assertEqual(self.successResultOf(self.run_it()), 255)
        self.assertIn("msh: db1: db1 is not connected", self.said)

    def test_offline(self) -> None:
        """A node that is offline is not waited for, and is a failure."""
        self.add("db1")
        self.add("db2", OFFLINE, int(time.time()) - 120)
        self.assertEqual(self.successResultOf(self.run_it()), 255)
        self.assertEqual([node.text for node in self.visited], ["db1"])
        self.assertEqual(
            self.said, ["msh: db2: offline, last seen 2m ago", "msh: failed on 1 of 2 nodes"]
        )

    def test_quiet(self) -> None:
        """With -q nothing is said, and the exit code is the same."""
        self.add("db2", OFFLINE)
        self.assertEqual(self.successResultOf(self.run_it(is_quiet=True)), 255)
        self.assertEqual(self.said, [])

    def test_none(self) -> None:
        """Labels that no node has are a failure."""
        failure = self.failureResultOf(self.run_it(), NotFound)
        self.assertEqual(str(failure.value), "you may reach no node with env=dev,role=db")

    def test_selectors_refused(self) -> None:
        """What is no list of labels is refused."""
        for text in ("=x", "env=dev,", "env=dev,role", "a b=c"):
            self.assertRaises(BadInput, severalnodes.parse_selector, text)
