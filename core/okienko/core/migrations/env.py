"""Alembic's environment; `okienko.core.database.upgrade` hands in the connection."""

from __future__ import annotations

from alembic import context

from okienko.core.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
