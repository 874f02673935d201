"""Tests of the way to a server without an agent, through the hub's port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.trial.unittest import SynchronousTestCase

from mezite.audit.events import AuditEvent, EventType
from mezite.hub.openssh import trusting
from mezite.hub.openssh.sftptap import REQUESTS, SftpTap, Unfollowable
from mezite.hub.openssh.trusting import SeenTrust
from mezite.identity import sshissuing
from mezite.identity.authority import SshAuthority
from mezite.identity.hostproof import fingerprint_of_blob
from mezite.names import AgentId, LoginName, UserName
from mezite.recording.chunks import JournalReader
from mezite.recording.events import Exited, Note, Output
from mezite.recording.format import Decoder
from mezite.rpc.proto import auth_pb2 as pb
from mezite.ssh import sftpwire as wire
from mezite.ssh.channel import FlowChannel
from mezite.ssh.client import ClientTransport, HostTrust, UserKey
from mezite.ssh.connection import FlowConnection
from mezite.ssh.error import ChannelRefused
from mezite.ssh.fields import string, uint32
from mezite.ssh.hostkeys import HostKey, HostKeys
from mezite.ssh.sftpfields import Attributes
from mezite.ssh.signatures import public_blob
from mezite.store.recordings import RecordingQuery, RecordingState
from mezite.store.records import AuditQuery
from tests.doubles.hubworld import HubWorld
from tests.doubles.plainserver import PlainServer
from tests.hub.test_service import HubTests
from tests.ssh.pair import HearingChannel, public_line

ALL = frozenset(
    {
        "permit-pty",
        "permit-port-forwarding",
        "permit-agent-forwarding",
        "permit-file-copy@mezite",
    }
)
PTY = string(b"xterm") + uint32(80) + uint32(24) + uint32(0) + uint32(0) + string(b"\0")


class Session(HearingChannel):
    """A session as a client has it, which notes what it is told."""

    name = b"session"

    def requestReceived(self, requestType: bytes, data: bytes) -> bool:
        self.happened.append((requestType, data))
        return False

    def ask(self, name: bytes, data: bytes = b"") -> list[bool]:
        """What comes to be answered."""
        answers: list[bool] = []
        asked = self.conn.sendRequest(self, name, data, wantReply=1)
        asked.addCallbacks(lambda _: answers.append(True), lambda _: answers.append(False))
        return answers


class Forwards(FlowConnection):
    """A client's connection that takes what the server opens."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[HearingChannel] = []

    def make_channel(self, kind: bytes) -> FlowChannel:
        self.taken.append(HearingChannel())
        return self.taken[-1]


