"""
Which addresses of the hub are tried, and in which order.

Any of them may lead to the hub, or to one of several: whoever answers proves
itself by the cluster's authority, whatever its name. The order is drawn anew for
each round, so that the agents of a hub that is gone spread over the others.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError
from twisted.internet.defer import TimeoutError as DeferredTimedOut
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.names import client, dns
from twisted.names.error import DNSNameError, DomainError
from twisted.names.error import ResolverError as LookupFailed

from mezite.agent.error import NoAddress
from mezite.config.hubplaces import HubPlace, SrvName
from mezite.error import MeziteError, TimedOut
from mezite.names import HostPort, InvalidName
from mezite.tasks import within

# Seconds of each of three questions to each resolver.
_TRIES: Final = (1, 2, 4)
LOOKUP_SECONDS: Final = 8.0
# Of one answer; RFC 2782 has no limit, and a TCP answer has room for two thousand.
ANSWERS: Final = 32
# Of one round: ten seconds each, and the agent is to notice when an address is new.
ADDRESSES: Final = 16


@frozen
class SrvAnswer:
    """One SRV record: RFC 2782."""

    priority: int
    weight: int
    target: str
    port: int


def in_order(answers: Iterable[SrvAnswer], draw: random.Random) -> list[SrvAnswer]:
    """The lowest priority first, and within one at random by weight: RFC 2782."""
    ordered = []
    left = sorted(answers, key=lambda answer: (answer.priority, answer.weight))
    while left:
        rivals = [answer for answer in left if answer.priority == left[0].priority]
        # Those of weight 0 stand first, and are drawn by 0 alone.
        chosen = draw.randint(0, sum(rival.weight for rival in rivals))
        running = 0
        for rival in rivals:
            running += rival.weight
            if running >= chosen:
                break
        ordered.append(rival)
        left.remove(rival)
    return ordered


@define(eq=False)
class HubAddresses:
    """
    The places that were given, and how names among them are looked up.

    ``lookup`` raises :class:`~mezite.error.MeziteError`.
    """

    _log = Logger()

    places: tuple[HubPlace, ...]
    lookup: Callable[[str], Awaitable[Sequence[SrvAnswer]]] = field(repr=False)
    clock: IReactorTime = field(repr=False)
    draw: random.Random = field(repr=False, factory=random.SystemRandom)
    # What each name had when it last had something.
    _known: dict[SrvName, tuple[SrvAnswer, ...]] = field(init=False, factory=dict)

    async def round(self) -> list[HostPort]:
        """
        The addresses to try now, each once.

        :raises NoAddress: there is none; the sentence says why.
        """
        addresses: dict[HostPort, None] = {}
        trouble: MeziteError | None = None
        for place in self.draw.sample(self.places, len(self.places)):
            if isinstance(place, HostPort):
                addresses.setdefault(place)
                continue
            try:
                answers = await self._ask(place)
            except MeziteError as error:
                answers, trouble = self._known.get(place, ()), error
                self._log.warn("{error}", error=error)
            for answer in in_order(answers, self.draw):
                addresses.setdefault(HostPort(answer.target, answer.port))
        if not addresses:
            raise NoAddress(str(trouble))
        return list(addresses)[:ADDRESSES]

    async def _ask(self, name: SrvName) -> tuple[SrvAnswer, ...]:
        said = await within(
            self.clock, LOOKUP_SECONDS, self.lookup(name.text), doing=f"looking up {name}"
        )
        usable = tuple(answer for each in said[:ANSWERS] if (answer := _checked(each)) is not None)
        if not usable:
            raise NoAddress(f"the SRV records of {name.text} name no hub: look at this zone in DNS")
        self._known[name] = usable
        return usable


def _checked(answer: SrvAnswer) -> SrvAnswer | None:
    """The answer with its target as names are written; None for "." and for nonsense."""
    try:
        address = HostPort.parse(f"{answer.target.rstrip('.')}:{answer.port}")
    except InvalidName:
        return None
    if address.port == 0:
        return None
    return SrvAnswer(answer.priority, answer.weight, address.host, address.port)


class SystemResolvers:
    """The resolvers that resolv.conf(5) names; it is read again when it changes."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        # Made when the first name is looked up: it has a timer of its own.
        self._resolver: Any = None

    async def lookup(self, name: str) -> list[SrvAnswer]:
        """
        The SRV records of a name.

        :raises NoAddress: there are none, or no resolver answers.
        """
        if self._resolver is None:
            self._resolver = client.Resolver(resolv="/etc/resolv.conf", reactor=self._reactor)
        try:
            answers, _, _ = await self._resolver.lookupService(name, timeout=_TRIES)
        except CancelledError:
            raise
        except DNSNameError:
            raise NoAddress(f"there is no name {name} in DNS") from None
        except (DeferredTimedOut, TimeoutError) as error:
            # Twisted's own class, which a resolver's three silent rounds end in.
            raise TimedOut(f"no resolver of this machine answers about {name}") from error
        except (DomainError, LookupFailed, OSError, ValueError) as error:
            raise NoAddress(
                f"this machine's resolvers fail to look up {name}: {type(error).__name__}"
            ) from None
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
