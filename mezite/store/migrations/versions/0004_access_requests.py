"""
Access requests.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "access_requests",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("roles", sa.JSON, nullable=False),
        sa.Column("nodes", sa.JSON, nullable=False),
        sa.Column("window", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("changes", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_access_requests"),
        sa.ForeignKeyConstraint(
            ["user"], ["users.name"], name="fk_access_requests_user", ondelete="CASCADE"
        ),
    )
    for column in ("user", "state", "created"):
        op.create_index(f"ix_access_requests_{column}", "access_requests", [column])
