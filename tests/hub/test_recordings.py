"""Tests of recordings at a hub: brought over a tunnel, kept in files, seen and removed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mezite.audit.events import EventType
from mezite.auth.recordsweep import Retention
from mezite.config.recordings import RecordingsConfig
from mezite.error import BadInput, Denied, MeziteError, NotFound, Unavailable
from mezite.hub import recordingintake, recordingservice
from mezite.hub.error import HubCannotStart
from mezite.identity.x509 import NodeIdentity
from mezite.mux.protocol import MuxProtocol
from mezite.names import LoginName, UserName
from mezite.recording.chunks import Chunk, JournalReader, Position
from mezite.recording.events import Header
from mezite.recording.upload import ClientState, UploadClient
from mezite.recording.uploadwire import Inventory, RefusalCode, Refused, Verified, encode
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.proto.tunnel_pb2 import StreamHeader
from mezite.rpc.streamheader import encode as encode_header
from mezite.store.recordings import RecordedSession, RecordingRecord
from mezite.store.records import AuditQuery
from tests.doubles.hubworld import Heard, HubWorld
from tests.hub.test_service import HubTests
from tests.recording.test_sealing import ADA as SEALED_TO
from tests.recording.test_sealing import pem, unsealed
from tests.store.test_recordingfiles import chunks

LIVE, COMPLETE, INTERRUPTED = (
    pb.RECORDING_STATE_LIVE,
    pb.RECORDING_STATE_COMPLETE,
    pb.RECORDING_STATE_INTERRUPTED,
)


def recorded(session: str, number: int = 5, node: str = "db1") -> list[Chunk]:
    """A recording of a session, whole."""
    header = Header(1000, session=session, number=1, node=node, command=b"make\xff")
    return chunks(number, f"{session}.1", header)


class Uploading(Heard):
    """An agent's end of one stream."""

    def __init__(self, recording: str, spool: Sequence[Chunk]) -> None:
        super().__init__()
        self.client = UploadClient(recording)
        self.spool = spool
        self.said: list[Any] = []

    def connectionMade(self) -> None:
        header = encode_header(StreamHeader(service="recording"))
        self.transport.write(header + self.client.data_to_send())

    def dataReceived(self, data: bytes) -> None:
        self.said += self.client.receive(data)
        self.go_on()

    def go_on(self, end: str | None = None) -> None:
        """Send what can be sent; ``end`` is why there is no more, if it was cut off."""
        client = self.client
        while client.may_send and client.next_number < len(self.spool):
            client.send_chunk(client.next_number, self.spool[client.next_number].data)
        if client.is_all_acked and client.next_number == len(self.spool):
            if end is not None:
                client.abandon(end)
            elif self.spool and self.spool[-1].is_last:
                client.finish(self.spool[-1].after)
        self.transport.write(client.data_to_send())


