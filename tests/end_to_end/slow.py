"""Tests that take too long for every change: tox -e slow runs them."""

from __future__ import annotations

import os

import pytest

IS_SLOW_WANTED = os.environ.get("MEZITE_SLOW") == "1"
slow = pytest.mark.skipif(
    not IS_SLOW_WANTED, reason="it takes half a minute: MEZITE_SLOW=1, or tox -e slow, runs it"
)
