"""Tests of what this machine's resolvers are asked, and of what becomes of their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import defer
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError, ConnectionRefusedError
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.names import dns
from twisted.names.error import DNSNameError, DNSServerError
from twisted.trial.unittest import SynchronousTestCase

from mezite.agent.error import NoAddress
from mezite.agent.resolvers import SrvAnswer, SystemResolvers, _Resolver, servers_in
from mezite.error import MeziteError, TimedOut

NAME = "_mezite._tcp.example.com"
HUB = SrvAnswer(1, 2, "hub1.example.com", 443)
RECORD = dns.RRHeader(NAME, dns.SRV, payload=dns.Record_SRV(1, 2, 443, "hub1.example.com"))


@define(eq=False)
class Played:
    """Resolvers that answer as they are told, like those of twisted.names."""

    answers: dict[str, Any]
    asked: list[tuple[str, tuple[int, ...]]] = field(init=False, factory=list)
    ended: int = field(init=False, default=0)

    def __call__(self, *, servers: list[tuple[str, int]], reactor: object) -> _Played:
        ((server, port),) = servers
        assert port == 53
        return _Played(self, server)


@define(eq=False)
class _Played:
    played: Played
    server: str

    async def lookupService(self, name: str, timeout: tuple[int, ...]) -> object:
        self.played.asked.append((self.server, timeout))
        answer = self.played.answers[self.server]
        if isinstance(answer, Exception):
            raise answer
        return (await answer if isinstance(answer, Deferred) else answer), [], []

    def end(self) -> None:
        self.played.ended += 1


class SystemResolversTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def lookup(self, **answers: Any) -> Deferred[list[SrvAnswer]]:
        """Ask resolvers that are named by the last number of their addresses."""
        servers = {f"192.0.2.{name[1:]}": answer for name, answer in answers.items()}
        path = Path(self.mktemp())
        path.write_text("".join(f"nameserver {server}\n" for server in servers))
        self.played = Played(servers)
        resolvers = SystemResolvers(self.clock, path, self.played)
        return Deferred.fromCoroutine(resolvers.lookup(NAME))

    def test_records(self) -> None:
        """SRV records are read, and what else stands in the answer is not."""
        alias = dns.RRHeader(NAME, dns.CNAME, payload=dns.Record_CNAME("other.example"))
        self.assertEqual(self.successResultOf(self.lookup(_1=[alias, RECORD])), [HUB])
        self.assertEqual(self.played.ended, 1)

    def test_next_resolver(self) -> None:
        """Where one fails, in whatever way, the next is asked."""
        for error in (
            DNSServerError(),
            # Truncated, and TCP is closed: Twisted's class, which is no OSError.
            ConnectionRefusedError(),
            CannotListenError("", 0, OSError(24, "too many open files")),
            OSError(101, "Network is unreachable"),
            ValueError("no address"),
            defer.TimeoutError(),
        ):
            found = self.lookup(_1=error, _2=[RECORD])
            self.assertEqual(self.successResultOf(found), [HUB], error)
            self.assertEqual(self.played.ended, 2)

    def test_failures(self) -> None:
        """Each way to fail is a sentence with the name."""
        for error in (
            DNSNameError(),
            DNSServerError(),
            ConnectionRefusedError(),
            CannotListenError("", 0, OSError(24, "too many open files")),
            OSError(101, "x"),
        ):
            failure = self.failureResultOf(self.lookup(_1=error))
            self.assertIsInstance(failure.value, MeziteError)
            self.assertIn(NAME, str(failure.value))
            # What was said at once is not asked again.
            self.assertEqual(len(self.played.asked), 1)

    def test_no_name(self) -> None:
        """A name that one resolver says is none is none."""
        self.failureResultOf(self.lookup(_1=DNSNameError(), _2=[RECORD]), NoAddress)

    def test_silence(self) -> None:
        """The silent are asked three times, longer each time, and those that failed once."""
        failure = self.failureResultOf(
            self.lookup(_1=defer.TimeoutError(), _2=DNSServerError()), NoAddress
        )
        self.assertIn("DNSServerError", str(failure.value))
        self.assertEqual(
            self.played.asked,
            [("192.0.2.1", (1,)), ("192.0.2.2", (1,)), ("192.0.2.1", (2,)), ("192.0.2.1", (4,))],
        )
        self.failureResultOf(self.lookup(_1=defer.TimeoutError()), TimedOut)

    def test_half_an_answer(self) -> None:
        """A resolver that answers, and then not by TCP, is left for the next."""
        found = self.lookup(_1=Deferred(), _2=[RECORD])
        self.clock.advance(2)
        self.assertEqual(self.successResultOf(found), [HUB])

    def test_given_up(self) -> None:
        """Who does not wait any more leaves nothing behind."""
        found = self.lookup(_1=Deferred(), _2=[RECORD])
        found.cancel()
        self.failureResultOf(found, CancelledError)
        self.assertEqual((self.played.ended, self.clock.getDelayedCalls()), (1, []))


class OneResolverTests(SynchronousTestCase):
    """What twisted.names does with a question, over a network in memory."""

    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        path = Path(self.mktemp())
        path.write_text("nameserver 192.0.2.1\n")
        self.resolvers = SystemResolvers(self.reactor, path)

    def test_no_descriptor(self) -> None:
        """That no question could be sent once does not hold up the one after it."""
        for _ in range(2):
            # The memory's reactor has no UDP, as one without descriptors has none.
            self.reactor.listenUDP = self.fail_to_listen  # type: ignore[method-assign]
            found = Deferred.fromCoroutine(self.resolvers.lookup(NAME))
            self.failureResultOf(found, NoAddress)

    def fail_to_listen(self, *arguments: object, **options: object) -> None:
        raise CannotListenError("", 0, OSError(24, "too many open files"))

    def test_no_connection_left(self) -> None:
        """A connection to a resolver ends with the question, also one that comes too late."""
        for is_late in (False, True):
            resolver = _Resolver(servers=[("192.0.2.1", 53)], reactor=self.reactor)
            connection = resolver.factory.buildProtocol(None)
            transport = StringTransport()
            if is_late:
                resolver.end()
            connection.makeConnection(transport)
            resolver.end()
            self.assertTrue(transport.disconnected)


class FileTests(SynchronousTestCase):
    def servers(self, text: bytes) -> list[str]:
        path = Path(self.mktemp())
        path.write_bytes(text)
        return servers_in(path)

    def test_servers(self) -> None:
        """Three resolvers at most, written as the system writes their addresses."""
        for text, wanted in (
            (b"nameserver 192.0.2.1\n", ["192.0.2.1"]),
            (b"# x\nsearch a\n nameserver\t2001:DB8::0053 # y\n", ["2001:db8::53"]),
            (b"nameserver fe80::1%eth0\n", ["fe80::1%eth0"]),
            (b"nameserver 1.1.1.1\n" * 9, ["1.1.1.1"] * 3),
            (b"nameserver\nnameserver hub\nnameserver \xff\nnameserver2 1.1.1.1", ["127.0.0.1"]),
            (b"nameserver 192.0.2.1\n".rjust(70_000, b"#"), ["127.0.0.1"]),
        ):
            self.assertEqual(self.servers(text), wanted, text[:80])

    def test_no_file(self) -> None:
        """Without a file it is this machine, as resolv.conf(5) has it."""
        self.assertEqual(servers_in(Path(self.mktemp())), ["127.0.0.1"])
