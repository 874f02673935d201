"""
What ``msh ssh`` was asked for: options as ssh's, and ssh_config's words after ``-o``.

Options stand before the destination, or between it and the command; from the
command's first word on nothing is ours. What has no meaning here, because the
login says it, is accepted and named in ``ignored``.
"""

from __future__ import annotations

import enum
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, TypeVar

from attrs import define, field

from mezite.cli.options import parse_duration
from mezite.client.forwardspec import (
    ANYWHERE,
    LOOPBACK,
    LocalForward,
    RemoteForward,
    TcpAddress,
    parse_dynamic,
    parse_local,
    parse_remote,
)
from mezite.client.node import ALIVE_SECONDS, UNHEARD, Patience
from mezite.client.tls import DIAL_SECONDS
from mezite.error import BadInput

_T = TypeVar("_T")
# As Debian's ssh: the language of the person, and nothing of their machine.
SENT: Final = ("LANG", "LANGUAGE", "LC_*")


class Terminal(enum.Enum):
    """Whether the node is to give a terminal."""

    AUTO = enum.auto()
    NO = enum.auto()
    YES = enum.auto()
    FORCE = enum.auto()


class Verbosity(enum.IntEnum):
    """How much is said on standard error, beside what ends the program."""

    QUIET = -1
    NORMAL = 0
    VERBOSE = 1


@define
class SshOptions:
    """All that the command line says, less who and where."""

    login: str | None = None
    terminal: Terminal = Terminal.AUTO
    verbosity: Verbosity = Verbosity.NORMAL
    has_session: bool = True
    is_subsystem: bool = False
    remote_command: str | None = None
    takes_input: bool = True
    in_background: bool = False
    # True for $SSH_AUTH_SOCK, or the path of an agent's socket.
    lends_agent: bool | str = False
    local: list[LocalForward] = field(factory=list)
    remote: list[RemoteForward] = field(factory=list)
    is_gateway: bool = False
    must_forward: bool = False
    escape: bytes | None = b"~"
    sent: list[str] = field(factory=lambda: list(SENT))
    environment: dict[str, str] = field(factory=dict)
    connect_seconds: float = DIAL_SECONDS
    alive_seconds: float = ALIVE_SECONDS
    unheard: int = UNHEARD
    # A connection that is cut is taken up again, unless the login says not to.
    resumes: bool = True
    ignored: list[str] = field(factory=list)

    @property
    def patience(self) -> Patience:
        return Patience(self.connect_seconds, self.alive_seconds or None, self.unheard)

    def local_forwards(self) -> list[LocalForward]:
        """The local forwards, open to the network where ``-g`` says so."""
        return [self._opened(each) for each in self.local] if self.is_gateway else self.local

    def _opened(self, forward: LocalForward) -> LocalForward:
        listen = forward.listen
        if isinstance(listen, TcpAddress) and listen.host == LOOPBACK:
            return LocalForward(TcpAddress(ANYWHERE, listen.port), forward.destination)
        return forward


def split_words(
    words: Sequence[str], takes_value: Collection[str]
) -> tuple[list[str], str | None, list[str]]:
    """
    Options, destination and command, as ssh tells them apart.

    :param takes_value: the options, as ``-L`` and ``--proxy``, that are
        followed by a value.
    """
    options: list[str] = []
    destination: str | None = None
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        if word == "--":
            if destination is None and remaining:
                destination = remaining.pop(0)
                continue
            return options, destination, remaining
        if not word.startswith("-") or word == "-":
            if destination is not None:
                return options, destination, [word, *remaining]
            destination = word
            continue
        options.append(word)
        if _wants_value(word, takes_value) and remaining:
            options.append(remaining.pop(0))
    return options, destination, []


def _wants_value(word: str, takes_value: Collection[str]) -> bool:
    if word.startswith("--"):
        return word in takes_value
    for place, letter in enumerate(word[1:], 2):
        if f"-{letter}" in takes_value:
            return place == len(word)
    return False


