"""Tests of telling webhooks what becomes of access requests."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseNeverReceived
from zope.interface.verify import verifyObject

from mezite.auth.requesting import IRequestWatcher
from mezite.config.webhooks import Webhook
from mezite.hub.error import HubCannotStart
from mezite.hub.webhookmessage import message_of, signature
from mezite.hub.webhooks import ANSWER_LIMIT, PAUSES, QUEUE, TRY_SECONDS, Place, Webhooks
from mezite.identity.requests import AccessRequest, Step
from mezite.names import RoleName, UserName
from tests.doubles.webhookagent import PlayedAgent, PlayedResponse

VECTORS = Path(__file__).parents[1] / "vectors" / "webhooks.json"
PAGE = Path(__file__).parents[2] / "docs" / "protocols" / "webhooks.rst"
NOW = 1_800_000_000.0
REQUEST = AccessRequest.create(
    "1f0c22ab9e",
    UserName("ada"),
    roles=[RoleName("ssh-production")],
    nodes=["db1"],
    reason="disk full \N{SNOWMAN}",
    now=NOW,
)


class MessageTests(SynchronousTestCase):
    def test_told(self) -> None:
        """A message says which request, what became of it, by whom and why."""
        approved = REQUEST.step(Step.APPROVE, now=NOW + 60, by="bob", reason="go")
        for request, event, last in (
            (REQUEST, "access_request.created", "ada"),
            (approved, "access_request.approved", "bob"),
            (approved.step(Step.REVOKE, now=NOW + 70, by="eve"), "access_request.revoked", "eve"),
        ):
            message = message_of(request, "demo")
            told = json.loads(message.body)
            self.assertEqual((told["event"], message.event), (event, event))
            self.assertEqual(told["id"], message.delivery)
            self.assertEqual((told["cluster"], told["request"]["id"]), ("demo", request.id))
            self.assertEqual(told["request"]["state"], request.state.value)
            self.assertEqual(told["request"]["changes"][-1]["by"], last)

    def test_vectors(self) -> None:
        """Signatures are those of the specification."""
        vectors = json.loads(VECTORS.read_text())["vectors"]
        for vector in vectors:
            made = signature(vector["secret"].encode(), vector["time"], vector["body"].encode())
            self.assertEqual(made, vector["signature"])
        # The first is shown on the page, which must not part from it.
        page = PAGE.read_text()
        for key in ("secret", "body", "signature"):
            self.assertIn(vectors[0][key], page)


class PlaceTests(SynchronousTestCase):
    def test_secret(self) -> None:
        """The first line of a file is the secret; too little of one does not do."""
        path = Path(self.mktemp()).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        webhook = Webhook("https://example.com/", path)
        self.assertIn(str(path), str(self.assertRaises(HubCannotStart, Place.read, webhook)))
        for text in ("", "short\n", "\n" + "x" * 40):
            path.write_text(text)
            self.assertRaises(HubCannotStart, Place.read, webhook)
        path.write_text("0123456789abcdef\r\nmore")
        place = Place.read(webhook)
        self.assertEqual(place.secret, b"0123456789abcdef")
        self.assertNotIn("0123", repr(place))

    def test_origin(self) -> None:
        """Logs name the host only: with some services, who knows the path may speak."""
        place = Place("https://chat.example.com:8443/T0/B0/XyZ?key=1", b"x" * 16)
        self.assertEqual(place.origin, "https://chat.example.com:8443")
        self.assertNotIn("XyZ", repr(place))


class WebhooksTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.agent = PlayedAgent()
        self.counted: Counter[str] = Counter()
        self.webhooks = self.make("https://one.example.com/hook")

    def make(self, *urls: str) -> Webhooks:
        return Webhooks(
            [Place(url, b"secret of sixteen") for url in urls],
            lambda: self.agent,
            cluster="demo",
            clock=self.clock,
            wall_clock=self.clock.seconds,
            count=lambda outcome: self.counted.update([outcome]),
        )

    def bodies(self) -> list[str]:
        return [json.loads(each.body)["request"]["id"] for each in self.agent.heard]

    def test_interface(self) -> None:
        """They watch access requests."""
        verifyObject(IRequestWatcher, self.webhooks)

    def test_posted(self) -> None:
        """What is told is JSON, signed with the webhook's secret and the time."""
        self.webhooks.request_changed(REQUEST)
        (heard,) = self.agent.heard
        self.assertEqual((heard.method, heard.url), (b"POST", b"https://one.example.com/hook"))
        (event,) = heard.headers.getRawHeaders(b"Mezite-Event", [])
        self.assertEqual(event, b"access_request.created")
        (signed,) = heard.headers.getRawHeaders(b"Mezite-Signature", [])
        proof = hmac.new(
            b"secret of sixteen", f"{int(NOW)}.".encode() + heard.body, hashlib.sha256
        ).hexdigest()
        self.assertEqual(signed.decode(), f"t={int(NOW)},v1={proof}")
        self.assertEqual(self.counted, {"delivered": 1})

    def test_nobody_to_tell(self) -> None:
        """Without a webhook nothing is made, and no authority of the system is read."""
        webhooks = Webhooks([], self.fail, cluster="x", clock=self.clock, wall_clock=lambda: 0.0)
        webhooks.request_changed(REQUEST)

    def test_tried_again(self) -> None:
        """An answer that may change is waited for, a bounded number of times, signed anew."""
        self.agent.statuses = [503]
        self.webhooks.request_changed(REQUEST)
        for number, pause in enumerate(PAUSES, 1):
            self.assertEqual(len(self.agent.heard), number)
            self.clock.advance(pause)
        self.clock.advance(10 * max(PAUSES))
        self.assertEqual(len(self.agent.heard), len(PAUSES) + 1)
        self.assertEqual(self.counted, {"retried": len(PAUSES), "failed": 1})
        ids = {json.loads(each.body)["id"] for each in self.agent.heard}
        signatures = {
            each.headers.getRawHeaders(b"Mezite-Signature", [])[0] for each in self.agent.heard
        }
        self.assertEqual((len(ids), len(signatures)), (1, len(PAUSES) + 1))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_in_order(self) -> None:
        """What came later waits for what came before, and then is told."""
        self.agent.statuses = [500, 200]
        for number in range(3):
            self.webhooks.request_changed(
                AccessRequest.create(
                    f"{number}", UserName("ada"), roles=[RoleName("x")], reason="x", now=NOW
                )
            )
        self.clock.advance(PAUSES[0])
        self.assertEqual(self.bodies(), ["0", "0", "1", "2"])

    def test_given_up(self) -> None:
        """A redirect is not followed, and an answer that stays the same is not asked for again."""
        for status in (301, 302, 307, 308, 400, 401, 404, 410):
            self.agent.statuses = [status]
            self.agent.heard.clear()
            self.webhooks.request_changed(REQUEST)
            self.assertEqual(len(self.agent.heard), 1, status)
            self.assertEqual(self.clock.getDelayedCalls(), [])
        for status in (408, 425, 429):
            self.agent.statuses = [status, 200]
            self.agent.heard.clear()
            self.webhooks.request_changed(REQUEST)
            self.clock.advance(PAUSES[0])
            self.assertEqual(len(self.agent.heard), 2, status)

    def test_silence(self) -> None:
        """Who does not answer is hung up on, and tried again."""
        self.agent.statuses = [None, 200]
        self.webhooks.request_changed(REQUEST)
        hung_up: list[Any] = []
        self.agent.heard[0].answer.addErrback(hung_up.append)
        self.clock.advance(TRY_SECONDS)
        self.clock.advance(PAUSES[0])
        self.assertEqual(self.counted, {"retried": 1, "delivered": 1})

    def test_slow_answer(self) -> None:
        """An answer that does not end is not read to its end."""
        self.agent.statuses = [None]
        self.webhooks.request_changed(REQUEST)
        response = PlayedResponse(200, None)
        self.agent.heard[0].answer.callback(response)
        response.protocol.dataReceived(b"x")
        self.clock.advance(TRY_SECONDS)
        self.assertTrue(response.transport.disconnecting)
        response.protocol.connectionLost()
        self.assertEqual(self.counted, {"retried": 1})

    def test_long_answer(self) -> None:
        """A long answer is cut off; its status counts."""
        self.agent.statuses = [None]
        self.webhooks.request_changed(REQUEST)
        response = PlayedResponse(200, None)
        self.agent.heard[0].answer.callback(response)
        response.protocol.dataReceived(b"x" * ANSWER_LIMIT)
        self.assertFalse(response.transport.disconnecting)
        response.protocol.dataReceived(b"x")
        self.assertTrue(response.transport.disconnecting)
        response.protocol.connectionLost()
        self.assertEqual(self.counted, {"delivered": 1})

    def test_unreachable(self) -> None:
        """A connection that fails is tried again."""
        self.agent.statuses = [None, 200]
        self.webhooks.request_changed(REQUEST)
        nobody = Failure(ConnectionRefusedError("nobody listens"))
        self.agent.heard[0].answer.errback(ResponseNeverReceived([nobody]))
        self.clock.advance(PAUSES[0])
        self.assertEqual(self.counted, {"retried": 1, "delivered": 1})

    def test_bound(self) -> None:
        """So many wait at most; what is beyond is dropped, and counted."""
        self.agent.statuses = [None]
        for _ in range(QUEUE + 3):
            self.webhooks.request_changed(REQUEST)
        self.assertEqual(self.counted, {"dropped": 3})
        self.assertEqual(len(self.agent.heard), 1)

    def test_each_for_itself(self) -> None:
        """One that does not answer keeps no other waiting."""
        webhooks = self.make("https://slow.example.com/", "https://one.example.com/")
        self.agent.statuses = [None, 200]
        webhooks.request_changed(REQUEST)
        webhooks.request_changed(REQUEST)
        urls = Counter(each.url for each in self.agent.heard)
        self.assertEqual(urls, {b"https://slow.example.com/": 1, b"https://one.example.com/": 2})

    def test_stop(self) -> None:
        """When the hub stops, nothing is left behind, whatever was being done."""
        self.agent.statuses = [500]
        self.webhooks.request_changed(REQUEST)
        self.webhooks.request_changed(REQUEST)
        self.webhooks.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.agent.statuses = [None]
        self.webhooks = self.make("https://one.example.com/")
        self.webhooks.request_changed(REQUEST)
        answer: Deferred[Any] = self.agent.heard[-1].answer
        self.webhooks.stop()
        self.assertTrue(answer.called)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertNotIn("failed", self.counted)
