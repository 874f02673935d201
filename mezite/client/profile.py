"""
The logins of a person: what each is for, and its keys and certificates.

:class:`Profiles` owns the files below ``~/.msh`` (``MSH_HOME``). Each is
written whole or not at all, and only its owner may read it. Making keys and
asking for certificates is left to :mod:`mezite.client.login`.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from attrs import field, frozen

from mezite.client import places
from mezite.client.error import DamagedProfile, LoginExpired, NotLoggedIn
from mezite.error import BadInput
from mezite.names import ClusterName, HostPort, LoginName, UserName

# Of each login, what proves who the user is; the rest may outlive a logout.
_SECRETS: Final = (
    places.SSH_KEY,
    places.SSH_PUBLIC_KEY,
    places.SSH_CERTIFICATE,
    places.TLS_KEY,
    places.TLS_CERTIFICATE,
)
# A login has two certificates of about 1 KB, and the authorities' of 1 KB each.
_FILE_LIMIT: Final = 262144


@frozen
class Credentials:
    """What a login consists of, as it stands in its files."""

    ssh_key: bytes = field(repr=False)
    ssh_public_line: str
    ssh_certificate: str
    tls_key: bytes = field(repr=False)
    tls_certificate: bytes
    cluster_ca: bytes
    host_authorities: tuple[str, ...]


@frozen
class Profile:
    """
    One login at one hub.

    ``valid_before`` is 0 after a logout: who it was is remembered, and the
    hub's authority, but there are no keys.
    """

    directory: Path
    hub: HostPort
    hub_name: str
    cluster: ClusterName
    user: UserName
    logins: tuple[LoginName, ...]
    valid_before: float
    # Connections to nodes that are cut are taken up again.
    resumes: bool = True

    def path(self, name: str) -> Path:
        """The path of one of the files in :mod:`mezite.client.places`."""
        return self.directory / name

    def read(self, name: str) -> bytes:
        """
        The content of a file of the login.

        :raises DamagedProfile: if it is not there, or cannot be read.
        """
        try:
            with open(self.path(name), "rb") as file:
                return file.read(_FILE_LIMIT)
        except OSError as error:
            raise DamagedProfile(
                f"{self.path(name)} cannot be read ({_reason(error)}): run msh login"
            ) from None

    def check_valid(self, now: float) -> None:
        """
        Make sure that there are certificates, and that they have not ended.

        :raises NotLoggedIn: or :class:`LoginExpired`.
        """
        if self.valid_before == 0:
            raise NotLoggedIn
        if self.valid_before <= now:
            raise LoginExpired


@frozen
class Profiles:
    """All logins below one directory."""

    home: Path = field(factory=lambda: Path(places.home()))

    def directory_of(self, hub: HostPort) -> Path:
        return Path(places.directory_of(hub.host, hub.port, str(self.home)))

    def load(self, hub: HostPort | None = None) -> Profile:
        """
        The login at this hub, or the latest login.

        :raises NotLoggedIn: if there never was one.
        :raises DamagedProfile: if its files make no sense.
        """
        profile = self.remembered(hub)
        if profile is None:
            if hub is None:
                raise NotLoggedIn
            raise NotLoggedIn(f"you are not logged in to {hub}: run msh login --proxy {hub}")
        return profile

    def remembered(self, hub: HostPort | None = None) -> Profile | None:
        """The login at this hub, or the latest login, if there ever was one."""
        if hub is not None:
            directory = self.directory_of(hub)
        else:
            current = places.current(str(self.home))
            if current is None:
                return None
            directory = Path(current)
        path = directory / places.PROFILE
        try:
            text = path.read_text(encoding="utf-8")[: places.PROFILE_LIMIT]
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            reason = _reason(error) if isinstance(error, OSError) else "it is not text"
            raise DamagedProfile(f"{path} cannot be read: {reason}") from None
        return _parse(directory, text)

    def known_authority(self, hub: HostPort) -> bytes | None:
        """The authority that an earlier login at this hub trusted, PEM."""
        try:
            with open(self.directory_of(hub) / places.CLUSTER_CA, "rb") as file:
                return file.read(_FILE_LIMIT) or None
        except OSError:
            return None

    def save(self, profile: Profile, credentials: Credentials) -> None:
        """Write a login over the one before it, and make it the latest."""
        contents = {
            places.SSH_KEY: credentials.ssh_key,
            places.SSH_PUBLIC_KEY: _line(credentials.ssh_public_line),
            places.SSH_CERTIFICATE: _line(credentials.ssh_certificate),
            places.TLS_KEY: credentials.tls_key,
            places.TLS_CERTIFICATE: credentials.tls_certificate,
            places.CLUSTER_CA: credentials.cluster_ca,
            places.KNOWN_HOSTS: known_hosts(credentials.host_authorities),
            # Last, because it says that the others are there.
            places.PROFILE: _format(profile),
        }
        for directory in (self.home, profile.directory):
            _make_private_directory(directory)
        for name, content in contents.items():
            write_private(profile.path(name), content)
        write_private(self.home / places.CURRENT, _line(profile.directory.name))

    def trust(self, profile: Profile, cluster_ca: bytes, host_lines: Sequence[str]) -> bool:
        """
        Trust these authorities from now on; whether they are others than before.

        Only for what the hub said on a connection that had proved to be the hub's.
        """
        known = known_hosts(host_lines)
        if not cluster_ca or not known:
            return False
        is_news = False
        for name, content in ((places.CLUSTER_CA, cluster_ca), (places.KNOWN_HOSTS, known)):
            if profile.read(name) != content:
                write_private(profile.path(name), content)
                is_news = True
        return is_news

    def log_out(self, profile: Profile) -> None:
        """Remove the keys and certificates; who it was, and the hub's authority, stay."""
        ended = Profile(
            directory=profile.directory,
            hub=profile.hub,
            hub_name=profile.hub_name,
            cluster=profile.cluster,
            user=profile.user,
            logins=(),
            valid_before=0,
            resumes=profile.resumes,
        )
        for name in _SECRETS:
            try:
                profile.path(name).unlink(missing_ok=True)
            except OSError as error:
                raise DamagedProfile(
                    f"{profile.path(name)} cannot be removed: {_reason(error)}"
                ) from None
        write_private(profile.path(places.PROFILE), _format(ended))