class PlainServerTestCase(HubTests):
    """A hub, and plain1, whose sshd trusts it."""

    def setUp(self) -> None:
        self.data_dir = Path(self.mktemp())
        self.world = HubWorld(data_dir=self.data_dir)
        self.world.add_user("ada", "root", labels="env=prod")
        self.world.add_user("grace", admin=True)
        self.admin = self.client(self.world.user("grace"))
        self.key = Ed25519PrivateKey.generate()
        self.print = fingerprint_of_blob(public_blob(self.key))
        self.sshd = PlainServer(
            self.world.authorities.user_ca.public_blob,
            HostKey(self.key),
            self.world.clock,
            self.world.links,
        )
        servers = self.world.hub._parts.opener._servers
        servers.dialer = evolve(servers.dialer, endpoint=lambda address: self.sshd)

    def register(
        self,
        host_keys: list[str] | None = None,
        authorities: tuple[str, ...] = (),
        name: str = "plain1",
    ) -> None:
        self.world.done(
            self.admin.create_openssh_node(
                name,
                "192.0.2.9",
                labels={"env": "prod"},
                host_keys=[self.print] if host_keys is None else host_keys,
                host_authorities=authorities,
            )
        )

    def connect(
        self,
        extensions: frozenset[str] = ALL,
        connection: FlowConnection | None = None,
        options: dict[str, bytes] | None = None,
    ) -> ClientTransport:
        """As ada does; whether she comes in is to be seen."""
        now = self.world.clock.seconds()
        key = Ed25519PrivateKey.generate()
        line = sshissuing.issue_user(
            self.world.authorities.user_ca,
            public_line(key),
            user=UserName("ada"),
            logins=[LoginName("root")],
            serial=7,
            now=now,
            lifetime=3600.0,
            extensions=extensions,
            critical_options=options or {},
        )
        trust = HostTrust(
            [self.world.authorities.host_ca.public_blob],
            ["plain1.hub.example.com"],
            self.world.clock.seconds,
        )
        client = ClientTransport(
            trust,
            UserKey.of(key, line),
            LoginName("root"),
            connection or FlowConnection(),
            self.world.clock,
        )
        self.world.dial(
            client,
            b"mezite-ssh",
            identity=self.world.user("ada"),
            server_name="plain1.hub.example.com",
        )
        self.world.flush()
        return client

    def session(self, client: ClientTransport) -> Session:
        self.successResultOf(client.authenticated())
        channel = Session()
        client.service.openChannel(channel)
        self.world.flush()
        self.assertEqual(channel.happened, ["open"])
        return channel

    def refusal(self, client: ClientTransport) -> str:
        return str(self.failureResultOf(client.authenticated()).value)

    def wait(self, seconds: float = 1.0) -> None:
        for _ in range(4):
            self.world.clock.advance(seconds / 4)
            self.world.flush()

    def events(self, *kinds: EventType) -> list[AuditEvent]:
        query = AuditQuery(types=tuple(kind.text for kind in kinds))
        found = self.world.done(self.world.store.audit.search(query, limit=100))
        return sorted((record.event for record in found), key=lambda event: event.time)

    def recordings(self) -> dict[str, list[Any]]:
        """What the hub keeps, by number."""
        found = {}
        for path in (self.data_dir / "recordings").rglob("*.mzr"):
            chunks = JournalReader(path.stem).receive(path.read_bytes())
            content = b"".join(chunk.content() for chunk in chunks)
            found[path.stem.partition(".")[2]] = Decoder().receive(content)
        return found


class RotationTests(PlainServerTestCase):
    """Nobody tells an sshd of another user authority; who has to is told which."""

    def behind(self, phase: str = "") -> list[str]:
        """The servers that are named, in this phase or as it is."""
        calling = (
            self.admin.rotate_authority(["user"], phase=phase)
            if phase
            else self.admin.get_authorities()
        )
        answer = self.world.done(calling)
        rows = answer if phase else answer.authorities
        (user,) = [row for row in rows if row.type == "user"]
        self.assertTrue(all(not row.behind_servers for row in rows if row.type != "user"))
        self.assertEqual(user.servers_behind, len(user.behind_servers))
        return list(user.behind_servers)

    def test_named(self) -> None:
        """All are in prepare, and in rotate those that have let nobody in with the new one."""
        self.register()
        self.register(name="web3")
        self.successResultOf(self.connect().authenticated())
        self.assertEqual(self.behind(), [])
        self.assertEqual(self.behind("prepare"), ["plain1", "web3"])
        self.successResultOf(self.connect().authenticated())
        self.assertEqual(self.behind(), ["plain1", "web3"])
        self.assertEqual(self.behind("rotate"), ["plain1", "web3"])
        self.assertIn("does not let root in", self.refusal(self.connect()))
        self.assertEqual(self.behind(), ["plain1", "web3"])
        self.sshd.user_ca = self.world.authorities.user_ca.public_blob
        self.successResultOf(self.connect().authenticated())
        self.assertEqual(self.behind(), ["web3"])
        self.assertEqual(self.behind("standby"), [])

    def test_rollback(self) -> None:
        """Nobody need be told of an authority that signs no more."""
        self.register()
        self.behind("prepare")
        self.behind("rotate")
        self.world.done(self.admin.rollback_authority(["user"]))
        self.assertEqual(self.behind(), [])

    def test_many(self) -> None:
        """What was seen has a bound; the oldest is forgotten."""
        self.patch(trusting, "_LIMIT", 2)
        seen = SeenTrust()
        first, second, third = (AgentId.new() for _ in range(3))
        for server in (first, second, first, third):
            seen.let_in(server, "SHA256:x")
        found = [seen.is_seen(each, "SHA256:x") for each in (first, second, third)]
        self.assertEqual(found, [True, False, True])
        self.assertFalse(seen.is_seen(first, "SHA256:y"))


