"""
Which addresses of the hub are tried, and in which order.

Any of them may lead to the hub, or to one of several: whoever answers proves
itself by the cluster's authority, whatever its name. The order is drawn anew for
each round, so that the agents of a hub that is gone spread over the others.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.agent.error import NoAddress
from mezite.agent.resolvers import ANSWERS, SrvAnswer
from mezite.config.hubplaces import HubPlace, SrvName
from mezite.error import MeziteError
from mezite.names import HostPort, InvalidName
from mezite.tasks import within

# Of all names together.
LOOKUP_SECONDS: Final = 8.0
# Of one round: ten seconds each, and the agent is to notice when an address is new.
ADDRESSES: Final = 16


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
        found = await self._ask_all()
        addresses: dict[HostPort, None] = {}
        for place in self.draw.sample(self.places, len(self.places)):
            if isinstance(place, HostPort):
                addresses.setdefault(place)
                continue
            for answer in in_order(found[place].answers, self.draw):
                addresses.setdefault(HostPort(answer.target, answer.port))
        if not addresses:
            raise NoAddress(next(each.trouble for each in found.values() if each.trouble))
        return list(addresses)[:ADDRESSES]

    async def _ask_all(self) -> dict[SrvName, _Found]:
        """What all names have; they are looked up at once, so that one waits for no other."""
        names = [place for place in self.places if isinstance(place, SrvName)]
        asking = gatherResults(
            [Deferred.fromCoroutine(self._found(name)) for name in names], consumeErrors=True
        )
        asking.addErrback(_first_failure)
        found: list[_Found] = await asking
        return dict(zip(names, found, strict=True))

    async def _found(self, name: SrvName) -> _Found:
        try:
            return _Found(await self._ask(name))
        except CancelledError:
            raise
        except MeziteError as error:
            self._log.warn("{error}", error=error)
            trouble = str(error)
        except Exception:
            # A bug must not keep the agent from the addresses that need no look-up.
            self._log.failure("looking up {name} failed", name=name)
            trouble = f"looking up {name} failed in a way that nobody foresaw; the log says how"
        return _Found(self._known.get(name, ()), trouble)

    async def _ask(self, name: SrvName) -> tuple[SrvAnswer, ...]:
        said = await within(
            self.clock, LOOKUP_SECONDS, self.lookup(name.text), doing=f"looking up {name}"
        )
        usable = tuple(answer for each in said[:ANSWERS] if (answer := _checked(each)) is not None)
        if not usable:
            raise NoAddress(f"the SRV records of {name.text} name no hub: look at this zone in DNS")
        self._known[name] = usable
        return usable


def _first_failure(failure: Failure) -> Failure:
    assert isinstance(failure.value, FirstError)
    return failure.value.subFailure


@frozen
class _Found:
    """What a name has now or had before, and what was wrong with asking."""

    answers: tuple[SrvAnswer, ...]
    trouble: str | None = None


def _checked(answer: SrvAnswer) -> SrvAnswer | None:
    """The answer with its target as names are written; None for "." and for nonsense."""
    try:
        address = HostPort.parse(f"{answer.target.rstrip('.')}:{answer.port}")
    except InvalidName:
        return None
    if address.port == 0:
        return None
    return SrvAnswer(answer.priority, answer.weight, address.host, address.port)