def parse_escape(text: str) -> bytes | None:
    """Read what follows ``-e``: a character, ``^`` and a letter, or ``none``."""
    if text.lower() == "none":
        return None
    if len(text) == 2 and text[0] == "^" and "@" <= text[1].upper() <= "_":
        return bytes((ord(text[1].upper()) & 31,))
    if len(text) == 1 and " " <= text <= "~":
        return text.encode()
    raise BadInput(
        f"{text[:40]!r} is no escape character: write a character, ^ and a letter or none"
    )


def set_options(options: SshOptions, given: Sequence[str]) -> None:
    """
    Read what followed each ``-o``; as with ssh, the first to name a key decides.

    :raises BadInput: if a key or a value is not known.
    """
    decided: set[str] = set()
    for text in given:
        name, value = _key_and_value(text)
        key = name.lower()
        if key in _IGNORED:
            options.ignored.append(f"-o {name}")
            continue
        act = _MEANINGS.get(key)
        if act is None:
            raise BadInput(f"-o {name[:80]} is not known here: see msh ssh --help")
        if key in decided and key not in _REPEATED:
            continue
        decided.add(key)
        try:
            act(options, value)
        except BadInput as error:
            raise BadInput(f"-o {name}: {error}") from None


def _key_and_value(text: str) -> tuple[str, str]:
    stripped = text.strip()
    end = next((at for at, each in enumerate(stripped) if each in "= \t"), len(stripped))
    name, value = stripped[:end], stripped[end:].strip()
    value = value.removeprefix("=").strip()
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1]
    if not name or not value:
        raise BadInput(f"-o takes KEY=VALUE, and not {text[:80]!r}")
    return name, value


def parse_switch(value: str) -> bool:
    """``yes`` or ``no``, as ssh_config has them."""
    lowered = value.lower()
    if lowered not in ("yes", "no", "true", "false"):
        raise BadInput(f"{value[:40]!r} is neither yes nor no")
    return lowered in ("yes", "true")


def _seconds(value: str) -> float:
    return float(value) if value.isascii() and value.isdigit() else parse_duration(value)


def _count(value: str) -> int:
    if not (value.isascii() and value.isdigit() and 0 < int(value[:6]) < 10_000):
        raise BadInput(f"{value[:40]!r} is not a number from 1 to 9999")
    return int(value)


def _one_of(value: str, meanings: Mapping[str, _T]) -> _T:
    meaning = meanings.get(value.lower())
    if meaning is None:
        raise BadInput(f"{value[:40]!r} is none of {', '.join(meanings)}")
    return meaning


def _forward(value: str) -> str:
    """``LocalForward 8080 web:80`` as ``-L`` has it."""
    return ":".join(value.split())


def _user(options: SshOptions, value: str) -> None:
    options.login = options.login or value


def _terminal(options: SshOptions, value: str) -> None:
    options.terminal = _one_of(value, _TERMINALS)


def _level(options: SshOptions, value: str) -> None:
    options.verbosity = _one_of(value, _LEVELS)


def _session_type(options: SshOptions, value: str) -> None:
    options.has_session, options.is_subsystem = _one_of(value, _SESSION_TYPES)


def _agent(options: SshOptions, value: str) -> None:
    is_path = value.startswith(("/", "$", "~"))
    options.lends_agent = value if is_path else parse_switch(value)


def _send(options: SshOptions, value: str) -> None:
    for name in value.split():
        if name.startswith("-"):
            options.sent = [each for each in options.sent if each != name[1:]]
        else:
            options.sent.append(name)


def _set(options: SshOptions, value: str) -> None:
    try:
        words = shlex.split(value)
    except ValueError:
        raise BadInput("a quote is not closed") from None
    for word in words:
        name, equals, meaning = word.partition("=")
        if not equals or not name:
            raise BadInput(f"{word[:80]!r} is not NAME=VALUE")
        options.environment.setdefault(name, meaning)


