"""
What the defaults depend on: whose process this is, and on which machine.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

import platformdirs
from attrs import frozen


@frozen
class Machine:
    """The host's name as the system knows it, and where this account keeps data."""

    host_name: str
    data_home: Path

    @classmethod
    def here(cls) -> Machine:
        """This process on this machine; asks no name server, which might be slow to answer."""
        data_home = "/var/lib" if os.geteuid() == 0 else platformdirs.user_data_dir()
        return cls(socket.gethostname(), Path(data_home))
