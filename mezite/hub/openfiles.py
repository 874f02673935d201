"""
How many connections the system lets this process hold.

Each is a descriptor. Most systems begin a program with 1,024 of them and let it
have more if it asks; asking is what this does.
"""

from __future__ import annotations

import resource
from typing import Final

from twisted.logger import Logger

_log: Final = Logger()
# The database, its threads, the log, and what is opened for a moment.
_OTHERS: Final = 100
# Where the system says that there is no end to them.
_ENOUGH: Final = 1 << 20


def raise_limit() -> int:
    """Take as many descriptors as the system gives; how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = _ENOUGH
    if soft != resource.RLIM_INFINITY and soft < hard:
        try:
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            )
        except (ValueError, OSError) as error:
            # Some systems name a limit that is above what they give.
            _log.warn("the limit of open files stays at {soft}: {error}", soft=soft, error=error)
            return soft
        return hard
    return soft


def tell(limit: int) -> None:
    """Say in the log what that allows."""
    _log.info(
        "open files: {limit}, enough for about {tunnels} tunnels",
        limit=limit,
        tunnels=max(0, limit - _OTHERS),
    )