class RecordingsTests(HubTests):
    """A hub with a data directory, db1 with its tunnel, and what it brings."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        self.start()

    def start(self, **settings: Any) -> None:
        self.world = HubWorld(data_dir=self.directory, recordings=RecordingsConfig(**settings))
        self.world.add_user("ada", "root", labels="env=prod")
        self.world.add_user("grace", admin=True)
        self.world.add_user("carol", roles=["auditor"])
        self.db1 = self.world.add_node("db1", env="prod")
        self.recordings = self.world.hub._parts.recordings
        self.recordings.keeping.incoming.free_bytes = 0
        self.mux = self.tunnel()
        self.admin = self.client(self.world.user("grace"))
        self.carol = self.client(self.world.user("carol"))
        self.ada = self.client(self.world.user("ada"))
        self.keep_time()

    def keep_time(self) -> None:
        """Let recordings have a clock that can be put forward without all others."""
        self.later = 0.0
        for part in (self.recordings.keeping, self.recordings.due, self.recordings.intake):
            part._wall_clock = lambda: self.world.clock.seconds() + self.later

    def tunnel(self, node: NodeIdentity | None = None) -> MuxProtocol:
        mux = self.world.open_tunnel(node or self.db1)
        self.world.flush()
        return mux

    def session(
        self, session_id: str = "s1", user: str = "ada", node: NodeIdentity | None = None
    ) -> None:
        """Let the hub know a session that it opened once."""
        of = node or self.db1
        known = RecordedSession(
            session_id,
            UserName(user),
            LoginName("root"),
            of.node,
            of.agent_id,
            "192.0.2.7:4711",
            self.world.clock.seconds(),
        )
        self.world.done(self.world.store.recordings.begin_session(known))

    def upload(self, recording: str, spool: Sequence[Chunk], mux: Any = None) -> Uploading:
        uploading = Uploading(recording, spool)
        (mux or self.mux).open_stream().attach(uploading)
        self.world.flush()
        return uploading

    def uploaded(self, session_id: str = "s1", **more: Any) -> list[Chunk]:
        """A recording that is brought whole."""
        self.session(session_id, **more)
        spool = recorded(session_id)
        uploading = self.upload(f"{session_id}.1", spool)
        self.assertIs(uploading.client.state, ClientState.OVER)
        return spool

    def inventory(self, *held: str, mux: Any = None) -> None:
        stream = (mux or self.mux).open_stream()
        stream.attach(Heard())
        header = encode_header(StreamHeader(service="recording"))
        stream.write(header + encode(Inventory(held)))
        stream.loseConnection()
        self.world.flush()

    def listed(self, client: Any = None, **wanted: Any) -> list[pb.Recording]:
        request = pb.ListRecordingsRequest(**wanted)
        return self.world.done((client or self.admin).list_recordings(request))

    def state(self, recording: str = "s1.1") -> int:
        return self.world.done(self.admin.get_recording(recording)).state

    def read(self, recording: str = "s1.1", client: Any = None) -> bytes:
        data, offset = b"", 0
        while True:
            asked = (client or self.admin).read_recording(recording, offset, 100)
            more = self.world.done(asked).data
            if not more:
                return data
            data, offset = data + more, offset + len(more)

    def events(self, kind: EventType) -> list[Any]:
        query = AuditQuery(types=(kind.text,))
        found = self.world.done(self.world.store.audit.search(query, limit=100))
        return [record.event for record in found]

    def refused(self, kind: type[MeziteError], call: Any) -> str:
        return str(self.assertRaises(kind, self.world.done, call))

    def advance(self, seconds: float) -> None:
        """Let time pass for recordings, and look after them."""
        self.later += seconds
        self.world.done(self.recordings._swept())


class UploadTests(RecordingsTests):
    def test_whole(self) -> None:
        """A recording that came whole is complete, in its month's directory, as it was."""
        spool = self.uploaded()
        data = b"".join(chunk.data for chunk in spool)
        [found] = self.listed()
        self.assertEqual(
            (found.id, found.user, found.node, found.login, found.state, found.seconds),
            ("s1.1", "ada", "db1", "root", COMPLETE, 4.5),
        )
        self.assertEqual((found.size, found.chunks), (len(data), 5))
        self.assertEqual(found.chain, spool[-1].after.chain.hex())
        self.assertEqual((found.kind, found.command), (pb.RECORDING_KIND_SHELL, "make\ufffd"))
        self.assertEqual(self.read(), data)
        [path] = self.directory.glob("recordings/????-??/s1.1.mzr")
        self.assertEqual(path.read_bytes(), data)
        self.assertEqual(list(self.directory.glob("recordings/incoming/*")), [])
        [event] = self.events(EventType.RECORDING_UPLOADED)
        self.assertEqual((event.actor.name, event.target, event.node), ("db1", "s1.1", "db1"))
        self.assertEqual(event.details["chain"], found.chain)
        self.assertEqual((event.details["bytes"], event.session_id), (len(data), "s1"))

    def test_verified_again(self) -> None:
        """An answer that was lost is given again, and nothing is noted twice."""
        spool = self.uploaded()
        again = self.upload("s1.1", spool)
        self.assertEqual(again.said, [Verified(spool[-1].after)])
        self.assertEqual(len(self.events(EventType.RECORDING_UPLOADED)), 1)

    def test_live(self) -> None:
        """A live recording is read as far as it has come, and then goes on."""
        self.session()
        spool = recorded("s1")
        uploading = self.upload("s1.1", spool[:2])
        self.assertEqual(self.state(), LIVE)
        data = b"".join(chunk.data for chunk in spool[:2])
        self.assertEqual(self.read(), data)
        [found] = self.listed()
        self.assertEqual((found.size, found.seconds, found.ended), (len(data), 1.5, 0))
        uploading.spool = spool
        uploading.go_on()
        self.world.flush()
        uploading.go_on()
        self.world.flush()
        self.assertEqual(self.state(), COMPLETE)

    def test_nothing_yet(self) -> None:
        """A recording that has only been announced is live and empty."""
        self.session()
        self.upload("s1.1", [])
        self.assertEqual((self.state(), self.read()), (LIVE, b""))

    def test_abandoned(self) -> None:
        """What the node says was cut off is interrupted, with why, where it ends."""
        self.session()
        spool = recorded("s1")
        uploading = self.upload("s1.1", spool[:3])
        uploading.go_on("the machine went down")
        self.world.flush()
        self.assertEqual(uploading.said[-1], Verified(spool[2].after))
        [found] = self.listed(states=[INTERRUPTED])
        self.assertEqual((found.chunks, found.reason), (3, "the machine went down"))
        [event] = self.events(EventType.RECORDING_INTERRUPTED)
        self.assertEqual((event.success, event.error), (False, "the machine went down"))

    def test_not_its_session(self) -> None:
        """A node brings recordings of its own sessions, and of no other."""
        db2 = self.world.add_node("db2", env="prod")
        self.session("s1", node=db2)
        for recording in ("s1.1", "s9.1"):
            uploading = self.upload(recording, recorded(recording[:2]))
            [refusal] = uploading.said
            self.assertIsInstance(refusal, Refused)
            self.assertIs(refusal.code, RefusalCode.NEVER)
        self.assertEqual(self.listed(), [])

    def test_header_of_another(self) -> None:
        """A recording whose header names another node or recording is not taken."""
        self.session()
        other = chunks(1, "s1.1", Header(1000, session="s2", number=1, node="db1"))
        for spool in (recorded("s1", node="db2"), other):
            uploading = self.upload("s1.1", spool)
            self.assertIs(uploading.said[-1].code, RefusalCode.NEVER)
        self.assertEqual(self.read(), b"")

    def test_full_disk(self) -> None:
        """While the disk is full nothing is taken, and the agent may come again."""
        self.session()
        self.recordings.keeping.incoming.free_bytes = 1 << 60
        uploading = self.upload("s1.1", recorded("s1"))
        self.assertIs(uploading.said[-1].code, RefusalCode.NOT_NOW)
        self.assertNotIn("incoming", uploading.said[-1].sentence)
        self.recordings.keeping.incoming.free_bytes = 0
        self.upload("s1.1", recorded("s1"))
        self.assertEqual(self.state(), COMPLETE)

    def test_newer_stream(self) -> None:
        """A stream on which a recording is brought anew ends the one before."""
        self.session()
        spool = recorded("s1")
        older = self.upload("s1.1", spool[:2])
        newer = self.upload("s1.1", spool)
        self.assertIsNotNone(older.reason)
        self.assertIs(newer.client.state, ClientState.OVER)
        self.assertEqual(self.read(), b"".join(chunk.data for chunk in spool))

    def test_too_many(self) -> None:
        """A node has a bounded number of unfinished recordings."""
        self.patch(recordingintake, "LIVE_OF_A_NODE", 1)
        self.session("s1")
        self.session("s2")
        self.upload("s1.1", [])
        uploading = self.upload("s2.1", [])
        self.assertIs(uploading.said[-1].code, RefusalCode.NOT_NOW)

    def test_too_large(self) -> None:
        """A recording has a bounded length."""
        self.patch(recordingintake, "BYTES_OF_A_RECORDING", 10)
        self.session()
        spool = recorded("s1")
        self.upload("s1.1", spool[:1])
        self.assertIs(self.upload("s1.1", spool).said[-1].code, RefusalCode.NEVER)

    def test_restart(self) -> None:
        """A hub that starts again goes on where the disk has it, and closes nothing."""
        self.session()
        spool = recorded("s1")
        self.upload("s1.1", spool[:3])
        store, nodes, before = self.world.store, self.db1, self.world.authorities
        self.world = HubWorld(
            store=store, data_dir=self.directory, clock=self.world.clock, starts_with=before
        )
        self.recordings = self.world.hub._parts.recordings
        self.recordings.keeping.incoming.free_bytes = 0
        self.keep_time()
        self.mux = self.tunnel(nodes)
        self.admin = self.client(self.world.user("grace"))
        self.inventory("s1.1")
        self.advance(60)
        self.assertEqual(self.state(), LIVE)
        uploading = self.upload("s1.1", spool)
        self.assertEqual(uploading.client.acked, 5)
        self.assertEqual(self.state(), COMPLETE)

    @given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), max_size=6))
    @settings(max_examples=15, deadline=None)
    def test_cuts(self, cuts: list[tuple[int, bool]]) -> None:
        """Whatever is cut and whatever the hub forgets, what is there is what was recorded."""
        name = f"c{len(self.listed())}"
        self.session(name)
        spool = recorded(name)
        for number, forgets in cuts:
            if self.upload(f"{name}.1", spool[:number]).client.state is ClientState.OVER:
                break
            if forgets:
                self.recordings.intake._known.clear()
                self.recordings.intake._arrivals.clear()
        self.upload(f"{name}.1", spool)
        self.assertEqual(self.read(f"{name}.1"), b"".join(chunk.data for chunk in spool))
        reader = JournalReader(f"{name}.1")
        reader.receive(self.read(f"{name}.1"))
        self.assertTrue(reader.found.is_finished)


