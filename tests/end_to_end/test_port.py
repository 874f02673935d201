"""One port: what each ALPN offer gets, tried with openssl, curl and grpcio."""

from __future__ import annotations

import subprocess
from pathlib import Path

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mezite.cli.local import LocalCluster
from mezite.rpc.proto import auth_pb2
from tests.end_to_end.conftest import LOGIN, PASSWORD, USER


@pytest.fixture(scope="module")
def authority(empty_cluster: LocalCluster) -> Path:
    """The cluster's CA, as login wrote it."""
    (found,) = (empty_cluster.directory / "msh").glob("*/ca.pem")
    return found


def s_client(
    cluster: LocalCluster, authority: Path, *options: str, given: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """A handshake by ``openssl s_client``."""
    return subprocess.run(
        ["openssl", "s_client", "-connect", cluster.address, "-CAfile", str(authority), *options],
        input=given,
        capture_output=True,
        timeout=30,
        check=False,
    )


GET = b"GET /healthz HTTP/1.1\r\nHost: demo\r\nConnection: close\r\n\r\n"
HTTPS = b"HTTP/1.1 200 OK"


class OfferTests:
    """Who is behind the port, by what the client offers."""

    @pytest.mark.parametrize(
        ("offer", "chosen"),
        [
            ("h2", b"h2"),
            ("http/1.1", b"http/1.1"),
            ("mezite-ssh", b"mezite-ssh"),
            ("mezite-auth", b"mezite-auth"),
            ("unknown,mezite-ssh", b"mezite-ssh"),
            ("mezite-ssh,http/1.1", b"mezite-ssh"),
            ("http/1.1,mezite-ssh", b"http/1.1"),
            ("mezite-auth,mezite-ssh", b"mezite-auth"),
        ],
    )
    def test_chosen(
        self, empty_cluster: LocalCluster, authority: Path, offer: str, chosen: bytes
    ) -> None:
        """The first name that the hub knows is chosen, in the client's order."""
        done = s_client(empty_cluster, authority, "-alpn", offer)
        assert b"ALPN protocol: " + chosen in done.stdout, done.stdout + done.stderr
        assert b"Verify return code: 0 (ok)" in done.stdout

    @pytest.mark.parametrize(
        "options", [[], ["-alpn", "spdy/1,foo"], ["-alpn", "http/1.1"]], ids=str
    )
    def test_https_otherwise(
        self, empty_cluster: LocalCluster, authority: Path, options: list[str]
    ) -> None:
        """No name, only unknown ones, or http/1.1: HTTPS, and no certificate is asked for."""
        done = s_client(empty_cluster, authority, "-ign_eof", *options, given=GET)
        assert HTTPS in done.stdout, done.stdout + done.stderr
        assert b"Acceptable client certificate CA names" not in done.stdout

    def test_ssh_speaks_first(self, empty_cluster: LocalCluster, authority: Path) -> None:
        """mezite-ssh with the hub's own name is an SSH server, which greets unasked."""
        client = subprocess.Popen(
            ["openssl", "s_client", "-connect", empty_cluster.address, "-CAfile", str(authority),
             "-quiet", "-alpn", "mezite-ssh", "-servername", "demo"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            assert client.stdout is not None
            assert client.stdout.readline().startswith(b"SSH-2.0-")
        finally:
            client.kill()
            client.communicate()

    @pytest.mark.parametrize("offer", ["mezite-tunnel", "mezite-cluster-tunnel"])
    def test_tunnel_demands_certificate(
        self, empty_cluster: LocalCluster, authority: Path, offer: str
    ) -> None:
        """A tunnel without a certificate fails in the handshake."""
        done = s_client(empty_cluster, authority, "-ign_eof", "-alpn", offer, given=b"x")
        assert done.returncode != 0
        assert b"certificate required" in done.stderr

    def test_node_demands_certificate(self, empty_cluster: LocalCluster, authority: Path) -> None:
        """A node's name in SNI without a user's certificate fails in the handshake."""
        done = s_client(
            empty_cluster, authority, "-ign_eof", "-alpn", "mezite-ssh",
            "-servername", "db1.demo", given=b"x",
        )  # fmt: skip
        assert done.returncode != 0
        assert b"certificate required" in done.stderr

    def test_users_certificate_is_no_nodes(
        self, empty_cluster: LocalCluster, authority: Path
    ) -> None:
        """A user's certificate does not open a tunnel."""
        home = authority.parent
        done = s_client(
            empty_cluster, authority, "-ign_eof", "-alpn", "mezite-tunnel",
            "-cert", str(home / "tls.crt"), "-key", str(home / "tls.key"), given=b"x",
        )  # fmt: skip
        assert done.returncode != 0

    def test_tls_1_2(self, empty_cluster: LocalCluster, authority: Path) -> None:
        """TLS 1.2 is enough for browsers, and not for Mezite's own names."""
        web = s_client(empty_cluster, authority, "-tls1_2", "-ign_eof", given=GET)
        assert HTTPS in web.stdout
        own = s_client(empty_cluster, authority, "-tls1_2", "-alpn", "mezite-auth")
        assert own.returncode != 0

    @pytest.mark.parametrize("version", ["--http1.1", "--http2"])
    def test_curl(self, empty_cluster: LocalCluster, authority: Path, version: str) -> None:
        """curl gets the page in both versions of HTTP."""
        done = subprocess.run(
            ["curl", "-sS", version, "--cacert", str(authority), "-w", "%{http_version}",
             f"https://{empty_cluster.address}/v1/webapi/ping"],
            capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert b'"cluster_name":"demo"' in done.stdout, done.stderr
        assert done.stdout.endswith(b"2" if version == "--http2" else b"1.1")


class GrpcioTests:
    """The auth service, by a stock gRPC client on ALPN h2."""

    def call(self, channel: grpc.Channel, name: str, request: object, bearer: str = "") -> object:
        answer = getattr(auth_pb2, f"{name}Response")
        method = channel.unary_unary(
            f"/mezite.v1.AuthService/{name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        metadata = [("authorization", f"Bearer {bearer}")] if bearer else []
        return method(request, timeout=20, metadata=metadata)

    def test_login(self, empty_cluster: LocalCluster, authority: Path, tmp_path: Path) -> None:
        """Ping, AuthenticateLocal and IssueUserCerts; ssh-keygen reads the certificate."""
        credentials = grpc.ssl_channel_credentials(authority.read_bytes())
        override = [("grpc.ssl_target_name_override", "auth.demo")]
        with grpc.secure_channel(empty_cluster.address, credentials, override) as channel:
            pong = self.call(channel, "Ping", auth_pb2.PingRequest())
            assert pong.cluster_name == "demo"  # type: ignore[attr-defined]
            with pytest.raises(grpc.RpcError) as refused:
                self.call(
                    channel,
                    "AuthenticateLocal",
                    auth_pb2.AuthenticateLocalRequest(user=USER, password="wrong"),
                )
            assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
            login = self.call(
                channel,
                "AuthenticateLocal",
                auth_pb2.AuthenticateLocalRequest(user=USER, password=PASSWORD),
            )
            ssh_key = ed25519.Ed25519PrivateKey.generate().public_key()
            tls_key = ec.generate_private_key(ec.SECP256R1()).public_key()
            certificates = self.call(
                channel,
                "IssueUserCerts",
                auth_pb2.IssueUserCertsRequest(
                    ssh_public_key=ssh_key.public_bytes(
                        Encoding.OpenSSH, PublicFormat.OpenSSH
                    ).decode(),
                    tls_public_key=tls_key.public_bytes(
                        Encoding.PEM, PublicFormat.SubjectPublicKeyInfo
                    ).decode(),
                    ttl_seconds=1800,
                ),
                bearer=login.token,  # type: ignore[attr-defined]
            )
        line = tmp_path / "user-cert.pub"
        line.write_text(certificates.ssh_certificate)  # type: ignore[attr-defined]
        shown = subprocess.run(
            ["ssh-keygen", "-L", "-f", str(line)], capture_output=True, check=True, text=True
        ).stdout
        assert "user certificate" in shown
        assert f'Key ID: "{USER}"' in shown
        assert LOGIN in shown
