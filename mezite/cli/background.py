"""
``msh ssh -f``: a process that goes on when its person has the prompt again.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

_READY = b"r"


def in_background(run: Callable[[Callable[[], None]], int]) -> int:
    """
    Call ``run(ready)`` in a process of its own, and return once that calls ``ready``.

    Until then it belongs to the terminal, as ssh does: Ctrl-C reaches it, and
    if it ends, its exit code is returned. It must be called before there is a
    reactor, which two processes cannot share.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        os.close(writing)
        is_ready = os.read(reading, 1) == _READY
        os.close(reading)
        if is_ready:
            return 0
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code
    os.close(reading)

    def ready() -> None:
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.write(writing, _READY)
        os.close(writing)

    return run(ready)
