"""
Tokens of programs that speak as users.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("token_id", sa.String, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("access", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("last_used", sa.Double, nullable=True),
        sa.PrimaryKeyConstraint("token_id", name="pk_api_tokens"),
        sa.UniqueConstraint("secret_hash", name="uq_api_tokens_secret_hash"),
        sa.ForeignKeyConstraint(
            ["user"], ["users.name"], name="fk_api_tokens_user", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_api_tokens_user", "api_tokens", ["user"])
    op.create_index("ix_api_tokens_expires", "api_tokens", ["expires"])
