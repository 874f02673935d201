"""
What an agent keeps on disk: its keys, its certificates, and whom it trusts.

A :class:`StateDirectory` owns the files. Keys are made here and never leave;
every file is private and written in one step, and ``identity.json``, written
last, says that the node has joined. What cannot be read is reported and left
alone, because keys that are overwritten are gone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from mezite.agent.error import BadIssue, BrokenState, StateInUse
from mezite.agent.membership import Issued, Membership, NodeKeys
from mezite.identity.x509 import NodeIdentity
from mezite.names import AgentId, ClusterName, HostPort, NodeName

_IDENTITY: Final = "identity.json"
_SSH_KEY: Final = "ssh_host_key"
_SSH_CERTIFICATE: Final = "ssh_host_key-cert.pub"
_TLS_KEY: Final = "tls.key"
_TLS_CERTIFICATE: Final = "tls.crt"
_CLUSTER_CA: Final = "ca.pem"
_USER_CA: Final = "user_ca.pub"
_FILES: Final = (_SSH_KEY, _SSH_CERTIFICATE, _TLS_KEY, _TLS_CERTIFICATE, _CLUSTER_CA, _USER_CA)
_LOCK: Final = "lock"
# Within one second nobody joins more often.
_ASIDE_TRIES: Final = 100
_FORMAT: Final = 1
# The largest honest file is a certificate with a few hundred names.
_FILE_LIMIT: Final = 256 * 1024
# What reading a file ends in that somebody wrote, or a disk: any JSON may stand in one of them.
_UNREADABLE: Final = (
    OSError,
    ValueError,
    UnsupportedAlgorithm,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)


@frozen
class StateDirectory:
    """The files of one agent."""

    path: Path

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except _UNREADABLE as error:
            reason = error.strerror if isinstance(error, OSError) else "its content is damaged"
            raise BrokenState(f"{self.path / name} cannot be read: {reason}. {_CURE}") from None

    def prepare(self) -> int:
        """
        Make the directory if there is none, and take it for this process.

        The lock is held until the returned descriptor is closed.

        :raises StateInUse:
        :raises BrokenState: the directory cannot be made or written.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(self.path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise BrokenState(
                f"the data directory {self.path} cannot be used: {error.strerror}"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise StateInUse(
                f"another mezd is running with the data directory {self.path};"
                " stop it, or give this one its own --data-dir"
            ) from None
        return lock

    def load(self) -> Membership | None:
        """
        The membership on disk; None if the node has not joined.

        :raises BrokenState: something is there that cannot be used.
        """
        if not (self.path / _IDENTITY).exists():
            return None
        keys = self._load_keys()
        with self._naming(_IDENTITY):
            said = json.loads(self._read(_IDENTITY))
            if said["format"] != _FORMAT:
                raise BrokenState(
                    f"{self.path / _IDENTITY} was written by another version of mezd;"
                    " start that version, or one that is newer"
                )
            identity = NodeIdentity(
                ClusterName.parse(said["cluster"]),
                AgentId.parse(said["agent_id"]),
                NodeName.parse(said["node"]),
            )
            hub, hub_name = HostPort.parse(said["hub"]), str(said["hub_name"])
            # Not there in what an older mezd wrote.
            generation = int(said.get("generation", 0))
        issued = Issued(
            hub_name=hub_name,
            ssh_certificate=self._read_named(_SSH_CERTIFICATE).strip(),
            tls_certificate_pem=self._read_named(_TLS_CERTIFICATE).encode(),
            cluster_ca_pem=self._read_named(_CLUSTER_CA).encode(),
            user_ca=tuple(self._read_named(_USER_CA).splitlines()),
            generation=generation,
        )
        try:
            membership = Membership.of(hub, keys, issued)
        except BadIssue as error:
            raise BrokenState(f"the files in {self.path} do not fit: {error}. {_CURE}") from None
        if membership.identity.agent_id != identity.agent_id:
            raise BrokenState(
                f"{self.path / _IDENTITY} and {_TLS_CERTIFICATE} are those of two nodes. {_CURE}"
            )
        return membership

    def keys(self) -> NodeKeys:
        """
        The keys that are here; made first if there are none.

        :raises BrokenState:
        """
        present = [(self.path / name).exists() for name in (_SSH_KEY, _TLS_KEY)]
        if any(present):
            return self._load_keys()
        keys = NodeKeys.generate()
        self._write_keys(keys)
        return keys

    def replace(self, keys: NodeKeys, membership: Membership, now: float) -> Path:
        """
        Put what cannot be used aside, and write these keys and this membership.

        Nothing is deleted: the old files are in the directory that is returned,
        which is in this one and named by the time.

        :raises BrokenState: a file cannot be moved or written.
        """
        moment = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
        for number in range(_ASIDE_TRIES):
            aside = self.path / (f"aside-{moment}-{number}" if number else f"aside-{moment}")
            try:
                aside.mkdir(mode=0o700)
            except FileExistsError:
                continue
            except OSError as error:
                raise BrokenState(f"{aside} cannot be made: {error.strerror}") from None
            break
        # What says that the node has joined goes first, so that a crash in between
        # leaves a node that has not joined and whose files are all there.
        for name in (_IDENTITY, *_FILES):
            try:
                (self.path / name).rename(aside / name)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise BrokenState(
                    f"{self.path / name} cannot be moved to {aside}: {error.strerror}"
                ) from None
        self._write_keys(keys)
        self.save(membership)
        return aside

    def _write_keys(self, keys: NodeKeys) -> None:
        pem = keys.ssh.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        self._write(_SSH_KEY, pem)
        self._write(_TLS_KEY, keys.tls_pem)

    def save(self, membership: Membership) -> None:
        """
        Write all but the keys; ends with the file that says the node has joined.

        :raises BrokenState: a file cannot be written.
        """
        issued = membership.certificates
        self._write(_SSH_CERTIFICATE, issued.ssh_certificate.encode() + b"\n")
        self._write(_TLS_CERTIFICATE, issued.tls_certificate_pem)
        self._write(_CLUSTER_CA, issued.cluster_ca_pem)
        self._write(_USER_CA, "".join(f"{line}\n" for line in issued.user_ca).encode())
        said = {
            "format": _FORMAT,
            "cluster": membership.identity.cluster.text,
            "agent_id": membership.identity.agent_id.text,
            "node": membership.identity.node.text,
            "hub": str(membership.hub),
            "hub_name": issued.hub_name,
            "generation": issued.generation,
        }
        self._write(_IDENTITY, json.dumps(said, indent=2).encode() + b"\n")

    def _load_keys(self) -> NodeKeys:
        with self._naming(_SSH_KEY):
            ssh = load_ssh_private_key(self._read(_SSH_KEY).encode(), None)
            if not isinstance(ssh, Ed25519PrivateKey):
                raise ValueError
        with self._naming(_TLS_KEY):
            tls = load_pem_private_key(self._read(_TLS_KEY).encode(), None)
            if not isinstance(tls, ec.EllipticCurvePrivateKey):
                raise ValueError
        return NodeKeys(ssh, tls)

    def _read_named(self, name: str) -> str:
        with self._naming(name):
            return self._read(name)

    def _read(self, name: str) -> str:
        with (self.path / name).open("rb") as file:
            data = file.read(_FILE_LIMIT + 1)
        if len(data) > _FILE_LIMIT:
            raise ValueError
        return data.decode("utf-8")

    def _write(self, name: str, data: bytes) -> None:
        """Replace a file in one step, so that a crash leaves the old or the new one."""
        try:
            self._replace(name, data)
        except OSError as error:
            raise BrokenState(f"{self.path / name} cannot be written: {error.strerror}") from None

    def _replace(self, name: str, data: bytes) -> None:
        target = self.path / name
        draft = self.path / f".{name}.new"
        with contextlib.suppress(FileNotFoundError):
            draft.unlink()
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        draft.replace(target)
        directory = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


_CURE: Final = (
    "Restore it from a backup; or run mezctl nodes allow-rejoin on the hub, and start mezd with"
    " what it prints: the files are put aside then, and nothing needs to be deleted"
)