class AbandonedTests(RecordingsTests):
    """Recordings of which no more comes."""

    def live(self, number: int = 3) -> list[Chunk]:
        self.session()
        spool = recorded("s1")
        self.upload("s1.1", spool[:number])
        return spool

    def come_back(self) -> None:
        self.mux.abort()
        self.world.flush()
        self.world.clock.rightNow += 5
        self.mux = self.tunnel()

    def test_back_without_it(self) -> None:
        """A node that comes back without a recording has it closed at once."""
        spool = self.live()
        self.come_back()
        self.inventory("s0.1")
        [found] = self.listed()
        self.assertEqual((found.state, found.chunks), (INTERRUPTED, 3))
        self.assertEqual(self.read(), b"".join(chunk.data for chunk in spool[:3]))
        [event] = self.events(EventType.RECORDING_INTERRUPTED)
        self.assertEqual(event.actor.name, "db1")

    def test_back_with_it(self) -> None:
        """A node that still has it goes on."""
        self.live()
        self.come_back()
        self.inventory("s1.1")
        self.assertEqual(self.state(), LIVE)

    def test_begun_since(self) -> None:
        """What a node brings since it is back is not closed by a list made before."""
        self.live()
        self.come_back()
        self.upload("s1.1", recorded("s1")[:3])
        self.inventory()
        self.assertEqual(self.state(), LIVE)

    def test_others_inventory(self) -> None:
        """What one node has says nothing of another's."""
        self.live()
        db2 = self.world.add_node("db2", env="prod")
        self.world.clock.rightNow += 5
        self.inventory(mux=self.tunnel(db2))
        self.assertEqual(self.state(), LIVE)

    def test_never_back(self) -> None:
        """After a day without its node a recording is not live any more."""
        self.live()
        self.mux.abort()
        self.world.flush()
        self.advance(86400 - 60)
        self.assertEqual(self.state(), LIVE)
        self.advance(61)
        [found] = self.listed()
        self.assertEqual((found.state, found.reason), (INTERRUPTED, "nothing came for 24 hours"))

    def test_silent_session(self) -> None:
        """A session that goes on, and is silent for a day, is not closed."""
        session = self.world.opened("ada", self.db1)
        self.session(session.session_id)
        self.upload(f"{session.session_id}.1", [])
        self.recordings.intake._arrivals.clear()
        self.advance(90000)
        self.assertEqual(self.state(f"{session.session_id}.1"), LIVE)

    def test_back_after_all(self) -> None:
        """A node that comes after that brings the rest, and it is complete."""
        spool = self.live()
        self.come_back()
        self.inventory()
        self.assertEqual(self.state(), INTERRUPTED)
        self.upload("s1.1", spool)
        self.assertEqual(self.state(), COMPLETE)
        self.assertEqual(self.read(), b"".join(chunk.data for chunk in spool))

    def test_back_with_less(self) -> None:
        """What the hub had before is not lost to a node that has less."""
        spool = self.live()
        self.come_back()
        self.inventory()
        self.upload("s1.1", spool[:1]).go_on("lost")
        self.world.flush()
        [found] = self.listed()
        self.assertEqual((found.state, found.chunks), (INTERRUPTED, 3))
        self.assertEqual(self.read(), b"".join(chunk.data for chunk in spool[:3]))


