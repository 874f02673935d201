"""Tests of requests and answers of SFTP, from the client's side."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.client.sftpconversation import (
    MAX_HANDLE,
    MAX_WAITING,
    AnswerRefused,
    SftpConversation,
)
from mezite.error import LimitReached, RemoteError
from mezite.ssh import sftpwire as wire
from mezite.ssh.sftpfields import Attributes, Entry, u32
from mezite.ssh.sftpwire import StatusCode

GREETING = wire.encode(wire.Version(3, ((b"limits@openssh.com", b"1"),)))

# Requests with an answer that fits each.
FITTING: list[tuple[wire.Request, wire.Reply]] = [
    (wire.Open(0, b"f", 1, Attributes()), wire.Handle(0, b"h")),
    (wire.Read(0, b"h", 0, 10), wire.Data(0, b"0123456789")),
    (wire.Read(0, b"h", 0, 10), wire.Status(0, StatusCode.EOF, b"")),
    (wire.Write(0, b"h", 0, b"x"), wire.Status(0, StatusCode.OK, b"")),
    (wire.Stat(0, b"f"), wire.Attrs(0, Attributes(5))),
    (wire.Readdir(0, b"h"), wire.Name(0, (Entry(b"a", b"a", Attributes()),))),
    (wire.Remove(0, b"f"), wire.Status(0, StatusCode.FAILURE, b"no")),
    (wire.Extended(0, b"e", b""), wire.ExtendedReply(0, b"r")),
]


class ConversationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.conversation = self.greeted()

    def greeted(self) -> SftpConversation:
        conversation = SftpConversation()
        self.assertEqual(list(conversation.receive(GREETING)), [])
        return conversation

    def refused(self, request: wire.Request, reply: wire.Reply) -> str:
        """The sentence with which this answer to this request is refused."""
        conversation = self.greeted()
        number, _ = conversation.ask(request)
        with self.assertRaises(AnswerRefused) as caught:
            list(conversation.receive(wire.encode(reply._replace(request_id=number))))
        return str(caught.exception)

    def test_greeting(self) -> None:
        """The greeting says version 3, and the node's extensions are remembered."""
        self.assertEqual(self.conversation.greeting(), wire.encode(wire.Init(3)))
        self.assertEqual(self.conversation.extensions, {b"limits@openssh.com": b"1"})

    @given(
        st.lists(st.sampled_from(FITTING), max_size=30),
        st.randoms(use_true_random=False),
        st.integers(1, 40),
    )
    @settings(max_examples=60, deadline=None)
    def test_any_order(
        self, exchanges: list[tuple[wire.Request, wire.Reply]], random: Random, size: int
    ) -> None:
        """Answers find their requests in any order and under any chunking."""
        conversation = self.greeted()
        expected: dict[int, wire.Reply] = {}
        for request, reply in exchanges:
            number, data = conversation.ask(request)
            self.assertEqual(wire.decode(data[4:]), request._replace(request_id=number))
            expected[number] = reply._replace(request_id=number)
        replies = list(expected.values())
        random.shuffle(replies)
        stream = b"".join(map(wire.encode, replies))
        heard = []
        for at in range(0, len(stream), size):
            heard += list(conversation.receive(stream[at : at + size]))
        self.assertEqual([answer.reply for answer in heard], replies)
        self.assertTrue(conversation.is_idle)

    @given(st.binary(max_size=200))
    @settings(max_examples=100, deadline=None)
    def test_anything(self, data: bytes) -> None:
        """No bytes do more than raise the error that ends the session."""
        for conversation in (SftpConversation(), self.greeted()):
            for request, _ in FITTING:
                conversation.ask(request)
            try:
                list(conversation.receive(data))
            except RemoteError:
                pass

    @given(st.sampled_from(FITTING), st.sampled_from(FITTING))
    @settings(max_examples=80, deadline=None)
    def test_pairs(
        self, asked: tuple[wire.Request, wire.Reply], other: tuple[wire.Request, wire.Reply]
    ) -> None:
        """An answer of one request to another is refused, or one that it may have."""
        conversation = self.greeted()
        number, _ = conversation.ask(asked[0])
        reply = other[1]._replace(request_id=number)
        is_fitting = isinstance(reply, type(asked[1]) | wire.Status) or isinstance(
            asked[0], wire.Extended
        )
        try:
            list(conversation.receive(wire.encode(reply)))
        except AnswerRefused:
            return
        self.assertTrue(is_fitting or isinstance(asked[0], wire.Read), (asked[0], reply))

    def test_wrong_version(self) -> None:
        """A node of another version is refused by its number."""
        with self.assertRaises(AnswerRefused) as caught:
            list(SftpConversation().receive(wire.encode(wire.Version(2))))
        self.assertEqual(str(caught.exception), "the node speaks version 2 of SFTP, not 3")

    def test_no_greeting(self) -> None:
        """An answer before the greeting ends the session, and so does a second greeting."""
        with self.assertRaises(AnswerRefused):
            list(SftpConversation().receive(wire.encode(wire.Status(1, 0, b""))))
        with self.assertRaises(AnswerRefused):
            list(self.conversation.receive(GREETING))

    def test_nobody_asked(self) -> None:
        """An answer twice, or to nothing, ends the session."""
        number, _ = self.conversation.ask(wire.Stat(0, b"f"))
        answer = wire.encode(wire.Attrs(number, Attributes()))
        with self.assertRaises(AnswerRefused):
            list(self.conversation.receive(answer + answer))

    def test_too_much_data(self) -> None:
        """More data than was asked for is refused, and so is none at all."""
        read = wire.Read(0, b"h", 0, 4)
        self.assertEqual(
            self.refused(read, wire.Data(0, b"12345")), "5 bytes came where 4 were wanted"
        )
        self.assertEqual(self.refused(read, wire.Data(0, b"")), "0 bytes came where 4 were wanted")

    def test_done_without_a_value(self) -> None:
        """Mere success is no answer where something was asked for."""
        self.assertEqual(
            self.refused(wire.Stat(0, b"f"), wire.Status(0, StatusCode.OK, b"")),
            "the node had no answer for stat",
        )

    def test_hostile_sizes(self) -> None:
        """Handles and packets have the lengths that they may have."""
        self.refused(wire.Opendir(0, b"d"), wire.Handle(0, b"h" * (MAX_HANDLE + 1)))
        with self.assertRaises(RemoteError):
            list(self.conversation.receive(u32(0xFFFFFFFF)))

    def test_too_many(self) -> None:
        """Requests without answers are bounded."""
        for _ in range(MAX_WAITING):
            self.conversation.ask(wire.Stat(0, b"f"))
        self.assertRaises(LimitReached, self.conversation.ask, wire.Stat(0, b"f"))

    def test_truncated(self) -> None:
        """A packet that has not come whole is no answer yet."""
        number, _ = self.conversation.ask(wire.Stat(0, b"f"))
        answer = wire.encode(wire.Attrs(number, Attributes(7)))
        self.assertEqual(list(self.conversation.receive(answer[:-1])), [])
        self.assertFalse(self.conversation.is_idle)
        (heard,) = self.conversation.receive(answer[-1:])
        self.assertEqual(heard.reply, wire.Attrs(number, Attributes(7)))