class ProvingTests(PlainServerTestCase):
    """Who proves what to whom."""

    def test_certificate_for_the_server(self) -> None:
        """It is for one login and some minutes, names the session, and permits what it should."""
        self.register()
        client = self.connect(frozenset({"permit-pty", "permit-file-copy@mezite"}))
        self.successResultOf(client.authenticated())
        (guest,) = self.sshd.guests
        (session,) = self.world.hub.live
        self.assertEqual(guest.certificate.key_id, f"mezite:ada:{session.session_id}")
        self.assertEqual(guest.certificate.principals, {"root"})
        self.assertEqual(guest.certificate.extensions, {"permit-pty"})
        self.assertEqual(self.sshd.lifetimes, [300])

    def test_forced_command(self) -> None:
        """What a certificate forces, the server is made to run."""
        self.register()
        self.connect(options={"force-command": b"backup"})
        self.assertEqual(
            self.sshd.guests[0].certificate.critical_options, {"force-command": b"backup"}
        )

    def test_wrong_host_key(self) -> None:
        """Both fingerprints are told, and the audit has them; nobody is logged in there."""
        self.register(["SHA256:" + "A" * 43])
        sentence = self.refusal(self.connect())
        self.assertIn(self.print, sentence)
        self.assertIn("SHA256:" + "A" * 43, sentence)
        self.assertEqual(self.sshd.guests, [])
        (event,) = self.events(EventType.NODE_HOST_KEY_REFUSED)
        self.assertEqual((event.node, event.actor.name), ("plain1", "ada"))
        self.assertEqual(event.details["shown"], (self.print,))
        self.assertEqual(len(self.events(EventType.SESSION_START)), 1)
        self.assertEqual(len(self.events(EventType.SESSION_END)), 1)

    def test_other_kinds_of_keys(self) -> None:
        """A server with several keys is known by any of them."""
        other = generate_private_key(SECP256R1())
        self.sshd.host_keys = HostKeys((HostKey(self.key), HostKey(other)))
        self.register([fingerprint_of_blob(public_blob(other))])
        self.successResultOf(self.connect().authenticated())
        self.assertEqual(self.sshd.dialed, 2)

    def test_host_authority(self) -> None:
        """A certificate of its own authority proves a server, on the name it is dialed by."""
        authority = SshAuthority.generate()
        self.register([], (authority.public_line(),))
        for name, is_good in (("192.0.2.9", True), ("plain1", True), ("other", False)):
            line = sshissuing.issue_host(
                authority,
                public_line(self.key),
                agent_id=None,
                principals=[name],
                serial=1,
                now=self.world.clock.seconds(),
                lifetime=600.0,
            )
            self.sshd.host_keys = HostKey.of(self.key, line)
            client = self.connect()
            if is_good:
                self.successResultOf(client.authenticated())
            else:
                self.assertIn("is for other", self.refusal(client))

    def test_server_that_is_down(self) -> None:
        """It is said that it cannot be reached, and where."""
        self.register()
        self.sshd.is_down = True
        self.assertIn("plain1 cannot be reached by the hub at 192.0.2.9:22",
                      self.refusal(self.connect()))  # fmt: skip

    def test_server_that_is_silent(self) -> None:
        """A server that accepts and says nothing is given up before the person's time is over."""
        self.register()
        self.sshd.is_silent = True
        client = self.connect()
        self.wait(24)
        self.assertIn("took longer", self.refusal(client))
        self.assertEqual(len(self.world.hub.live), 0)

    def test_server_without_trust(self) -> None:
        """A server that does not trust the hub's authority is told of as such."""
        self.register()
        self.sshd.user_ca = b"another"
        self.assertIn("mezctl openssh setup", self.refusal(self.connect()))

    def test_denied(self) -> None:
        """Who may not reach the node learns nothing of it, and it is not dialed."""
        self.register()
        self.world.add_user("eve", "root", labels="env=dev")
        heard = ClientTransport(
            HostTrust([], [], self.world.clock.seconds),
            UserKey(Ed25519PrivateKey.generate(), b""),
            LoginName("root"),
            FlowConnection(),
            self.world.clock,
        )
        self.world.dial(
            heard,
            b"mezite-ssh",
            identity=self.world.user("eve"),
            server_name="plain1.hub.example.com",
        )
        self.world.flush()
        self.assertIn("there is no node plain1", self.refusal(heard))
        self.assertEqual(self.sshd.dialed, 0)


