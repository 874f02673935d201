"""
Whom to trust from now on, asked of the hub whenever a login talks to it.

So who works with ``msh`` knows the next authority before the one that they know is
forgotten.
"""

from __future__ import annotations

from cryptography import x509
from twisted.logger import Logger

from mezite.client.profile import Profile, Profiles
from mezite.error import MeziteError
from mezite.identity.sshkeys import load_public_line
from mezite.rpc.client import AuthClient

_log = Logger()


async def learn_authorities(client: AuthClient, profile: Profile, profiles: Profiles) -> None:
    """
    Ask the hub whom to trust from now on, before one authority takes over from another.

    Whatever goes wrong is left to the next time: nothing depends on this one.
    """
    try:
        answer = await client.ping()
        cluster_ca = answer.cluster_ca.encode()
        x509.load_pem_x509_certificates(cluster_ca)
        lines = [one_line(line) for line in answer.host_ca]
        for line in lines:
            load_public_line(line)
        if profiles.trust(profile, cluster_ca, lines):
            _log.info("the authorities of {hub} have changed", hub=profile.hub)
    except (MeziteError, ValueError) as error:
        _log.debug("not asked for the hub's authorities: {error}", error=error)


def one_line(text: str) -> str:
    """Text of the hub's that becomes a line of a file; it must not become two."""
    return " ".join(text.split())
