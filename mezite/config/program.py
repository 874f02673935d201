"""
What the programs that ``twist`` starts have alike: how they are asked, and how they refuse.
"""

from __future__ import annotations

import sys
from typing import ClassVar, Final, NoReturn

from twisted.python import usage

WRONG_INPUT: Final = 2
CANNOT_START: Final = 1


class ProgramOptions(usage.Options):
    """Options and nothing else; what is wrong with them ends the program with a sentence."""

    program: ClassVar[str]

    def parseOptions(self, options: list[str] | None = None) -> None:
        try:
            super().parseOptions(options)
        except usage.UsageError as error:
            end(self.program, str(error), WRONG_INPUT)

    def parseArgs(self, *rest: str) -> None:
        if rest:
            raise usage.UsageError(f"{self.program} takes options only, and not {rest[0]!r}")


def end(program: str, sentence: str, status: int) -> NoReturn:
    """Leave with this sentence, before the reactor runs."""
    sys.stderr.write(f"{program}: {sentence}\n")
    raise SystemExit(status)
