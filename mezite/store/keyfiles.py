"""
The authorities' keys, as files in the data directory.

They are made once, as one set: the directory that holds them appears with all
of them in it, or not at all. After that nothing is ever made in the place of
something missing, because every node and every user trusts these keys. Keys
that a rotation makes lie beside them, and count once the manifest
(:mod:`mezite.store.keymanifest`) names them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from attrs import evolve, field, frozen
from twisted.logger import Logger
from zope.interface import Interface, implementer

from mezite.identity.authorities import Authorities
from mezite.identity.authority import SshAuthority, X509Authority
from mezite.identity.error import BadAuthority, WrongPassphrase
from mezite.identity.succession import Kind
from mezite.names import ClusterName, InvalidName
from mezite.store.error import DataUnusable
from mezite.store.keymanifest import (
    CERTIFICATE_FILE,
    FIRST,
    KEY_FILES,
    MANIFEST,
    Manifest,
    file_names,
    number_of,
)
from mezite.store.privatefiles import (
    is_there,
    make_private_directory,
    read_private,
    sync_directory,
    write_private,
)

_log = Logger()

DIRECTORY: Final = "keys"
USER_CA: Final = KEY_FILES[Kind.USER]
HOST_CA: Final = KEY_FILES[Kind.HOST]
CLUSTER_CA: Final = KEY_FILES[Kind.TLS]
CLUSTER_CA_CERTIFICATE: Final = CERTIFICATE_FILE
CLUSTER_NAME: Final = "cluster_name"
FILES: Final = (USER_CA, HOST_CA, CLUSTER_CA, CLUSTER_CA_CERTIFICATE, CLUSTER_NAME)

T = TypeVar("T")


class IAuthorityFiles(Interface):
    """Where authorities are kept; both methods block."""

    def fresh_number(kind: Kind) -> int:
        """A number that no authority of this kind has, nor ever had."""

    def keep(authorities: Authorities) -> None:
        """
        Put these in the place of what was kept, in one atomic step.

        Raises :class:`~mezite.store.error.DataUnusable`, and then nothing has
        changed. What is in neither of the two is forgotten.
        """


@implementer(IAuthorityFiles)
@frozen
class KeyFiles:
    """The authorities of one data directory, after :func:`load_or_create`."""

    _log = Logger()

    data_dir: Path
    passphrase: str | None = field(repr=False)

    def fresh_number(self, kind: Kind) -> int:
        directory = self.data_dir / DIRECTORY
        try:
            numbers = [number_of(kind, name) for name in os.listdir(directory)]
        except OSError as error:
            raise DataUnusable(f"{directory} cannot be read: {error.strerror}") from None
        # A key that a crash left behind was never used; it is not written over all the same.
        return max([1, *numbers]) + 1

    def keep(self, authorities: Authorities) -> None:
        directory = self.data_dir / DIRECTORY
        secret = _encoded(self.passphrase)
        for kind in Kind:
            succession = authorities.of(kind)
            if succession.other is not None:
                self._write_new(kind, succession.other_number, succession.other, secret)
        manifest = Manifest.of(authorities)
        write_private(directory / MANIFEST, manifest.encode())
        _remove_forgotten(directory, manifest)

    def _write_new(self, kind: Kind, number: int, authority: Any, secret: bytes | None) -> None:
        directory = self.data_dir / DIRECTORY
        key, *certificates = [directory / name for name in file_names(kind, number)]
        if is_there(key):
            return
        for path in certificates:
            write_private(path, authority.certificate_pem)
        to_pem = authority.key_to_pem if kind is Kind.TLS else authority.to_pem
        write_private(key, to_pem(secret))


def known_cluster(data_dir: Path) -> ClusterName | None:
    """
    The cluster whose keys are in this data directory, if there are any.

    :raises DataUnusable:
    """
    path = data_dir / DIRECTORY / CLUSTER_NAME
    if not is_there(path):
        return None
    try:
        return ClusterName.parse(read_private(path).decode("ascii").strip())
    except (UnicodeDecodeError, InvalidName):
        raise DataUnusable(f"{path} does not hold a cluster's name") from None


def load_or_create(
    data_dir: Path,
    cluster: ClusterName,
    now: float,
    passphrase: str | None,
    *,
    database: Path | None = None,
) -> Authorities:
    """
    The authorities of a data directory; they are made if it holds none of their files.

    Keys that are not encrypted yet are, as soon as there is a passphrase. A
    ``database`` that exists says that there were keys, so none are made.

    :raises DataUnusable: the set is not whole, cannot be read or written, is
        another cluster's, or does not open with this passphrase.
    """
    directory = data_dir / DIRECTORY
    manifest = _manifest(directory)
    needed = [*(manifest or FIRST).files(), CLUSTER_NAME]
    missing = [name for name in needed if not is_there(directory / name)]
    if len(missing) == len(needed) and manifest is None:
        if database is not None and is_there(database) and database.stat().st_size:
            raise DataUnusable(
                f"{database} is there, but the keys in {directory} are gone; put them back from a"
                " backup, or move the database away to begin with new keys and no nodes"
            )
        return _create(data_dir, cluster, now, passphrase)
    if missing:
        raise DataUnusable(
            f"{directory / missing[0]} is missing; put it back from a backup, because new keys"
            " would shut out every node and user"
        )
    return _load(directory, cluster, passphrase, manifest or FIRST)


def _manifest(directory: Path) -> Manifest | None:
    path = directory / MANIFEST
    if not is_there(path):
        return None
    try:
        return Manifest.parse(read_private(path))
    except ValueError:
        raise DataUnusable(
            f"{path} is damaged, or of a newer Mezite; put it back from a backup"
        ) from None


def _create(
    data_dir: Path, cluster: ClusterName, now: float, passphrase: str | None
) -> Authorities:
    authorities = Authorities(
        cluster,
        SshAuthority.generate(),
        SshAuthority.generate(),
        X509Authority.generate(cluster, now),
    )
    secret = _encoded(passphrase)
    make_private_directory(data_dir)
    fresh = data_dir / f".{DIRECTORY}.new"
    try:
        # What a crash left here was never used: its rename is what makes keys exist.
        if is_there(fresh):
            shutil.rmtree(fresh)
        fresh.mkdir(mode=0o700)
        fresh.chmod(0o700)
        write_private(fresh / USER_CA, authorities.user_ca.to_pem(secret))
        write_private(fresh / HOST_CA, authorities.host_ca.to_pem(secret))
        write_private(fresh / CLUSTER_CA, authorities.cluster_ca.key_to_pem(secret))
        write_private(fresh / CLUSTER_CA_CERTIFICATE, authorities.cluster_ca.certificate_pem)
        write_private(fresh / CLUSTER_NAME, f"{cluster}\n".encode())
        # Fails if the directory has come to hold anything: nothing is ever written over.
        fresh.rename(data_dir / DIRECTORY)
        sync_directory(data_dir)
    except OSError as error:
        raise DataUnusable(f"{data_dir / DIRECTORY} cannot be written: {error.strerror}") from None
    return authorities


def _load(
    directory: Path, cluster: ClusterName, passphrase: str | None, manifest: Manifest
) -> Authorities:
    make_private_directory(directory, is_ours=True)
    holder = known_cluster(directory.parent)
    if holder is not None and holder != cluster:
        raise DataUnusable(
            f"the keys in {directory} are those of the cluster {holder}: set cluster_name to"
            f" {holder}, or give the cluster {cluster} another data_dir"
        )
    secret = _encoded(passphrase)
    loaded = {
        kind: evolve(
            each,
            signing=_load_one(directory, kind, each.number, secret),
            other=_load_one(directory, kind, each.other_number, secret)
            if each.other_number
            else None,
        )
        for kind, each in manifest.successions.items()
    }
    _remove_forgotten(directory, manifest)
    return Authorities(
        cluster,
        loaded[Kind.USER],
        loaded[Kind.HOST],
        loaded[Kind.TLS],
        generation=manifest.generation,
    )


def _load_one(directory: Path, kind: Kind, number: int, secret: bytes | None) -> Any:
    key, *certificates = [directory / name for name in file_names(kind, number)]
    if kind is not Kind.TLS:
        return _open(key, secret, SshAuthority.from_pem, SshAuthority.to_pem)
    certificate = read_private(certificates[0])
    return _open(
        key,
        secret,
        lambda pem, secret: X509Authority.from_pem(pem, certificate, secret),
        X509Authority.key_to_pem,
    )


def _remove_forgotten(directory: Path, manifest: Manifest) -> None:
    """Remove keys that count no more; what cannot be removed now is at the next start."""
    for name in manifest.forgotten():
        path = directory / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            _log.warn(
                "{path} counts no more, and cannot be removed: {reason}",
                path=str(path),
                reason=error.strerror,
            )


def _open(
    path: Path,
    secret: bytes | None,
    from_pem: Callable[[bytes, bytes | None], T],
    to_pem: Callable[[T, bytes | None], bytes],
) -> T:
    """The authority of a key file, which is encrypted afterwards if there is a secret."""
    pem = read_private(path)
    try:
        try:
            return from_pem(pem, secret)
        except WrongPassphrase:
            if secret is None:
                raise
            authority = _in_the_clear(pem, from_pem)
            if authority is None:
                raise
    except WrongPassphrase as error:
        raise DataUnusable(f"{path}: {error}; check ca_key_passphrase") from None
    except BadAuthority as error:
        raise DataUnusable(f"{path}: {error}; put it back from a backup") from None
    write_private(path, to_pem(authority, secret))
    _log.info("{path} was not encrypted; it is now", path=str(path))
    return authority


def _in_the_clear(pem: bytes, from_pem: Callable[[bytes, bytes | None], T]) -> T | None:
    try:
        return from_pem(pem, None)
    except BadAuthority:
        return None


def _encoded(passphrase: str | None) -> bytes | None:
    return passphrase.encode() if passphrase is not None else None
