"""Runs the migrations on the connection that ``kb.catalog.migrating`` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
