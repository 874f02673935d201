"""
The audit's lines outside of the database, each with its hash in it.

A file, syslog and ``mezctl audit ls --format=json`` have them in this
spelling; docs/protocols/audit.rst specifies it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Final

from attrs import define, field, frozen

from mezite.audit.chain import GENESIS, HASH_LENGTH, ChainedLine, ChainVerifier, decode_event
from mezite.audit.error import BadAuditLine

_COPY: Final = re.compile(r'\{"hash":"([0-9a-f]{64})",(.+)', re.ASCII)
# 32 details of 16 texts of 1,024 characters, each of which JSON may write as 12, and the rest.
LINE_LENGTH: Final = 8 * 1024 * 1024


@frozen
class CopyPoint:
    """
    The event up to which somebody has copies.

    The hash is that of a note, 32 octets of zero, where the line was damaged.
    """

    seq: int
    hash: bytes = GENESIS

    @property
    def is_known(self) -> bool:
        """Whether the hash says which event it was."""
        return self.hash != GENESIS


def copy_of(each: ChainedLine) -> str:
    """The line with its hash in front of all keys, and else as it is."""
    return f'{{"hash":"{each.hash.hex()}",{each.line[1:]}'


def read_copy(text: str) -> ChainedLine:
    """
    The line and the hash of a copy; whether they belong together is not looked at.

    :raises BadAuditLine:
    """
    matched = _COPY.fullmatch(text)
    if matched is None:
        raise BadAuditLine("it is not a line of the audit with its hash")
    line = "{" + matched[2]
    seq, _ = decode_event(line)
    return ChainedLine(seq, line, bytes.fromhex(matched[1]))


def copy_or_note(each: ChainedLine) -> str:
    """
    The copy, or a note in its place of a line that somebody changed before it was copied.

    Such a line may hold anything, the end of a line among it.
    """
    try:
        decode_event(each.line)
    except BadAuditLine:
        is_note = True
    else:
        is_note = len(each.hash) != HASH_LENGTH
    return _note(each, "damaged") if is_note else copy_of(each)


def short_note(each: ChainedLine) -> str:
    """What stands for a copy that is too long for where it goes."""
    return _note(each, "too_long")


def point_of(text: str) -> CopyPoint:
    """
    How far the copies before and with this one come.

    :raises BadAuditLine: it is neither a copy nor a note.
    """
    try:
        values = json.loads(text)
        seq, hashed = values["seq"], bytes.fromhex(values["hash"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadAuditLine("it is not a line of the audit with its hash") from None
    if type(seq) is not int or seq < 1 or len(hashed) != HASH_LENGTH:
        raise BadAuditLine("it is not a line of the audit with its hash")
    return CopyPoint(seq, hashed)


def _note(each: ChainedLine, why: str) -> str:
    hashed = each.hash if len(each.hash) == HASH_LENGTH else GENESIS
    return json.dumps({"hash": hashed.hex(), "seq": each.seq, why: True}, separators=(",", ":"))


@define
class CopyVerifier:
    """
    Checks copies of lines in their order.

    The first line, unless it is number 1, is taken as it is: what was before
    it is not there to be asked.
    """

    wanted: bytes = b""
    first_seq: int = field(init=False, default=0)
    chain: ChainVerifier | None = field(init=False, default=None)

    @property
    def count(self) -> int:
        """How many were found to be right."""
        return 0 if self.chain is None else self.chain.seq - self.first_seq + 1

    def check(self, lines: Iterable[ChainedLine]) -> bool:
        """Take the next lines; False as soon as the chain is broken."""
        for each in lines:
            if self.chain is None:
                self.chain = self._begin(each)
                self.first_seq = self.chain.seq + 1 if each.seq == 1 else each.seq
                if each.seq != 1:
                    continue
            if not self.chain.check([each]):
                return False
        return True

    def _begin(self, each: ChainedLine) -> ChainVerifier:
        if each.seq == 1:
            return ChainVerifier(wanted=self.wanted)
        found = each.seq if each.hash == self.wanted else 0
        return ChainVerifier(each.seq, each.hash, self.wanted, found)
