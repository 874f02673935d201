"""
How nodes stand in tables: whether they are online, or since when not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

from mezite.cli import tables


def status_column(rows: Iterable[Mapping[str, object]], output_format: str) -> tables.Column:
    """
    The column of the status, in which people also read since when a node is offline.

    The rows of a table are changed for that; those of JSON stay as they are.
    """
    if output_format == "json":
        return tables.Column("status")
    for row in rows:
        since = row["offline_since"]
        if row["status"] == "offline" and isinstance(since, str) and isinstance(row, dict):
            moment = datetime.fromisoformat(since)
            row["status"] = f"offline since {moment:%Y-%m-%d %H:%M} UTC"
    return tables.Column("status")
