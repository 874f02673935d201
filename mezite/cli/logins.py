"""
Which login a command uses: at which hub, and who to be on a node.
"""

from __future__ import annotations

import getpass
import time

from attrs import evolve

from mezite.client.profile import Profile, Profiles, default_login
from mezite.error import BadInput
from mezite.names import HostPort, LoginName


def valid_profile(proxy: HostPort | None, *, resumes: bool = True) -> Profile:
    """The login to use, which has not ended; without ``resumes``, whatever it says of that."""
    profile = Profiles().load(proxy)
    profile.check_valid(time.time())
    return profile if resumes else evolve(profile, resumes=False)


def choose_login(profile: Profile, wanted: str | None) -> LoginName:
    """
    Who to be on a node.

    :raises BadInput: if the certificate has no login at all, or not this one.
    """
    if wanted is not None:
        login = LoginName.parse(wanted)
        if login not in profile.logins:
            allowed = ", ".join(each.text for each in profile.logins) or "none"
            raise BadInput(f"you may not log in as {login}; your logins: {allowed}")
        return login
    chosen = default_login(profile.logins, getpass.getuser())
    if chosen is None:
        raise BadInput(f"{profile.user} has no logins on any node")
    return chosen
