"""
The shortest SSH server: one sentence, then goodbye.

Any SSH client prints the description of a disconnection, even before keys are
exchanged. So whoever cannot lead a client to an SSH server still can tell the
person why.
"""

from __future__ import annotations

from typing import Final

from mezite.ssh.error import HOST_NOT_ALLOWED
from mezite.ssh.fields import string, uint32

# OpenSSH's client shows at most 1 KiB or so; one line is enough for a sentence.
SENTENCE_BYTES: Final = 512
_DISCONNECT: Final = 1
# RFC 4253, section 6: 8 octets while there is no cipher, and 4 of padding at least.
_BLOCK: Final = 8
_LEAST_PADDING: Final = 4


def refusal(sentence: str) -> bytes:
    """
    Everything that such a server sends (RFC 4253, sections 4.2 and 11.1).

    Write it, then close. A sentence of more than 512 bytes is cut.
    """
    description = sentence.encode("utf-8")[:SENTENCE_BYTES].decode("utf-8", "ignore").encode()
    payload = bytes([_DISCONNECT]) + uint32(HOST_NOT_ALLOWED) + string(description) + string(b"en")
    padding = _BLOCK - (5 + len(payload)) % _BLOCK
    if padding < _LEAST_PADDING:
        padding += _BLOCK
    return (
        b"SSH-2.0-Mezite\r\n"
        + uint32(1 + len(payload) + padding)
        + bytes([padding])
        + payload
        + bytes(padding)
    )
