"""
``msh proxy ssh``: standard input and output, carried over TLS to a node.

OpenSSH starts this for every connection and waits for it, so it takes the
standard library's ssl and socket and nothing else: no Twisted, no click, no
attrs. It owns the one connection to the hub. Everything it says goes to
standard error, and every failure of its own is exit code 255, as ssh's are.
"""

from __future__ import annotations

import json
import os
import signal
import ssl
import sys
import time

from mezite.client import places
from mezite.client.error import DamagedProfile, LoginExpired, NotLoggedIn
from mezite.client.hubsocket import DIAL_SECONDS, RESUMABLE, Target, dial, reason_of
from mezite.client.pump import Connection, Pump, tls_failure
from mezite.client.resumingpump import Greeted, ResumingPump, greet, refusal_of
from mezite.error import BadInput, MeziteError, TimedOut
from mezite.resume import frames
from mezite.resume.frames import Plain, Welcome
from mezite.resume.redialing import TRY_SECONDS, UNANSWERED

FAILURE = 255
DEFAULT_PORT = 3080
USAGE = "usage: msh proxy ssh [--profile DIR | --proxy HOST:PORT] [--no-resume] NODE[:PORT]"


def main(arguments: list[str]) -> int:
    """Carry a connection to the node that the arguments name; an exit code."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        target = target_of(arguments, time.time())
        carry(target)
    except MeziteError as error:
        _say(str(error))
        return FAILURE
    except OSError as error:
        _say(f"the connection to the hub broke: {reason_of(error)}")
        return FAILURE
    return 0


def carry(target: Target) -> None:
    """
    Bytes both ways, until either side has ended.

    Where nothing can be resumed (an older hub or agent, a server without one), they
    go plainly.
    """
    begun = _begun(target)
    if isinstance(begun.greeting, Plain):
        pump = Pump(begun.connection, 0, 1, begun.rest)
    elif isinstance(begun.greeting, Welcome):

        def again(hello: bytes) -> Greeted:
            deadline = time.monotonic() + TRY_SECONDS
            return _greeted(dial(target, deadline), hello, deadline)

        pump = ResumingPump(begun, 0, 1, again, _say_on_terminal)
    else:
        raise refusal_of(begun.greeting)
    try:
        pump.run()
    finally:
        pump.close()


def _begun(target: Target) -> Greeted:
    for _ in range(UNANSWERED):
        connection = dial(target, time.monotonic() + DIAL_SECONDS)
        try:
            return _greeted(connection, frames.hello(), time.monotonic() + DIAL_SECONDS)
        except ConnectionError:
            pass  # it was cut, or the agent is older than this
        except TimeoutError:
            raise TimedOut(f"the node did not answer within {DIAL_SECONDS:g} s") from None
    target.resumes = False
    return Greeted(dial(target, time.monotonic() + DIAL_SECONDS), Plain(), b"")


def _can_resume(connection: Connection) -> bool:
    return connection.tls.selected_alpn_protocol() == RESUMABLE


def _greeted(connection: Connection, hello: bytes, deadline: float) -> Greeted:
    try:
        if not _can_resume(connection):
            return Greeted(connection, Plain(), b"")
        return greet(connection, hello, deadline)
    except ssl.SSLError as error:
        connection.socket.close()
        raise tls_failure(error, "the hub") from None
    except BaseException:
        connection.socket.close()
        raise


def _say_on_terminal(sentence: str) -> None:
    """What a person may want to know, and a program that reads our words may not."""
    if os.isatty(2):
        _say(sentence)


def target_of(arguments: list[str], now: float) -> Target:
    """Understand the arguments, and read the login that they mean."""
    directory, node, resumes = _parse(arguments)
    try:
        with open(os.path.join(directory, places.PROFILE), encoding="utf-8") as file:
            profile = json.loads(file.read(places.PROFILE_LIMIT))
        host, port = _host_port(profile["hub"])
        cluster, hub_name = str(profile["cluster"]), str(profile["hub_name"])
        valid_before = float(profile["valid_before"])
        resumes = resumes and profile.get("resumes", True) is not False
    except FileNotFoundError:
        raise NotLoggedIn(f"there is no login in {directory}: run msh login") from None
    except OSError as error:
        raise DamagedProfile(
            f"the login in {directory} cannot be read: {reason_of(error)}"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadInput):
        raise DamagedProfile(f"the login in {directory} is damaged: run msh login") from None
    if valid_before == 0:
        raise NotLoggedIn
    if valid_before <= now:
        raise LoginExpired
    return Target(directory, (host, port), cluster, _server_name(node, hub_name), resumes=resumes)


def _parse(arguments: list[str]) -> tuple[str, str, bool]:
    """The directory of the login, the node as it was typed, and whether it is to be resumed."""
    directory: str | None = None
    resumes = True
    nodes: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        name, equals, value = argument.partition("=")
        if name in {"--profile", "--proxy"}:
            if not equals:
                value = next(remaining, "")
            if not value:
                raise BadInput(USAGE)
            directory = (
                value if name == "--profile" else places.directory_of(*_host_port(value.lower()))
            )
        elif argument == "--no-resume":
            resumes = False
        elif argument.startswith("-"):
            raise BadInput(f"no such option: {argument} ({USAGE})")
        else:
            nodes.append(argument)
    if len(nodes) != 1:
        raise BadInput(USAGE)
    if directory is None:
        directory = places.current()
    if directory is None:
        raise NotLoggedIn
    return directory, nodes[0], resumes


def _host_port(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or port.endswith("]"):
        host, port = text, str(DEFAULT_PORT)
    bracketed = host.startswith("[") and host.endswith("]")
    if bracketed:
        host = host[1:-1]
    if (
        not host
        or (":" in host) != bracketed
        or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536)
    ):
        raise BadInput(f"{text[:80]!r} is not an address: write HOST:PORT or [IPV6]:PORT")
    return host, int(port)


def _server_name(text: str, hub_name: str) -> str:
    """The name in TLS that means this node: ``db1`` and ``db1.hub`` are one."""
    node, colon, port = text.partition(":")
    node = node.lower().rstrip(".")
    if (colon and not (port.isascii() and port.isdigit())) or not node or len(node) > 190:
        raise BadInput(f"{text[:80]!r} is not a node: write NODE or NODE:PORT")
    if not all(each.isascii() and (each.isalnum() or each in "-.") for each in node):
        raise BadInput(f"{text[:80]!r} is not a node: use letters, digits, hyphens and dots")
    if node == hub_name or node.endswith(f".{hub_name}"):
        return node
    return f"{node}.{hub_name}"


def _say(sentence: str) -> None:
    try:
        sys.stderr.write(f"msh: {sentence}\n")
        sys.stderr.flush()
    except OSError:
        pass  # nobody is left to be told
