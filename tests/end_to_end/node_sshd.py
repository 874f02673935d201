"""
A node's SSH server alone on a free port of the loopback, for stock clients.

``python -m tests.end_to_end.node_sshd DIRECTORY LOGIN[,LOGIN]`` writes
authorities, a host certificate and a user's certificate there, prints its port,
and serves. With ``every-host-key`` behind, it has a host key of every kind, and
known_hosts knows each of them by itself as well.
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from mezite.agent.permit import SessionPermit
from mezite.identity import sshissuing
from mezite.identity.authority import SshAuthority
from mezite.names import AgentId, LoginName, NodeName, UserName
from mezite.rpc.proto.tunnel_pb2 import StreamHeader


def public_line(key: Any) -> str:
    line: bytes = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return line.decode()


def every_host_key() -> list[Any]:
    return [
        Ed25519PrivateKey.generate(),
        *(ec.generate_private_key(c()) for c in (ec.SECP256R1, ec.SECP384R1, ec.SECP521R1)),
        rsa.generate_private_key(65537, 3072),
    ]


def write_identity(directory: Path, authority: SshAuthority, logins: list[str]) -> None:
    """What ``msh login`` would have written."""
    key = Ed25519PrivateKey.generate()
    path = directory / "id"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    path.chmod(0o600)
    for name, options in (
        ("id-cert.pub", {}),
        ("forced-cert.pub", {"force-command": b"echo forced $SSH_ORIGINAL_COMMAND"}),
        ("files-cert.pub", {"force-command": b"internal-sftp"}),
    ):
        line = sshissuing.issue_user(
            authority,
            public_line(key),
            user=UserName.parse("ada"),
            logins=[LoginName.parse(login) for login in logins],
            serial=1,
            now=time.time(),
            lifetime=3600.0,
            extensions=[
                "permit-pty",
                "permit-port-forwarding",
                "permit-agent-forwarding",
                "permit-file-copy@mezite",
            ],
            critical_options=options,
        )
        (directory / name).write_text(line + "\n")


def main() -> None:
    from twisted.internet import reactor, threads

    from mezite.agent.accounts import SystemAccounts
    from mezite.agent.error import TunnelDown
    from mezite.agent.recordingservice import RecordingService
    from mezite.agent.sshd import ISessionAuthorizer, NodeSshFactory
    from mezite.config.recordingbounds import RecordingConfig
    from mezite.recording.diskthreads import DiskThreads
    from mezite.ssh.hostkeys import HostKey, HostKeys, ReplaceableHostKey

    directory = Path(sys.argv[1])
    logins = sys.argv[2].split(",")
    users, hosts = SshAuthority.generate(), SshAuthority.generate()
    write_identity(directory, users, logins)
    keys = every_host_key() if "every-host-key" in sys.argv else [Ed25519PrivateKey.generate()]
    host_keys = [
        HostKey.of(
            key,
            sshissuing.issue_host(
                hosts,
                public_line(key),
                agent_id=AgentId.new(),
                principals=["db1"],
                serial=1,
                now=time.time(),
                lifetime=3600.0,
            ),
        )
        for key in keys
    ]
    known = [f"@cert-authority db1 {hosts.public_line()}"]
    if len(keys) > 1:
        known += [f"db1 {public_line(key)}" for key in keys]
    (directory / "known_hosts").write_text("\n".join(known) + "\n")

    @implementer(ISessionAuthorizer)
    class AllowsAllBut:
        def authorize(
            self, user: UserName, login: LoginName, session_id: str, requests: Sequence[str] = ()
        ) -> Deferred[SessionPermit]:
            allowed = str(login) != "daemon"
            return succeed(SessionPermit(allowed, f"{user} may not log in as {login} on db1"))

    def no_tunnel(header: StreamHeader) -> Any:
        raise TunnelDown()

    recording = RecordingService(
        data_dir=directory,
        config=RecordingConfig(),
        threads=DiskThreads(reactor),
        clock=reactor,
        wall_clock=time.time,
        open_stream=no_tunnel,
    )
    recording.startService()
    node = NodeSshFactory(
        host_key=ReplaceableHostKey(HostKeys(host_keys)),
        user_authorities=lambda: [users.public_blob],
        authorizer=AllowsAllBut(),
        accounts=SystemAccounts(threads.deferToThread, time.time, os.getuid()),
        reactor=reactor,
        wall_clock=time.time,
        node=NodeName.parse("db1"),
        own_uid=os.getuid(),
        recordings=recording.recordings,
    )

    class Streams(Factory[Protocol]):
        noisy = False

        def buildProtocol(self, addr: object) -> Protocol:
            header = StreamHeader(
                service="ssh",
                session_id=str(uuid.uuid4()),
                user="ada",
                client_address="192.0.2.7:4711",
            )
            return node.for_stream(header).buildProtocol(None)

    port = reactor.listenTCP(0, Streams(), interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    reactor.run()


if __name__ == "__main__":
    main()
