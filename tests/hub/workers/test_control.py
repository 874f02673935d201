"""Tests of control and its workers together, on links in memory."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from mezite.hub.workers.control import WorkerLink
from mezite.hub.workers.messages import encode
from mezite.mux.transport import StreamTransport
from mezite.rpc.proto.worker_pb2 import (
    Handed,
    OfTunnel,
    Settings,
    StreamPurpose,
    TunnelUp,
    Verdict,
)
from mezite.wire.credentials import Credentials
from tests.doubles.certificates import certificate_set
from tests.doubles.hubworld import Heard, HubWorld
from tests.doubles.playednode import PlayedNode
from tests.doubles.workerworld import WorkerWorld
from tests.hub.test_service import HubTests


class WorkersTestCase(HubTests):
    """Two workers; db1's tunnel is at the first."""

    world: WorkerWorld

    def make_world(self) -> HubWorld:
        return WorkerWorld(door=1)

    def setUp(self) -> None:
        super().setUp()
        self.node = PlayedNode(self.world, self.db1)

    def visit(self, door: int) -> Heard:
        """ada's connection to db1, by this worker."""
        self.world.door = door
        heard = Heard()
        self.world.dial(
            heard,
            b"mezite-ssh",
            identity=self.world.user("ada"),
            server_name=f"{self.db1.node}.hub.example.com",
        )
        self.world.flush()
        return heard


class ConnectionTests(WorkersTestCase):
    """Connections whose TLS a worker has ended."""

    def test_page(self) -> None:
        """Control answers a request for a page, and its end is the connection's."""
        browser = Heard()
        self.world.dial(browser, b"http/1.1")
        self.world.flush()
        browser.transport.write(
            b"GET /healthz HTTP/1.1\r\nHost: hub.example.com\r\nConnection: close\r\n\r\n"
        )
        self.world.flush()
        self.assertIn(b"200 OK", browser.data)
        self.assertIsNotNone(browser.reason)

    def test_strangers(self) -> None:
        """Control counts who shows no certificate, and ends those above the bound."""
        strangers = self.world.hub.router.strangers
        browsers = [Heard() for _ in range(3)]
        self.patch(strangers, "_of_one", 2)
        for browser in browsers:
            self.world.dial(browser, b"http/1.1")
            self.world.flush()
        self.assertEqual([each.reason is None for each in browsers], [False, True, True])
        self.assertEqual(strangers.count, 2)
        for browser in browsers[1:]:
            browser.transport.loseConnection()
        self.world.flush()
        self.assertEqual(strangers.count, 0)

    def test_bytes_flow_at_the_worker(self) -> None:
        """What a person and a node say passes control by, at one worker and between two."""
        link = self.world.played[1].socket
        for door in (1, 2):
            person = self.visit(door)
            before = link.client.written + self.world.played[2].socket.client.written
            person.transport.write(b"x" * 100_000)
            self.node.streams[-1].transport.write(b"y" * 100_000)
            self.world.flush()
            after = link.client.written + self.world.played[2].socket.client.written
            self.assertEqual(self.node.streams[-1].data, b"x" * 100_000)
            self.assertEqual(person.data, b"y" * 100_000)
            self.assertLess(after - before, 1000)

    def test_counts(self) -> None:
        """Control knows what is held where, and what passed by it."""
        self.visit(2)
        first, second = self.world.control.statuses()
        self.assertEqual((first.number, first.pid, first.tunnels, first.streams), (1, 1001, 1, 1))
        self.assertEqual((second.pid, second.tunnels, second.streams), (1002, 0, 0))
        self.world.clock.advance(1)
        self.world.flush()
        self.assertEqual(self.world.control.counted().handshakes, 0)

    def test_worker_dies(self) -> None:
        """Its tunnels and connections end with it, and no others."""
        web1 = self.world.add_node("web1", env="prod")
        self.world.door = 2
        PlayedNode(self.world, web1)
        there, here = self.visit(2), self.visit(1)
        self.world.kill(2)
        registry = self.world.hub.registry
        self.assertIsNotNone(registry.find(self.db1.agent_id))
        self.assertIsNone(registry.find(web1.agent_id))
        self.assertIsNotNone(there.reason)
        self.assertIsNone(here.reason)
        self.assertEqual(len(self.world.hub.live), 1)
        self.assertEqual(self.world.played[2].far.held, 1)
        self.assertEqual([each.pid for each in self.world.control.statuses()], [1001, None])
        self.world.begin(2)
        PlayedNode(self.world, web1)
        self.assertIsNotNone(registry.find(web1.agent_id))
        self.assertIsNone(self.visit(2).reason)

    def test_control_dies(self) -> None:
        """A worker without control is told to end, and lets go of everybody."""
        person = self.visit(2)
        self.world.played[2].socket.server.abortConnection()
        self.world.flush()
        self.assertTrue(self.world.played[2].is_over)
        self.assertIsNotNone(person.reason)

    def test_neighbour_is_gone(self) -> None:
        """Whoever asks for a tunnel whose worker is dying reads a sentence."""
        (between,) = self.world.neighbourly.values()
        between.client.abortConnection()
        self.world.flush()
        person = self.visit(2)
        self.assertIn(b"worker 1 has ended", person.data)
        self.assertIsNotNone(person.reason)
        self.assertEqual(len(self.world.hub.live), 0)

    def test_neighbour_is_silent(self) -> None:
        """A neighbour that says nothing for long is not given up: that is control's to do."""
        (between,) = self.world.neighbourly.values()
        ends = (between.client, between.server)
        for end in ends:
            end.is_reading = False
        for _ in range(12):
            self.world.clock.advance(5)
            self.world.flush()
        for end in ends:
            end.is_reading = True
        person = self.visit(2)
        self.node.streams[-1].transport.write(b"still there")
        self.world.flush()
        self.assertEqual(person.data, b"still there")

    def test_newest_wins(self) -> None:
        """An agent that comes to another worker replaces its tunnel at the first."""
        old = self.node.mux
        self.world.door = 2
        self.node.connect()
        tunnel = self.world.hub.registry.find(self.db1.agent_id)
        assert tunnel is not None
        self.assertEqual(tunnel.mux.place[0], 2)
        self.assertFalse(old.is_up)
        self.assertEqual([each.tunnels for each in self.world.control.statuses()], [0, 1])

    def test_new_certificates(self) -> None:
        """Workers show what the hub shows, from the next handshake on."""
        ours = certificate_set()
        contexts = self.world.hub._own.contexts
        contexts.use(
            evolve(
                contexts.credentials,
                web=Credentials(ours.hub.certificate_pem, ours.hub.key_pem),
            )
        )
        self.world.flush()
        for played in self.world.played.values():
            worker = played.worker._contexts
            assert worker is not None
            self.assertEqual(worker.credentials, contexts.credentials)

    def test_no_more_connections(self) -> None:
        """Workers hear that the port is closed."""
        self.world.control.stop_listening()
        self.world.flush()
        self.assertFalse(any(each.worker.is_listening for each in self.world.played.values()))


