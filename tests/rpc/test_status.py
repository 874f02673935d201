"""Tests of errors on their way through gRPC."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import (
    AlreadyExists,
    BadInput,
    Denied,
    LimitReached,
    LocalError,
    NotAuthenticated,
    NotFound,
    ProofNeeded,
    TimedOut,
    Unavailable,
)
from mezite.names import InvalidName
from mezite.rpc.error import RemoteFailure, Unimplemented
from mezite.rpc.status import (
    KIND_OF,
    MESSAGE_LENGTH,
    Status,
    decode_sentence,
    encode_sentence,
    error_of,
    error_of_http,
    status_of,
)

TRAVELLERS = (
    AlreadyExists,
    BadInput,
    Denied,
    LimitReached,
    NotAuthenticated,
    NotFound,
    ProofNeeded,
    TimedOut,
    Unavailable,
    Unimplemented,
)


class StatusTests(SynchronousTestCase):
    def test_both_ways(self) -> None:
        """An error arrives as the kind it was sent as, with its sentence."""
        for kind in TRAVELLERS:
            error = error_of(*status_of(kind("a sentence")))
            self.assertIs(type(error), kind)
            self.assertEqual(str(error), "a sentence")

    def test_nearest_kind(self) -> None:
        """A special error travels as the nearest kind in the table."""
        self.assertEqual(status_of(InvalidName("no"))[0], Status.INVALID_ARGUMENT)

    def test_internal_says_nothing(self) -> None:
        """What only operators may know does not travel."""
        for error in (LocalError("secret"), ZeroDivisionError("secret"), RemoteFailure("secret")):
            status, sentence = status_of(error)
            self.assertEqual(status, Status.INTERNAL)
            self.assertNotIn("secret", sentence)

    def test_cancelled(self) -> None:
        """A cancelled handler is a cancelled call."""
        self.assertEqual(status_of(CancelledError())[0], Status.CANCELLED)

    def test_every_status(self) -> None:
        """Every status but OK is an error with a sentence, and so is one from the future."""
        for status in Status:
            if status is not Status.OK:
                self.assertIs(type(error_of(status, "x")), KIND_OF[status])
                self.assertTrue(str(error_of(status, "")))
        self.assertIsInstance(error_of(99, ""), RemoteFailure)
        self.assertIsInstance(error_of(0, ""), RemoteFailure)

    def test_http(self) -> None:
        """An HTTP status stands for a kind, too."""
        self.assertIsInstance(error_of_http(401), NotAuthenticated)
        self.assertIsInstance(error_of_http(403), Denied)
        self.assertIsInstance(error_of_http(404), Unimplemented)
        self.assertIsInstance(error_of_http(503), Unavailable)
        self.assertIsInstance(error_of_http(418), RemoteFailure)


class SentenceTests(SynchronousTestCase):
    @given(st.text(max_size=MESSAGE_LENGTH))
    @settings(max_examples=80, deadline=None)
    def test_round_trip(self, sentence: str) -> None:
        """A printable sentence arrives as it was, in printable ASCII on the way."""
        encoded = encode_sentence(sentence)
        self.assertTrue(all(" " <= char <= "~" for char in encoded))
        if sentence.isprintable():
            self.assertEqual(decode_sentence(encoded), sentence)

    def test_vectors(self) -> None:
        """The encoding is gRPC's."""
        self.assertEqual(encode_sentence("50% of zoë"), "50%25 of zo%C3%AB")

    def test_no_space_outside(self) -> None:
        """A header neither begins nor ends with a space: HTTP/2 would be broken."""
        for sentence, encoded in (
            ("there is no lock ", "there is no lock%20"),
            ("  a b", "%20%20a b"),
            ("  ", "%20%20"),
            ("", ""),
        ):
            self.assertEqual(encode_sentence(sentence), encoded)
            self.assertEqual(decode_sentence(encoded), sentence)
        self.assertEqual(decode_sentence("50%25 of zo%C3%AB"), "50% of zoë")

    def test_bad_escapes(self) -> None:
        """Bad escapes are kept, not refused."""
        self.assertEqual(decode_sentence("100% %zz %4"), "100% %zz %4")

    def test_terminal(self) -> None:
        """What a terminal would obey is not shown to people."""
        self.assertEqual(decode_sentence("a%1B[2Jb%0Ac"), "a [2Jb c")

    def test_bound(self) -> None:
        """A sentence has a bound, at either end."""
        self.assertEqual(len(encode_sentence("x" * 10_000)), MESSAGE_LENGTH)
        self.assertEqual(len(decode_sentence("x" * 10_000)), MESSAGE_LENGTH)