class RelayTests(PlainServerTestCase):
    """What goes through."""

    def setUp(self) -> None:
        super().setUp()
        self.register()

    def test_command(self) -> None:
        """A command, its input and output, and its status; and all of it on record."""
        client = self.connect()
        session = self.session(client)
        answers = session.ask(b"exec", string(b"cat"))
        self.wait()
        self.assertEqual(answers, [True])
        session.write(b"hello")
        session.loseWriteConnection()
        self.wait()
        self.assertEqual(bytes(session.heard), b"hello")
        self.assertEqual(session.happened, ["open", "eof", (b"exit-status", uint32(3)), "closed"])
        self.wait()
        (events,) = self.recordings().values()
        self.assertEqual((events[0].user, events[0].command), ("ada", b"cat"))
        self.assertEqual(b"".join(e.data for e in events if isinstance(e, Output)), b"hello")
        self.assertEqual([e.status for e in events if isinstance(e, Exited)], [3])
        client.close()
        self.wait()
        (end,) = self.events(EventType.SESSION_END)
        self.assertEqual((end.details["bytes_to_node"], end.details["bytes_to_user"]), (5, 5))

    def test_much(self) -> None:
        """What is more than the windows comes through whole."""
        session = self.session(self.connect())
        session.ask(b"shell")
        self.wait()
        data = bytes(range(256)) * 4096 * 6
        for at in range(0, len(data), 1 << 20):
            session.write(data[at : at + (1 << 20)])
            self.wait()
        session.loseWriteConnection()
        self.wait()
        self.assertEqual(bytes(session.heard), data)

    def test_client_that_stops_reading(self) -> None:
        """It holds up the server; the hub keeps no more than its windows."""
        session = self.session(self.connect())
        session.ask(b"shell")
        self.wait()
        session.pauseProducing()
        (theirs,) = self.sshd.sessions
        for _ in range(40):
            theirs.write(b"x" * 200_000)
            self.world.flush()
            if theirs._queued > 1 << 20:
                break
        else:
            self.fail("the server may write without end")
        session.resumeProducing()
        self.wait()
        self.assertEqual(theirs._queued, 0)

    def test_refused_by_the_server(self) -> None:
        """What the server refuses is refused."""
        self.sshd.refuses = (b"env", b"shell")
        session = self.session(self.connect())
        for name in (b"env", b"pty-req", b"shell"):
            data = {b"env": string(b"A") + string(b"b"), b"pty-req": PTY}.get(name, b"")
            answers = session.ask(name, data)
            self.wait()
            self.assertEqual(answers, [name == b"pty-req"])

    def test_unknown_requests(self) -> None:
        """What is unknown goes no further."""
        session = self.session(self.connect())
        answers = session.ask(b"x11-req", b"\0" * 20)
        self.wait()
        self.assertEqual((answers, self.sshd.requests), ([False], []))

    def test_one_process(self) -> None:
        """A session runs one process."""
        session = self.session(self.connect())
        first, second = session.ask(b"shell"), session.ask(b"exec", string(b"id"))
        self.wait()
        self.assertEqual((first, second), ([True], [False]))
        self.assertEqual([name for name, _ in self.sshd.requests], [b"shell"])

    def test_client_that_goes(self) -> None:
        """The server's connection ends with the client's, and the recording is closed."""
        client = self.connect()
        session = self.session(client)
        session.ask(b"shell")
        self.wait()
        client.transport.abortConnection()
        self.wait(6)
        self.assertEqual(self.sshd.sessions[0].happened[-1], "closed")
        self.assertEqual(len(self.world.hub.live), 0)
        (events,) = self.recordings().values()
        self.assertIn("ended", [e.kind for e in events if isinstance(e, Note)])

    def test_server_that_goes(self) -> None:
        """The client hears that the server ended the connection."""
        client = self.connect()
        self.session(client)
        self.sshd.connections[0].transport.disconnect(11, "rebooting")
        self.wait()
        self.assertIn("rebooting", str(self.successResultOf(client.ended())))
        self.assertEqual(len(self.world.hub.live), 0)

    def test_client_that_closes_first(self) -> None:
        """It still hears how the process ended, once the output was over."""
        self.sshd.is_patient = True
        session = self.session(self.connect())
        session.ask(b"shell")
        self.wait()
        (theirs,) = self.sshd.sessions
        session.loseWriteConnection()
        theirs.loseWriteConnection()
        self.wait()
        session.loseConnection()
        self.wait()
        theirs.conn.sendRequest(theirs, b"exit-status", uint32(9))
        theirs.loseConnection()
        self.wait()
        self.assertEqual(theirs.happened, ["eof", "closed"])
        (events,) = self.recordings().values()
        self.assertEqual([e.status for e in events if isinstance(e, Exited)], [9])

    def test_lock(self) -> None:
        """A lock ends it with its message."""
        client = self.connect()
        session = self.session(client)
        session.ask(b"shell")
        self.wait()
        self.world.done(
            self.admin.create_lock(pb.LockTarget(node="plain1"), ttl_seconds=0, message="moved")
        )
        self.wait()
        self.assertIn(b"moved", session.extra)
        self.assertIn("moved", str(self.successResultOf(client.ended())))
        self.assertEqual(len(self.world.hub.live), 0)

    def test_server_that_is_gone(self) -> None:
        """A server that answers nothing any more is given up."""
        client = self.connect()
        self.session(client)
        self.sshd.link.server.is_reading = False
        for _ in range(12):
            self.wait(10)
        self.assertIn("does not answer any more", str(self.successResultOf(client.ended())))
        self.assertEqual(len(self.world.hub.live), 0)

    def test_malformed(self) -> None:
        """What cannot be read ends the connection, and reaches no server."""
        client = self.connect()
        self.successResultOf(client.authenticated())
        channel = HearingChannel()
        channel.name = b"direct-tcpip"
        client.service.openChannel(channel, string(b"h") + b"\0")
        self.wait()
        self.successResultOf(client.ended())
        self.assertEqual(self.sshd.opened, [])


