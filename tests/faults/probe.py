"""
Which nodes can be reached, asked every second or three as a client asks.

A program for a client's host: for each node it dials the hub with a person's
certificate and waits for the node's SSH server to begin a key exchange, which
has to come through the node's tunnel. Each answer is a line of JSON: when, which
node, and why not, if so. It uses the standard library and nothing of ours.
"""

from __future__ import annotations

import argparse
import json
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Final

_INTERVAL: Final = 1.0
# While all is well: each answer costs the hub a handshake and a line of its audit.
_LEISURELY: Final = 3.0
# Of connecting, the handshake, and the node's first words.
SECONDS: Final = 5.0
_KEXINIT: Final = 20
_LIMIT: Final = 4096


class Refused(Exception):
    """Not the node's SSH server, or not one that goes on."""


def reach(context: ssl.SSLContext, address: tuple[str, int], name: str) -> None:
    """
    Until the node has begun a key exchange.

    :raises OSError: or :class:`Refused`, if it does not.
    """
    deadline = time.monotonic() + SECONDS
    with (
        socket.create_connection(address, SECONDS) as connected,
        context.wrap_socket(connected, server_hostname=name) as tls,
    ):
        heard = b""
        while True:
            tls.settimeout(max(0.01, deadline - time.monotonic()))
            more = tls.recv(_LIMIT)
            if not more:
                raise Refused(f"it ended after {heard[:200]!r}")
            heard += more
            # A banner, then a packet: its length, its padding's, and what it is.
            banner, newline, packet = heard.partition(b"\n")
            if newline and len(packet) > 5:
                break
    if not banner.startswith(b"SSH-2.0-") or packet[5] != _KEXINIT:
        raise Refused(packet[6:].decode("ascii", "replace").strip()[:200])


def ask(context: ssl.SSLContext, address: tuple[str, int], node: str, suffix: str) -> None:
    while True:
        begun = time.monotonic()
        why = ""
        try:
            reach(context, address, f"{node}.{suffix}")
        except (OSError, Refused) as error:
            why = f"{type(error).__name__}: {error}"
        row = {"begun": begun, "ended": time.monotonic(), "node": node, "why": why}
        sys.stdout.write(json.dumps(row) + "\n")
        sys.stdout.flush()
        interval = _INTERVAL if why else _LEISURELY
        time.sleep(max(0.0, interval - (time.monotonic() - begun)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("profile", type=Path, help="directory of a login")
    parser.add_argument("node", nargs="+")
    options = parser.parse_args()
    said = json.loads((options.profile / "profile.json").read_text())
    host, _, port = said["hub"].rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(options.profile / "ca.pem")
    context.load_cert_chain(options.profile / "tls.crt", options.profile / "tls.key")
    context.set_alpn_protocols(["mezite-ssh"])
    for node in options.node:
        arguments = (context, (host, int(port)), node, said["hub_name"])
        threading.Thread(target=ask, args=arguments, daemon=True).start()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
