"""Tests of what an agent says of itself."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.condition import Condition, State


class ConditionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = 1_800_000_000.0
        self.changes = 0
        self.condition = Condition(lambda: self.now, self.on_change)

    def on_change(self) -> None:
        self.changes += 1

    def test_sentences(self) -> None:
        """Each state is one sentence, with the hub and the trouble."""
        condition = self.condition
        self.assertEqual(condition.sentence(), "starting")
        condition.joining("hub:443")
        condition.waiting(2, "nothing listens")
        self.assertEqual(condition.sentence(), "joining through hub:443: nothing listens")
        condition.connecting("hub:443")
        self.assertEqual(condition.sentence(), "connecting to hub:443: nothing listens")
        condition.connected()
        self.assertEqual(condition.sentence(), "connected to hub:443 since 2027-01-15 08:00:00 UTC")
        condition.waiting(4, "it was lost")
        self.assertEqual(
            condition.sentence(),
            "dialing hub:443 again at 2027-01-15 08:00:04 UTC: it was lost",
        )
        self.assertEqual(self.changes, 5)

    def test_no_address(self) -> None:
        """An agent that knows no address yet says so in a sentence, too."""
        self.condition.waiting(4, "there is no name _mezite._tcp.example.com in DNS")
        self.assertEqual(
            self.condition.sentence(),
            "dialing the hub again at 2027-01-15 08:00:04 UTC:"
            " there is no name _mezite._tcp.example.com in DNS",
        )

    def test_since(self) -> None:
        """A state begins when it changes, a trouble when it is another one."""
        self.condition.connecting("hub:443")
        began = self.condition.since
        self.condition.troubled("slow")
        self.now += 10
        self.condition.connecting("hub:443")
        self.condition.troubled("slow")
        assert self.condition.trouble is not None
        self.assertEqual((self.condition.since, self.condition.trouble.since), (began, began))
        self.condition.troubled("slower")
        self.assertEqual(self.condition.trouble.since, self.now)

    def test_refusal_stays(self) -> None:
        """A refusal is not hidden by the dials that go on, and ends with a tunnel."""
        self.condition.connecting("hub:443")
        self.condition.refused("node db1 was removed", was_removed=True)
        self.condition.waiting(3, "the hub ended the connection")
        self.assertEqual(self.condition.state, State.REMOVED)
        self.assertEqual(self.condition.seconds_to_dial(), 3)
        self.assertTrue(self.condition.sentence().endswith("any more: node db1 was removed"))
        self.condition.connecting("hub:443")
        self.assertEqual(self.condition.state, State.REMOVED)
        self.condition.connected()
        self.assertEqual(self.condition.state, State.CONNECTED)
        self.assertIsNone(self.condition.trouble)
