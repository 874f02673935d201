"""
How a node comes into a cluster.

The hub proves itself by a pin, a file or public trust; then a join token buys
the node's first certificates. A hub that is not there is waited for; a refusal
is final.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import evolve, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mezite.agent.backoff import ceiling
from mezite.agent.condition import Condition
from mezite.agent.error import BadIssue, JoinRefused, NoAddress, NotJoined
from mezite.agent.explanations import explain, was_refused
from mezite.agent.hubaddresses import HubAddresses
from mezite.agent.hubcalls import DEADLINE, HubCalls
from mezite.agent.membership import Membership, NodeKeys
from mezite.config.agent import AgentConfig
from mezite.error import AlreadyExists, BadInput, Denied, LocalError, MeziteError, NotFound
from mezite.names import HostPort, NodeName, is_address
from mezite.rpc.channel import open_channel
from mezite.tasks import within
from mezite.wire import alpn
from mezite.wire.contexts import client_context
from mezite.wire.credentials import load_certificates
from mezite.wire.endpoint import TlsClientEndpoint
from mezite.wire.trust import fetch_authority, publicly_trusted_pin

# Finding the authority, TLS and the call, with one retransmission for each.
_ATTEMPT_SECONDS: Final = 30.0
_TOKEN_FILE_LIMIT: Final = 4096
# What no second try can change.
_FINAL: Final = (Denied, AlreadyExists, BadInput, NotFound, LocalError)


@frozen
class Application:
    """
    What a node asks to become, and by which proof.

    ``hub`` is where it asks; whoever tries others puts them there.

    ``known_authority`` is what a node trusts that has joined before: for such a
    node public trust is not enough, or whoever gets a public certificate for
    the hub's name could put an authority of their own in the place of ours.
    """

    hub: HostPort
    token: str = field(repr=False)
    node: NodeName
    labels: Mapping[str, str]
    ca_pin: str | None = None
    ca_file: Path | None = None
    known_authority: bytes | None = None

    @classmethod
    def of(cls, config: AgentConfig) -> Application:
        """
        :raises NotJoined: something that joining needs was not given.
        """
        if not config.hubs or (config.token is None and config.token_file is None):
            raise NotJoined(
                f"this node has not joined a cluster: on the hub run mezctl tokens create,"
                f" and start mezd with the --hub, --token and --ca-pin that it prints"
                f" (no earlier state is in {config.data_dir})"
            )
        first = config.hubs[0]
        return cls(
            first if isinstance(first, HostPort) else HostPort(first.text, 0),
            config.token or _read_token(config.token_file),
            config.hostname,
            config.labels,
            config.ca_pin,
            config.ca_file,
        )


def _read_token(path: Path | None) -> str:
    assert path is not None
    try:
        with path.open("rb") as file:
            text = file.read(_TOKEN_FILE_LIMIT).decode("ascii").strip()
    except OSError as error:
        raise NotJoined(f"the token file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        text = ""
    if not text or len(text.split()) != 1:
        raise NotJoined(f"the token file {path} does not hold a join token")
    return text


async def find_authority(reactor: Any, application: Application) -> bytes:
    """
    The cluster CA's certificate in PEM, proved in the way that was given.

    :raises JoinRefused: nothing proves it.
    """
    hub = application.hub
    if application.ca_file is not None:
        try:
            pem = application.ca_file.read_bytes()
        except OSError as error:
            raise NotJoined(
                f"the CA file {application.ca_file} cannot be read: {error.strerror}"
            ) from None
        load_certificates(pem)
        return pem
    if application.ca_pin is None and application.known_authority is not None:
        return application.known_authority
    pin = application.ca_pin or await publicly_trusted_pin(reactor, hub)
    if pin is None:
        raise JoinRefused(
            f"nothing proves that {hub} is your hub: its certificate is not publicly trusted,"
            " so start mezd with the --ca-pin that mezctl tokens create prints"
        )
    return await fetch_authority(reactor, hub, pin=pin)


async def join_once(reactor: Any, application: Application, keys: NodeKeys) -> Membership:
    """
    One try.

    :raises Denied: the token is refused, or the hub is not the one meant.
    :raises AlreadyExists: another node has the name.
    :raises Unavailable: the hub is not there now.
    """
    authority = await find_authority(reactor, application)
    hub = application.hub
    endpoint = TlsClientEndpoint(
        reactor,
        hub,
        client_context(alpn.MEZITE_AUTH, authority),
        server_name=None if is_address(hub.host) else hub.host,
        timeout=DEADLINE,
    )
    channel = await open_channel(endpoint, reactor)
    try:
        issued = await HubCalls.on(channel).join(
            application.token, application.node, application.labels, keys
        )
    finally:
        channel.close()
    # It may name a second authority, which takes over; but not only others than it proved.
    if not set(load_certificates(issued.cluster_ca_pem)) & set(load_certificates(authority)):
        raise BadIssue("the hub names another authority than the one that it proved itself by")
    return Membership.of(hub, keys, issued)


@frozen
class Joining:
    """Tries until the node has joined or was refused."""

    _log = Logger()

    clock: IReactorTime
    wall_clock: Callable[[], float]
    attempt: Callable[[Application, NodeKeys], Awaitable[Membership]] = field(repr=False)
    uniform: Callable[[float, float], float] = random.uniform
    condition: Condition = field(repr=False, factory=Condition)
    # Where to ask; without it, where the application says.
    hubs: HubAddresses | None = None

    async def join(self, application: Application, keys: NodeKeys) -> Membership:
        """
        :raises MeziteError: for a refusal, with a sentence that says what to do.
        """
        failures = 0
        while True:
            outcome = await self._round(application, keys)
            if isinstance(outcome, Membership):
                return outcome
            wait = self.uniform(0, ceiling(failures, was_refused=was_refused(outcome.error)))
            failures += 1
            self.condition.waiting(wait, outcome.why)
            self._log.warn(
                "not joined yet: {why}; trying again in {wait:.1f} s", why=outcome.why, wait=wait
            )
            await deferLater(self.clock, wait)

    async def _round(self, application: Application, keys: NodeKeys) -> Membership | _NotYet:
        """Try each address once; what came of the last if none lets the node in."""
        try:
            addresses = [application.hub] if self.hubs is None else await self.hubs.round()
        except NoAddress as error:
            return _NotYet(error, str(error))
        for number, hub in enumerate(addresses, 1):
            self.condition.joining(hub)
            try:
                return await within(
                    self.clock,
                    _ATTEMPT_SECONDS,
                    self.attempt(evolve(application, hub=hub), keys),
                    doing=f"joining through {hub}",
                )
            except _FINAL:
                raise
            except MeziteError as error:
                outcome = _NotYet(error, explain(error, hub, self.wall_clock()))
                if number < len(addresses):
                    self._log.warn("not joined yet: {why}; trying the next", why=outcome.why)
        return outcome


@frozen
class _NotYet:
    """Why no hub let the node in, this time."""

    error: MeziteError
    why: str
