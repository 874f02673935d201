"""
What may answer in a hub's place: silence, a portal's HTML, or another's certificate.

A program for the router of the suite; it serves until it is killed. ``mute`` takes
connections and says nothing; ``html`` answers anything with a page, as a captive
portal does; ``tls`` does so behind a certificate of one's own.
"""

from __future__ import annotations

import argparse
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Final

_PAGE: Final = b"<!DOCTYPE html><title>Welcome</title><p>Please log in to use this network.\n"
PORTAL: Final = (
    b"HTTP/1.1 302 Found\r\nLocation: http://portal.example/\r\nConnection: close\r\n"
    b"Content-Type: text/html\r\nContent-Length: %d\r\n\r\n%s" % (len(_PAGE), _PAGE)
)
# Longer than anybody is to wait for a hub that says nothing.
_SECONDS: Final = 600.0


def serve(connected: socket.socket, mode: str, context: ssl.SSLContext | None) -> None:
    try:
        connected.settimeout(_SECONDS)
        with connected:
            if mode == "mute":
                time.sleep(_SECONDS)
                return
            if context is not None:
                connected = context.wrap_socket(connected, server_side=True)
            with connected:
                connected.recv(1 << 16)
                connected.sendall(PORTAL)
    except OSError:
        pass  # whoever dialed has gone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=["mute", "html", "tls"])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, help="PEM, with its key")
    parser.add_argument("--alpn", action="append", default=[])
    options = parser.parse_args()
    context = None
    if options.mode == "tls":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)
        if options.alpn:
            context.set_alpn_protocols(options.alpn)
    listening = socket.create_server(("0.0.0.0", options.port), backlog=64)
    print("ready", flush=True)
    while True:
        connected, _ = listening.accept()
        arguments = (connected, options.mode, context)
        threading.Thread(target=serve, args=arguments, daemon=True).start()


if __name__ == "__main__":
    main()
