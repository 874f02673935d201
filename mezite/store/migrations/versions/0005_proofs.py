"""
Invites, and what people prove who they are with beside a password.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    _create(
        "invites",
        sa.Column("secret_hash", sa.LargeBinary, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("created_by", sa.String, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.UniqueConstraint("user", name="uq_invites_user"),
        key=("secret_hash",),
    )
    _create(
        "totp",
        sa.Column("user", sa.String, nullable=False),
        sa.Column("secret", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("last_step", sa.Integer, nullable=False),
        key=("user",),
    )
    _create(
        "recovery_codes",
        sa.Column("user", sa.String, nullable=False),
        sa.Column("code_hash", sa.LargeBinary, nullable=False),
        key=("user", "code_hash"),
    )
    _create(
        "security_keys",
        sa.Column("credential_id", sa.LargeBinary, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("public_key", sa.LargeBinary, nullable=False),
        sa.Column("sign_count", sa.BigInteger, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("last_used", sa.Double, nullable=True),
        key=("credential_id",),
    )
    op.create_index("ix_security_keys_user", "security_keys", ["user"])


def _create(name: str, *parts: Any, key: tuple[str, ...]) -> None:
    """A table of things that belong to users, and go with them."""
    owner = sa.ForeignKeyConstraint(
        ["user"], ["users.name"], name=f"fk_{name}_user", ondelete="CASCADE"
    )
    op.create_table(name, *parts, owner, sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"))
