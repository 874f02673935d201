"""
The tables of the database, as the newest migration leaves them.

A test compares this with what :mod:`mezite.store.migrations` make of an empty
file. Names and hashes are the keys; times are POSIX seconds; lists and
mappings are JSON.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _user_column(**more: Any) -> Column[str]:
    """Whose row it is; it goes with them."""
    owner = ForeignKey("users.name", ondelete="CASCADE")
    return Column("user", String, owner, nullable=False, **more)


users = Table(
    "users",
    metadata,
    Column("name", String, primary_key=True),
    Column("password_hash", String, nullable=False),
    Column("logins", JSON, nullable=False),
    Column("node_labels", JSON, nullable=False),
    Column("is_admin", Boolean, nullable=False),
    Column("must_change_password", Boolean, nullable=False),
    Column("created", Double, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("roles", JSON, nullable=False, server_default=text("'[]'")),
    Column("traits", JSON, nullable=False, server_default=text("'{}'")),
)

roles = Table(
    "roles",
    metadata,
    Column("name", String, primary_key=True),
    Column("document", JSON, nullable=False),
    Column("created", Double, nullable=False),
    Column("changed", Double, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("agent_id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("labels", JSON, nullable=False),
    Column("version", String, nullable=False),
    Column("joined", Double, nullable=False),
    Column("last_seen", Double, nullable=True),
    Column("hub_labels", JSON, nullable=False, server_default=text("'{}'")),
    Column("command_labels", JSON, nullable=False, server_default=text("'[]'")),
    Column("facts", JSON, nullable=False, server_default=text("'{}'")),
    Column("address", String, nullable=False, server_default=text("''")),
    Column("token_id", String, nullable=False, server_default=text("''")),
    Column("rejoined", Double, nullable=True),
    Column("tls_key", LargeBinary, nullable=True),
    # Of a machine without an agent: where it is, and what it is known by.
    Column("sshd", JSON(none_as_null=True), nullable=True),
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("token_id", String, primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False, unique=True),
    Column("created_by", String, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False),
    Column("uses_left", Integer, nullable=False),
    Column("max_uses", Integer, nullable=False),
    Column("labels", JSON, nullable=False, server_default=text("'{}'")),
    Column("hostnames", JSON, nullable=False, server_default=text("'[]'")),
    Column("description", String, nullable=False, server_default=text("''")),
    Column("rejoins", String, nullable=True),
    CheckConstraint("uses_left >= 0", name="uses_left"),
)

bearers = Table(
    "bearers",
    metadata,
    Column("secret_hash", LargeBinary, primary_key=True),
    Column(
        "user",
        String,
        ForeignKey("users.name", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("expires", Double, nullable=False, index=True),
    Column("proved", Double, nullable=True),
)

# A lock's target; what it does not name is empty.
locks = Table(
    "locks",
    metadata,
    Column("lock_id", String, primary_key=True),
    Column("user", String, nullable=False),
    Column("node", String, nullable=False),
    Column("role", String, nullable=False),
    Column("login", String, nullable=False),
    Column("message", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=True),
)

access_requests = Table(
    "access_requests",
    metadata,
    Column("id", String, primary_key=True),
    Column(
        "user",
        String,
        ForeignKey("users.name", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("roles", JSON, nullable=False),
    Column("nodes", JSON, nullable=False),
    Column("window", Double, nullable=False),
    Column("expires", Double, nullable=False),
    Column("state", String, nullable=False, index=True),
    Column("created", Double, nullable=False, index=True),
    # Lists of state, time, who and why; the last is where the request stands.
    Column("changes", JSON, nullable=False),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("token_id", String, primary_key=True),
    Column("secret_hash", LargeBinary, nullable=False, unique=True),
    Column("name", String, nullable=False),
    _user_column(index=True),
    Column("access", String, nullable=False),
    Column("created_by", String, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False, index=True),
    Column("last_used", Double, nullable=True),
)

invites = Table(
    "invites",
    metadata,
    Column("secret_hash", LargeBinary, primary_key=True),
    _user_column(unique=True),
    Column("created_by", String, nullable=False),
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False),
)

totp = Table(
    "totp",
    metadata,
    _user_column(primary_key=True),
    Column("secret", LargeBinary, nullable=False),
    Column("created", Double, nullable=False),
    Column("last_step", Integer, nullable=False),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    _user_column(primary_key=True),
    Column("code_hash", LargeBinary, primary_key=True),
)

security_keys = Table(
    "security_keys",
    metadata,
    Column("credential_id", LargeBinary, primary_key=True),
    _user_column(index=True),
    Column("name", String, nullable=False),
    Column("public_key", LargeBinary, nullable=False),
    Column("sign_count", BigInteger, nullable=False),
    Column("created", Double, nullable=False),
    Column("last_used", Double, nullable=True),
)

# Sessions whose recordings are taken. They outlive users and nodes, as what was recorded does.
recorded_sessions = Table(
    "recorded_sessions",
    metadata,
    Column("session_id", String, primary_key=True),
    Column("user", String, nullable=False, index=True),
    Column("login", String, nullable=False),
    Column("node", String, nullable=False, index=True),
    Column("agent_id", String, nullable=False, index=True),
    Column("address", String, nullable=False),
    Column("started", Double, nullable=False, index=True),
)

recordings = Table(
    "recordings",
    metadata,
    Column("id", String, primary_key=True),
    Column(
        "session_id",
        String,
        ForeignKey("recorded_sessions.session_id"),
        nullable=False,
        index=True,
    ),
    Column("number", Integer, nullable=False),
    Column("created", Double, nullable=False, index=True),
    Column("touched", Double, nullable=False),
    Column("kind", String, nullable=False),
    Column("command", String, nullable=False),
    Column("state", String, nullable=False, index=True),
    # Null until it was closed once.
    Column("chunks", BigInteger, nullable=True),
    Column("chain", LargeBinary, nullable=True),
    Column("size", BigInteger, nullable=True),
    Column("seconds", Double, nullable=True),
    Column("ended", Double, nullable=True, index=True),
    Column("is_stored", Boolean, nullable=False),
    Column("is_sealed", Boolean, nullable=False),
    Column("stored_size", BigInteger, nullable=False),
    Column("reason", String, nullable=False),
    Column("may_return", Boolean, nullable=False),
    Column("held_by", String, nullable=True),
    Column("held_since", Double, nullable=True),
    Column("held_reason", String, nullable=True),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Integer, nullable=False),
)

# The columns beside ``line`` are what it says, for look-ups; a test of the chain compares them.
audit_events = Table(
    "audit_events",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("time", Double, nullable=False, index=True),
    Column("event_type", String, nullable=False, index=True),
    Column("user", String, nullable=False, index=True),
    Column("target", String, nullable=False, index=True),
    Column("node", String, nullable=False, index=True),
    Column("session_id", String, nullable=False, index=True),
    Column("line", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
)

# One row: the number and the hash of the last event, and of the last that was pruned.
audit_chain = Table(
    "audit_chain",
    metadata,
    Column("chain", Integer, primary_key=True, autoincrement=False),
    Column("first_seq", Integer, nullable=False),
    Column("first_hash", LargeBinary, nullable=False),
    Column("last_seq", Integer, nullable=False),
    Column("last_hash", LargeBinary, nullable=False),
)
