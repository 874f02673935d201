"""
``python -m mezite.hub.workers NUMBER WORKERS LOG-LEVEL``: started by a hub, and by nobody else.
"""

from __future__ import annotations

import sys

from mezite.hub.workers.process import main

if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
