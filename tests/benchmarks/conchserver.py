"""
Conch's SSH server as it is, with commands on pipes.

``python -m tests.benchmarks.conchserver LOGIN KEY.pub`` prints its port,
lets in who has that name and key, and serves.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.conch.avatar import ConchUser
from twisted.conch.checkers import InMemorySSHKeyDB, SSHPublicKeyChecker
from twisted.conch.interfaces import IConchUser, ISession
from twisted.conch.ssh.factory import SSHFactory
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import SSHSession
from twisted.cred.portal import IRealm, Portal
from twisted.python.components import registerAdapter
from zope.interface import implementer


@implementer(ISession)
class Commands:
    """A session that runs commands, as this account."""

    def __init__(self, avatar: Any) -> None:
        self._process: Any = None

    def execCommand(self, proto: Any, command: bytes) -> None:
        from twisted.internet import reactor

        self._process = reactor.spawnProcess(  # type: ignore[attr-defined]
            proto, "/bin/sh", [b"sh", b"-c", command], {"PATH": "/usr/bin:/bin"}
        )

    def getPty(self, term: Any, windowSize: Any, modes: Any) -> None:
        raise NotImplementedError

    def openShell(self, proto: Any) -> None:
        raise NotImplementedError

    def windowChanged(self, newWindowSize: Any) -> None:
        """There is no terminal."""

    def eofReceived(self) -> None:
        self._process.closeStdin()

    def closed(self) -> None:
        """The process ends by itself."""


class Person(ConchUser):
    """Who came in."""

    def __init__(self) -> None:
        super().__init__()
        self.channelLookup[b"session"] = SSHSession


@implementer(IRealm)
class Realm:
    """Everybody is the same."""

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        return IConchUser, Person(), lambda: None


def main(login: str, public: str) -> None:
    from twisted.internet import reactor

    registerAdapter(Commands, Person, ISession)
    key = Key.fromString(Path(public).read_bytes())
    host = Key(Ed25519PrivateKey.generate())
    factory: Any = SSHFactory()
    factory.portal = Portal(
        Realm(), [SSHPublicKeyChecker(InMemorySSHKeyDB({login.encode(): [key]}))]
    )
    factory.publicKeys = {b"ssh-ed25519": host.public()}
    factory.privateKeys = {b"ssh-ed25519": host}
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
    print(port.getHost().port, flush=True)
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(*sys.argv[1:])
