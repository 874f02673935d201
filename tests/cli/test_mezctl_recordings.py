"""Tests of mezctl's commands about recordings."""

from __future__ import annotations

import json

from mezite.rpc.proto import auth_pb2 as pb
from tests.cli.test_mezctl import MezctlTestCase
from tests.doubles.adminservice import NOW

ID = "5b1f6b1e-6f6b-4f0e-8d5e-0a1b2c3d4e5f.1"


class RecordingTests(MezctlTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.recording = pb.Recording(
            id=ID,
            session_id=ID[:-2],
            user="ada",
            node="db1",
            login="root",
            kind=pb.RECORDING_KIND_COMMAND,
            command="true",
            state=pb.RECORDING_STATE_COMPLETE,
            created=NOW,
            seconds=1.25,
            size=570,
        )
        self.hub.recordings[ID] = self.recording

    def test_list(self) -> None:
        """Recordings are listed for people and for programs; filters go to the hub."""
        shown = self.mezctl("recordings", "ls", "--user", "ada", "--state", "live")
        self.assertIn("complete", shown.out)
        asked = self.hub.recordings_asked[-1]
        self.assertEqual((asked.user, list(asked.states)), ("ada", [pb.RECORDING_STATE_LIVE]))
        (row,) = json.loads(self.mezctl("recordings", "ls", "--format=json").out)
        self.assertEqual((row["id"], row["kind"], row["state"]), (ID, "command", "complete"))
        self.assertEqual((row["seconds"], row["size"], row["held_since"]), (1.25, 570, None))

    def test_hold(self) -> None:
        """A recording is held with a reason, and released."""
        self.assertEqual(
            self.mezctl("recordings", "hold", ID, "--reason", "case 7").out,
            f"Recording {ID} is held.\n",
        )
        self.assertEqual(self.recording.held_reason, "case 7")
        (row,) = json.loads(self.mezctl("recordings", "release", ID, "--format=json").out)
        self.assertEqual(row["held_reason"], "")

    def test_remove(self) -> None:
        """A recording is removed once."""
        self.assertIn("was removed", self.mezctl("recordings", "rm", ID).out)
        self.refused(5, "recordings", "rm", ID)
        self.assertEqual(self.hub.recordings, {})

    def test_no_id(self) -> None:
        """What cannot be an id is said to be none, before the hub is asked."""
        for wrong in ("", "../x", "5b1f", f"{ID}.2"):
            self.assertIn("no recording's id", self.refused(2, "recordings", "rm", wrong))
