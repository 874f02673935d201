"""
What a hub has acknowledged survives kill -9, whatever it was doing.

Several administrators write at once over the admin socket; in the middle of it the
hub is killed, and started again. Each administrator remembers what was answered: all
of that is there, and what was not answered is there whole or not at all.
"""

from __future__ import annotations

import random
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from attrs import define, field

from mezite.audit.chain import ChainedLine, ChainVerifier
from mezite.cli.local import LocalCluster, Program, local_cluster
from mezite.rpc.proto import auth_pb2 as pb
from tests.end_to_end.slow import IS_SLOW_WANTED

# Twenty where there is time (tox -e slow).
ROUNDS = 20 if IS_SLOW_WANTED else 4
WRITES = 100
WRITERS = 4
ROLE = "kind: role\nversion: v1\nmetadata: {{name: {name}, description: '{text}'}}\n"


@define(eq=False)
class Writer:
    """One administrator: what was answered, and what was asked and not answered."""

    number: int
    random: random.Random
    # Names of roles and their descriptions; None for a role that was removed.
    known: dict[str, str | None] = field(factory=dict)
    asked: tuple[str, str | None] | None = None
    tokens: set[str] = field(factory=set)
    answered: int = 0
    made: int = 0
    # What no killed hub answers.
    surprise: grpc.RpcError | None = None

    def write(self, call: Callable[[str, Any, Any], Any], writes: int) -> None:
        """Change something at random, so many times or until the hub is gone."""
        try:
            for _ in range(writes):
                self.write_one(call)
                self.answered += 1
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                self.surprise = error

    def write_one(self, call: Callable[[str, Any, Any], Any]) -> None:
        kept = [name for name, text in self.known.items() if text is not None]
        action = self.random.choice(["create", "create", "replace", "delete", "token"])
        if action == "token":
            made = call("CreateToken", pb.CreateTokenRequest(), pb.CreateTokenResponse)
            self.tokens.add(made.token_id)
        elif action == "create" or not kept:
            self.made += 1
            self.put(call, f"r{self.number}-{self.made}")
        elif action == "replace":
            self.put(call, self.random.choice(kept))
        else:
            self.asked = self.random.choice(kept), None
            request = pb.DeleteRoleRequest(name=self.asked[0])
            call("DeleteRole", request, pb.DeleteRoleResponse)
            self.settle()

    def put(self, call: Callable[[str, Any, Any], Any], name: str) -> None:
        self.asked = name, f"text {self.random.randrange(10**9)}"
        document = ROLE.format(name=name, text=self.asked[1])
        request = pb.CreateRoleRequest(document=document, replace=True)
        call("CreateRole", request, pb.CreateRoleResponse)
        self.settle()

    def settle(self) -> None:
        assert self.asked is not None
        name, text = self.asked
        self.known[name], self.asked = text, None

    def compare(self, roles: dict[str, str], tokens: set[str]) -> None:
        """What is there is what was answered; what was only asked is there or not."""
        assert self.surprise is None
        if self.asked is not None:
            name, text = self.asked
            assert roles.get(name) in (text, self.known.get(name)), (name, text)
            self.known[name], self.asked = roles.get(name), None
        for name, text in self.known.items():
            assert roles.get(name) == text, name
        assert self.tokens <= tokens


def socket_of(cluster: LocalCluster) -> grpc.Channel:
    # Each its own connection, so that the writes really meet in the hub.
    return grpc.insecure_channel(
        f"unix:{cluster.hub_data / 'mezctl.sock'}",
        options=[("grpc.use_local_subchannel_pool", 1)],
    )


def caller_of(channel: grpc.Channel) -> Callable[[str, Any, Any], Any]:
    def call(name: str, request: Any, response: Any) -> Any:
        method = channel.unary_unary(
            f"/mezite.v1.AuthService/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )
        return method(request, timeout=20, wait_for_ready=False)

    return call


def killed_while_writing(
    cluster: LocalCluster, hub: Program, writers: list[Writer], chosen: random.Random
) -> int:
    """Write with all of them, kill the hub somewhere in it, and tell how much was answered."""
    before = sum(writer.answered for writer in writers)
    moment = chosen.randrange(1, WRITES)
    channels = [socket_of(cluster) for _ in writers]
    threads = [
        threading.Thread(target=writer.write, args=(caller_of(channel), WRITES // WRITERS))
        for writer, channel in zip(writers, channels, strict=True)
    ]
    for channel in channels:
        grpc.channel_ready_future(channel).result(20)
    for thread in threads:
        thread.start()
    while sum(writer.answered for writer in writers) - before < moment:
        if not any(thread.is_alive() for thread in threads):
            break
    hub.kill()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    for channel in channels:
        channel.close()
    return sum(writer.answered for writer in writers) - before


def seen(cluster: LocalCluster) -> tuple[dict[str, str], set[str]]:
    """The roles with their descriptions, and the tokens."""
    roles = {row["name"]: row["description"] for row in cluster.admin("roles", "ls")}
    tokens = {row["token_id"] for row in cluster.admin("tokens", "ls")}
    return roles, tokens


def verified(database: Path) -> int:
    """How many events there are, after the chain was checked to its last one."""
    connection = sqlite3.connect(database)
    try:
        lines = [
            ChainedLine(*row)
            for row in connection.execute("SELECT seq, line, hash FROM audit_events ORDER BY seq")
        ]
        last = connection.execute("SELECT last_seq, last_hash FROM audit_chain").fetchone()
    finally:
        connection.close()
    verifier = ChainVerifier()
    assert verifier.check(lines), verifier.broken
    assert (verifier.seq, verifier.hash) == last
    return len(lines)


class KilledHubTests:
    """kill -9, again and again."""

    def test_acknowledged(self, tmp_path: Path) -> None:
        """Nothing that was answered is lost, and every change has its event."""
        seed = random.SystemRandom().randrange(2**32)
        print(f"seed {seed}")
        chosen = random.Random(seed)
        writers = [Writer(number, random.Random(seed + number)) for number in range(WRITERS)]
        with local_cluster(tmp_path) as cluster:
            hub = cluster.start_hub()
            answered = []
            for _ in range(ROUNDS):
                answered.append(killed_while_writing(cluster, hub, writers, chosen))
                hub = cluster.start_hub()
                roles, tokens = seen(cluster)
                for writer in writers:
                    writer.compare(roles, tokens)
            events = verified(cluster.hub_data / "mezite.sqlite")
        assert sum(answered) > ROUNDS, answered
        # One event each, and at most one more for each answer that was lost with the hub.
        assert sum(answered) <= events
        print(f"{sum(answered)} writes answered in {ROUNDS} rounds, {events} events")
