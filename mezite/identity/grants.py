"""
What roles come to in a certificate.
"""

from __future__ import annotations

from typing import Final

from mezite.identity.networks import Networks
from mezite.identity.rolesdoc import Options
from mezite.identity.sshcert import SOURCE_ADDRESS
from mezite.names import LoginName

PTY: Final = "permit-pty"
PORT_FORWARDING: Final = "permit-port-forwarding"
AGENT_FORWARDING: Final = "permit-agent-forwarding"
# OpenSSH has no word for it; names with an @ are everybody's own (PROTOCOL.certkeys).
FILE_COPY: Final = "permit-file-copy@mezite"

# The principal of those who administer and log in nowhere: a certificate without principals
# is good for every login. No account can have this name, since none begins with a hyphen.
NO_LOGIN: Final = LoginName("-mezite-no-login")


def options_of(sources: Networks | None) -> dict[str, bytes]:
    """The critical options of a certificate that is good from these networks; None is all."""
    if sources is None:
        return {}
    return {SOURCE_ADDRESS: ",".join(map(str, sources)).encode()}


def extensions_of(options: Options) -> frozenset[str]:
    """The extensions of the certificate of somebody with these options."""
    permitted = {
        PTY: True,
        PORT_FORWARDING: options.port_forwarding,
        AGENT_FORWARDING: options.agent_forwarding,
        FILE_COPY: options.file_copy,
    }
    return frozenset(name for name, is_permitted in permitted.items() if is_permitted)
