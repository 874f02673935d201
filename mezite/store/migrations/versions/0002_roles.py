"""
Roles, and which users have them; users keep the rights that they had.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column(
        "users", sa.Column("roles", sa.JSON, nullable=False, server_default=sa.text("'[]'"))
    )
    op.add_column(
        "users", sa.Column("traits", sa.JSON, nullable=False, server_default=sa.text("'{}'"))
    )
    op.create_table(
        "roles",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("document", sa.JSON, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("changed", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_roles"),
    )
