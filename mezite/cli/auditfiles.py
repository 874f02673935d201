"""
A copy of the audit on disk, verified without a hub.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mezite.audit.chain import ChainedLine
from mezite.audit.copies import LINE_LENGTH, CopyVerifier, read_copy
from mezite.audit.error import BadAuditLine
from mezite.error import BadInput, NotFound
from mezite.rpc.proto import auth_pb2 as pb

# More than a hub keeps.
_ROTATED: Final = 10_000
_PAGE: Final = 1000


class _Broken(Exception):
    """A line that is none of an audit."""


def verify_files(path: Path, head: str) -> pb.VerifyAuditResponse:
    """
    Verify this file, after those that were rotated away from it (``FILE.1`` is the newest).

    :raises NotFound: there is no such file.
    :raises BadInput: it cannot be read.
    """
    verifier = CopyVerifier(bytes.fromhex(head))
    broken = ""
    try:
        for each in (*_rotated(path), path):
            for lines in _pages(each):
                if not verifier.check(lines):
                    break
    except _Broken as error:
        broken = str(error)
    except FileNotFoundError as error:
        raise NotFound(f"there is no file {error.filename}") from None
    except OSError as error:
        raise BadInput(f"{error.filename} cannot be read: {error.strerror}") from None
    chain = verifier.chain
    if chain is not None and chain.broken is not None:
        broken = chain.broken
    elif head and not broken and (chain is None or not chain.found):
        broken = "no event has the hash that was written down"
    if chain is None:
        return pb.VerifyAuditResponse(broken=broken)
    return pb.VerifyAuditResponse(
        count=verifier.count,
        first_seq=verifier.first_seq,
        last_seq=chain.seq,
        head=chain.hash.hex(),
        broken=broken,
        broken_seq=chain.seq + 1 if broken else 0,
        found_seq=chain.found,
    )


def _rotated(path: Path) -> list[Path]:
    """The oldest first."""
    found = []
    for number in range(1, _ROTATED):
        rotated = Path(f"{path}.{number}")
        if not rotated.exists():
            break
        found.append(rotated)
    return found[::-1]


def _pages(path: Path) -> Iterator[list[ChainedLine]]:
    page: list[ChainedLine] = []
    with path.open("rb") as lines:
        number = 0
        while line := lines.readline(LINE_LENGTH):
            number += 1
            try:
                page.append(_read(line))
            except BadAuditLine as error:
                yield page
                raise _Broken(f"line {number} of {path}: {error}") from None
            if len(page) == _PAGE:
                yield page
                page = []
    yield page


def _read(line: bytes) -> ChainedLine:
    if not line.endswith(b"\n"):
        raise BadAuditLine("it has no end: it is being written, or it was cut off")
    try:
        return read_copy(line[:-1].decode())
    except UnicodeDecodeError:
        raise BadAuditLine("it is not text") from None
