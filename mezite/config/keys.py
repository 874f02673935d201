"""
Every setting there is.

One file may hold the settings of hub and agent, so both programs know all
the keys, and an unknown one is a mistake for either. What the values mean
together is decided in :mod:`mezite.config.hub` and :mod:`mezite.config.agent`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mezite.config import audit, recordings
from mezite.config.document import Section, Value
from mezite.config.durations import parse_duration_between
from mezite.config.hubplaces import DEFAULT_PORT as DEFAULT_PORT
from mezite.config.hubplaces import hub_places
from mezite.config.labelcommands import label_commands
from mezite.config.recordingbounds import BoundsSettings
from mezite.config.settings import Setting, a_path, one_of, one_text, text_as, texts
from mezite.config.webhooks import webhooks
from mezite.identity.authority import parse_pin
from mezite.identity.networks import Networks, parse_network
from mezite.identity.secondfactor import SecondFactorPolicy
from mezite.names import (
    ClusterName,
    HostPort,
    NodeName,
    check_labels,
    is_address,
    parse_labels,
)

# The key derivation takes any length; a longer one is a file given by mistake.
_PASSPHRASE_LENGTH: Final = 1024
_TOKEN: Final = re.compile(r"[\x21-\x7e]{8,256}")
# As AcceptEnv in sshd_config(5), but never "*" alone: LD_PRELOAD must not be let in by accident.
_ENV_PATTERN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}\*?")
_ENV_PATTERNS: Final = 64
# Each is compared with the address of each new connection.
_BALANCERS: Final = 64


# Of any machine that is worth one hub; each takes 60 MB and a socket to each other one.
WORKERS_LIMIT: Final = 64

# A few screens; it is sent before anybody has proved who they are.
BANNER_LENGTH: Final = 8192


class LogLevel(enum.Enum):
    """The least level that is written."""

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    CRITICAL = "critical"


class LogFormat(enum.Enum):
    """How a log line is written."""

    TEXT = "text"
    JSON = "json"


def _log_level(value: Value) -> LogLevel:
    return LogLevel(one_of([level.value for level in LogLevel])(value))


def _log_format(value: Value) -> LogFormat:
    return LogFormat(one_of([form.value for form in LogFormat])(value))


def _second_factor(value: Value) -> SecondFactorPolicy:
    return SecondFactorPolicy(one_of([policy.value for policy in SecondFactorPolicy])(value))


def _listen(text: str) -> HostPort:
    address = HostPort.parse(text, default_port=DEFAULT_PORT)
    if address.host == "localhost":
        return HostPort("127.0.0.1", address.port)
    if not is_address(address.host):
        raise ValueError(
            f"{text[:80]!r} is not an address to listen on: write IP:PORT,"
            " as in 0.0.0.0:3080 or [::]:3080"
        )
    return address


def _public(text: str) -> HostPort:
    # Port 0 means here: the one that is listened on.
    address = HostPort.parse(text, default_port=0)
    if address.host in ("0.0.0.0", "::"):  # noqa: S104 - it is refused
        raise ValueError(f"{text[:80]!r} is no address that others can connect to")
    return address


def _balancers(value: Value) -> Networks:
    networks = tuple(parse_network(text) for text in texts(value))
    if len(networks) > _BALANCERS:
        raise ValueError(f"at most {_BALANCERS} networks are accepted")
    return networks


def _driver(value: Value) -> str:
    text = one_text(value)
    if text == "postgres":
        raise ValueError("PostgreSQL is not in this release; use sqlite")
    return one_of(["sqlite"])(value)


def _for_postgres(value: Value) -> None:
    raise ValueError(
        "it is for PostgreSQL, which is not in this release; SQLite needs no setup,"
        " and keeps its database in data_dir"
    )


def _passphrase(value: Value) -> str:
    text = one_text(value)
    if len(text) > _PASSPHRASE_LENGTH:
        raise ValueError(f"a passphrase has at most {_PASSPHRASE_LENGTH} characters")
    return text


def _token(text: str) -> str:
    if not _TOKEN.fullmatch(text):
        raise ValueError("this is not a join token; make one with: mezctl tokens create")
    return text


def _labels(value: Value) -> Mapping[str, str]:
    if isinstance(value, Section):
        return check_labels(
            {
                key: "" if _is_empty(entry.value) else one_text(entry.value)
                for key, entry in value.entries.items()
            }
        )
    return parse_labels(texts(value))


def _is_empty(value: Value) -> bool:
    return getattr(value, "text", None) == ""


def _env_patterns(value: Value) -> tuple[str, ...]:
    patterns = texts(value)
    if len(patterns) > _ENV_PATTERNS:
        raise ValueError(f"at most {_ENV_PATTERNS} patterns are accepted")
    for pattern in patterns:
        if not _ENV_PATTERN.fullmatch(pattern):
            raise ValueError(
                f"{pattern[:80]!r} is not a variable's name, nor the beginning of one and a *"
            )
    return patterns


def _gateway_ports(value: Value) -> bool:
    """Whether clients may say where a port listens, in OpenSSH's words."""
    return one_of(["no", "clientspecified"])(value) == "clientspecified"