class OptionTests(PlainServerTestCase):
    """What a certificate does not permit, the hub refuses."""

    def setUp(self) -> None:
        super().setUp()
        self.register()

    def test_nothing(self) -> None:
        """No terminal, no agent, no copies, no forwarding; nothing of it reaches the server."""
        client = self.connect(frozenset())
        session = self.session(client)
        asked = [
            session.ask(b"pty-req", PTY),
            session.ask(b"auth-agent-req@openssh.com"),
            session.ask(b"exec", string(b"scp -t /tmp")),
            session.ask(b"subsystem", string(b"sftp")),
        ]
        channel = HearingChannel()
        channel.name = b"direct-tcpip"
        where = string(b"h") + uint32(22) + string(b"127.0.0.1") + uint32(1)
        client.service.openChannel(channel, where)
        listening = client.service.sendGlobalRequest(
            b"tcpip-forward", string(b"") + uint32(0), wantReply=1
        )
        self.wait()
        self.assertEqual(asked, [[False]] * 4)
        self.assertIsInstance(channel.happened[0], ChannelRefused)
        self.failureResultOf(listening)
        self.assertEqual(self.sshd.requests, [])
        self.assertEqual(self.sshd.opened, [b"session"])
        self.assertNotIn(b"tcpip-forward", self.sshd.global_requests)
        self.assertIn(b"does not permit copying", session.extra)

    def test_forwarding(self) -> None:
        """A channel to elsewhere, and one from there, with what the record says of them."""
        connection = Forwards()
        client = self.connect(connection=connection)
        self.successResultOf(client.authenticated())
        channel = HearingChannel()
        channel.name = b"direct-tcpip"
        where = string(b"10.0.0.5") + uint32(80) + string(b"127.0.0.1") + uint32(1)
        connection.openChannel(channel, where)
        self.wait()
        channel.write(b"ping")
        self.wait()
        self.assertEqual(bytes(channel.heard), b"ping")
        channel.loseConnection()
        uninvited = HearingChannel()
        uninvited.name = b"forwarded-tcpip"
        self.sshd.connections[0].call_back(uninvited)
        self.wait()
        self.assertIsInstance(uninvited.happened[0], ChannelRefused)
        listening = connection.sendGlobalRequest(
            b"tcpip-forward", string(b"localhost") + uint32(0), wantReply=1
        )
        self.wait()
        self.assertEqual(self.successResultOf(listening), uint32(4242))
        invited = HearingChannel()
        invited.name = b"forwarded-tcpip"
        self.sshd.connections[0].call_back(invited)
        self.wait()
        invited.write(b"pong")
        self.wait()
        (taken,) = connection.taken
        self.assertEqual(bytes(taken.heard), b"pong")
        client.close()
        self.wait(6)
        notes = [e for e in self.recordings()["0"] if isinstance(e, Note)]
        opened = [e.fields["target"] for e in notes if e.kind == "forward.open"]
        self.assertEqual(opened, ["10.0.0.5:80", "the client"])
        (told,) = [e.fields["address"] for e in notes if e.kind == "forward.listen"]
        self.assertEqual(told, "localhost:4242")
        flows = {e.fields["forward"]: e.fields for e in notes if e.kind == "forward.close"}
        self.assertEqual((flows[1]["sent"], flows[1]["received"]), (4, 4))
        self.assertEqual((flows[2]["sent"], flows[2]["received"]), (0, 4))

    def test_agent(self) -> None:
        """The server reaches the client's agent once it was told that there is one."""
        connection = Forwards()
        session = self.session(self.connect(connection=connection))
        for is_asked in (False, True):
            if is_asked:
                session.ask(b"auth-agent-req@openssh.com")
                self.wait()
            wanted = HearingChannel()
            wanted.name = b"auth-agent@openssh.com"
            self.sshd.connections[0].openChannel(wanted)
            self.wait()
            self.assertEqual(wanted.happened[0] == "open", is_asked)
        self.assertEqual(len(connection.taken), 1)


