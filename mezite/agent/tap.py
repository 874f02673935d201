"""
``twist mezd``: options in, service out.

What a person gave wrong is one sentence on stderr and exit status 2; what the
machine or the hub refuses is one sentence and status 1.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from twisted.application.service import IService

from mezite.agent.banner import banner_of
from mezite.agent.condition import State
from mezite.agent.error import BrokenState, NotJoined
from mezite.agent.join import Application
from mezite.agent.membership import Membership
from mezite.agent.service import AgentService
from mezite.agent.state import StateDirectory
from mezite.agent.statussocket import StatusSocket
from mezite.config.agent import AgentConfig, load_agent
from mezite.config.error import ConfigError
from mezite.config.logs import choose_observer
from mezite.config.program import CANNOT_START, WRONG_INPUT, ProgramOptions, end
from mezite.error import MeziteError
from mezite.steadyclock import keep_steady
from mezite.systemd import Notices, ServiceManager


class Options(ProgramOptions):
    """The options of ``twist mezd``."""

    program = "mezd"
    synopsis = "[options]"
    longdesc = (
        "Example: twist mezd --hub=hub.example.com:443 --token=mzt_... --ca-pin=sha256:... "
        "--label env=prod. 'mezctl tokens create' on the hub prints that line complete. "
        "Once the node has joined, the token is not needed again; the same line may stay "
        "where it is. Run as root, mezd serves every login of this machine, otherwise only "
        "the one that it runs as. It listens on no port."
    )
    optParameters = [
        ["config", "c", None, "YAML file [/etc/mezite/mezite.yaml, if it is there]"],
        ["data-dir", "d", None, "directory of this node's keys and certificates"],
        ["token", None, None, "join token, for the first start"],
        ["token-file", None, None, "file that holds the join token"],
        ["ca-pin", None, None, "sha256:... that the hub must prove itself by when joining"],
        ["ca-file", None, None, "certificate of the cluster CA, in place of the pin"],
        ["hostname", None, None, "name to join as [this machine's name]"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["label"] = []
        self["hub"] = []

    def opt_label(self, label: str) -> None:
        """KEY=VALUE, a label of this node; may be repeated"""
        self["label"].append(label)

    opt_l = opt_label

    def opt_hub(self, place: str) -> None:
        """HOST:PORT of the hub, or srv:NAME of SRV records; may be repeated"""
        self["hub"].append(place)


def makeService(options: Options) -> IService:
    """The agent as these options want it, holding its data directory."""
    from twisted.internet import reactor

    keep_steady(reactor)
    given = {key: value for key, value in options.items() if value not in (None, [])}
    try:
        config = load_agent(given, os.environ)
        banner = banner_of(config)
        state = StateDirectory(config.data_dir)
        lock, membership, broken = _open(state, config)
    except (ConfigError, NotJoined) as error:
        end("mezd", str(error), WRONG_INPUT)
    except MeziteError as error:
        end("mezd", str(error), CANNOT_START)
    if options.parent is not None:
        choose_observer(options.parent, config.log_level, config.log_format)
    manager = ServiceManager.of(os.environ, os.getpid())
    agent = AgentService(
        config,
        state,
        membership,
        lock=lock,
        broken=broken,
        banner=banner,
        reactor=reactor,
        refused=lambda why: _stop(reactor, why),
    )
    _tell(manager, agent, reactor)
    StatusSocket(config.data_dir, agent.status, reactor).setServiceParent(agent)
    return agent


def _tell(manager: ServiceManager, agent: AgentService, reactor: Any) -> None:
    """Have the service manager know what the agent is doing."""
    notices = Notices(manager, reactor, agent.condition.sentence)

    def changed() -> None:
        if agent.condition.state is State.CONNECTED:
            notices.ready()
        notices.look()

    agent.condition.on_change = changed
    notices.setServiceParent(agent)


def _open(
    state: StateDirectory, config: AgentConfig
) -> tuple[int, Membership | None, BrokenState | None]:
    """The data directory's lock, and the membership in it, or why it cannot be used."""
    lock = state.prepare()
    membership, broken = None, None
    try:
        try:
            membership = state.load()
        except BrokenState as error:
            broken = error
        if membership is None:
            # Now, while a mistake can still be a mistake in how mezd was called.
            try:
                Application.of(config)
            except NotJoined as error:
                raise broken or error from None
    except MeziteError:
        os.close(lock)
        raise
    return lock, membership, broken


def _stop(reactor: Any, sentence: str) -> None:
    """
    Stop, and exit with a status that says so.

    ``twist`` returns 0 however its reactor came to stop, and swallows
    SystemExit raised in it; so the process ends itself when all else is done.
    """

    def leave() -> None:
        sys.stdout.flush()
        # By now twist has put its log in the place of sys.stderr.
        stderr = sys.__stderr__ or sys.stderr
        stderr.write(f"mezd: {sentence}\n")
        stderr.flush()
        os._exit(CANNOT_START)

    reactor.addSystemEventTrigger("after", "shutdown", leave)
    reactor.stop()
