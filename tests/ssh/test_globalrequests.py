from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh.error import SshProtocolError
from mezite.ssh.globalrequests import WAITING, OrderedAnswers


class OrderedAnswersTests(SynchronousTestCase):
    """Answers that become known in any order."""

    def setUp(self) -> None:
        self.sent: list[bytes | None] = []
        self.answers = OrderedAnswers(self.sent.append)

    def test_at_once(self) -> None:
        """What is known is sent, if it is wanted."""
        self.answers.add(b"1", wants_reply=True)
        self.answers.add(b"2", wants_reply=False)
        self.answers.add(None, wants_reply=True)
        self.assertEqual(self.sent, [b"1", None])

    def test_order(self) -> None:
        """What is known early waits for what was asked before."""
        first: Deferred[bytes | None] = Deferred()
        third: Deferred[bytes | None] = Deferred()
        self.answers.add(first, wants_reply=True)
        self.answers.add(b"2", wants_reply=True)
        self.answers.add(third, wants_reply=True)
        third.callback(b"3")
        self.assertEqual(self.sent, [])
        first.callback(b"1")
        self.assertEqual(self.sent, [b"1", b"2", b"3"])

    def test_settled(self) -> None:
        """One can wait until nothing is asked any more, or nobody is there."""
        self.successResultOf(self.answers.settled())
        first: Deferred[bytes | None] = Deferred()
        self.answers.add(first, wants_reply=False)
        watching = self.answers.settled()
        self.assertNoResult(watching)
        first.callback(None)
        self.successResultOf(watching)
        self.answers.add(Deferred(), wants_reply=False)
        watching = self.answers.settled()
        self.answers.stop()
        self.successResultOf(watching)

    def test_failure(self) -> None:
        """What fails unforeseen is refused, and holds up nothing."""
        first: Deferred[bytes | None] = Deferred()
        self.answers.add(first, wants_reply=True)
        self.answers.add(b"2", wants_reply=True)
        first.errback(ZeroDivisionError())
        self.assertEqual(self.sent, [None, b"2"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_too_many(self) -> None:
        """A peer cannot make us remember more than so many."""
        for _ in range(WAITING):
            self.answers.add(Deferred(), wants_reply=False)
        with self.assertRaises(SshProtocolError):
            self.answers.add(b"", wants_reply=False)

    def test_stopped(self) -> None:
        """After the connection nothing is sent."""
        first: Deferred[bytes | None] = Deferred()
        self.answers.add(first, wants_reply=True)
        self.answers.stop()
        first.callback(b"1")
        self.assertEqual(self.sent, [])
