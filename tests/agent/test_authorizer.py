"""Tests of asking the hub whether a session may begin."""

from __future__ import annotations

import math

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from mezite.agent.authorizer import HubAuthorizer
from mezite.agent.error import TunnelDown
from mezite.agent.hubcalls import HubCalls
from mezite.agent.permit import SessionPermit
from mezite.agent.sshd import ISessionAuthorizer
from mezite.error import Denied
from mezite.identity.rolesdoc import Recording
from mezite.names import LoginName, UserName
from mezite.recording.recordings import SessionRecord
from mezite.rpc.proto import auth_pb2 as pb
from mezite.ssh.sessionwatch import SessionBounds
from tests.doubles.agenthub import AgentHub

ADA = UserName("ada")
ROOT = LoginName("root")


class HubAuthorizerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.hub = AgentHub()
        self.authorizer = HubAuthorizer(self.hub.direct_calls)

    def decision(self) -> SessionPermit:
        asked = self.authorizer.authorize(ADA, ROOT, "s1")
        self.hub.advance(0)
        return self.successResultOf(asked)

    def test_interface(self) -> None:
        """It is what the SSH server asks."""
        verifyObject(ISessionAuthorizer, self.authorizer)

    def test_yes(self) -> None:
        """The hub's yes is a yes, to the question that was asked."""
        self.assertTrue(self.decision().allowed)
        (request,) = self.hub.heard("AuthorizeSession")
        self.assertEqual((request.user, request.login, request.session_id), ("ada", "root", "s1"))

    def test_no(self) -> None:
        """The hub's no is a no, with its reason."""
        self.hub.allowed = False
        self.assertEqual(self.decision(), SessionPermit(False, "so it is"))

    def test_bounds(self) -> None:
        """What the hub says of a session's end is passed on; what cannot be is the strictest."""
        self.assertEqual(self.decision().bounds, SessionBounds())
        for seconds, idle_timeout in (
            (900.0, 900.0),
            (-1.0, 1.0),
            (math.inf, 1.0),
            (math.nan, 1.0),
        ):
            self.hub.bounds = {"idle_timeout_seconds": seconds, "disconnect_expired": True}
            self.assertEqual(self.decision().bounds, SessionBounds(idle_timeout, True))

    def test_recording(self) -> None:
        """What the hub says of recording is passed on; what it does not say is the strictest."""
        self.assertEqual(self.decision().record, SessionRecord(Recording.STRICT, False))
        for said, mode in (
            (pb.SESSION_RECORDING_OFF, Recording.OFF),
            (pb.SESSION_RECORDING_BEST_EFFORT, Recording.BEST_EFFORT),
            (pb.SESSION_RECORDING_STRICT, Recording.STRICT),
            (77, Recording.STRICT),
        ):
            self.hub.bounds = {"recording": said, "record_input": True}
            self.assertEqual(self.decision().record, SessionRecord(mode, True))

    def test_error(self) -> None:
        """An error is a no."""
        self.hub.errors["AuthorizeSession"] = Denied("?")
        self.assertFalse(self.decision().allowed)

    def test_no_tunnel(self) -> None:
        """Nobody to ask is a no."""

        def calls() -> HubCalls:
            raise TunnelDown()

        self.authorizer = HubAuthorizer(calls)
        self.assertFalse(self.decision().allowed)

    def test_silence(self) -> None:
        """No answer within ten seconds is a no."""
        calls = self.hub.direct_calls()
        self.hub.links[-1].server.is_reading = False
        self.authorizer = HubAuthorizer(lambda: calls)
        asked = self.authorizer.authorize(ADA, ROOT, "s1")
        self.hub.clock.advance(9)
        self.assertNoResult(asked)
        self.hub.clock.advance(2)
        self.assertFalse(self.successResultOf(asked).allowed)
