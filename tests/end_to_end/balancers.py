"""Real load balancers in front of a hub: haproxy and nginx, each on a port of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mezite.cli.local import free_port
from tests.end_to_end.stock import PATIENCE, wait_for_port

# From where they reach the hub: haproxy says in a PROXY header for whom, and nginx in HTTP.
BALANCER = "127.0.0.2"
FORWARDER = "127.0.0.3"
# How long each waits for a connection on which nothing comes, or goes: little more than from one
# ping to the next, which is 20 s.
PATIENCE_SECONDS = 25
_HAPROXY = """
global
    maxconn 1000
defaults
    timeout connect 5s
    timeout client {patience}s
    timeout server {patience}s
frontend mezite
{front}
    default_backend hub
backend hub
{back}
"""
_HAPROXY_TLS = (
    "    mode http\n    bind 127.0.0.1:{port} ssl crt {directory}/balancer.pem\n",
    "    mode http\n"
    "    server hub 127.0.0.1:{hub} ssl verify none send-proxy-v2 source {balancer}\n",
)
_HAPROXY_TCP = (
    "    mode tcp\n    bind 127.0.0.1:{port}\n",
    "    mode tcp\n    server hub 127.0.0.1:{hub} send-proxy-v2 source {balancer}\n",
)
_NGINX = """
worker_processes 1;
daemon off;
pid {directory}/nginx.pid;
error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxied;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {directory}/balancer.pem;
        ssl_certificate_key {directory}/balancer.pem;
        location / {{
            proxy_pass https://127.0.0.1:{hub};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_bind {forwarder};
            proxy_read_timeout {patience}s;
            proxy_buffering off;
        }}
    }}
}}
"""


@contextmanager
def haproxy_ending_tls(directory: Path, hub: int) -> Iterator[int]:
    """The port of haproxy, which ends TLS, speaks HTTP, and TLS to the hub, for its client."""
    _certificate(directory)
    with _haproxy(directory, hub, *_HAPROXY_TLS) as port:
        yield port


@contextmanager
def haproxy_passing(directory: Path, hub: int) -> Iterator[int]:
    """The port of haproxy, which passes TCP on and says for whom."""
    with _haproxy(directory, hub, *_HAPROXY_TCP) as port:
        yield port


@contextmanager
def nginx_ending_tls(directory: Path, hub: int) -> Iterator[int]:
    """The port of nginx, which ends TLS, speaks HTTP, and TLS to the hub."""
    _certificate(directory)
    port = free_port()
    config = directory / "nginx.conf"
    config.write_text(
        _NGINX.format(
            directory=directory, port=port, hub=hub, forwarder=FORWARDER, patience=PATIENCE_SECONDS
        )
    )
    with _running(port, "nginx", "-p", str(directory), "-e", "stderr", "-c", str(config)):
        yield port


@contextmanager
def _haproxy(directory: Path, hub: int, front: str, back: str) -> Iterator[int]:
    port = free_port()
    values = {"directory": directory, "port": port, "hub": hub, "balancer": BALANCER}
    config = directory / "haproxy.cfg"
    config.write_text(
        _HAPROXY.format(
            front=front.format(**values), back=back.format(**values), patience=PATIENCE_SECONDS
        )
    )
    with _running(port, "haproxy", "-db", "-f", str(config)):
        yield port


@contextmanager
def _running(port: int, name: str, *words: str) -> Iterator[None]:
    program = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    assert program is not None
    process = subprocess.Popen([program, *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        wait_for_port(port, process)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def _certificate(directory: Path) -> None:
    """A certificate that nobody trusts, as many have inside of their networks."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=lb.example.com", "-days", "1",
         "-keyout", str(directory / "balancer.key"), "-out", str(directory / "balancer.crt")],
        check=True,
        capture_output=True,
    )  # fmt: skip
    (directory / "balancer.pem").write_text(
        (directory / "balancer.crt").read_text() + (directory / "balancer.key").read_text()
    )
