"""Tests of how msh proxy ssh understands what it was asked for."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from mezite.client import hubsocket, places, proxycommand, pump
from mezite.client.error import DamagedProfile, LoginExpired, NotLoggedIn
from mezite.client.profile import Profiles
from mezite.client.resumingpump import Greeted
from mezite.error import BadInput, Denied, MeziteError, RemoteError, TimedOut
from mezite.resume.frames import Plain, Welcome
from mezite.resume.redialing import UNANSWERED
from tests.doubles.logins import Cluster

NOW = 1_800_000_000.0


class TargetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.home = Path(self.mktemp())
        self.patch(proxycommand.places, "home", lambda: str(self.home))
        self.profile = Cluster(NOW).log_in(self.home, "127.0.0.1:3080")

    def test_latest_login(self) -> None:
        """Without options the latest login is used, and its hub's name completes the node's."""
        target = proxycommand.target_of(["db1"], NOW)
        self.assertEqual(target.address, ("127.0.0.1", 3080))
        self.assertEqual(target.server_name, "db1.hub.example.com")
        self.assertEqual(target.cluster, "hub.example.com")
        self.assertEqual(target.path(places.TLS_KEY), str(self.profile.path(places.TLS_KEY)))

    def test_spellings_of_a_node(self) -> None:
        """A node may be named with a port, in capitals, or with the hub's name."""
        for text in ("db1:22", "DB1", "db1.hub.example.com", "DB1.hub.example.com.:22"):
            target = proxycommand.target_of([text], NOW)
            self.assertEqual(target.server_name, "db1.hub.example.com")

    def test_hub_itself(self) -> None:
        """The hub's own name means the hub, which is a jump host."""
        target = proxycommand.target_of(["hub.example.com:22"], NOW)
        self.assertEqual(target.server_name, "hub.example.com")

    def test_named_profile(self) -> None:
        """--profile and --proxy name the login, with or without an equals sign."""
        other = Cluster(NOW).log_in(self.home, "[::1]:4443", user="bob")
        Cluster(NOW).log_in(self.home, "127.0.0.1:3080")
        for arguments in (
            ["--profile", str(other.directory), "db1"],
            [f"--profile={other.directory}", "db1"],
            ["--proxy", "[::1]:4443", "db1"],
            ["db1", "--proxy=[::1]:4443"],
        ):
            self.assertEqual(proxycommand.target_of(arguments, NOW).address, ("::1", 4443))

    def test_expired(self) -> None:
        """A login that has ended is told before anything is dialed."""
        with self.assertRaises(LoginExpired) as caught:
            proxycommand.target_of(["db1"], NOW + 3601)
        self.assertEqual(str(caught.exception), "your login has expired: run msh login")

    def test_logged_out(self) -> None:
        """After a logout there is no login."""
        Profiles(self.home).log_out(self.profile)
        self.assertRaises(NotLoggedIn, proxycommand.target_of, ["db1"], NOW)

    def test_never_logged_in(self) -> None:
        """Without any login, and with one that was never made, the sentence says so."""
        self.assertRaises(NotLoggedIn, proxycommand.target_of, ["--proxy", "other", "db1"], NOW)
        (self.home / places.CURRENT).unlink()
        self.assertRaises(NotLoggedIn, proxycommand.target_of, ["db1"], NOW)

    def test_damaged_profile(self) -> None:
        """A profile that makes no sense is one sentence, whatever is wrong with it."""
        path = self.profile.path(places.PROFILE)
        whole = json.loads(path.read_text())
        for damaged in (
            b"",
            b"\xff\xfe",
            b"[]",
            b"7",
            b"[" * 60_000,
            json.dumps({**whole, "hub": "a:b:c"}).encode(),
            json.dumps({**whole, "hub": 7}).encode(),
            json.dumps({**whole, "valid_before": "soon"}).encode(),
            json.dumps({key: value for key, value in whole.items() if key != "hub_name"}).encode(),
        ):
            path.write_bytes(damaged)
            self.assertRaises(DamagedProfile, proxycommand.target_of, ["db1"], NOW)

    def test_damaged_certificates(self) -> None:
        """Missing or broken certificates are one sentence, and no password is asked for."""
        target = proxycommand.target_of(["db1"], NOW)
        encrypted = (
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"
        )
        for name in (places.TLS_KEY, places.TLS_CERTIFICATE, places.CLUSTER_CA):
            path = self.profile.path(name)
            whole = path.read_bytes()
            for content in (b"", b"-----BEGIN CERTIFICATE-----\n", encrypted):
                path.write_bytes(content)
                with self.assertRaises(DamagedProfile):
                    hubsocket._context(target)
            path.write_bytes(whole)
        hubsocket._context(target)

    def test_arguments_refused(self) -> None:
        """What cannot be understood is told with what can be written."""
        for arguments in (
            [],
            ["db1", "db2"],
            ["--verbose", "db1"],
            ["--profile"],
            ["--proxy", "", "db1"],
            ["--proxy", "hub:0", "db1"],
            ["db1:ssh"],
            ["db1/../x"],
            ["x" * 300],
            [""],
        ):
            self.assertRaises(BadInput, proxycommand.target_of, arguments, NOW)

    @given(st.text(max_size=80))
    @settings(max_examples=100, deadline=None)
    def test_any_text_as_node(self, text: str) -> None:
        """Any text is a name in TLS below the hub's, or is refused."""
        try:
            name = proxycommand._server_name(text, "hub.example.com")
        except MeziteError:
            return
        self.assertTrue(name.endswith("hub.example.com"))
        name.encode("ascii")