class RightTests(RecordingsTests):
    """Who sees what, and who is told."""

    def setUp(self) -> None:
        super().setUp()
        self.number = 0
        self.world.add_user("bob", "root")
        self.uploaded("s1", user="ada")
        self.uploaded("s2", user="bob")

    def test_own(self) -> None:
        """Users see their own, and the others' are as if they were not there."""
        self.assertEqual([each.id for each in self.listed(self.ada)], ["s1.1"])
        self.assertTrue(self.read("s1.1", self.ada))
        for call in (self.ada.get_recording("s2.1"), self.ada.read_recording("s2.1", 0)):
            self.assertIn("there is no recording 's2.1'", self.refused(NotFound, call))
        self.refused(Denied, self.ada.list_recordings(pb.ListRecordingsRequest(user="bob")))
        self.assertEqual(self.events(EventType.RECORDING_PLAYED), [])

    def test_namesake(self) -> None:
        """A user does not see what somebody of the same name did before."""
        store = self.world.store.users
        self.world.done(store.remove(UserName("ada")))
        self.world.clock.rightNow += 10
        self.ada = self.client(self.world.user("ada"))
        self.world.add_user("ada", "root")
        self.assertEqual(self.listed(self.ada), [])
        self.refused(NotFound, self.ada.get_recording("s1.1"))

    def test_auditors(self) -> None:
        """Auditors see all; each viewing is one event."""
        self.assertEqual([each.id for each in self.listed(self.carol)], ["s2.1", "s1.1"])
        self.assertEqual([each.id for each in self.listed(self.carol, user="bob")], ["s2.1"])
        self.read("s1.1", self.carol)
        self.read("s1.1", self.carol)
        [event] = self.events(EventType.RECORDING_PLAYED)
        self.assertEqual((event.actor.name, event.target), ("carol", "s1.1"))
        self.assertEqual(event.details["user"], "ada")
        self.patch(recordingservice, "VIEWING_SECONDS", 0.0)
        self.world.done(self.carol.read_recording("s1.1", 0))
        self.assertEqual(len(self.events(EventType.RECORDING_PLAYED)), 2)

    def give(self, user: str, **rules: Any) -> None:
        """Give a user a role with these rules about recordings."""
        spec = {side: {"review_recordings": rule} for side, rule in rules.items()}
        self.number += 1
        name = f"role{self.number}"
        document = {"kind": "role", "version": "v1", "metadata": {"name": name}, "spec": spec}
        self.world.done(self.admin.create_role(json.dumps(document)))
        record = self.world.done(self.world.store.users.get(UserName(user)))
        roles = [*(role.text for role in record.roles), name]
        self.world.done(self.admin.update_user(pb.User(name=user, roles=roles), ["roles"]))

    def test_reviewers(self) -> None:
        """Who has a role for it sees others' by node and user; each viewing is an event."""
        db2 = self.world.add_node("db2", env="dev")
        self.session("s3", "bob", db2)
        self.upload("s3.1", recorded("s3", node="db2"), self.tunnel(db2))
        self.give("ada", allow={"node_labels": {"env": "dev"}, "users": ["^b.*$"]})
        self.assertEqual([each.id for each in self.listed(self.ada)], ["s3.1", "s1.1"])
        self.assertEqual([each.id for each in self.listed(self.ada, user="bob")], ["s3.1"])
        self.assertTrue(self.read("s3.1", self.ada))
        self.refused(NotFound, self.ada.read_recording("s2.1", 0))
        [event] = self.events(EventType.RECORDING_PLAYED)
        self.assertEqual((event.actor.name, event.target), ("ada", "s3.1"))
        # A page is what is left of it.
        request = pb.ListRecordingsRequest(page_size=1)
        found = self.world.done(self.ada.list_recordings(request))
        self.assertEqual([each.id for each in found], ["s3.1", "s1.1"])
        self.refused(Denied, self.ada.hold_recording("s3.1", "case 7"))

    def test_node_gone(self) -> None:
        """Of a node that was removed only those see anything who are denied none by label."""
        self.give("ada", allow={"node_labels": {"*": "*"}, "users": ["*"]})
        self.world.done(self.admin.delete_node("db1"))
        self.assertTrue(self.read("s2.1", self.ada))
        self.give("ada", deny={"node_labels": {"secret": "yes"}})
        self.refused(NotFound, self.ada.read_recording("s2.1", 0))
        self.assertTrue(self.read("s1.1", self.ada))

    def test_auditors_denied(self) -> None:
        """A denial counts for auditors, too, and ends what they were reading."""
        self.assertTrue(self.read("s2.1", self.carol))
        self.give("carol", deny={"users": ["bob"]})
        self.assertEqual([each.id for each in self.listed(self.carol)], ["s1.1"])
        self.refused(NotFound, self.carol.read_recording("s2.1", 10))
        self.assertEqual([each.id for each in self.listed()], ["s2.1", "s1.1"])

    def test_watchers(self) -> None:
        """Who may see the recording may watch the session."""
        self.give("ada", allow={"node_labels": {"*": "*"}, "users": ["bob"]})
        self.session("s3", "bob")
        self.upload("s3.1", recorded("s3")[:1])
        self.assertTrue(self.read("s3.1", self.ada))
        [event] = self.events(EventType.SESSION_WATCHED)
        self.assertEqual((event.actor.name, event.session_id), ("ada", "s3"))

    def test_no_way_around(self) -> None:
        """To begin in the middle is a viewing, too; to watch a live one is another event."""
        self.world.done(self.carol.read_recording("s2.1", 10))
        self.assertEqual(len(self.events(EventType.RECORDING_PLAYED)), 1)
        self.session("s3")
        self.upload("s3.1", recorded("s3")[:1])
        self.read("s3.1", self.carol)
        [event] = self.events(EventType.SESSION_WATCHED)
        self.assertEqual(event.session_id, "s3")

    def test_administration(self) -> None:
        """Holds and removals are for administrators."""
        for client in (self.ada, self.carol):
            self.refused(Denied, client.hold_recording("s1.1", "case 7"))
            self.refused(Denied, client.release_recording("s1.1"))
            self.refused(Denied, client.delete_recording("s1.1"))

    def test_pages(self) -> None:
        """Lists come in pages; a token that is none is refused."""
        request = pb.ListRecordingsRequest(page_size=1)
        found = self.world.done(self.admin.list_recordings(request))
        self.assertEqual([each.id for each in found], ["s2.1", "s1.1"])
        for token in ("x", "nan s1.1", "1", f"1 {'x' * 300}"):
            asked = self.admin._call(
                pb.ListRecordingsRequest(page_token=token), pb.ListRecordingsResponse
            )
            self.refused(BadInput, asked)
        self.refused(BadInput, self.admin.read_recording("s1.1", -1))


