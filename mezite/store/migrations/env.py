"""
What Alembic runs: the steps, on the connection that it was given.

Whoever gives the connection owns the transaction around all of it, and the
configuration of logging.
"""

from __future__ import annotations

from alembic import context

from mezite.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can undo DDL too, once BEGIN is ours: an interrupted migration never was.
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
