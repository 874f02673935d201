"""
What people read before they are let in (RFC 4252, section 5.4).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.conch.ssh.service import SSHService

from mezite.config.agent import AgentConfig
from mezite.config.error import ConfigError
from mezite.config.keys import BANNER_LENGTH
from mezite.ssh.fields import string
from mezite.ssh.server import ServerTransport, SshServerFactory
from mezite.ssh.userauth import BANNER, UserAuthServer


def banner_of(config: AgentConfig) -> str:
    """
    The text that the settings want shown; empty if none.

    :raises ConfigError: if its file cannot be read, or is no such text.
    """
    if config.banner_file is None:
        return config.banner or ""
    try:
        with config.banner_file.open("rb") as file:
            content = file.read(4 * BANNER_LENGTH + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigError(
            f"the banner cannot be read from {config.banner_file}: {reason}"
        ) from None
    text = content.decode("utf-8", "replace").replace("\r\n", "\n")
    if len(text) > BANNER_LENGTH:
        raise ConfigError(f"{config.banner_file}: a banner has at most {BANNER_LENGTH} characters")
    # What a terminal would take for a command is not for a file to say.
    return "".join(char for char in text if char.isprintable() or char in "\n\t")


class GreetingUserAuth(UserAuthServer):
    """Authentication that begins with a text."""

    def __init__(self, certificates: object, banner: str) -> None:
        super().__init__(certificates)
        self._banner = banner

    def serviceStarted(self) -> None:
        super().serviceStarted()
        lines = self._banner.rstrip("\n").replace("\n", "\r\n")
        self.transport.sendPacket(BANNER, string(f"{lines}\r\n".encode()) + string(b""))


class GreetingServerFactory(SshServerFactory):
    """An SSH server that shows a text, if there is one, before it lets anybody in."""

    banner = ""

    def getService(
        self, transport: ServerTransport, service: bytes
    ) -> Callable[[], SSHService] | None:
        make = super().getService(transport, service)
        if make is not None and service == b"ssh-userauth" and self.banner:
            return lambda: GreetingUserAuth(self._certificates, self.banner)
        return make
