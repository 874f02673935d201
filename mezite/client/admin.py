"""
The administrator's way to the hub on its own machine: a unix socket in its data directory.

The hub asks the kernel who is calling, so nothing is to be proved here.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, Final

from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError

from mezite.client.error import HubUnreachable
from mezite.error import BadInput, Denied
from mezite.rpc.client import AuthClient, open_channel
from mezite.tasks import within

SOCKET_NAME: Final = "mezctl.sock"
# A unix socket connects at once, unless the hub accepts nothing.
DIAL_SECONDS: Final = 5.0
# sun_path of unix(7) has 108 octets, the last of them zero.
_PATH_LENGTH: Final = 107


async def dial_socket(reactor: Any, data_dir: Path) -> AuthClient:
    """
    The auth service of the hub that runs with this data directory.

    :raises HubUnreachable: if none does.
    :raises Denied: if it is not this account's hub.
    """
    path = data_dir / SOCKET_NAME
    if len(os.fsencode(path)) > _PATH_LENGTH:
        raise BadInput(f"{path} is too long for a unix socket ({_PATH_LENGTH} bytes)")
    endpoint = UNIXClientEndpoint(reactor, str(path), timeout=DIAL_SECONDS)
    try:
        channel = await within(
            reactor, DIAL_SECONDS, open_channel(endpoint, reactor), doing=f"connecting to {path}"
        )
    except ConnectError as error:
        raise _explained(data_dir, error) from None
    return AuthClient(channel)


def _explained(data_dir: Path, error: ConnectError) -> Denied | HubUnreachable:
    if error.osError in (errno.EACCES, errno.EPERM):
        return Denied(
            f"this account may not use {data_dir / SOCKET_NAME}:"
            " run mezctl as the hub's own account, or as root"
        )
    if error.osError in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED):
        return HubUnreachable(
            f"no hub is running in {data_dir}: start it with twist mezhub,"
            " or give the --data-dir that it was started with, or --proxy HOST:PORT"
        )
    reason = os.strerror(error.osError) if error.osError else str(error)
    return HubUnreachable(f"{data_dir / SOCKET_NAME} cannot be reached: {reason}")
