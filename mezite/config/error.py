"""
What goes wrong with settings.
"""

from __future__ import annotations

from mezite.error import BadInput


class ConfigError(BadInput):
    """
    A setting or its file that cannot be used.

    The sentence says where it stands (file and line, variable or option), what
    is wrong, and what would be accepted. It never repeats a secret's value.
    """