def default_login(logins: Iterable[LoginName], local_user: str) -> LoginName | None:
    """Who to be on a node when nothing was said: oneself, or else the first that may be."""
    allowed = tuple(logins)
    for login in allowed:
        if login.text == local_user:
            return login
    return allowed[0] if allowed else None


def write_private(path: Path, content: bytes) -> None:
    """
    Write a file that only its owner may read, whole or not at all.

    :raises BadInput: if it cannot be written.
    """
    temporary: str | None = None
    try:
        # mkstemp makes it 0600 from its first moment.
        number, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(number, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise BadInput(f"{path} cannot be written: {_reason(error)}") from None


def known_hosts(authorities: Sequence[str]) -> bytes:
    """
    The authorities of nodes' host keys, as OpenSSH's ssh reads them.

    The pattern is ``*`` because ssh compares it with what was typed, and any
    name may be a node's; the file is named only in blocks for nodes.
    """
    return b"".join(_line(f"@cert-authority * {line.strip()}") for line in authorities)


def host_authorities(profile: Profile) -> tuple[str, ...]:
    """The authorities of nodes' host keys, one public key line each."""
    text = profile.read(places.KNOWN_HOSTS).decode("utf-8", "replace")
    lines = [line.split(" ", 2) for line in text.splitlines() if line.startswith("@cert-")]
    return tuple(line[2] for line in lines if len(line) == 3)


def _line(text: str) -> bytes:
    return text.strip().encode() + b"\n"


def _make_private_directory(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"{path} cannot be made: {_reason(error)}") from None


def _format(profile: Profile) -> bytes:
    fields = {
        "hub": str(profile.hub),
        "hub_name": profile.hub_name,
        "cluster": profile.cluster.text,
        "user": profile.user.text,
        "logins": [login.text for login in profile.logins],
        "valid_before": profile.valid_before,
        "resumes": profile.resumes,
    }
    return json.dumps(fields, indent=2).encode() + b"\n"


def _parse(directory: Path, text: str) -> Profile:
    try:
        fields = json.loads(text)
        return Profile(
            directory=directory,
            hub=HostPort.parse(fields["hub"]),
            hub_name=str(fields["hub_name"]),
            cluster=ClusterName.parse(fields["cluster"]),
            user=UserName.parse(fields["user"]),
            logins=tuple(LoginName.parse(login) for login in fields["logins"]),
            valid_before=float(fields["valid_before"]),
            # Logins of before do not say.
            resumes=fields.get("resumes", True) is not False,
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedProfile(
            f"{directory / places.PROFILE} is damaged: remove it and run msh login"
        ) from None


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
