"""
Locks.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "locks",
        sa.Column("lock_id", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("login", sa.String, nullable=False),
        sa.Column("message", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=True),
        sa.PrimaryKeyConstraint("lock_id", name="pk_locks"),
    )
