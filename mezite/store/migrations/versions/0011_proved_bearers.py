"""
When the holder of a bearer last proved who they are; of those that are there, nobody knows.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("bearers", sa.Column("proved", sa.Double, nullable=True))