class ResolveTests(SynchronousTestCase):
    def test_slow_resolver(self) -> None:
        """A resolver that does not answer is given up at the deadline."""
        release = threading.Event()
        self.addCleanup(release.set)
        self.patch(hubsocket.socket, "getaddrinfo", lambda *_, **__: release.wait(20))
        begun = time.monotonic()
        with self.assertRaises(TimeoutError):
            hubsocket._resolve("hub.example.com", 443, begun + 0.05)
        self.assertLess(time.monotonic() - begun, 10)

    def test_failure(self) -> None:
        """What the resolver says is what is raised."""

        def unknown(*arguments: object, **rest: object) -> None:
            raise socket.gaierror(-2, "Name or service not known")

        self.patch(hubsocket.socket, "getaddrinfo", unknown)
        with self.assertRaises(socket.gaierror):
            hubsocket._resolve("hub.example.com", 443, time.monotonic() + 10)


class BeginningTests(SynchronousTestCase):
    """Whether a connection is to be resumed, by how the first ones end."""

    def setUp(self) -> None:
        self.target = hubsocket.Target("", ("192.0.2.1", 1), "c", "db1.hub", resumes=True)
        # What becomes of each dial that offers resumption.
        self.outcomes: list[Exception | Welcome] = []
        self.offered: list[bool] = []
        self.patch(proxycommand, "dial", self.dial)
        self.patch(proxycommand, "_greeted", self.greeted)

    def dial(self, target: hubsocket.Target, deadline: float) -> Any:
        self.offered.append(target.resumes)
        return None

    def greeted(self, connection: Any, hello: bytes, deadline: float) -> Greeted:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return Greeted(connection, outcome, b"")

    def test_cut_at_once(self) -> None:
        """One that was cut before the answer costs no session its resumption."""
        self.outcomes = [ConnectionResetError("closed"), Welcome(bytes(32), 0)]
        self.assertIsInstance(proxycommand._begun(self.target).greeting, Welcome)
        self.assertEqual(self.offered, [True, True])

    def test_older_agent(self) -> None:
        """An agent that resets the stream, and does so again, is asked for plain SSH."""
        self.outcomes = [ConnectionResetError("closed")] * UNANSWERED
        self.assertIsInstance(proxycommand._begun(self.target).greeting, Plain)
        self.assertEqual(self.offered, [True] * UNANSWERED + [False])

    def test_silence(self) -> None:
        """Silence is no such answer, and ends it with a sentence."""
        self.outcomes = [TimeoutError("timed out")]
        with self.assertRaises(TimedOut) as caught:
            proxycommand._begun(self.target)
        self.assertEqual(str(caught.exception), "the node did not answer within 10 s")


class TlsFailureTests(SynchronousTestCase):
    def test_certificate_refused(self) -> None:
        """An alert about our certificate tells what to do."""
        error = ssl.SSLError(1, "alert")
        error.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
        failure = pump.tls_failure(error, "hub:3080")
        self.assertIsInstance(failure, Denied)
        self.assertIn("msh login", str(failure))

    def test_other(self) -> None:
        """Any other failure says what TLS said."""
        error = ssl.SSLError(1, "wrong version number")
        error.reason = "WRONG_VERSION_NUMBER"
        failure = pump.tls_failure(error, "hub:3080")
        self.assertIsInstance(failure, RemoteError)
        self.assertEqual(str(failure), "TLS with hub:3080 failed: wrong version number")