def _banner(value: Value) -> str:
    text = one_text(value)
    if len(text) > BANNER_LENGTH or not all(char.isprintable() or char in "\n\t" for char in text):
        raise ValueError(f"a banner is plain text of at most {BANNER_LENGTH} characters")
    return text


def _keep_offline(value: Value) -> float | None:
    """For how long a node that is offline stays known; None means for ever."""
    text = one_text(value)
    return None if text == "forever" else parse_duration_between(text, "1h", "3650d")


def _grace(value: Value) -> float:
    text = one_text(value)
    return 0.0 if text in ("0", "0s") else parse_duration_between(text, "1s", "1h")


def _workers(value: Value) -> int:
    text = one_text(value)
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= WORKERS_LIMIT):
        raise ValueError(f"{text[:20]!r} is not a number of workers: write 1 to {WORKERS_LIMIT}")
    return int(text)


def _window(text: str) -> float:
    return parse_duration_between(text, "1m", "24h")


CLUSTER_NAME: Final = Setting("cluster_name", text_as(ClusterName.parse), "cluster-name")
DATA_DIR: Final = Setting("data_dir", a_path, "data-dir")
# The agent's --data-dir is for its own directory, so it looks at this key without an option.
DATA_DIR_OF_BOTH: Final = Setting("data_dir", a_path)
LOG_LEVEL: Final = Setting("log.level", _log_level)
LOG_FORMAT: Final = Setting("log.format", _log_format)
CA_KEY_PASSPHRASE: Final = Setting("ca_key_passphrase", _passphrase, is_secret=True)
LISTEN: Final = Setting("proxy.listen_addr", text_as(_listen), "listen")
PUBLIC: Final = Setting("proxy.public_addr", text_as(_public), "public-addr")
BALANCERS: Final = Setting("proxy.proxy_protocol_sources", _balancers)
FORWARDERS: Final = Setting("proxy.forwarded_for_sources", _balancers)
DRAIN_GRACE: Final = Setting("proxy.drain_grace", _grace)
WORKERS: Final = Setting("mezhub.workers", _workers)
TLS_CERT_FILE: Final = Setting("proxy.tls_cert_file", a_path)
TLS_KEY_FILE: Final = Setting("proxy.tls_key_file", a_path)
KEEP_OFFLINE: Final = Setting("nodes.keep_offline", _keep_offline)
SECOND_FACTOR: Final = Setting("auth.second_factor", _second_factor)
DATABASE_DRIVER: Final = Setting("database.driver", _driver)
FOR_POSTGRES: Final = tuple(
    Setting(f"database.{name}", _for_postgres)
    for name in ("url", "host", "port", "user", "password", "name", "sslmode")
)

REQUESTS_MAX_DURATION: Final = Setting("requests.max_duration", text_as(_window))
REQUESTS_WEBHOOKS: Final = Setting("requests.webhooks", webhooks)

AGENT_DATA_DIR: Final[Setting[Path]] = Setting("agent.data_dir", a_path, "data-dir")
HUB: Final = Setting("agent.hub", hub_places, "hub")
TOKEN: Final = Setting("agent.token", text_as(_token), "token", is_secret=True)
TOKEN_FILE: Final = Setting("agent.token_file", a_path, "token-file")
CA_PIN: Final = Setting("agent.ca_pin", text_as(parse_pin), "ca-pin")
CA_FILE: Final = Setting("agent.ca_file", a_path, "ca-file")
HOSTNAME: Final = Setting("agent.hostname", text_as(NodeName.parse), "hostname")
LABELS: Final = Setting("agent.labels", _labels, "label")
COMMANDS: Final = Setting("agent.commands", label_commands)
ACCEPT_ENV: Final = Setting("agent.accept_env", _env_patterns)
GATEWAY_PORTS: Final = Setting("agent.gateway_ports", _gateway_ports)
BANNER: Final = Setting("agent.banner", _banner)
BANNER_FILE: Final = Setting("agent.banner_file", a_path)
RECORDING: Final = BoundsSettings.below("agent.recording")

ALL: Final[tuple[Setting[Any], ...]] = (
    CLUSTER_NAME,
    DATA_DIR,
    CA_KEY_PASSPHRASE,
    LOG_LEVEL,
    LOG_FORMAT,
    LISTEN,
    PUBLIC,
    BALANCERS,
    FORWARDERS,
    DRAIN_GRACE,
    WORKERS,
    TLS_CERT_FILE,
    TLS_KEY_FILE,
    KEEP_OFFLINE,
    SECOND_FACTOR,
    *audit.ALL,
    *recordings.ALL,
    DATABASE_DRIVER,
    *FOR_POSTGRES,
    REQUESTS_MAX_DURATION,
    REQUESTS_WEBHOOKS,
    AGENT_DATA_DIR,
    HUB,
    TOKEN,
    TOKEN_FILE,
    CA_PIN,
    CA_FILE,
    HOSTNAME,
    LABELS,
    COMMANDS,
    ACCEPT_ENV,
    GATEWAY_PORTS,
    BANNER,
    BANNER_FILE,
    *RECORDING.all,
)
