"""
What join tokens give to nodes, what nodes tell of themselves, and which key they hold.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    def text(table: str, name: str, default: str, kind: type = sa.String) -> None:
        op.add_column(
            table,
            sa.Column(name, kind, nullable=False, server_default=sa.text(f"'{default}'")),
        )

    text("nodes", "hub_labels", "{}", sa.JSON)
    text("nodes", "command_labels", "[]", sa.JSON)
    text("nodes", "facts", "{}", sa.JSON)
    text("nodes", "address", "")
    text("nodes", "token_id", "")
    op.add_column("nodes", sa.Column("rejoined", sa.Double, nullable=True))
    op.add_column("nodes", sa.Column("tls_key", sa.LargeBinary, nullable=True))
    text("join_tokens", "labels", "{}", sa.JSON)
    text("join_tokens", "hostnames", "[]", sa.JSON)
    text("join_tokens", "description", "")
    op.add_column("join_tokens", sa.Column("rejoins", sa.String, nullable=True))
