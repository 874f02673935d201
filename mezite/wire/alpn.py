"""
What the ALPN names and the server names of one TLS port mean.

This is the only list of them (``docs/protocols/alpn.rst`` is its text). It
decides from the two things that a client says before it proves anything: the
protocols it offers and the server name it asks for. Contexts and connections
are :mod:`mezite.wire.contexts`; what stands behind a route is the hub's.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from typing import Final

H2: Final = b"h2"
HTTP_1_1: Final = b"http/1.1"
MEZITE_SSH: Final = b"mezite-ssh"
# The same, over a connection that can be resumed.
MEZITE_SSH_RESUME: Final = b"mezite-ssh-resume"
MEZITE_TUNNEL: Final = b"mezite-tunnel"
MEZITE_CLUSTER_TUNNEL: Final = b"mezite-cluster-tunnel"
MEZITE_AUTH: Final = b"mezite-auth"

# The label that stock gRPC clients put before the hub's name.
AUTH_LABEL: Final = "auth"

# RFC 1035, section 2.3.4: a name on the wire has at most 255 octets.
_SERVER_NAME_LENGTH: Final = 255


class Route(enum.Enum):
    """Where a connection goes; the value is its name in logs and metrics."""

    WEB = "web"
    SSH = "ssh"
    TUNNEL = "tunnel"
    CLUSTER_TUNNEL = "cluster-tunnel"
    AUTH = "auth"


class Role(enum.Enum):
    """Whose certificate it is; the value stands in vectors and logs."""

    USER = "user"
    NODE = "node"
    HUB = "hub"


class Demand(enum.Enum):
    """What the server asks of the client's certificate during the handshake."""

    NOT_ASKED = "not asked"
    ACCEPTED = "accepted"
    DEMANDED = "demanded"


_ROUTES: Final[Mapping[bytes, Route]] = {
    H2: Route.WEB,
    HTTP_1_1: Route.WEB,
    MEZITE_SSH: Route.SSH,
    MEZITE_SSH_RESUME: Route.SSH,
    MEZITE_TUNNEL: Route.TUNNEL,
    MEZITE_CLUSTER_TUNNEL: Route.CLUSTER_TUNNEL,
    MEZITE_AUTH: Route.AUTH,
}

# Whose certificates a route admits; an empty set belongs to routes that never ask.
_ROLES: Final[Mapping[Route, frozenset[Role]]] = {
    Route.WEB: frozenset(),
    Route.SSH: frozenset({Role.USER}),
    Route.TUNNEL: frozenset({Role.NODE}),
    Route.CLUSTER_TUNNEL: frozenset({Role.HUB}),
    Route.AUTH: frozenset({Role.USER, Role.NODE}),
}


def choose(offered: Iterable[bytes]) -> bytes | None:
    """The first offered name that we know, in the client's order."""
    return next((name for name in offered if name in _ROUTES), None)


def route_of(chosen: bytes | None, server_name: str | None, hub_names: Collection[str]) -> Route:
    """Where a connection with this ALPN name and server name goes."""
    if chosen is None:
        return Route.WEB
    if chosen == H2 and _is_auth(server_name, hub_names):
        return Route.AUTH
    return _ROUTES[chosen]


def certificate_demand(
    chosen: bytes | None, server_name: str | None, hub_names: Collection[str]
) -> Demand:
    """Whether the client is asked for a certificate, and may go on without one."""
    match route_of(chosen, server_name, hub_names):
        case Route.WEB:
            return Demand.NOT_ASKED
        case Route.AUTH:
            return Demand.ACCEPTED
        case Route.SSH if node_part(server_name, hub_names) is None:
            return Demand.NOT_ASKED
        case _:
            return Demand.DEMANDED


def admitted_roles(route: Route) -> frozenset[Role]:
    """Whose certificates are admitted on this route, where one is asked for."""
    return _ROLES[route]


def parse_server_name(octets: bytes | None) -> str | None:
    """
    The server name in lower case without a final dot; ``None`` if it is not one.

    What a terminal would obey is no name: it would come to stand in logs.
    """
    if octets is None or not 0 < len(octets) <= _SERVER_NAME_LENGTH:
        return None
    try:
        name = octets.decode("ascii")
    except UnicodeDecodeError:
        return None
    if not name.isprintable():
        return None
    return name.lower().removesuffix(".") or None


def node_part(server_name: str | None, hub_names: Collection[str]) -> str | None:
    """
    What stands before the hub's name: a node's name or an agent's id, unparsed.

    ``None`` means the hub itself: no name, its own name, ``auth.`` before its
    own name, or a name that is not the hub's at all.
    """
    if server_name is None or server_name in hub_names or _is_auth(server_name, hub_names):
        return None
    # One hub name may end in another; the longer one leaves the node's name.
    for hub_name in sorted(hub_names, key=len, reverse=True):
        if server_name.endswith("." + hub_name):
            return server_name[: -len(hub_name) - 1] or None
    return None


def _is_auth(server_name: str | None, hub_names: Collection[str]) -> bool:
    return server_name is not None and any(
        server_name == f"{AUTH_LABEL}.{hub_name}" for hub_name in hub_names
    )