class RecordTests(PlainServerTestCase):
    """No record, no session."""

    def setUp(self) -> None:
        super().setUp()
        self.register()

    def test_no_room(self) -> None:
        """A command whose record cannot be begun is not run; why is said to who listens by then."""
        spool = self.world.hub._parts.spool.recordings.spool
        spool.free = lambda path: 0
        session = self.session(self.connect())
        told: list[bytes] = []
        asked = session.conn.sendRequest(session, b"exec", string(b"id"), wantReply=1)
        asked.addCallback(lambda _: told.append(bytes(session.extra)))
        self.wait()
        self.assertEqual(told, [b""])
        self.assertIn(b"the disk of the hub is full", session.extra)
        self.assertEqual(self.sshd.requests, [])

    def test_off(self) -> None:
        """Where the role says so nothing is recorded, and no room is needed."""
        options = "{options: {record_session: off}}"
        role = f"{{kind: role, version: v1, metadata: {{name: quiet}}, spec: {options}}}"
        self.world.done(self.admin.create_role(role))
        changed = pb.User(name="ada", roles=["quiet"])
        self.world.done(self.admin.update_user(changed, ["roles"]))
        spool = self.world.hub._parts.spool.recordings.spool
        spool.free = lambda path: 0
        client = self.connect()
        answers = self.session(client).ask(b"exec", string(b"id"))
        self.wait()
        self.assertEqual(answers, [True])
        client.close()
        self.wait()
        self.assertEqual(self.recordings(), {})

    def test_room_that_ends(self) -> None:
        """A session whose record cannot go on ends with a sentence."""
        session = self.session(self.connect())
        session.ask(b"shell")
        self.wait()
        spool = self.world.hub._parts.spool.recordings.spool
        spool.free = lambda path: 0
        session.write(b"more")
        self.wait(2)
        self.assertIn(b"its recording cannot go on", session.extra)
        self.assertIn("closed", session.happened)

    def test_hub_that_was_killed(self) -> None:
        """What it left behind is taken in at the next start, as interrupted."""
        # Nothing is taken in meanwhile, so that all of it is left.
        self.world.hub._parts.spool.feeder.stop()
        session = self.session(self.connect())
        session.ask(b"shell")
        self.wait()
        session.write(b"last words")
        self.wait()
        self.assertEqual(self.recordings(), {})
        after = HubWorld(
            clock=self.world.clock,
            store=self.world.store,
            data_dir=self.data_dir,
            starts_with=self.world.authorities,
        )
        after.hub._parts.spool.start()
        after.flush()
        (record,) = after.done(self.world.store.recordings.list(RecordingQuery(), 10))
        self.assertIs(record.state, RecordingState.INTERRUPTED)
        (events,) = self.recordings().values()
        text = b"".join(each.data for each in events if isinstance(each, Output))
        self.assertEqual(text, b"last words")

    def test_no_sftp(self) -> None:
        """A transfer that is none cannot be recorded, and ends."""
        session = self.session(self.connect())
        session.ask(b"subsystem", string(b"sftp"))
        self.wait()
        session.write(b"\xff" * 100)
        self.wait()
        self.assertIn(b"cannot be followed", session.extra)
        self.assertIn("closed", session.happened)


