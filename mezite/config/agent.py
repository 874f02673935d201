"""
The settings of an agent.

:func:`load_agent` makes one :class:`AgentConfig` of defaults, file,
environment and options. Files that it names are read by those who need them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final

from attrs import field, frozen

from mezite.config import keys
from mezite.config.error import ConfigError
from mezite.config.hubplaces import HubPlace
from mezite.config.keys import LogFormat, LogLevel
from mezite.config.labelcommands import LabelCommand
from mezite.config.machine import Machine
from mezite.config.recordingbounds import DEFAULT_BOUNDS, RecordingConfig
from mezite.config.settings import DEFAULT_FILE, Setting, Settings
from mezite.names import LABELS_PER_NODE, InvalidName, NodeName

# What ssh sends by default on Debian, and what no program takes orders from.
_ACCEPT_ENV: Final = ("LANG", "LC_*")


@frozen
class AgentConfig:
    """
    What an agent needs to know before it starts.

    At most one of ``token`` and ``token_file`` is set, and of ``banner`` and
    ``banner_file``. ``hubs`` may be empty,
    for an agent that joined before knows its hub. ``log_format`` is
    None where ``twist`` may choose. ``warnings`` are sentences for the log.
    """

    data_dir: Path
    hubs: tuple[HubPlace, ...]
    hostname: NodeName
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    ca_pin: str | None = None
    ca_file: Path | None = None
    labels: Mapping[str, str] = field(factory=dict)
    commands: tuple[LabelCommand, ...] = ()
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat | None = None
    accept_env: tuple[str, ...] = _ACCEPT_ENV
    is_gateway: bool = False
    banner: str | None = None
    banner_file: Path | None = None
    recording: RecordingConfig = DEFAULT_BOUNDS
    warnings: tuple[str, ...] = ()


def load_agent(
    options: Mapping[str, object],
    environ: Mapping[str, str],
    *,
    machine: Machine | None = None,
    default_file: Path = DEFAULT_FILE,
) -> AgentConfig:
    """
    Defaults < YAML file < ``MEZITE_*`` environment < options.

    ``options`` maps the long names of options (``config``, ``data-dir``,
    ``hub``, ``token``, ``token-file``, ``ca-pin``, ``ca-file``, ``hostname``,
    ``label`` with a list of ``KEY=VALUE``; ``hub`` may have a list too) to what
    was given; an absent one and None both mean that nothing was. A setting is replaced as a whole,
    labels too.

    :raises ConfigError:
    """
    machine = machine or Machine.here()
    settings = Settings.gather(keys.ALL, options, environ, default_file=default_file)
    token, token_file = _text_or_file(settings, keys.TOKEN, keys.TOKEN_FILE)
    banner, banner_file = _text_or_file(settings, keys.BANNER, keys.BANNER_FILE)
    ca_file = settings.find_path(keys.CA_FILE)
    labels, commands = settings.get(keys.LABELS, {}), settings.get(keys.COMMANDS, ())
    _check_labels(labels, commands)
    hostname = settings.find(keys.HOSTNAME)
    return AgentConfig(
        data_dir=_data_dir(settings, machine),
        hubs=settings.get(keys.HUB, ()),
        hostname=hostname.value if hostname is not None else _own_name(machine),
        token=token,
        token_file=token_file,
        ca_pin=settings.get(keys.CA_PIN, None),
        ca_file=ca_file.value if ca_file is not None else None,
        labels=labels,
        commands=commands,
        log_level=settings.get(keys.LOG_LEVEL, LogLevel.INFO),
        log_format=settings.get(keys.LOG_FORMAT, None),
        accept_env=settings.get(keys.ACCEPT_ENV, _ACCEPT_ENV),
        is_gateway=settings.get(keys.GATEWAY_PORTS, False),
        banner=banner,
        banner_file=banner_file,
        recording=keys.RECORDING.load(settings),
        warnings=settings.warnings(keys.ALL),
    )


def _data_dir(settings: Settings, machine: Machine) -> Path:
    # A file for both programs has one data_dir, and they must not share a directory.
    shared = settings.find_path(keys.DATA_DIR_OF_BOTH)
    default = shared.value / "agent" if shared is not None else machine.data_home / "mezite-agent"
    return settings.get_path(keys.AGENT_DATA_DIR, default)


def _check_labels(labels: Mapping[str, str], commands: Collection[LabelCommand]) -> None:
    if both := sorted(labels.keys() & {command.key for command in commands}):
        raise ConfigError(
            f"{keys.COMMANDS.key}: {both[0]}: it stands in {keys.LABELS.key} too; keep one of them"
        )
    if len(labels) + len(commands) > LABELS_PER_NODE:
        raise ConfigError(f"{keys.COMMANDS.key}: a node has at most {LABELS_PER_NODE} labels")


def _own_name(machine: Machine) -> NodeName:
    try:
        return NodeName.parse(machine.host_name)
    except InvalidName as error:
        raise ConfigError(
            f"this machine's own name cannot be a node's, so give --hostname"
            f" or {keys.HOSTNAME.key}: {error}"
        ) from None


def _text_or_file(
    settings: Settings, text_key: Setting[str], file_key: Setting[Path]
) -> tuple[str | None, Path | None]:
    """A text or the file that holds it, whichever was given in the higher layer."""
    text = settings.find(text_key)
    file = settings.find_path(file_key)
    if text is not None and file is not None and text.rank == file.rank:
        raise ConfigError(f"{text.where}: {file.where} is given too; keep one of them")
    if text is not None and (file is None or text.rank > file.rank):
        return text.value, None
    return None, file.value if file is not None else None
