"""
``msh proxy ssh``: standard input and output, carried over TLS to a node.

OpenSSH starts this for every connection and waits for it, so it takes the
standard library's ssl and socket and nothing else: no Twisted, no click, no
attrs. It owns the one connection to the hub. Everything it says goes to
standard error, and every failure of its own is exit code 255, as ssh's are.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import ssl
import sys
import time

from mezite.client import places
from mezite.client.error import (
    DamagedProfile,
    HubUnreachable,
    LoginExpired,
    NotLoggedIn,
    UntrustedHub,
)
from mezite.error import BadInput, Denied, MeziteError, RemoteError

ALPN = "mezite-ssh"
FAILURE = 255
DEFAULT_PORT = 3080
# Connecting and the handshake together: what a person waits for before the sentence.
DIAL_SECONDS = 10.0
# One read of the connection or of standard input. Larger ones gain nothing, and
# allocations above 128 KiB cost malloc an mmap and a munmap each.
CHUNK = 64 * 1024
# Decrypted bytes waiting for standard output: those of one read, and of the one
# TLS record (16 KiB) that the read before it left incomplete.
PLAIN = CHUNK + 32 * 1024
# What a pipe holds; the default of 64 KiB makes ssh and us take turns.
PIPE_BYTES = 1024 * 1024

USAGE = "usage: msh proxy ssh [--profile DIR | --proxy HOST:PORT] NODE[:PORT]"


class Target:
    """Which node, at which hub, with which login."""

    __slots__ = ("address", "cluster", "directory", "server_name")

    def __init__(
        self, directory: str, address: tuple[str, int], cluster: str, server_name: str
    ) -> None:
        self.directory = directory
        self.address = address
        self.cluster = cluster
        self.server_name = server_name

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)


def main(arguments: list[str]) -> int:
    """Carry a connection to the node that the arguments name; an exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        target = target_of(arguments, time.time())
        connection = dial(target, time.monotonic() + DIAL_SECONDS)
        try:
            Pump(connection, 0, 1).run()
        finally:
            connection.socket.close()
    except MeziteError as error:
        _say(str(error))
        return FAILURE
    except OSError as error:
        _say(f"the connection to the hub broke: {_reason(error)}")
        return FAILURE
    return 0


def target_of(arguments: list[str], now: float) -> Target:
    """Understand the arguments, and read the login that they mean."""
    directory, node = _parse(arguments)
    try:
        with open(os.path.join(directory, places.PROFILE), encoding="utf-8") as file:
            profile = json.loads(file.read(places.PROFILE_LIMIT))
        host, port = _host_port(profile["hub"])
        cluster, hub_name = str(profile["cluster"]), str(profile["hub_name"])
        valid_before = float(profile["valid_before"])
    except FileNotFoundError:
        raise NotLoggedIn(f"there is no login in {directory}: run msh login") from None
    except OSError as error:
        raise DamagedProfile(f"the login in {directory} cannot be read: {_reason(error)}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadInput):
        raise DamagedProfile(f"the login in {directory} is damaged: run msh login") from None
    if valid_before == 0:
        raise NotLoggedIn
    if valid_before <= now:
        raise LoginExpired
    return Target(directory, (host, port), cluster, _server_name(node, hub_name))


def _parse(arguments: list[str]) -> tuple[str, str]:
    """The directory of the login, and the node as it was typed."""
    directory: str | None = None
    nodes: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        name, equals, value = argument.partition("=")
        if name in {"--profile", "--proxy"}:
            if not equals:
                value = next(remaining, "")
            if not value:
                raise BadInput(USAGE)
            directory = (
                value if name == "--profile" else places.directory_of(*_host_port(value.lower()))
            )
        elif argument.startswith("-"):
            raise BadInput(f"no such option: {argument} ({USAGE})")
        else:
            nodes.append(argument)
    if len(nodes) != 1:
        raise BadInput(USAGE)
    if directory is None:
        directory = places.current()
    if directory is None:
        raise NotLoggedIn
    return directory, nodes[0]


def _host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if (
        not host
        or (":" in host) != bracketed
        or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536)
    ):
        raise BadInput(f"{text[:80]!r} is not an address: write HOST:PORT or [IPV6]:PORT")
    return host, int(port)


