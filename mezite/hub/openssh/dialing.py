"""
The hub as an SSH client of a server without an agent.

A :class:`ServerDialer` connects, has the server prove itself by what it is
registered with, and logs in with a key of this one session, whose certificate
is good for minutes and permits what the user's own does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from attrs import frozen
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from mezite.audit.events import EventType
from mezite.auth.trail import AuditTrail
from mezite.error import Denied, MeziteError, Unavailable
from mezite.hub.livesessions import LiveSession
from mezite.hub.openssh.connections import ServerConnection
from mezite.hub.openssh.trusting import SeenTrust
from mezite.identity import sshissuing
from mezite.identity.authorities import Authorities, fingerprint_of
from mezite.identity.authority import SshAuthority
from mezite.identity.grants import AGENT_FORWARDING, PORT_FORWARDING, PTY
from mezite.identity.hostproof import SshdFacts
from mezite.identity.sshcert import FORCE_COMMAND, UserCertificate
from mezite.names import HostPort, LoginName
from mezite.ssh.client import ClientTransport, UserKey
from mezite.ssh.error import KEY_EXCHANGE_FAILED, LoginRefused, PeerDisconnected, SshProtocolError
from mezite.ssh.knownserver import WrongHostKey, questions
from mezite.store.interfaces import ISerials
from mezite.tasks import within

CONNECT_SECONDS: Final = 10.0
# With all questions to a server whose keys are of the last kind asked for; below the 30 s
# that a person has for logging in.
LOGIN_SECONDS: Final = 20.0
# It is used at once; the clocks of two machines may differ so much.
CERTIFICATE_SECONDS: Final = 300.0
# What sshd knows of what a user's certificate permits.
_EXTENSIONS: Final = frozenset({PTY, PORT_FORWARDING, AGENT_FORWARDING})


class ServerUnreachable(Unavailable):
    """A server without an agent cannot be connected to."""


class ServerRefused(Denied):
    """A server without an agent is not the one that is meant, or lets nobody in."""


@frozen
class ServerDialer:
    """
    :param endpoint: where a server is.
    :param serials: numbers for certificates.
    :param seen_trust: told which authority a server has let somebody in with.
    """

    _log = Logger()

    endpoint: Callable[[HostPort], IStreamClientEndpoint]
    authorities: Callable[[], Authorities]
    serials: ISerials
    trail: AuditTrail
    clock: IReactorTime
    wall_clock: Callable[[], float]
    seen_trust: SeenTrust

    async def dial(
        self, session: LiveSession, login: LoginName, certificate: UserCertificate
    ) -> ClientTransport:
        """
        A connection that is logged in, with a :class:`ServerConnection` on it.

        :raises ServerUnreachable:
        :raises ServerRefused:
        """
        try:
            return await within(
                self.clock,
                LOGIN_SECONDS,
                self._dial(session, login, certificate),
                doing=f"connecting to {session.node.name}",
            )
        except MeziteError as error:
            self._log.info(
                "session {session_id} does not reach {node}: {error}",
                session_id=session.session_id,
                node=session.node.name,
                error=error,
            )
            raise

    async def _dial(
        self, session: LiveSession, login: LoginName, certificate: UserCertificate
    ) -> ClientTransport:
        node, facts = session.node, session.node.sshd
        assert facts is not None
        authority = self.authorities().user_ca
        user_key = await self._user_key(authority, session, login, certificate)
        names = (facts.address.host, node.name.text)
        refused: list[WrongHostKey] = []
        for trust in questions(facts, names, self.wall_clock):
            transport = ClientTransport(
                trust, user_key, login, ServerConnection(self.clock), self.clock
            )
            try:
                await self._connect(transport, facts.address)
                self.seen_trust.let_in(node.agent_id, fingerprint_of(authority))
                return transport
            except WrongHostKey as error:
                refused.append(error)
            except LoginRefused:
                raise ServerRefused(
                    f"{node.name} does not let {login} in with the certificate of the hub: its"
                    " sshd must trust the user authority (mezctl openssh setup)"
                ) from None
            except (SshProtocolError, PeerDisconnected) as error:
                if error.code != KEY_EXCHANGE_FAILED:
                    raise ServerUnreachable(f"{node.name} at {facts.address}: {error}") from None
                # It has no key of this kind.
                self._log.debug("{node}: {error}", node=node.name, error=error)
            except (ConnectError, DNSLookupError, OSError):
                raise ServerUnreachable(
                    f"{node.name} cannot be reached by the hub at {facts.address}"
                ) from None
            except MeziteError as error:
                raise ServerUnreachable(f"{node.name} at {facts.address}: {error}") from None
        raise await self._not_proved(session, login, facts, refused)

    async def _connect(self, transport: ClientTransport, address: HostPort) -> None:
        factory = Factory.forProtocol(lambda: transport)
        factory.noisy = False
        try:
            await self.endpoint(address).connect(factory)
            await transport.authenticated()
        except BaseException:
            if transport.transport is not None:
                transport.transport.abortConnection()
            raise

    async def _not_proved(
        self,
        session: LiveSession,
        login: LoginName,
        facts: SshdFacts,
        refused: list[WrongHostKey],
    ) -> MeziteError:
        node = session.node
        # Of which kind the key is that it is known by, nobody knows: the first answer speaks
        # for all, and the audit has the others.
        why = str(refused[0]) if refused else "it has no host key of a kind that is asked for"
        sentence = f"{node.name} did not prove itself: {why}"
        await self.trail.record(
            self.trail.event(
                EventType.NODE_HOST_KEY_REFUSED,
                session.visitor.actor,
                target=node.agent_id,
                node=node.name,
                login=login,
                session_id=session.session_id,
                success=False,
                error=sentence,
                address=str(facts.address),
                shown=tuple(each.shown for each in refused),
                registered=facts.host_keys,
            )
        )
        self._log.warn("{sentence}", sentence=sentence)
        return ServerRefused(sentence)

    async def _user_key(
        self,
        authority: SshAuthority,
        session: LiveSession,
        login: LoginName,
        certificate: UserCertificate,
    ) -> UserKey:
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        options = certificate.critical_options
        now = self.wall_clock()
        line = sshissuing.issue_user(
            authority,
            public.decode(),
            user=session.user,
            logins=[login],
            serial=await self.serials.next(),
            now=now,
            lifetime=max(1.0, min(CERTIFICATE_SECONDS, certificate.valid_before - now)),
            extensions=certificate.extensions & _EXTENSIONS,
            critical_options={
                name: value for name, value in options.items() if name == FORCE_COMMAND
            },
            key_id=f"mezite:{session.user}:{session.session_id}",
        )
        return UserKey.of(key, line)


def network_endpoint(reactor: Any) -> Callable[[HostPort], IStreamClientEndpoint]:
    """Servers as the hub's network reaches them."""

    def endpoint(address: HostPort) -> IStreamClientEndpoint:
        made: IStreamClientEndpoint = HostnameEndpoint(
            reactor, address.host, address.port, timeout=CONNECT_SECONDS
        )
        return made

    return endpoint
