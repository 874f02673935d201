"""Tests of what a login learns of the hub's authorities, beside what it came for."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf.message import Message
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.client import dialer, places
from mezite.error import Unavailable
from mezite.identity.authority import SshAuthority
from mezite.rpc.client import AuthClient
from mezite.rpc.proto import auth_pb2 as pb
from tests.doubles.authservice import AnsweringChannel
from tests.doubles.logins import Cluster


class LearningTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.profile = Cluster(time.time()).log_in(Path(self.mktemp()), "hub.example.com:3080")
        # What an older hub answers.
        self.ping = pb.PingResponse()
        self.old = self.profile.read(places.CLUSTER_CA)
        self.known = self.profile.read(places.KNOWN_HOSTS)

        async def channel(*_where: object) -> AnsweringChannel:
            methods = {"Ping": lambda *_: self.ping, "WhoAmI": self.who_am_i}
            return AnsweringChannel(methods)

        self.patch(dialer, "_channel", channel)

    def who_am_i(self, request: Any, metadata: dict[str, str]) -> Message:
        return pb.WhoAmIResponse(name="ada")

    def ask(self) -> None:
        """What a command does that asks the hub for something."""

        async def asking() -> str:
            client: AuthClient = await dialer.dial_auth(None, self.profile)
            try:
                return (await client.who_am_i()).name
            finally:
                client.close()

        self.assertEqual(self.successResultOf(Deferred.fromCoroutine(asking())), "ada")

    def answer(self, cluster_ca: str, host_ca: Iterable[str]) -> None:
        self.ping.cluster_ca = cluster_ca
        self.ping.host_ca[:] = host_ca

    def test_learned(self) -> None:
        """With any answer comes whom to trust from now on, before it is needed."""
        new = Cluster(time.time()).x509_authority.certificate_pem
        lines = [SshAuthority.generate().public_line() for _ in range(2)]
        self.answer((self.old + new).decode(), lines)
        self.ask()
        self.assertEqual(self.profile.read(places.CLUSTER_CA), self.old + new)
        known = self.profile.read(places.KNOWN_HOSTS).decode()
        self.assertEqual(known, "".join(f"@cert-authority * {line}\n" for line in lines))

    def test_nonsense(self) -> None:
        """What is no authority changes nothing, and the answer is there all the same."""
        line = SshAuthority.generate().public_line()
        for cluster_ca, host_ca in (
            ("", [line]),
            ("nonsense", [line]),
            (self.old.decode(), []),
            (self.old.decode(), ["ssh-ed25519 AAAA"]),
        ):
            self.answer(cluster_ca, host_ca)
            self.ask()
            self.assertEqual(self.profile.read(places.CLUSTER_CA), self.old)
            self.assertEqual(self.profile.read(places.KNOWN_HOSTS), self.known)

    def test_one_line(self) -> None:
        """A line of the hub's does not become two of the file."""
        line = SshAuthority.generate().public_line()
        self.answer(self.old.decode(), [line + "\n* ssh-rsa x"])
        self.ask()
        self.assertEqual(self.profile.read(places.KNOWN_HOSTS).count(b"\n"), 1)

    def test_no_answer(self) -> None:
        """A hub that does not say, or has not said before the end, is asked another time."""

        async def refuse(client: AuthClient) -> pb.PingResponse:
            raise Unavailable("not now")

        self.patch(AuthClient, "ping", refuse)
        self.ask()
        self.patch(AuthClient, "ping", lambda client: Deferred())
        self.ask()
        self.assertEqual(self.profile.read(places.CLUSTER_CA), self.old)
        self.assertEqual(self.flushLoggedErrors(), [])
