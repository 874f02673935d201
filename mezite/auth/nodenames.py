"""
What nodes may be called, and the names in their host certificates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mezite.auth.error import NodeNameReserved
from mezite.names import AgentId, ClusterName, InvalidName, NodeName
from mezite.store.records import NodeRecord

_RESERVED: Final = frozenset({"auth", "localhost"})


def principals_of(record: NodeRecord, hub_names: Sequence[str]) -> list[str]:
    """Every name under which a client asks for the node."""
    own = (record.name.text, record.agent_id.text)
    return [*own, *(f"{name}.{hub}" for name in own for hub in hub_names)]


def refuse_reserved(node: NodeName, hub_names: Sequence[str], cluster: ClusterName) -> None:
    """
    Refuse a name that leads elsewhere.

    The hub's own public name is one, and so is every name below a hub's: the
    node ``db1.hub`` would have a host certificate for node ``db1`` of ``hub``.
    Node ids are typed where names are. The bare name of the cluster may be
    taken: by default it is the name of the hub's machine, which may be a node.

    :raises NodeNameReserved:
    """
    name = node.text
    is_hubs = name in hub_names and name != cluster.text
    try:
        AgentId.parse(name)
        is_id = True
    except InvalidName:
        is_id = False
    if name in _RESERVED or is_hubs or is_id:
        raise NodeNameReserved(node)
    for hub in hub_names:
        if name.endswith(f".{hub}"):
            raise NodeNameReserved(node, hub)
