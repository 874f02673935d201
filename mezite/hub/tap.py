"""
``twist mezhub``: options in, service out.

What a person gave wrong is one sentence on stderr and exit status 2; what the
machine does not let us have, a port or a file, is one sentence and status 1.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import socket
import sys
import time
from typing import Final

import attrs
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mezite.audit.error import AuditUnavailable
from mezite.config.error import ConfigError
from mezite.config.hub import HubConfig, load_hub
from mezite.config.logs import choose_observer
from mezite.config.program import CANNOT_START, WRONG_INPUT, ProgramOptions, end
from mezite.error import MeziteError
from mezite.hub import openfiles
from mezite.hub.auditkeeping import failed, started
from mezite.hub.service import HubService
from mezite.steadyclock import keep_steady
from mezite.store.database import DatabaseStore, open_store
from mezite.store.error import StoreUnavailable
from mezite.store.keyfiles import KeyFiles, known_cluster, load_or_create
from mezite.store.lockfile import DirectoryLock, hold
from mezite.systemd import Notices, ServiceManager

# How long a thread of the database waits for a busy reactor, several times for each row.
# Python's own choice, 5 ms, makes a session wait for seconds while many agents come back.
_SWITCH_SECONDS: Final = 0.0005


class Options(ProgramOptions):
    """The options of ``twist mezhub``."""

    program = "mezhub"
    synopsis = "[options]"
    longdesc = (
        "Example: twist mezhub --public-addr=hub.example.com:443 --listen=0.0.0.0:443. "
        "Without options the hub keeps its data in the user's data directory "
        "(/var/lib/mezite as root) and listens on port 3080."
    )
    optParameters = [
        ["config", "c", None, "YAML file [/etc/mezite/mezite.yaml, if it is there]"],
        ["data-dir", "d", None, "directory of database and keys"],
        ["listen", "l", None, "ADDRESS:PORT to listen on [0.0.0.0:3080]"],
        ["public-addr", "p", None, "HOST:PORT where users and agents reach the hub"],
        ["cluster-name", "n", None, "name of the cluster [this machine's name]"],
    ]


class _Hub(Service):
    """The hub with the lock on its data; says what to type next, once it listens."""

    _log = Logger()

    def __init__(
        self,
        hub: HubService,
        lock: DirectoryLock,
        store: DatabaseStore,
        text: str,
        notices: Notices,
    ) -> None:
        self._hub = hub
        self._lock = lock
        self._store = store
        self._text = text
        self._notices = notices

    def startService(self) -> None:
        try:
            # Before the port opens: no audit, no hub.
            if not self._store.begin(started(time.time())):
                self._log.warn("the hub was not stopped properly the last time; it is in the audit")
        except StoreUnavailable as error:
            end("mezhub", str(AuditUnavailable(error.reason)), CANNOT_START)
        try:
            self._hub.startService()
        except MeziteError as error:
            with contextlib.suppress(StoreUnavailable):
                self._store.note(failed(time.time(), str(error)))
            end("mezhub", str(error), CANNOT_START)
        super().startService()
        self._notices.startService()
        self._notices.ready()
        sys.stderr.write(self._text)
        sys.stderr.flush()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._notices.stopService()
        self._watch_for_impatience()
        stopping = self._hub.stopService()
        stopping.addErrback(self._stopped_badly)
        return stopping.addBoth(lambda _: self._lock.release())

    def _stopped_badly(self, failure: Failure) -> None:
        self._log.failure("the hub could not be stopped as it should", failure=failure)

    def _watch_for_impatience(self) -> None:
        """Twisted takes a second signal for a mistake; it means that somebody cannot wait."""
        for number in (signal.SIGTERM, signal.SIGINT):
            # Only where the reactor has its own: tests and other hosts keep theirs.
            if callable(signal.getsignal(number)):
                signal.signal(number, self._hurry)

    def _hurry(self, *_: object) -> None:
        from twisted.internet import reactor

        reactor.callFromThread(self._hub.hurry)  # type: ignore[attr-defined]


def makeService(options: Options) -> Service:
    """The hub as these options want it, its data open and its port still closed."""
    from twisted.internet import reactor

    keep_steady(reactor)
    try:
        config = load_hub(options, os.environ)
        lock = hold(config.data_dir)
        cluster = config.cluster_name
        if not config.cluster_name_is_given:
            cluster = known_cluster(config.data_dir) or cluster
        config = attrs.evolve(config, cluster_name=cluster)
        if config.listen.port == 0:
            config = config.listening_on(_any_port(config.listen.host))
        authorities = load_or_create(
            config.data_dir,
            cluster,
            time.time(),
            config.ca_key_passphrase,
            database=config.database_file,
        )
        store = open_store(config.database_file, reactor)  # type: ignore[arg-type]
        hub = HubService(
            config=config,
            store=store,
            authorities=authorities,
            key_files=KeyFiles(config.data_dir, config.ca_key_passphrase),
            reactor=reactor,
        )
    except ConfigError as error:
        end("mezhub", str(error), WRONG_INPUT)
    except MeziteError as error:
        end("mezhub", str(error), CANNOT_START)
    if options.parent is not None:
        choose_observer(options.parent, config.log_level, config.log_format)
    openfiles.tell(openfiles.raise_limit())
    sys.setswitchinterval(_SWITCH_SECONDS)
    # All that was loaded until now stays for ever. Looking through it for what could be freed
    # held up a storm of agents for 0.1 s and more each time.
    gc.freeze()
    for warning in config.warnings:
        sys.stderr.write(f"mezhub: {warning}\n")
    manager = ServiceManager.of(os.environ, os.getpid())
    notices = Notices(manager, reactor, lambda: what_it_does(hub))
    return _Hub(hub, lock, store, first_steps(config, hub.facts.ca_pin), notices)


def what_it_does(hub: HubService) -> str:
    """What the hub is doing, for people."""
    tunnels, sessions = len(hub.registry), len(hub.live)
    workers = hub.workers.statuses()
    by = f" by {sum(worker.pid is not None for worker in workers)} workers" if workers else ""
    return (
        f"listens on {hub.config.listen}{by}: {tunnels} tunnel{'s' * (tunnels != 1)},"
        f" {sessions} session{'s' * (sessions != 1)}"
    )


def first_steps(config: HubConfig, ca_pin: str) -> str:
    """What an administrator types next, complete."""
    mezctl = f"mezctl --data-dir={config.data_dir}"
    return (
        f"\nMezite hub of cluster {config.cluster_name}, on {config.listen},"
        f" for others at {config.public_addr}\n"
        f"  a user:   {mezctl} users create NAME --logins=LOGIN\n"
        f"  a node:   {mezctl} tokens create       (prints what to run there)\n"
        f"  log in:   msh login --proxy={config.public_addr} --user=NAME --ca-pin={ca_pin}\n\n"
    )


def _any_port(host: str) -> int:
    """
    A port that is free now.

    Asked for before the hub is put together, since certificates, pages and
    join commands say the port; should another program take it in between, the
    hub says so and ends.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
