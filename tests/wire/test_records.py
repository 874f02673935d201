"""
Records by pyOpenSSL's documented calls and without them, and peers that waste them.
"""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mezite.wire import records
from mezite.wire.contexts import client_context
from mezite.wire.records import DirectRecords, PlainRecords, records_of
from tests.doubles.certificates import certificate_set
from tests.doubles.handmade import APPLICATION_DATA, HandMadeRecords, watch_secrets
from tests.wire import test_transport


class WithoutDirectCalls(test_transport.TransportTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(records, "Records", PlainRecords)


class PublicBytesTests(WithoutDirectCalls, test_transport.BytesTests):
    """Bytes go through by pyOpenSSL's documented calls alone."""


class PublicClosingTests(WithoutDirectCalls, test_transport.ClosingTests):
    """And so do all ways to end."""


class DirectRecordsTests(test_transport.TransportTestCase):
    """The faster way, with the pyOpenSSL that is installed."""

    def test_is_used(self) -> None:
        """A pyOpenSSL that takes the names away is noticed here, not in a benchmark."""
        self.assertIs(records.Records, DirectRecords)


class RecordsTestCase(SynchronousTestCase):
    """A client's records and a server's, with their handshake done."""

    def setUp(self) -> None:
        context = client_context(b"mezite-auth", certificate_set().ca_pem)
        self.secrets = watch_secrets(context._context)
        self.client = records_of(context.connection(None))
        self.server = records_of(test_transport.contexts().serverConnectionForTLS(self))
        ends = [self.client, self.server]
        while ends:
            for here, there in ((self.client, self.server), (self.server, self.client)):
                if here in ends and here.shake_hands():
                    ends.remove(here)
                for answer in here.answers():
                    there.hold(answer)
        self.assertEqual(self.server.open(b""), (b"", None))

    def seal(self, *pieces: bytes) -> bytes:
        return b"".join(bytes(part) for part in self.client.seal(pieces))


class SealingTests(RecordsTestCase):
    """What bytes become on the wire."""

    def test_full_records(self) -> None:
        """A header before a large body costs no record of its own."""
        body = bytes(16 * 1024 * 16 - 12)
        sealed = self.seal(b"h" * 12, body)
        self.assertEqual(len(sealed), 16 * (16 * 1024 + 22))
        self.assertEqual(self.server.open(sealed), (b"h" * 12 + body, None))

    def test_large(self) -> None:
        """More than all shared buffers hold goes through in one call."""
        data = bytes(range(256)) * 12_000
        opened, end = self.server.open(self.seal(data[:10], data[10:]))
        self.assertTrue(opened == data and end is None)

    def test_buffers_are_given_back(self) -> None:
        """Bytes in both directions are whole when bulk is followed by little, and that by bulk."""
        for size in (500_000, 3, 20_000, 70_000, 1, 500_000):
            data = b"x" * size
            sealed = self.seal(data)
            # The first half ends within a record, which OpenSSL keeps.
            half = len(sealed) // 2
            opened = self.server.open(sealed[:half])[0] + self.server.open(sealed[half:])[0]
            self.assertTrue(opened == data)
            back = b"".join(bytes(part) for part in self.server.seal([data]))
            self.assertTrue(self.client.open(back)[0] == data)


class FloodTests(RecordsTestCase):
    """Peers whose records cost more than they carry."""

    def test_tiny_records(self) -> None:
        """A read full of records of one byte becomes one piece."""
        sealed = b"".join(self.seal(b"x") for _ in range(5_000))
        self.assertEqual(self.server.open(sealed), (b"x" * 5_000, None))
        self.assertEqual(self.server.answers(), [])

    def test_empty_records(self) -> None:
        """OpenSSL ends a connection whose records carry nothing, again and again."""
        byhand = HandMadeRecords(self.secrets["CLIENT_TRAFFIC_SECRET_0"])
        sealed = b"".join(byhand.seal(APPLICATION_DATA, b"") for _ in range(40))
        opened, end = self.server.open(sealed)
        self.assertEqual(opened, b"")
        self.assertIsInstance(end, SSL.Error)