class HostileTests(WorkersTestCase):
    """What a worker that is not ours, or not well, may say."""

    def say(self, data: bytes) -> Heard:
        """Open a stream to control, and say this in it."""
        stream = self.world.played[1].worker.link.open_stream()
        heard = Heard()
        stream.write(data)
        stream.attach(heard)
        self.world.flush()
        return heard

    def assert_alone(self) -> None:
        """Nothing else was harmed."""
        self.assertTrue(self.world.played[1].worker.link.is_up)
        self.assertIsNone(self.visit(1).reason)

    def test_resets(self) -> None:
        """A stream that says nothing proper is reset, and nothing else is."""
        for data in (
            b"\xff\xff\xff\xff",
            b"\0\0\0\0",
            b"\0\0\0\3\xff\xff\xff",
            encode(StreamPurpose(settings=Settings())),
            encode(StreamPurpose(to_agent=OfTunnel(tunnel=1))),
            encode(StreamPurpose(from_agent=OfTunnel(tunnel=99))),
            encode(StreamPurpose(handed=Handed(certificate=b"x"))),
            encode(StreamPurpose(tunnel=TunnelUp(tunnel=1))),
            encode(StreamPurpose(tunnel=TunnelUp(tunnel=7, certificate=b"x"))),
            encode(StreamPurpose(tunnel=TunnelUp(tunnel=8))),
        ):
            heard = self.say(data)
            self.assertIsNotNone(heard.reason, data)
        self.assert_alone()

    def test_truncated(self) -> None:
        """Half a message is waited for, and its stream's end is no message."""
        heard = self.say(encode(StreamPurpose(handed=Handed(server_name="x")))[:-1])
        self.assertIsNone(heard.reason)
        heard.transport.loseConnection()
        self.world.flush()
        self.assert_alone()

    def test_broken_mux(self) -> None:
        """A worker that breaks the mux loses its link, and with it what it held."""
        self.world.played[1].socket.client.write(b"\xff" * 64)
        self.world.flush()
        self.assertIsNone(self.world.hub.registry.find(self.db1.agent_id))
        self.assertTrue(self.world.played[1].is_over)

    def test_to_a_worker(self) -> None:
        """A worker takes from control and neighbours what is theirs to say."""

        def tell(link: Any, data: bytes) -> Heard:
            stream: StreamTransport = link.open_stream()
            heard = Heard()
            stream.write(data)
            stream.attach(heard)
            self.world.flush()
            return heard

        far: WorkerLink = self.world.played[1].far
        neighbour = self.world.played[2].worker._neighbours[1]
        for link in (far.mux, neighbour):
            for data in (
                b"\xff\xff\xff\xff",
                encode(StreamPurpose()),
                encode(StreamPurpose(handed=Handed())),
                encode(StreamPurpose(to_agent=OfTunnel(tunnel=99))),
            ):
                self.assertIsNotNone(tell(link, data).reason, data)
        heard = tell(neighbour, encode(StreamPurpose(settings=Settings())))
        self.assertIsNotNone(heard.reason)
        self.assert_alone()

    def test_no_verdict(self) -> None:
        """A connection that control says nothing of ends."""
        for data in (encode(Verdict()), b"\xff\xff\xff\xff"):
            self.patch(
                self.world.hub.router,
                "route",
                lambda transport, data=data: transport.stream.write(data),
            )
            browser = Heard()
            self.world.dial(browser, b"http/1.1")
            self.world.flush()
            self.assertIsNotNone(browser.reason)
