"""
Commands that are the far end of a file transfer.

Programs that copy over SSH run a command on the node: ``scp`` its own name,
``rsync`` its ``--server``, ``sftp`` of some clients the SFTP server by its path.
They are told from other commands by their first word. Whoever may run any
command can move bytes by other means (``cat``, ``tar``, ``base64``), so that this
keeps to a rule those who use the usual tools, and nobody else.
"""

from __future__ import annotations

import shlex
from typing import Final

# What programs put before the command proper, none of which changes what it is.
_WRAPPERS: Final = frozenset({"exec", "command", "env", "sudo", "nice", "nohup"})
_SERVERS: Final = frozenset({"scp", "sftp-server", "internal-sftp"})
# A command of a transfer is short; what is longer is a script.
_WORDS: Final = 16
_LENGTH: Final = 4096


def copies_files(command: str) -> bool:
    """Whether this is what a program for copying files runs on a node."""
    try:
        words = shlex.split(command[:_LENGTH])[:_WORDS]
    except ValueError:
        words = command[:_LENGTH].split()[:_WORDS]
    while words and (words[0] in _WRAPPERS or _is_assignment(words[0])):
        words = words[1:]
    if not words:
        return False
    name = words[0].rpartition("/")[2]
    return name in _SERVERS or (name == "rsync" and "--server" in words)


def _is_assignment(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.isidentifier()