class RetentionTests(RecordingsTests):
    """What is removed, and what is not."""

    def test_removed_by_hand(self) -> None:
        """What an administrator removes is gone, with its bytes, and on record."""
        self.uploaded()
        self.world.done(self.admin.delete_recording("s1.1", "a mistake"))
        self.assertEqual(self.listed(), [])
        self.assertEqual(list(self.directory.glob("recordings/*/*")), [])
        [event] = self.events(EventType.RECORDING_DELETED)
        self.assertEqual((event.actor.name, event.details["reason"]), ("grace", "a mistake"))
        self.refused(NotFound, self.admin.delete_recording("s1.1"))

    def test_live_is_not_removed(self) -> None:
        """A live recording is not removed."""
        self.session()
        self.upload("s1.1", [])
        self.refused(Unavailable, self.admin.delete_recording("s1.1"))

    def test_hold(self) -> None:
        """A held recording is removed by nobody, until it is released."""
        self.uploaded()
        self.refused(BadInput, self.admin.hold_recording("s1.1", " "))
        self.refused(BadInput, self.admin.hold_recording("s1.1", "two\nlines"))
        self.refused(NotFound, self.admin.release_recording("s1.1"))
        held = self.world.done(self.admin.hold_recording("s1.1", "case 7"))
        self.assertEqual((held.held_by, held.held_reason), ("grace", "case 7"))
        self.assertIn("held by grace", self.refused(Denied, self.admin.delete_recording("s1.1")))
        self.advance(366 * 86400)
        self.assertEqual(self.state(), COMPLETE)
        self.world.done(self.admin.release_recording("s1.1"))
        self.assertEqual(len(self.events(EventType.RECORDING_HELD)), 1)
        self.assertEqual(len(self.events(EventType.RECORDING_RELEASED)), 1)
        self.advance(60)
        self.assertEqual(self.listed(), [])

    def test_age(self) -> None:
        """What is older than it is to be kept is removed, and what is younger is not."""
        self.uploaded("s1")
        self.later += 300 * 86400
        self.uploaded("s2")
        self.advance(66 * 86400)
        self.assertEqual([each.id for each in self.listed()], ["s2.1"])
        [event] = self.events(EventType.RECORDING_DELETED)
        self.assertEqual((event.actor.name, event.target), ("hub", "s1.1"))

    def test_size(self) -> None:
        """Beyond the size that all may have together, the oldest go."""
        for name in ("s1", "s2", "s3"):
            spool = self.uploaded(name)
            self.later += 1
        size = sum(len(chunk.data) for chunk in spool)
        self.recordings.due._retention = Retention(None, 2 * size + 50)
        self.world.done(self.admin.hold_recording("s1.1", "case 7"))
        self.advance(60)
        self.assertEqual([each.id for each in self.listed()], ["s3.1", "s1.1"])

    def test_crash_while_removing(self) -> None:
        """What was about to go when the hub stopped goes afterwards."""
        self.uploaded()
        change = self.world.store.recordings.change("s1.1", RecordingRecord.removing)
        self.world.done(change)
        self.assertEqual(self.listed(), [])
        self.advance(60)
        self.assertEqual(list(self.directory.glob("recordings/*/*")), [])
        self.assertIsNone(self.world.done(self.world.store.recordings.get("s1.1")))

    def test_storage_out_of_order(self) -> None:
        """While recordings cannot be put away they are read from where they came in."""
        keeping = self.recordings.keeping
        (self.directory / "recordings").mkdir(mode=0o700)
        place = keeping._stored.directory
        keeping._stored.directory = Path("/dev/null")
        spool = self.uploaded()
        data = b"".join(chunk.data for chunk in spool)
        self.assertEqual((self.state(), self.read()), (COMPLETE, data))
        keeping._stored.directory = place
        self.advance(60)
        self.assertEqual(self.read(), data)
        self.assertEqual(list(self.directory.glob("recordings/incoming/*")), [])

    def test_left_behind(self) -> None:
        """What a crash left among the incoming of a stored recording is tidied up."""
        spool = self.uploaded()
        incoming = self.directory / "recordings" / "incoming"
        (incoming / "s1.1.mzr").write_bytes(spool[0].data)
        (incoming / "s7.1.mzr").write_bytes(b"from a backup")
        self.recordings._is_tidy = False
        self.advance(60)
        self.assertEqual([each.name for each in incoming.iterdir()], ["s7.1.mzr"])


