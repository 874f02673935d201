"""
``twist mezhub`` and ``twist mezd``.
"""

from twisted.application.service import ServiceMaker

mezhub = ServiceMaker(
    "Mezite hub",
    "mezite.hub.tap",
    "The hub of Mezite: HTTPS, gRPC, SSH and tunnels on one TLS port.",
    "mezhub",
)

mezd = ServiceMaker(
    "Mezite agent",
    "mezite.agent.tap",
    "The agent of Mezite: dials the hub and serves SSH on this node.",
    "mezd",
)
