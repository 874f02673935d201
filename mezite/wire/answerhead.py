"""
The head of an HTTP answer, where what follows it is no HTTP.

Proxies and load balancers answer so before they carry bytes. Bytes in, a head
out; what stands in it is for those who asked. The standard library only, since
``msh proxy ssh`` uses it.
"""

from __future__ import annotations

from mezite.error import RemoteError

# A status line and a few fields.
LENGTH = 16 * 1024
# Answers of the kind "wait, it is coming" (RFC 9110, section 15.2) before the one that counts.
_INTERIM = 8
# Only HTTP/1.1 upgrades, but refusals come in HTTP/1.0, too: haproxy's, as Debian sets it up.
_VERSIONS = (b"HTTP/1.1 ", b"HTTP/1.0 ")
_SWITCHING = b"101"


class NoAnswer(RemoteError):
    """What came is no answer of HTTP; ``str()`` is the end of a sentence about who sent it."""


def answer_head(received: bytes) -> tuple[bytes, bytes] | None:
    """
    The head of the answer that counts, without its empty line, and what follows.

    None if it is not whole yet; then it is asked again with more behind the same bytes.

    :raises NoAnswer: also as soon as it cannot become one.
    """
    for _ in range(_INTERIM + 1):
        if not any(version.startswith(received[:9]) for version in _VERSIONS):
            raise NoAnswer("is no web server")
        head, end, rest = received.partition(b"\r\n\r\n")
        if len(head) > LENGTH:
            raise NoAnswer("does not come to an end")
        if not end:
            return None
        if not _is_interim(head[9:12]):
            return head, rest
        received = rest
    raise NoAnswer("does not come to an end")


def _is_interim(code: bytes) -> bool:
    return code[:1] == b"1" and code.isdigit() and code != _SWITCHING
