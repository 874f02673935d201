"""
The authorities' keys, as files in the data directory.

They are made once, as one set: the directory that holds them appears with all
of them in it, or not at all. After that nothing is ever made in the place of
something missing, because every node and every user trusts these keys.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from attrs import frozen
from twisted.logger import Logger

from mezite.identity.authority import SshAuthority, X509Authority
from mezite.identity.error import BadAuthority, WrongPassphrase
from mezite.names import ClusterName, InvalidName
from mezite.store.error import DataUnusable
from mezite.store.privatefiles import (
    is_there,
    make_private_directory,
    read_private,
    sync_directory,
    write_private,
)

_log = Logger()

DIRECTORY: Final = "keys"
USER_CA: Final = "user_ca.key"
HOST_CA: Final = "host_ca.key"
CLUSTER_CA: Final = "cluster_ca.key"
CLUSTER_CA_CERTIFICATE: Final = "cluster_ca.pem"
CLUSTER_NAME: Final = "cluster_name"
FILES: Final = (USER_CA, HOST_CA, CLUSTER_CA, CLUSTER_CA_CERTIFICATE, CLUSTER_NAME)

T = TypeVar("T")


@frozen
class Authorities:
    """Who signs for a cluster."""

    cluster: ClusterName
    user_ca: SshAuthority
    host_ca: SshAuthority
    cluster_ca: X509Authority


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
    missing = [name for name in FILES if not is_there(directory / name)]
    if len(missing) == len(FILES):
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
    return _load(directory, cluster, passphrase)


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


def _load(directory: Path, cluster: ClusterName, passphrase: str | None) -> Authorities:
    make_private_directory(directory, is_ours=True)
    holder = known_cluster(directory.parent)
    if holder is not None and holder != cluster:
        raise DataUnusable(
            f"the keys in {directory} are those of the cluster {holder}: set cluster_name to"
            f" {holder}, or give the cluster {cluster} another data_dir"
        )
    certificate = read_private(directory / CLUSTER_CA_CERTIFICATE)
    secret = _encoded(passphrase)
    return Authorities(
        cluster,
        user_ca=_open(directory / USER_CA, secret, SshAuthority.from_pem, SshAuthority.to_pem),
        host_ca=_open(directory / HOST_CA, secret, SshAuthority.from_pem, SshAuthority.to_pem),
        cluster_ca=_open(
            directory / CLUSTER_CA,
            secret,
            lambda pem, secret: X509Authority.from_pem(pem, certificate, secret),
            X509Authority.key_to_pem,
        ),
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