def _server_name(text: str, hub_name: str) -> str:
    """The name in TLS that means this node: ``db1`` and ``db1.hub`` are one."""
    node, colon, port = text.partition(":")
    node = node.lower().rstrip(".")
    if (colon and not (port.isascii() and port.isdigit())) or not node or len(node) > 190:
        raise BadInput(f"{text[:80]!r} is not a node: write NODE or NODE:PORT")
    if not all(each.isascii() and (each.isalnum() or each in "-.") for each in node):
        raise BadInput(f"{text[:80]!r} is not a node: use letters, digits, hyphens and dots")
    if node == hub_name or node.endswith(f".{hub_name}"):
        return node
    return f"{node}.{hub_name}"


class Connection:
    """TLS over a socket that the caller waits for: bytes in, bytes out."""

    def __init__(self, connected: socket.socket, context: ssl.SSLContext, server_name: str) -> None:
        self.socket = connected
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        # As bytes it is taken as it is; text would import the codec of IDNA.
        name: str = server_name.encode("ascii")  # type: ignore[assignment]
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def handshake(self, deadline: float) -> None:
        """
        Finish the handshake.

        :raises TimeoutError: at the deadline, in seconds of the monotonic clock.
        """
        finished = False
        while not finished:
            try:
                self.tls.do_handshake()
                finished = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                if self.outgoing.pending:  # the alert tells the hub why
                    self.socket.sendall(self.outgoing.read())
                raise
            self.socket.settimeout(max(0.001, deadline - time.monotonic()))
            if self.outgoing.pending:
                self.socket.sendall(self.outgoing.read())
            if not finished:
                data = self.socket.recv(CHUNK)
                if not data:
                    raise ConnectionResetError("it was closed in the TLS handshake")
                self.incoming.write(data)


def dial(target: Target, deadline: float) -> Connection:
    """Connect to the hub, prove who we are, and check who it is."""
    context = _context(target)
    host, port = target.address
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    connected: socket.socket | None = None
    try:
        connected = _connect(host, port, deadline)
        connection = Connection(connected, context, target.server_name)
        connection.handshake(deadline)
        _check_hub(connection.tls, target.cluster, where)
    except BaseException as error:
        if connected is not None:
            connected.close()
        if isinstance(error, TimeoutError):
            raise HubUnreachable(
                f"the hub at {where} did not answer within {DIAL_SECONDS:g} s"
            ) from None
        if isinstance(error, ssl.SSLCertVerificationError):
            raise UntrustedHub(
                f"the hub at {where} is not the one you logged in to: {error.verify_message}"
            ) from None
        if isinstance(error, ssl.SSLError):
            raise tls_failure(error, where) from None
        if isinstance(error, OSError):
            raise HubUnreachable(
                f"the hub at {where} cannot be reached: {_reason(error)}"
            ) from None
        raise
    connected.setblocking(False)
    return connection


def _connect(host: str, port: int, deadline: float) -> socket.socket:
    latest: OSError | None = None
    # As bytes the name is taken as it is; text would import the codec of IDNA.
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host.encode(), port, type=socket.SOCK_STREAM
    ):
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


def _context(target: Target) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    # The server's name is the node's; who answers is the hub: see _check_hub.
    context.check_hostname = False
    context.set_alpn_protocols([ALPN])
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
    if tls.selected_alpn_protocol() != ALPN:
        raise RemoteError(
            f"{where} does not speak {ALPN}: is something that ends TLS in front of the hub?"
        )


def tls_failure(error: ssl.SSLError, where: str) -> MeziteError:
    """What a failure of TLS means to the person who waits."""
    reason = (error.reason or "").lower().replace("_", " ")
    if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
        return Denied("the hub refused your certificate: run msh login")
    return RemoteError(f"TLS with {where} failed: {reason or error.strerror or 'no reason given'}")


