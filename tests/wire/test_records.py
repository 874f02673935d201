"""
Records without the names that pyOpenSSL does not promise.
"""

from __future__ import annotations

from mezite.wire import records
from mezite.wire.records import DirectRecords, PlainRecords
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
