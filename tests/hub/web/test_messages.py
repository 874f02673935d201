"""Tests of JSON from strangers, and of the messages it becomes."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.error import BadInput
from mezite.hub.web.messages import DEPTH, fill, read_object, to_json
from mezite.rpc.proto import auth_pb2 as pb

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=10,
)


class ReadingTests(SynchronousTestCase):
    @given(st.binary(max_size=200))
    @settings(max_examples=100, deadline=None)
    def test_any_bytes(self, body: bytes) -> None:
        """Bytes are an object or refused."""
        try:
            self.assertIsInstance(read_object(body), dict)
        except BadInput:
            pass

    def test_depth(self) -> None:
        """Depth has a bound, and brackets in text are none."""
        deep = b'{"a":' * DEPTH + b"1" + b"}" * DEPTH
        self.assertIn("a", read_object(deep))
        self.assertRaises(BadInput, read_object, b'{"a":' + deep + b"}")
        self.assertEqual(read_object(b'{"a": "[[[[[[[[[[[[[[[[[[[[[\\"[["}')["a"][0], "[")

    def test_long_numbers(self) -> None:
        """A number of 60,000 digits is refused, not computed."""
        self.assertRaises(BadInput, read_object, b'{"a": ' + b"9" * 60_000 + b"}")


class MessageTests(SynchronousTestCase):
    def test_round_trip(self) -> None:
        """What is shown of a message makes the same message."""
        user = pb.User(
            name="ada",
            logins=["root"],
            is_admin=True,
            created=2**40,
            traits=[pb.Trait(name="team", values=["a", "b"])],
        )
        shown = to_json(user)
        self.assertEqual(shown["created"], 2**40)
        again = pb.User()
        fill(again, json.loads(json.dumps(shown)))
        self.assertEqual(again, user)
        node = pb.Node(labels={"env": "prod"}, status=pb.NODE_STATUS_ONLINE)
        other = pb.Node()
        fill(other, to_json(node))
        self.assertEqual(other, node)

    def test_maps_and_names(self) -> None:
        """Maps are objects, and enumerated values their names."""
        for values in (
            {"labels": []},
            {"labels": {"a": 1}},
            {"labels": {"\ud800": "x"}},
            {"status": 1},
            {"status": "ONLINE"},
        ):
            with self.assertRaises(BadInput):
                fill(pb.Node(), values)

    @given(st.dictionaries(st.sampled_from(list(pb.User.DESCRIPTOR.fields_by_name)), JSON))
    @settings(max_examples=100, deadline=None)
    def test_any_values(self, values: dict[str, Any]) -> None:
        """Values fit or are refused, and nothing else happens."""
        try:
            fill(pb.User(), values)
        except BadInput:
            pass
