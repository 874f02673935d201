"""
The first tables: users, nodes, join tokens, bearers and the counter of serials.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("password_hash", sa.String, nullable=False),
        sa.Column("logins", sa.JSON, nullable=False),
        sa.Column("node_labels", sa.JSON, nullable=False),
        sa.Column("is_admin", sa.Boolean, nullable=False),
        sa.Column("must_change_password", sa.Boolean, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )
    op.create_table(
        "nodes",
        sa.Column("agent_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("labels", sa.JSON, nullable=False),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("joined", sa.Double, nullable=False),
        sa.Column("last_seen", sa.Double, nullable=True),
        sa.PrimaryKeyConstraint("agent_id", name="pk_nodes"),
        sa.UniqueConstraint("name", name="uq_nodes_name"),
    )
    op.create_table(
        "join_tokens",
        sa.Column("token_id", sa.String, nullable=False),
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("uses_left", sa.Integer, nullable=False),
        sa.Column("max_uses", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("token_id", name="pk_join_tokens"),
        sa.UniqueConstraint("secret_hash", name="uq_join_tokens_secret_hash"),
        sa.CheckConstraint("uses_left >= 0", name=op.f("ck_join_tokens_uses_left")),
    )
    op.create_table(
        "bearers",
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("secret_hash", name="pk_bearers"),
        sa.ForeignKeyConstraint(
            ["user"], ["users.name"], name="fk_bearers_user", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_bearers_user", "bearers", ["user"])
    op.create_index("ix_bearers_expires", "bearers", ["expires"])
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    op.bulk_insert(counters, [{"name": "serial", "value": 0}])
