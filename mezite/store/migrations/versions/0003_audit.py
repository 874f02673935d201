"""
The audit: its events, and the ends of their chain.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("seq", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("event_type", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("target", sa.String, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("session_id", sa.String, nullable=False),
        sa.Column("line", sa.Text, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_events"),
    )
    for name in ("time", "event_type", "user", "target", "node", "session_id"):
        op.create_index(f"ix_audit_events_{name}", "audit_events", [name])
    chain = op.create_table(
        "audit_chain",
        sa.Column("chain", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("first_seq", sa.Integer, nullable=False),
        sa.Column("first_hash", sa.LargeBinary, nullable=False),
        sa.Column("last_seq", sa.Integer, nullable=False),
        sa.Column("last_hash", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("chain", name="pk_audit_chain"),
    )
    nothing = bytes(32)
    op.bulk_insert(
        chain,
        [{"chain": 1, "first_seq": 0, "first_hash": nothing, "last_seq": 0, "last_hash": nothing}],
    )
