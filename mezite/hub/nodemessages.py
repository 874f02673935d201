"""
Nodes as the auth service's messages show them, and as agents speak of them.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from mezite.hub.nodes import NodeStatus
from mezite.names import check_labels
from mezite.rpc.proto import auth_pb2 as pb
from mezite.store.records import MachineFacts, NodeWord

# What agents send is 16 at most; more would only make the lists long.
_ADDRESSES: Final = 16
_OS_LENGTH: Final = 80
_ARCH_LENGTH: Final = 32
_VERSION_LENGTH: Final = 64


def node_message(status: NodeStatus, *, is_full: bool = False) -> pb.Node:
    """A node as lists show it; where its machine stands is for those who administer or audit."""
    record = status.record
    node = pb.Node(
        hostname=str(record.name),
        agent_id=str(record.agent_id),
        status=_status(status),
        kind="agent" if record.has_agent else "openssh",
        labels=dict(record.labels),
        last_seen=int(record.last_seen or 0),
        version=record.version,
        joined=int(record.joined),
        hub_labels=sorted(record.hub_labels),
        command_labels=record.command_labels,
        online_since=int(status.online_since or 0),
        offline_since=int(status.offline_since or 0),
    )
    if is_full:
        node.address = record.address
        node.token_id = record.token_id
        node.rejoined = int(record.rejoined or 0)
        node.facts.CopyFrom(
            pb.NodeFacts(
                addresses=record.facts.addresses, os=record.facts.os, arch=record.facts.arch
            )
        )
        if record.sshd is not None:
            node.host_keys.extend(record.sshd.host_keys)
            node.host_authorities.extend(record.sshd.authorities)
    return node


def _status(status: NodeStatus) -> pb.NodeStatus.ValueType:
    if not status.record.has_agent:
        return pb.NodeStatus.NODE_STATUS_AGENTLESS
    return (
        pb.NodeStatus.NODE_STATUS_ONLINE if status.is_online else pb.NodeStatus.NODE_STATUS_OFFLINE
    )


def read_word(request: pb.RegisterAgentRequest | pb.AgentHeartbeatRequest) -> NodeWord:
    """
    What an agent says of its node, fit to be stored and shown.

    :raises InvalidName: a label is wrong.
    """
    facts = request.facts if request.HasField("facts") else None
    return NodeWord(
        labels=check_labels(request.labels),
        version=version_text(request.version),
        command_labels=tuple(key for key in request.labels if key in {*request.command_labels}),
        facts=None
        if facts is None
        else MachineFacts(
            addresses=_addresses(facts.addresses),
            os=_printable(facts.os, _OS_LENGTH),
            arch=_printable(facts.arch, _ARCH_LENGTH),
        ),
    )


def version_text(version: str) -> str:
    """An agent's word for its version, fit to be stored and shown."""
    return _printable(version, _VERSION_LENGTH)


def _printable(text: str, length: int) -> str:
    return "".join(character for character in text[:length] if character.isprintable())


def _addresses(texts: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for text in list(texts)[:_ADDRESSES]:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        # What follows a % is the agent's own word for a network, and may be anything.
        if getattr(address, "scope_id", None) is None:
            found.append(str(address))
    return tuple(dict.fromkeys(found))
