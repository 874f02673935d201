"""
Recordings, and the sessions that they are of.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "recorded_sessions",
        sa.Column("session_id", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("login", sa.String, nullable=False),
        sa.Column("node", sa.String, nullable=False),
        sa.Column("agent_id", sa.String, nullable=False),
        sa.Column("address", sa.String, nullable=False),
        sa.Column("started", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("session_id", name="pk_recorded_sessions"),
    )
    for column in ("user", "node", "agent_id", "started"):
        op.create_index(f"ix_recorded_sessions_{column}", "recorded_sessions", [column])
    op.create_table(
        "recordings",
        sa.Column("id", sa.String, nullable=False),
        sa.Column("session_id", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("touched", sa.Double, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("command", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("chunks", sa.BigInteger, nullable=True),
        sa.Column("chain", sa.LargeBinary, nullable=True),
        sa.Column("size", sa.BigInteger, nullable=True),
        sa.Column("seconds", sa.Double, nullable=True),
        sa.Column("ended", sa.Double, nullable=True),
        sa.Column("is_stored", sa.Boolean, nullable=False),
        sa.Column("is_sealed", sa.Boolean, nullable=False),
        sa.Column("stored_size", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("may_return", sa.Boolean, nullable=False),
        sa.Column("held_by", sa.String, nullable=True),
        sa.Column("held_since", sa.Double, nullable=True),
        sa.Column("held_reason", sa.String, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_recordings"),
        sa.ForeignKeyConstraint(
            ["session_id"], ["recorded_sessions.session_id"], name="fk_recordings_session_id"
        ),
    )
    for column in ("session_id", "created", "state", "ended"):
        op.create_index(f"ix_recordings_{column}", "recordings", [column])
