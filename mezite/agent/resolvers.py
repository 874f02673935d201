"""
What this machine's resolvers say about the SRV records of a name.

Each question begins anew, with what resolv.conf(5) names now, and leaves nothing
behind: an agent that began before its network did, or whose resolver went away
while it was asked, is as well off as any. A resolver that fails is no reason not
to ask the next.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimedOut
from twisted.internet.error import CannotListenError, ConnectError
from twisted.names import client, dns
from twisted.names.error import DNSNameError, DomainError
from twisted.names.error import ResolverError as LookupFailed

from mezite.agent.error import NoAddress
from mezite.error import TimedOut
from mezite.tasks import within

# Seconds of three questions to each; where an answer must be fetched by TCP, twice as long.
_TRIES: Final = (1, 2, 4)
# Of one answer; RFC 2782 has no limit, and a TCP answer has room for two thousand.
ANSWERS: Final = 32
_PATH: Final = Path("/etc/resolv.conf")
# resolv.conf(5) names three; what comes behind so many bytes is not read.
_SERVERS: Final = 3
_FILE_LENGTH: Final = 64 * 1024
_LOCAL: Final = "127.0.0.1"


@frozen
class SrvAnswer:
    """One SRV record: RFC 2782."""

    priority: int
    weight: int
    target: str
    port: int


class _Resolver(client.Resolver):
    """One resolver, for one question."""

    _is_over = False

    def connectionMade(self, protocol: Any) -> None:
        if self._is_over:
            protocol.transport.abortConnection()
        else:
            super().connectionMade(protocol)

    def end(self) -> None:
        """Keep no connection, nor one that comes about later."""
        self._is_over = True
        for each in tuple(self.connections):
            each.transport.abortConnection()


@define(eq=False)
class SystemResolvers:
    """The resolvers that ``path`` names."""

    _reactor: Any
    _path: Path = _PATH
    _make: Callable[..., Any] = field(default=_Resolver, repr=False)

    async def lookup(self, name: str) -> list[SrvAnswer]:
        """
        The SRV records of a name.

        :raises NoAddress: there are none, or every resolver fails.
        :raises TimedOut: no resolver answers.
        """
        trouble: Exception | None = None
        left = servers_in(self._path)
        for seconds in _TRIES:
            silent = []
            for server in left:
                try:
                    return await self._ask(server, name, seconds)
                except CancelledError:
                    raise
                except DNSNameError:
                    raise NoAddress(f"there is no name {name} in DNS") from None
                except (DeferredTimedOut, TimedOut):
                    # Twisted's own class, which a resolver's silence ends in.
                    silent.append(server)
                except (
                    DomainError,
                    LookupFailed,
                    ConnectError,
                    CannotListenError,
                    OSError,
                    ValueError,
                ) as error:
                    trouble = error
            left = silent
        if trouble is None:
            raise TimedOut(f"no resolver of this machine answers about {name}")
        raise NoAddress(
            f"this machine's resolvers fail to look up {name}: {type(trouble).__name__}"
        )

    async def _ask(self, server: str, name: str, seconds: int) -> list[SrvAnswer]:
        resolver = self._make(servers=[(server, dns.PORT)], reactor=self._reactor)
        try:
            answers, _, _ = await within(
                self._reactor,
                2 * seconds,
                resolver.lookupService(name, timeout=(seconds,)),
                doing=f"asking {server}",
            )
        finally:
            resolver.end()
        return [
            SrvAnswer(
                record.payload.priority,
                record.payload.weight,
                record.payload.target.name.decode("ascii", "replace"),
                record.payload.port,
            )
            for record in answers[:ANSWERS]
            if record.type == dns.SRV
        ]


def servers_in(path: Path) -> list[str]:
    """The addresses of resolvers in a file like resolv.conf(5); this machine if it has none."""
    try:
        with path.open("rb") as file:
            lines = file.read(_FILE_LENGTH).decode("ascii", "replace").splitlines()
    except OSError:
        lines = []
    words = (line.split() for line in lines)
    named = [each[1] for each in words if len(each) > 1 and each[0] == "nameserver"]
    # As the system will write them: Twisted takes answers only from where it asked.
    found = [address for text in named if (address := _address(text)) is not None]
    return found[:_SERVERS] or [_LOCAL]


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
