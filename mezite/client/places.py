"""
Where logins are kept on a person's machine, and under which names.

Only names and paths: :mod:`mezite.client.profile` reads and writes what they
lead to. :mod:`mezite.client.proxycommand` needs them as well, so this imports
nothing beyond the smallest parts of the standard library.
"""

from __future__ import annotations

import os

HOME_VARIABLE = "MSH_HOME"
CURRENT = "current"
PROFILE = "profile.json"
CLUSTER_CA = "ca.pem"
SSH_KEY = "user.key"
SSH_PUBLIC_KEY = "user.pub"
SSH_CERTIFICATE = "user-cert.pub"
TLS_KEY = "tls.key"
TLS_CERTIFICATE = "tls.crt"
KNOWN_HOSTS = "known_hosts"

# A path to a directory of logins is one line; PATH_MAX is 4096 on Linux.
CURRENT_LIMIT = 4096
# What we write is below 2 KB; a hundred logins with the longest names stay below 8 KB.
PROFILE_LIMIT = 65536


def home() -> str:
    """The directory of all logins: ``$MSH_HOME``, or ``~/.msh``."""
    return os.environ.get(HOME_VARIABLE) or os.path.join(os.path.expanduser("~"), ".msh")


def directory_of(host: str, port: int, at: str | None = None) -> str:
    """The directory of the login at this hub."""
    return os.path.join(home() if at is None else at, f"{host}_{port}")


def current(at: str | None = None) -> str | None:
    """The directory of the latest login, if there was one."""
    where = home() if at is None else at
    try:
        with open(os.path.join(where, CURRENT), encoding="utf-8") as file:
            name = file.read(CURRENT_LIMIT).strip()
    except (OSError, UnicodeDecodeError):
        return None
    if not name or "/" in name or name in {".", ".."}:
        return None
    return os.path.join(where, name)
