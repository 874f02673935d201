from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from mezite.ssh.error import SshProtocolError
from mezite.ssh.kexorder import TRANSITIONS, KeyExchangeOrder, Phase, Step


def first_exchange(order: KeyExchangeOrder) -> None:
    for step in (
        Step.SEND_KEXINIT,
        Step.READ_KEXINIT,
        Step.READ_METHOD,
        Step.SEND_NEWKEYS,
        Step.READ_NEWKEYS,
    ):
        order.take(step)


class KeyExchangeOrderTests(SynchronousTestCase):
    """Which message may come when."""

    def test_every_pair(self) -> None:
        """Every step from every phase moves on, or raises and stays."""
        for phase in Phase:
            for step in Step:
                order = KeyExchangeOrder()
                order.phase = phase
                if (phase, step) in TRANSITIONS:
                    order.take(step)
                    self.assertIs(order.phase, TRANSITIONS[phase, step])
                else:
                    self.assertRaises(SshProtocolError, order.take, step)
                    self.assertIs(order.phase, phase)

    def test_exchange(self) -> None:
        """A whole exchange comes back to where it began."""
        order = KeyExchangeOrder()
        self.assertTrue(order.is_first)
        first_exchange(order)
        self.assertIs(order.phase, Phase.SETTLED)
        self.assertFalse(order.is_first)

    def test_strict_from_the_first(self) -> None:
        """A peer that offers the strict exchange after another packet is refused."""
        order = KeyExchangeOrder()
        order.read(2)
        order.read(20)
        self.assertRaises(SshProtocolError, order.peer_offers_strict)

    def test_strict_means_strict(self) -> None:
        """In the first strict exchange not even IGNORE may come."""
        order = KeyExchangeOrder()
        order.take(Step.SEND_KEXINIT)
        order.read(20)
        order.peer_offers_strict()
        order.take(Step.READ_KEXINIT)
        for message in (2, 3, 4, 5, 7, 50, 90):
            self.assertRaises(SshProtocolError, order.read, message)
        order.read(30)
        order.read(1)

    def test_lenient(self) -> None:
        """Without the strict exchange IGNORE and DEBUG may come, services may not."""
        order = KeyExchangeOrder()
        order.take(Step.SEND_KEXINIT)
        order.read(2)
        order.read(4)
        self.assertRaises(SshProtocolError, order.read, 5)

    def test_later(self) -> None:
        """A later exchange holds back everything else from its beginning on."""
        order = KeyExchangeOrder()
        first_exchange(order)
        order.read(94)
        self.assertFalse(order.holds_data)
        order.take(Step.SEND_KEXINIT)
        self.assertTrue(order.holds_data)
        order.read(94)  # sent before the peer saw it
        order.take(Step.READ_KEXINIT)
        self.assertRaises(SshProtocolError, order.read, 94)
