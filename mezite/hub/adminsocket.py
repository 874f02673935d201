"""
The administrator's door on the hub's own machine: a unix socket.

Whoever the kernel says has the hub's own uid, or root's, is an administrator
(unix(7), SO_PEERCRED); the file's mode keeps others from connecting at all.
"""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any, Final

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorUNIX, ITransport
from twisted.internet.protocol import Factory

from mezite.hub.error import HubCannotStart
from mezite.rpc.server import Caller

SOCKET_NAME: Final = "mezctl.sock"
# sun_path of unix(7) has 108 octets, the last of them zero.
_PATH_LENGTH: Final = 107
# struct ucred of unix(7): pid, uid, gid.
_CREDENTIALS: Final = struct.Struct("3i")


def socket_caller(transport: ITransport) -> Caller:
    """Who connected, by the kernel's word."""
    connected: socket.socket = transport.getHandle()  # type: ignore[attr-defined]
    raw = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _gid = _CREDENTIALS.unpack(raw)
    return Caller(
        identity=None,
        is_local_admin=uid in (0, os.geteuid()),
        address=f"unix:pid={pid},uid={uid}",
    )


def listen(reactor: IReactorUNIX, directory: Path, factory: Factory[Any]) -> IListeningPort:
    """
    Open the socket in the hub's data directory.

    A file left there by a hub that was killed is replaced: the caller holds
    the directory's lock, so no living hub owns it.

    :raises HubCannotStart:
    """
    path = directory / SOCKET_NAME
    if len(os.fsencode(path)) > _PATH_LENGTH:
        raise HubCannotStart(
            f"{path} is too long for a unix socket ({_PATH_LENGTH} bytes): use a shorter data_dir"
        )
    try:
        path.unlink(missing_ok=True)
        port: IListeningPort = reactor.listenUNIX(str(path), factory, mode=0o600)
    except (OSError, CannotListenError) as error:
        cause = error.socketError if isinstance(error, CannotListenError) else error
        why = getattr(cause, "strerror", None) or cause
        raise HubCannotStart(f"cannot open the admin socket {path}: {why}") from None
    return port