def _clear(options: SshOptions, value: str) -> None:
    if parse_switch(value):
        options.local.clear()
        options.remote.clear()


def _switch(name: str, *, is_reversed: bool = False) -> Callable[[SshOptions, str], None]:
    return lambda options, value: setattr(options, name, parse_switch(value) is not is_reversed)


def _value(name: str, parse: Callable[[str], object]) -> Callable[[SshOptions, str], None]:
    return lambda options, value: setattr(options, name, parse(value))


_TERMINALS: Final = {
    "auto": Terminal.AUTO,
    "no": Terminal.NO,
    "yes": Terminal.YES,
    "force": Terminal.FORCE,
}
_LEVELS: Final = {
    "quiet": Verbosity.QUIET,
    "fatal": Verbosity.QUIET,
    "error": Verbosity.QUIET,
    "info": Verbosity.NORMAL,
    "verbose": Verbosity.VERBOSE,
    "debug": Verbosity.VERBOSE,
    "debug1": Verbosity.VERBOSE,
    "debug2": Verbosity.VERBOSE,
    "debug3": Verbosity.VERBOSE,
}
_SESSION_TYPES: Final = {
    "default": (True, False),
    "none": (False, False),
    "subsystem": (True, True),
}
_REPEATED: Final = frozenset({"localforward", "remoteforward", "dynamicforward", "sendenv"})
_MEANINGS: Final[Mapping[str, Callable[[SshOptions, str], None]]] = {
    "user": _user,
    "requesttty": _terminal,
    "loglevel": _level,
    "sessiontype": _session_type,
    "remotecommand": _value("remote_command", str),
    "stdinnull": _switch("takes_input", is_reversed=True),
    "forkafterauthentication": _switch("in_background"),
    "forwardagent": _agent,
    "localforward": lambda options, value: options.local.append(parse_local(_forward(value))),
    "remoteforward": lambda options, value: options.remote.append(parse_remote(_forward(value))),
    "dynamicforward": lambda options, value: options.local.append(parse_dynamic(value)),
    "clearallforwardings": _clear,
    "gatewayports": _switch("is_gateway"),
    "exitonforwardfailure": _switch("must_forward"),
    "escapechar": _value("escape", parse_escape),
    "sendenv": _send,
    "setenv": _set,
    "connecttimeout": _value("connect_seconds", lambda value: _seconds(value) or DIAL_SECONDS),
    "serveraliveinterval": _value("alive_seconds", _seconds),
    "serveralivecountmax": _value("unheard", _count),
}
# What the login, the hub's authority or the hub itself decides, and what nobody is asked.
_IGNORED_WORDS: Final = """
    addkeystoagent addressfamily batchmode canonicalizehostname casignaturealgorithms
    certificatefile challengeresponseauthentication checkhostip ciphers compression
    connectionattempts controlmaster controlpath controlpersist fingerprinthash forwardx11
    forwardx11trusted globalknownhostsfile gssapiauthentication gssapidelegatecredentials
    hashknownhosts hostbasedacceptedalgorithms hostbasedauthentication hostkeyalgorithms
    hostkeyalias identitiesonly identityagent identityfile ipqos kbdinteractiveauthentication
    kexalgorithms logverbose macs nohostauthenticationforlocalhost numberofpasswordprompts
    obscurekeystroketiming passwordauthentication permitlocalcommand pkcs11provider port
    preferredauthentications pubkeyacceptedalgorithms pubkeyacceptedkeytypes
    pubkeyauthentication rekeylimit requiredrsasize securitykeyprovider stricthostkeychecking
    syslogfacility tag tcpkeepalive updatehostkeys userknownhostsfile verifyhostkeydns
    visualhostkey xauthlocation
"""
_IGNORED: Final = frozenset(_IGNORED_WORDS.split())
