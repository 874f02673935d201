"""
The settings of a hub.

:func:`load_hub` makes one :class:`HubConfig` of defaults, file, environment
and options; after it, nothing asks where a value came from.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import attrs
from attrs import field, frozen

from mezite.config import keys
from mezite.config.audit import AuditConfig, load_audit
from mezite.config.error import ConfigError
from mezite.config.keys import DEFAULT_PORT, LogFormat, LogLevel
from mezite.config.machine import Machine
from mezite.config.recordings import RecordingsConfig, load_recordings
from mezite.config.settings import DEFAULT_FILE, Found, Settings
from mezite.config.webhooks import Webhook
from mezite.identity.networks import Networks
from mezite.identity.requests import LONGEST_WINDOW
from mezite.identity.secondfactor import SecondFactorPolicy
from mezite.names import ClusterName, HostPort, InvalidName, is_address

# For a machine whose own name cannot stand in a certificate.
_FALLBACK_CLUSTER: Final = "mezite"


# A node's own certificate ends then, so that it could not come back by itself anyway.
DEFAULT_KEEP_OFFLINE: Final = 30 * 86400.0
# A command or a copy may come to its end; whoever restarts a hub does not wait much longer.
DEFAULT_DRAIN_GRACE: Final = 30.0


@frozen
class HubConfig:
    """
    What a hub needs to know before it starts.

    ``cluster_name_is_given`` tells a name that somebody chose from the
    machine's own: keys that exist already may then decide otherwise.
    ``log_format`` is None where ``twist`` may choose. ``warnings`` are sentences
    for the log. ``balancers`` begin their connections with a PROXY header, and
    ``forwarders`` are believed when they say in HTTP for whom they ask.
    ``keep_offline`` is None where nodes that are offline stay known for ever.
    """

    cluster_name: ClusterName
    cluster_name_is_given: bool
    data_dir: Path
    listen: HostPort
    public_addr: HostPort
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat | None = None
    ca_key_passphrase: str | None = field(default=None, repr=False)
    balancers: Networks = ()
    forwarders: Networks = ()
    # Seconds that sessions have to end when the hub is stopped.
    drain_grace: float = DEFAULT_DRAIN_GRACE
    # Processes that share the port; one is the hub itself.
    workers: int = 1
    tls_cert_file: Path | None = None
    tls_key_file: Path | None = None
    second_factor: SecondFactorPolicy = SecondFactorPolicy.OPTIONAL
    database_driver: str = "sqlite"
    keep_offline: float | None = DEFAULT_KEEP_OFFLINE
    # The longest that an approved access request lasts, in seconds.
    requests_max_duration: float = LONGEST_WINDOW
    webhooks: tuple[Webhook, ...] = ()
    audit: AuditConfig = field(factory=AuditConfig)
    recordings: RecordingsConfig = field(factory=RecordingsConfig)
    warnings: tuple[str, ...] = ()

    @property
    def hub_name(self) -> str:
        """The name under which nodes stand in SNI, as in ``db1.<hub_name>``."""
        return self.hub_names[0]

    @property
    def hub_names(self) -> tuple[str, ...]:
        """Every name the hub answers to, its :attr:`hub_name` first."""
        cluster = self.cluster_name.text
        public = self.public_addr.host
        if is_address(public) or public == cluster:
            return (cluster,)
        return (public, cluster)

    @property
    def database_file(self) -> Path:
        """Where SQLite keeps its database."""
        return self.data_dir / "mezite.sqlite"

    def listening_on(self, port: int) -> HubConfig:
        """The same, once the system has chosen the port that was left open with 0."""
        listen = attrs.evolve(self.listen, port=port)
        public = self.public_addr
        if public.port == 0:
            public = attrs.evolve(public, port=port)
        return attrs.evolve(self, listen=listen, public_addr=public)


def load_hub(
    options: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    machine: Machine | None = None,
    default_file: Path = DEFAULT_FILE,
) -> HubConfig:
    """
    Defaults < YAML file < ``MEZITE_*`` environment < options.

    ``options`` maps the long names of options (``config``, ``data-dir``,
    ``listen``, ``public-addr``, ``cluster-name``) to what was given; an absent
    one and None both mean that nothing was.

    :raises ConfigError:
    """
    machine = machine or Machine.here()
    settings = Settings.gather(keys.ALL, options, environ, default_file=default_file)
    # First what is not in this release: it explains whatever else looks wrong.
    driver = settings.get(keys.DATABASE_DRIVER, "sqlite")
    for setting in keys.FOR_POSTGRES:
        settings.find(setting)
    cluster = settings.find(keys.CLUSTER_NAME)
    listen = settings.get(keys.LISTEN, HostPort("0.0.0.0", DEFAULT_PORT))  # noqa: S104
    certificate = settings.find_path(keys.TLS_CERT_FILE)
    key = settings.find_path(keys.TLS_KEY_FILE)
    _check_pair(certificate, key)
    return HubConfig(
        cluster_name=cluster.value if cluster is not None else _own_cluster_name(machine),
        cluster_name_is_given=cluster is not None,
        data_dir=settings.get_path(keys.DATA_DIR, machine.data_home / "mezite"),
        listen=listen,
        public_addr=_public_address(settings.get(keys.PUBLIC, None), listen, machine),
        log_level=settings.get(keys.LOG_LEVEL, LogLevel.INFO),
        log_format=settings.get(keys.LOG_FORMAT, None),
        ca_key_passphrase=settings.get(keys.CA_KEY_PASSPHRASE, None),
        drain_grace=settings.get(keys.DRAIN_GRACE, DEFAULT_DRAIN_GRACE),
        workers=settings.get(keys.WORKERS, 1),
        balancers=settings.get(keys.BALANCERS, ()),
        forwarders=settings.get(keys.FORWARDERS, ()),
        tls_cert_file=certificate.value if certificate is not None else None,
        tls_key_file=key.value if key is not None else None,
        second_factor=settings.get(keys.SECOND_FACTOR, SecondFactorPolicy.OPTIONAL),
        database_driver=driver,
        keep_offline=settings.get(keys.KEEP_OFFLINE, DEFAULT_KEEP_OFFLINE),
        requests_max_duration=settings.get(keys.REQUESTS_MAX_DURATION, LONGEST_WINDOW),
        webhooks=_webhooks(settings),
        audit=load_audit(settings),
        recordings=load_recordings(settings),
        warnings=settings.warnings(keys.ALL),
    )


def _own_cluster_name(machine: Machine) -> ClusterName:
    try:
        return ClusterName.parse(machine.host_name)
    except InvalidName:
        return ClusterName(_FALLBACK_CLUSTER)


def _public_address(given: HostPort | None, listen: HostPort, machine: Machine) -> HostPort:
    if given is not None:
        return given if given.port else HostPort(given.host, listen.port)
    if not ipaddress.ip_address(listen.host).is_unspecified:
        return listen
    try:
        return HostPort.parse(machine.host_name, default_port=listen.port)
    except InvalidName:
        return HostPort("localhost", listen.port)


def _webhooks(settings: Settings) -> tuple[Webhook, ...]:
    found = settings.find(keys.REQUESTS_WEBHOOKS)
    if found is None:
        return ()
    return tuple(each.below(found.directory or Path.cwd()) for each in found.value)


def _check_pair(certificate: Found[Path] | None, key: Found[Path] | None) -> None:
    for one, other in ((certificate, keys.TLS_KEY_FILE), (key, keys.TLS_CERT_FILE)):
        if one is not None and (certificate is None or key is None):
            raise ConfigError(f"{one.where}: {other.key} must be set with it")
