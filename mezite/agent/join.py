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

from attrs import field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from mezite.agent.backoff import ceiling
from mezite.agent.condition import Condition
from mezite.agent.error import BadIssue, JoinRefused, NotJoined
from mezite.agent.explanations import explain, was_refused
from mezite.agent.hubcalls import DEADLINE, HubCalls
from mezite.agent.state import Membership, NodeKeys
from mezite.config.agent import AgentConfig
from mezite.error import AlreadyExists, BadInput, Denied, LocalError, MeziteError, NotFound
from mezite.names import HostPort, NodeName, is_address
from mezite.rpc.channel import open_channel
from mezite.tasks import within
from mezite.wire import alpn
from mezite.wire.contexts import client_context, load_certificates
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
        if config.hub is None or (config.token is None and config.token_file is None):
            raise NotJoined(
                f"this node has not joined a cluster: on the hub run mezctl tokens create,"
                f" and start mezd with the --hub, --token and --ca-pin that it prints"
                f" (no earlier state is in {config.data_dir})"
            )
        return cls(
            config.hub,
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

    async def join(self, application: Application, keys: NodeKeys) -> Membership:
        """
        :raises MeziteError: for a refusal, with a sentence that says what to do.
        """
        failures = 0
        while True:
            self.condition.joining(application.hub)
            try:
                return await within(
                    self.clock,
                    _ATTEMPT_SECONDS,
                    self.attempt(application, keys),
                    doing=f"joining through {application.hub}",
                )
            except _FINAL:
                raise
            except MeziteError as error:
                wait = self.uniform(0, ceiling(failures, was_refused=was_refused(error)))
                failures += 1
                why = explain(error, application.hub, self.wall_clock())
                self.condition.waiting(wait, why)
                self._log.warn(
                    "not joined yet: {why}; trying again in {wait:.1f} s", why=why, wait=wait
                )
            await deferLater(self.clock, wait)
