"""
A name server with SRV records only, which are read anew for every question.

A program for the router of the suite: it answers as a zone's server does whose
zone is being edited. Names are looked up in the hosts' own /etc/hosts.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred, fail, succeed
from twisted.names import dns
from twisted.names.error import DomainError
from twisted.names.server import DNSServerFactory


@frozen
class Zone:
    """The records in a file: names, each with priority, weight, target and port."""

    path: Path

    def query(self, query: Any, timeout: Any = None) -> Deferred[Any]:
        name = query.name.name.decode("ascii", "replace").lower()
        answers = [
            dns.RRHeader(
                query.name.name,
                dns.SRV,
                ttl=1,
                payload=dns.Record_SRV(priority, weight, port, target),
                auth=True,
            )
            for priority, weight, target, port in json.loads(self.path.read_text()).get(name, [])
        ]
        if query.type != dns.SRV or not answers:
            return fail(DomainError())
        return succeed((answers, [], []))


def main(path: Path) -> None:
    from twisted.internet import reactor

    factory = DNSServerFactory(clients=[Zone(path)])
    port: Any = reactor
    port.listenUDP(53, dns.DNSDatagramProtocol(factory))
    port.listenTCP(53, factory)
    port.callWhenRunning(lambda: print("ready", flush=True))
    port.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
