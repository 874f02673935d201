"""
Why the hub could not be reached, in words that say what to do.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from twisted.internet.error import (
    ConnectError,
    ConnectionAborted,
    ConnectionDone,
    ConnectionLost,
    ConnectionRefusedError,
    DNSLookupError,
    TCPTimedOutError,
    UserError,
)
from twisted.internet.error import TimeoutError as ConnectTimedOut

from mezite.agent.error import NoAddress
from mezite.agent.membership import Membership
from mezite.error import TimedOut
from mezite.names import HostPort
from mezite.wire.error import AlpnLost, HandshakeFailed, TlsBroken, why_unreachable
from mezite.wire.forwardproxy import ProxyBroken, ProxyRefused
from mezite.wire.websocket import UpgradeRefused

# TLS has these alerts for a certificate of an authority that is trusted no more, that is
# too old, or that is not one of ours (RFC 8446, section 6.2).
_REFUSALS: Final = ("unknown ca", "bad certificate", "certificate expired", "certificate unknown")

# How OpenSSL says that it read something else, such as a page (ssl/statem, ssl/record).
_NO_TLS: Final = ("wrong version number", "http request", "unknown protocol", "too long")


def was_refused(error: BaseException | None) -> bool:
    """Whether a machine answered that no hub listens there."""
    return _cause(error, ConnectionRefusedError) is not None


def is_another_hub(error: BaseException | None) -> bool:
    """Whether what answered proved itself, if at all, by another authority than ours."""
    return isinstance(error, HandshakeFailed) and _is_foreign(error.detail.lower())


def is_refused_certificate(error: BaseException | None) -> bool:
    """Whether the hub ended the handshake because it does not take this node's certificate."""
    broken = _cause(error, HandshakeFailed, TlsBroken)
    detail = str(getattr(broken, "detail", "")).lower()
    # What the hub tells of our certificate comes as an alert.
    return "alert" in detail and any(words in detail for words in _REFUSALS)


def _is_foreign(detail: str) -> bool:
    return "not from an authority" in detail or "this is cluster" in detail


def explain(
    error: BaseException | None, hub: HostPort, now: float, membership: Membership | None = None
) -> str:
    """One sentence, without a full stop."""
    if isinstance(error, NoAddress):
        return str(error)
    if (proxy := _cause(error, ProxyRefused, ProxyBroken)) is not None:
        return f"{proxy}: see HTTPS_PROXY and NO_PROXY in this agent's environment"
    if was_refused(error):
        return f"nothing listens at {hub}: see that the hub runs, and that this is its address"
    if _cause(error, DNSLookupError) is not None:
        return (
            f"the name {hub.host} cannot be resolved: check the hub's address and this node's DNS"
        )
    if _cause(error, ConnectTimedOut, TCPTimedOutError, UserError, TimedOut) is not None:
        return f"{hub} does not answer: check the address, the network and firewalls on the way"
    if isinstance(failed := _cause(error, ConnectError), ConnectError):
        return (
            f"{hub} cannot be reached ({why_unreachable(failed)}): check the address,"
            " the network and firewalls on the way"
        )
    if isinstance(lost := _cause(error, AlpnLost), AlpnLost):
        answered = "" if lost.upgrade is None else f" ({lost.upgrade})"
        return (
            f"what answers at {hub} is no hub, or something on the way ends TLS and drops ALPN"
            f"{answered}: let TLS through to the hub untouched, or WebSockets"
        )
    if isinstance(error, UpgradeRefused):
        return f"{error}: see to the load balancer in front of the hub, and that the hub runs"
    if isinstance(error, HandshakeFailed | TlsBroken):
        return _explain_tls(error, error.detail.lower(), hub, now, membership)
    if _cause(error, ConnectionDone) is not None:
        return f"the hub at {hub} ended the connection"
    if _cause(error, ConnectionLost, ConnectionAborted) is not None:
        return f"the connection to {hub} was lost"
    return f"the connection to {hub} failed: {str(error).rstrip('.')}"


def _explain_tls(
    error: BaseException, detail: str, hub: HostPort, now: float, membership: Membership | None
) -> str:
    clock = datetime.fromtimestamp(now, UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    # What the hub tells of our certificate comes as an alert.
    is_ours = "alert" in detail
    if membership is not None and now >= membership.tls_expires:
        return expired(membership)
    if "expired" in detail or "not valid yet" in detail or "not yet valid" in detail:
        whose = "this node's" if is_ours else "the hub's"
        return (
            f"{whose} certificate is not valid at this time: if it is not {clock} UTC now,"
            " set the clock; otherwise see to the hub's certificate"
        )
    if "unknown ca" in detail or "bad certificate" in detail or "certificate required" in detail:
        return (
            f"the hub at {hub} does not accept this node's certificate: if its authority was"
            f" rotated while this node was away, or it was set up anew, {_ways_back(membership)}"
        )
    if _is_foreign(detail):
        return (
            f"the hub at {hub} is not the one that this node trusts ({error}): check the address;"
            " if its authority was rotated while this node was away, or it was set up anew,"
            f" {_ways_back(membership)}"
        )
    if any(words in detail for words in _NO_TLS):
        return (
            f"what answers at {hub} does not speak TLS, so it is no hub: check the address; this"
            " node's network may also want somebody to log in to it first, on a page of its own"
        )
    return f"the TLS connection to {hub} failed: {error}; check the address, and what is on the way"


def _ways_back(membership: Membership | None) -> str:
    node = "NAME" if membership is None else membership.identity.node
    return f"run mezctl nodes allow-rejoin {node} on the hub, and start mezd with what it prints"


def expired(membership: Membership) -> str:
    """What to do when the node's TLS certificate ended while it was away."""
    ended = datetime.fromtimestamp(membership.tls_expires, UTC).isoformat(" ", "seconds")
    node = membership.identity.node
    return (
        f"this node's certificate ended at {ended.removesuffix('+00:00')} UTC, while it was away:"
        f" on the hub run mezctl nodes allow-rejoin {node}, then start mezd with what it prints"
    )


def _cause(error: BaseException | None, *kinds: type[BaseException]) -> BaseException | None:
    while error is not None:
        if isinstance(error, kinds):
            return error
        error = error.__cause__
    return None
