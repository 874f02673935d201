"""Handshakes in which the client has to say hello twice (RFC 8446, section 4.1.4)."""

from __future__ import annotations

from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from mezite.wire.contexts import HubContexts, client_context
from tests.doubles.certificates import HUB_NAME, certificate_set
from tests.wire.test_contexts import Handshake

# The client guesses the first, which the hub does not take, and is asked for the second.
GROUPS = b"ffdhe8192:P-256"


class SecondHelloTests(SynchronousTestCase):
    """What the ALPN name demands is demanded, however often it was said."""

    def shake(
        self, protocol: bytes, server_name: str, *, user: bool, web: bool = True
    ) -> Handshake:
        ours, public = certificate_set(), certificate_set("web")
        contexts = HubContexts(
            hub_names=[HUB_NAME],
            authorities_pem=ours.ca_pem,
            hub=ours.hub,
            web=public.hub if web else None,
        )
        proof = (ours.user.certificate_pem, ours.user.key_pem) if user else ()
        client = client_context(protocol, ours.ca_pem, *proof).connection(server_name)
        # pyOpenSSL has no name for it.
        assert SSL._lib.SSL_set1_curves_list(client._ssl, GROUPS) == 1  # type: ignore[attr-defined]
        return Handshake(client, contexts.serverConnectionForTLS(None))

    def test_routed(self) -> None:
        """The connection goes where its name says, with a web certificate or without."""
        for web in (True, False):
            done = self.shake(b"mezite-ssh", f"db1.{HUB_NAME}", user=True, web=web)
            self.assertEqual(done.errors, {})
            self.assertEqual(done.client.get_group_name(), "secp256r1")
            self.assertEqual(done.server.get_alpn_proto_negotiated(), b"mezite-ssh")
            self.assertIsNotNone(done.server.get_peer_certificate())

    def test_demand(self) -> None:
        """A certificate that is demanded is demanded."""
        for web in (True, False):
            done = self.shake(b"mezite-ssh", f"db1.{HUB_NAME}", user=False, web=web)
            self.assertIn("server", done.errors)