class PositionTests(RecordingsTests):
    def test_start(self) -> None:
        """The first answer is the beginning of the recording's own chain."""
        self.session()
        uploading = self.upload("s1.1", [])
        self.assertEqual(uploading.said[0].position, Position.start("s1.1"))


class SealedTests(RecordingsTests):
    """A hub that encrypts closed recordings."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).resolve()
        self.directory.mkdir(parents=True)
        keys = self.directory / "keys.pem"
        keys.write_bytes(pem([SEALED_TO]))
        self.start(encrypt_to=keys)

    def test_sealed(self) -> None:
        """It is watched to its end in the clear, and half a minute later only sealed."""
        spool = self.uploaded()
        data = b"".join(chunk.data for chunk in spool)
        self.assertEqual(self.read(), data)
        self.advance(60)
        [found] = self.listed()
        sealed = self.read()
        self.assertEqual((found.encrypted, found.size), (True, len(sealed)))
        self.assertEqual(unsealed(sealed, SEALED_TO), data)
        [path] = self.directory.glob("recordings/*/*")
        self.assertEqual(path.name, "s1.1.mze")
        self.assertEqual(path.read_bytes(), sealed)

    def test_no_keys(self) -> None:
        """A hub whose keys cannot be read does not start."""
        for path, said in (("nowhere", "No such file"), (".", "directory")):
            error = self.assertRaises(HubCannotStart, self.start, encrypt_to=self.directory / path)
            self.assertIn(said, str(error))
        (self.directory / "empty").write_text("")
        error = self.assertRaises(HubCannotStart, self.start, encrypt_to=self.directory / "empty")
        self.assertIn("X25519", str(error))
