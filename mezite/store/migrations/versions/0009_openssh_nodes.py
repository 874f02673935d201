"""
Nodes without an agent: where their sshd is, and how it proves itself.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("nodes", sa.Column("sshd", sa.JSON(none_as_null=True), nullable=True))
