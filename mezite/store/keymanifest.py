"""
Which of the key files count: the manifest beside them, ``rotation.json``.

One small file says which authority signs, which one else is trusted, and in
which phase since when; replacing it is the one moment at which a step of a
rotation happens. Without it, the files are those of a cluster whose
authorities were never rotated.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

from mezite.identity.authorities import Authorities
from mezite.identity.succession import Kind, Phase, Succession

MANIFEST: Final = "rotation.json"
_FORMAT: Final = 1
# Far beyond what anybody rotates; it keeps file names short.
_NUMBER_LIMIT: Final = 1_000_000
# The keys and the cluster CA's certificate, of the first set; later ones have their number
# before the suffix.
KEY_FILES: Final[Mapping[Kind, str]] = {
    Kind.USER: "user_ca.key",
    Kind.HOST: "host_ca.key",
    Kind.TLS: "cluster_ca.key",
}
CERTIFICATE_FILE: Final = "cluster_ca.pem"


@frozen
class Manifest:
    """The successions, with file numbers in the place of authorities."""

    generation: int
    successions: Mapping[Kind, Succession[int]]

    @classmethod
    def of(cls, authorities: Authorities) -> Manifest:
        return cls(
            authorities.generation,
            {kind: _numbers(authorities.of(kind)) for kind in Kind},
        )

    @classmethod
    def parse(cls, data: bytes) -> Manifest:
        """
        :raises ValueError: it says nothing that can be.
        """
        try:
            said = json.loads(data)
            if said["format"] != _FORMAT:
                raise ValueError
            successions = {kind: _read(said["authorities"][kind.value]) for kind in Kind}
            return cls(_number(said["generation"]), successions)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError from None

    def encode(self) -> bytes:
        said = {
            "format": _FORMAT,
            "generation": self.generation,
            "authorities": {
                kind.value: {
                    "signing": each.number,
                    "other": each.other_number,
                    "last": each.last,
                    "generation": each.generation,
                    "phase": each.phase.value,
                    "since": each.since,
                    "began": each.began,
                    "switched": each.switched,
                    "grace": each.grace,
                }
                for kind, each in self.successions.items()
            },
        }
        return json.dumps(said, indent=2).encode() + b"\n"

    def files(self) -> list[str]:
        """The names of all files that must be there."""
        return [
            name
            for kind, each in self.successions.items()
            for number in (each.number, each.other_number)
            if number
            for name in file_names(kind, number)
        ]

    def forgotten(self) -> list[str]:
        """The names of files that may still be there and count no more."""
        return [
            name
            for kind, each in self.successions.items()
            for number in range(max(1, each.last - 64), each.last + 1)
            if number not in (each.number, each.other_number)
            for name in file_names(kind, number)
        ]


FIRST: Final = Manifest(1, {kind: Succession(1) for kind in Kind})


def file_names(kind: Kind, number: int) -> list[str]:
    """The key's file and, of an X.509 authority, its certificate's."""
    names = [KEY_FILES[kind], *([CERTIFICATE_FILE] if kind is Kind.TLS else [])]
    return names if number == 1 else [_numbered(name, number) for name in names]


def number_of(kind: Kind, name: str) -> int:
    """The number in the name of a file of this kind; 0 if it is none."""
    stem, _, suffix = KEY_FILES[kind].partition(".")
    match name.split("."):
        case [first, number, ("key" | "pem")] if first == stem and number.isascii():
            return int(number) if number.isdigit() and len(number) < 7 else 0
        case [first, end] if first == stem and end == suffix:
            return 1
    return 0


def _numbered(name: str, number: int) -> str:
    stem, _, suffix = name.partition(".")
    return f"{stem}.{number}.{suffix}"


def _numbers(succession: Succession[Any]) -> Succession[int]:
    return Succession(
        signing=succession.number,
        other=succession.other_number or None,
        phase=succession.phase,
        since=succession.since,
        began=succession.began,
        switched=succession.switched,
        grace=succession.grace,
        number=succession.number,
        other_number=succession.other_number,
        last=succession.last,
        generation=succession.generation,
    )


def _read(said: Any) -> Succession[int]:
    signing, other = _number(said["signing"]), _number(said["other"], least=0)
    last, phase = _number(said["last"]), Phase(said["phase"])
    if signing == other or max(signing, other) > last or (other == 0) != (phase is Phase.STANDBY):
        raise ValueError
    return Succession(
        signing=signing,
        other=other or None,
        phase=phase,
        since=_seconds(said["since"]),
        began=_seconds(said["began"]),
        switched=_seconds(said["switched"]),
        grace=_seconds(said["grace"]),
        number=signing,
        other_number=other,
        last=last,
        generation=_number(said["generation"], least=0),
    )


def _number(value: Any, *, least: int = 1) -> int:
    if type(value) is not int or not least <= value <= _NUMBER_LIMIT:
        raise ValueError
    return value


def _seconds(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise ValueError
    return float(value)