class Pump:
    """
    Bytes both ways between a connection and two file descriptors.

    Nothing is read from one side before the other took all that came before,
    so what it holds is one chunk each way. The end of standard input is passed
    on while the hub still sends; the end of what the hub sends is the end.
    """

    def __init__(self, connection: Connection, source: int, sink: int) -> None:
        self._connection = connection
        self._source = source
        self._sink = sink
        self._read_buffer = memoryview(bytearray(CHUNK))
        self._receive_buffer = memoryview(bytearray(CHUNK))
        self._plain = memoryview(bytearray(PLAIN))
        self._to_sink = self._plain[:0]
        self._to_socket = memoryview(b"")
        self._source_open = True
        self._hub_open = True
        self._sink_gone = False

    def run(self) -> None:
        """Carry bytes until the hub has ended, or the sink is gone."""
        files = {self._source, self._sink}
        blocking = {file: os.get_blocking(file) for file in files}
        for file in files:
            _enlarge(file)
            os.set_blocking(file, False)
        try:
            self._decrypt()  # what came along with the end of the handshake
            self._loop()
        finally:
            for file, was_blocking in blocking.items():
                os.set_blocking(file, was_blocking)

    def _loop(self) -> None:
        poll = select.poll()
        hub = self._connection.socket.fileno()
        masks = {hub: -1, self._sink: -1, self._source: -1}
        while (self._hub_open or self._to_sink) and not self._sink_gone:
            self._collect_outgoing()
            wanted = {
                hub: (select.POLLIN if self._hub_open and not self._to_sink else 0)
                | (select.POLLOUT if self._to_socket else 0),
                self._sink: select.POLLOUT if self._to_sink else 0,
            }
            if self._source_open and not self._to_socket:
                wanted[self._source] = select.POLLIN
            elif masks[self._source] != -1:
                # A closed pipe reports POLLHUP whatever is asked for: look away.
                poll.unregister(self._source)
                masks[self._source] = -1
            for file, mask in wanted.items():
                if masks[file] != mask:
                    poll.register(file, mask)
                    masks[file] = mask
            for file, events in poll.poll():
                if file == hub:
                    self._hub_ready(events)
                elif file == self._sink:
                    self._sink_ready(events)
                else:
                    self._source_ready()

    def _hub_ready(self, events: int) -> None:
        if events & select.POLLOUT and self._to_socket:
            self._send()
        if events & ~select.POLLOUT and self._hub_open and not self._to_sink:
            self._receive()

    def _sink_ready(self, events: int) -> None:
        if self._to_sink:
            self._write()
        elif events & (select.POLLERR | select.POLLHUP | select.POLLNVAL):
            self._sink_gone = True

    def _source_ready(self) -> None:
        try:
            count = os.readv(self._source, [self._read_buffer])
        except BlockingIOError:
            return
        if count:
            self._connection.tls.write(self._read_buffer[:count])
        else:
            self._source_open = False
            self._finish()
        self._collect_outgoing()
        self._send()

    def _finish(self) -> None:
        """Tell the hub that nothing more comes; TLS 1.3 lets it go on sending."""
        try:
            self._connection.tls.unwrap()
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            pass

    def _collect_outgoing(self) -> None:
        if not self._to_socket and self._connection.outgoing.pending:
            self._to_socket = memoryview(self._connection.outgoing.read())

    def _send(self) -> None:
        try:
            self._to_socket = self._to_socket[self._connection.socket.send(self._to_socket) :]
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            # The hub listens no more, but why may still be waiting to be read.
            self._to_socket = memoryview(b"")
            self._source_open = False

    def _receive(self) -> None:
        try:
            count = self._connection.socket.recv_into(self._receive_buffer)
        except BlockingIOError:
            return
        if count:
            self._connection.incoming.write(self._receive_buffer[:count])
            self._decrypt()
        else:
            self._hub_open = False  # without a goodbye, but SSH has its own

    def _decrypt(self) -> None:
        """Take all that can be decrypted; the rest is part of one record."""
        tls, end = self._connection.tls, 0
        try:
            while True:
                # At most one record each time, and the buffer holds all of a chunk's.
                count: int = tls.read(PLAIN, self._plain[end:])  # type: ignore
                if not count:
                    self._hub_open = False
                    break
                end += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._hub_open = False
        except ssl.SSLError as error:
            raise tls_failure(error, "the hub") from None
        self._to_sink = self._plain[:end]
        if self._to_sink:
            self._write()

    def _write(self) -> None:
        try:
            self._to_sink = self._to_sink[os.write(self._sink, self._to_sink) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._sink_gone = True  # whoever started us has ended


def _enlarge(file: int) -> None:
    """Let a pipe hold more; what is no pipe, or may not, stays as it is."""
    import fcntl

    try:
        fcntl.fcntl(file, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (OSError, AttributeError):
        pass


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()


def _say(sentence: str) -> None:
    try:
        sys.stderr.write(f"msh: {sentence}\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody is left to be told
