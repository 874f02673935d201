"""
A configuration for OpenSSH's ssh, with which nodes are reached by their names.

Text from values; what the paths in it hold is written at login by
:mod:`mezite.client.profile`.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mezite.client import places
from mezite.client.error import DamagedProfile
from mezite.client.profile import Profile
from mezite.error import BadInput
from mezite.names import LoginName

# ChaCha20, which stock ssh prefers, costs the node's agent 3.8 CPU seconds for a gigabyte down
# and 3.3 up, AES-GCM 3.1 and 2.2 (tests.benchmarks.sshcost). Only names that every ssh since
# 6.2 knows, in FIPS mode too: at one that it does not know, ssh gives up.
_CIPHERS: Final = "aes256-gcm@openssh.com,aes128-gcm@openssh.com,aes256-ctr,aes192-ctr,aes128-ctr"
# Load balancers and NAT forget connections that are silent for a minute or less.
_ALIVE_SECONDS: Final = 15
# What carries a session may be cut for 300 s and come back: ssh is not to give up before.
_UNHEARD: Final = 22


def ssh_config(
    profile: Profile,
    program: Sequence[str],
    *,
    hosts: Sequence[str] = ("*",),
    login: LoginName | None = None,
) -> str:
    """
    The block for these patterns of hosts.

    :param program: the words that run msh, its path absolute.
    :param login: the login to use where none is typed.
    :raises BadInput: if a path or a pattern cannot be written in ssh's syntax.
    """
    proxy = shlex.join(
        [*program, "proxy", "ssh", "--profile", str(profile.directory.absolute())]
    ).replace("%", "%%")
    if "\n" in proxy:
        raise _unwritable(proxy)
    settings = [
        ("User", login.text) if login is not None else None,
        ("IdentityFile", _quoted(profile.path(places.SSH_KEY))),
        ("CertificateFile", _quoted(profile.path(places.SSH_CERTIFICATE))),
        ("IdentitiesOnly", "yes"),
        ("UserKnownHostsFile", _quoted(profile.path(places.KNOWN_HOSTS))),
        ("GlobalKnownHostsFile", "/dev/null"),
        ("StrictHostKeyChecking", "yes"),
        ("CheckHostIP", "no"),
        ("UpdateHostKeys", "no"),
        ("Ciphers", _CIPHERS),
        ("ServerAliveInterval", str(_ALIVE_SECONDS)),
        ("ServerAliveCountMax", str(_UNHEARD)) if profile.resumes else None,
        ("ProxyCommand", f"{proxy} %h:%p"),
    ]
    lines = [
        f"# {profile.user} at {profile.hub}, written by msh config.",
        f"Host {' '.join(_pattern(host) for host in hosts)}",
        *(f"    {setting[0]} {setting[1]}" for setting in settings if setting is not None),
    ]
    return "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """A path as ssh_config(5) reads it: in quotes, and with no token to be expanded."""
    text = str(path.absolute())
    if any(each in text for each in '"\\\n') or "${" in text:
        raise _unwritable(text)
    return f'"{text.replace("%", "%%")}"'


def _unwritable(text: str) -> DamagedProfile:
    return DamagedProfile(
        f"{text!r} cannot be written in an OpenSSH configuration:"
        ' choose an MSH_HOME without " \\ ${ or line breaks'
    )


def _pattern(host: str) -> str:
    if not host or any(each.isspace() or each in '"#' for each in host):
        raise BadInput(f"{host!r} is not a pattern of hosts")
    return host