class SftpTapTests(SynchronousTestCase):
    """What is read from the packets of a transfer."""

    def setUp(self) -> None:
        self.told: list[Any] = []
        self.tap = SftpTap(self.told.append)

    def test_write(self) -> None:
        """A file that was written is told of when it is closed, however the packets were cut."""
        asked = [
            wire.Init(3),
            wire.Open(1, b"/etc/x", wire.OpenFlag.WRITE | wire.OpenFlag.CREATE, Attributes()),
            wire.Write(2, b"h", 0, b"abc"),
            wire.Close(3, b"h"),
        ]
        answered = [
            wire.Version(3),
            wire.Handle(1, b"h"),
            wire.Status(2, 0, b""),
            wire.Status(3, 0, b""),
        ]
        for message, reply in zip(asked, answered, strict=True):
            for octet in wire.encode(message):
                self.tap.asked(bytes([octet]))
            for octet in wire.encode(reply):
                self.tap.answered(bytes([octet]))
        (report,) = self.told
        self.assertEqual((report.kind, report.fields["path"]), ("sftp.write", "/etc/x"))
        self.assertEqual(report.fields["bytes"], 3)

    def test_refused_write(self) -> None:
        """What the server refused was not done."""
        self.tap.asked(wire.encode(wire.Remove(1, b"/x")))
        self.tap.answered(wire.encode(wire.Status(1, 3, b"no")))
        (report,) = self.told
        self.assertEqual(report.fields["error"], "no")

    def test_hostile(self) -> None:
        """No packets, endless ones, and more requests than there should be."""
        self.assertRaises(Unfollowable, self.tap.asked, b"\xff" * 5)
        self.setUp()
        self.assertRaises(Unfollowable, self.tap.asked, b"\0\0\0\5\3\0\0\0\1")
        self.setUp()
        for number in range(REQUESTS):
            self.tap.asked(wire.encode(wire.Stat(number, b"/")))
        self.assertRaises(Unfollowable, self.tap.asked, wire.encode(wire.Stat(REQUESTS, b"/")))
        self.setUp()
        with self.assertRaises(Unfollowable):
            for number in range(100):
                self.tap.asked(wire.encode(wire.Write(number, b"h", 0, b"x" * 200_000)))

    def test_answers_to_nothing(self) -> None:
        """An answer that nobody asked for says nothing."""
        self.tap.answered(wire.encode(wire.Handle(9, b"h")))
        self.tap.close()
        self.assertEqual(self.told, [])
