"""
A hub's TLS port in a thread: it hands every connection to a function.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

Serve = Callable[[ssl.SSLSocket], None]


class TlsHub:
    """A listening socket on the loopback, with TLS as a hub has it."""

    def __init__(
        self,
        files: tuple[Path, Path, Path],
        serve: Serve,
        *,
        alpn: tuple[str, ...] = ("mezite-ssh",),
        demand: bool = True,
    ) -> None:
        certificate, key, authority = files
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, key)
        if demand:
            self.context.load_verify_locations(authority)
            self.context.verify_mode = ssl.CERT_REQUIRED
        self.context.set_alpn_protocols(list(alpn))
        self.server_names: list[str | None] = []
        self.context.sni_callback = self._remember
        self.failures: list[Exception] = []
        self._serve = serve
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listening.getsockname()[1]}"

    def close(self) -> None:
        """Stop listening, and wait for the connection that is being served."""
        if self._listening.fileno() < 0:
            return
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(20)

    def _remember(self, _tls: object, name: str | None, _context: object) -> None:
        self.server_names.append(name)

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            connection.settimeout(20)
            try:
                # What ends without a goodbye is a failure.
                tls = self.context.wrap_socket(
                    connection, server_side=True, suppress_ragged_eofs=False
                )
                with tls:
                    self._serve(tls)
            except OSError as error:
                self.failures.append(error)
                connection.close()
