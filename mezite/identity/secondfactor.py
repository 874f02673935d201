"""
Whether people need a second factor, beside a password.
"""

from __future__ import annotations

import enum


class SecondFactorPolicy(enum.Enum):
    """What the cluster wants."""

    OFF = "off"
    OPTIONAL = "optional"
    REQUIRED = "required"
