"""
The auth service's methods about servers without an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import frozen
from google.protobuf.message import Message

from mezite.auth.opensshnodes import OpenSshNodeService
from mezite.hub.authservice import Handler
from mezite.hub.callers import Subject
from mezite.hub.nodemessages import node_message
from mezite.hub.nodes import NodeStatus
from mezite.identity.authorities import Authorities
from mezite.rpc.proto import auth_pb2 as pb
from mezite.rpc.server import Call


@frozen
class OpenSshMethods:
    """The methods, by what they are called."""

    nodes: OpenSshNodeService
    authorities: Callable[[], Authorities]

    def handlers(self) -> Mapping[str, Handler]:
        """The methods by their names."""
        return {
            "CreateOpenSshNode": self.create_node,
            "GetOpenSshSetup": self.get_setup,
        }

    async def create_node(
        self, who: Subject, _call: Call, request: pb.CreateOpenSshNodeRequest
    ) -> Message:
        record = await self.nodes.create(
            request.hostname,
            address=request.address,
            labels=request.labels,
            host_keys=request.host_keys,
            host_authorities=request.host_authorities,
            by=who.actor,
        )
        return pb.CreateOpenSshNodeResponse(node=node_message(NodeStatus(record), is_full=True))

    async def get_setup(
        self, _who: Subject, _call: Call, _request: pb.GetOpenSshSetupRequest
    ) -> Message:
        return pb.GetOpenSshSetupResponse(user_ca_lines=self.authorities().user_lines)
