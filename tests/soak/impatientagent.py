"""
``twist mezd`` with waits of a twentieth of a second, and nothing else of it changed.

A thousand reconnects of an agent as it is would take hours, for it waits up to half
a minute where tunnels do not last.
"""

from __future__ import annotations

import sys

from twisted.application.twist._twist import Twist

from mezite.agent import backoff

if __name__ == "__main__":
    for name in ("FIRST", "LONGEST", "LONGEST_REFUSED", "SHORTEST"):
        setattr(backoff, name, 0.05)
    Twist.main(["twist", "mezd", *sys.argv[1:]])
