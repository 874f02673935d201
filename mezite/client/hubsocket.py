"""
A connection to the hub that leads to a node, by the standard library alone.

It owns how the hub is reached, directly or through what stands before it, and
how it is known that it is the hub. Who dials is :mod:`mezite.client.proxycommand`.
"""

from __future__ import annotations

import _thread
import os
import socket
import ssl
import time

from mezite.client import places
from mezite.client.error import DamagedProfile, HubUnreachable, UntrustedHub
from mezite.client.pump import Connection, tls_failure
from mezite.error import MeziteError, RemoteError

ALPN = "mezite-ssh"
RESUMABLE = "mezite-ssh-resume"
# Connecting and the handshake together: what a person waits for before the sentence.
DIAL_SECONDS = 10.0
_PROXY_VARIABLES = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
# As in mezite.wire.ways, in the words of the standard library.
_SIGNS = (
    "alert_no_application_protocol",
    "alert_protocol_version",
    "alert_handshake_failure",
    "unrecognized_name",
    "unsupported_protocol",
)


class Target:
    """Which node, at which hub, with which login."""

    __slots__ = ("address", "cluster", "directory", "resumes", "server_name")

    def __init__(
        self,
        directory: str,
        address: tuple[str, int],
        cluster: str,
        server_name: str,
        *,
        resumes: bool,
    ) -> None:
        self.directory = directory
        self.address = address
        self.cluster = cluster
        self.server_name = server_name
        # A connection that is cut is taken up again.
        self.resumes = resumes

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)


def dial(target: Target, deadline: float) -> Connection:
    """
    Connect to the hub, prove who we are, and check who it is.

    Where something on the way ends TLS, a WebSocket leads through it; if that
    does not help, what failed is told as it failed without it.
    """
    context = _context(target)
    host, port = target.address
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        try:
            return _dial(target, context, where, deadline)
        except (_AlpnLost, ssl.SSLError) as first:
            if not _may_be_a_balancer(first):
                raise
            try:
                return _dial(target, context, where, deadline, is_upgraded=True)
            except (MeziteError, OSError) as second:
                from mezite.wire.websocket import NoHubBehind

                if isinstance(second, NoHubBehind):
                    raise
                raise first from None
    except TimeoutError:
        raise HubUnreachable(
            f"the hub at {where} did not answer within {DIAL_SECONDS:g} s"
        ) from None
    except ssl.SSLCertVerificationError as error:
        raise UntrustedHub(
            f"the hub at {where} is not the one you logged in to, or its authority was rotated:"
            f" run msh login ({error.verify_message})"
        ) from None
    except ssl.SSLError as error:
        raise tls_failure(error, where) from None
    except OSError as error:
        raise HubUnreachable(f"the hub at {where} cannot be reached: {reason_of(error)}") from None


class _AlpnLost(RemoteError):
    """What answered does not know what we want to speak."""


def _may_be_a_balancer(error: Exception) -> bool:
    """Whether this is how it looks from here if something before the hub ends TLS."""
    if isinstance(error, _AlpnLost | ssl.SSLCertVerificationError):
        return True
    reason = str(getattr(error, "reason", "") or "").lower()
    return any(sign in reason for sign in _SIGNS)


def _dial(
    target: Target,
    context: ssl.SSLContext,
    where: str,
    deadline: float,
    *,
    is_upgraded: bool = False,
) -> Connection:
    connected = _connect_by_proxy(*target.address, deadline)
    try:
        if is_upgraded:
            # Few need it.
            from mezite.client.upgraded import upgraded

            connection: Connection = upgraded(
                connected, target.address[0], where, context, target.server_name, deadline
            )
        else:
            connection = Connection(connected, context, target.server_name)
        connection.handshake(deadline)
        _check_hub(connection.tls, target.cluster, where)
        connection.socket.setblocking(False)
    except BaseException:
        connected.close()
        raise
    return connection


def _connect_by_proxy(host: str, port: int, deadline: float) -> socket.socket:
    """A connection to there, through the proxy that the environment names, if it does."""
    if not any(os.environ.get(name) for name in _PROXY_VARIABLES):
        return _connect(host, port, deadline)
    # What reads addresses and URLs takes a while to import, and few need it.
    from mezite.wire.forwardproxy import proxy_for

    proxy = proxy_for(host, port, os.environ)
    if proxy is None:
        return _connect(host, port, deadline)
    try:
        connected = _connect(proxy.host, proxy.port, deadline)
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise
        raise HubUnreachable(f"the proxy {proxy} cannot be reached: {reason_of(error)}") from None
    try:
        conversation = proxy.conversation(host, port)
        said = conversation.begin()
        while not conversation.is_open:
            connected.settimeout(max(0.001, deadline - time.monotonic()))
            connected.sendall(said)
            # One octet at a time: what comes behind the answer is TLS, and not ours to take.
            heard = connected.recv(1)
            if not heard:
                raise HubUnreachable(f"the proxy {proxy} hung up without an answer")
            said = conversation.receive(heard)
    except BaseException:
        connected.close()
        raise
    return connected


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    latest: OSError | None = None
    for family, kind, protocol, _, address in _resolve(host, port, deadline):
        connected = socket.socket(family, kind, protocol)
        try:
            connected.settimeout(max(0.001, deadline - time.monotonic()))
            connected.connect(address)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError as error:
            connected.close()
            latest = error
        else:
            return connected
    raise latest if latest is not None else OSError("its name has no address")


def _resolve(host: str, port: int, deadline: float) -> list[tuple]:  # type: ignore[type-arg]
    """
    The addresses of the hub.

    The system's resolver knows no deadline, so it gets a thread, which is left
    behind when it takes too long. (The module threading would take a while itself.)

    :raises TimeoutError: at the deadline.
    """
    found: list[list[tuple]] = []  # type: ignore[type-arg]
    failed: list[OSError] = []
    done = _thread.allocate_lock()
    done.acquire()

    def resolve() -> None:
        try:
            # As bytes the name is taken as it is; text would import the codec of IDNA.
            found.append(socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM))
        except OSError as error:
            failed.append(error)
        finally:
            done.release()

    _thread.start_new_thread(resolve, ())
    if not done.acquire(timeout=max(0.001, deadline - time.monotonic())):
        raise TimeoutError
    if failed:
        raise failed[0]
    return found[0]


def _context(target: Target) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The server's name is the node's; who answers is the hub: see _check_hub.
    context.check_hostname = False
    context.set_alpn_protocols([RESUMABLE, ALPN] if target.resumes else [ALPN])
    try:
        context.load_verify_locations(cafile=target.path(places.CLUSTER_CA))
        context.load_cert_chain(
            target.path(places.TLS_CERTIFICATE), target.path(places.TLS_KEY), password=_no_password
        )
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        raise DamagedProfile(
            f"the certificates in {target.directory} are damaged: run msh login"
        ) from None
    return context


def _no_password() -> str:
    raise ValueError("our keys have none; without this, ssl would ask on the terminal")


def _check_hub(tls: ssl.SSLObject, cluster: str, where: str) -> None:
    certificate = tls.getpeercert() or {}
    names = certificate.get("subjectAltName", ())
    if ("URI", f"mezite://{cluster}/hub") not in names:
        raise UntrustedHub(f"what answers at {where} is not the hub of {cluster}")
    if tls.selected_alpn_protocol() not in (ALPN, RESUMABLE):
        raise _AlpnLost(
            f"{where} does not speak {ALPN}: is something that ends TLS in front of the hub?"
        )


def reason_of(error: OSError) -> str:
    """What the system says of it, in the middle of a sentence."""
    return (error.strerror or str(error)).lower()
