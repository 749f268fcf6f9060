"""Brings a database to the schema that this code was written for."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from status_grpc.storage.tables import SCHEMA_REVISION

_MIGRATIONS = Path(__file__).parent / "migrations"


class SchemaMismatch(Exception):
    """The database has another schema than this release was written for."""


def current_revision(connection: sa.Connection) -> str | None:
    """Return the revision of the database's schema; None for an empty database."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


def require_current(connection: sa.Connection) -> None:
    """Raise SchemaMismatch, with a sentence that says what to do, unless the database has this release's schema."""
    current = current_revision(connection)
    if current is None or current < SCHEMA_REVISION:
        found = f"schema {current}" if current else "no schema"
        raise SchemaMismatch(
            f"the database has {found}, this release needs {SCHEMA_REVISION}: run status-grpc migrate first"
        )
    _refuse_later(current)


def _refuse_later(current: str) -> None:
    if current > SCHEMA_REVISION:
        raise SchemaMismatch(
            f"the database has schema {current}, made by a later release; this one knows up to {SCHEMA_REVISION}: "
            "install the later release again"
        )


def upgrade(connection: sa.Connection) -> None:
    """Apply the revisions that are missing, in the connection's transaction.

    Raises SchemaMismatch for a database that a later release has upgraded further.
    """
    current = current_revision(connection)
    if current == SCHEMA_REVISION:
        return
    if current is not None:
        _refuse_later(current)
    # Imported here: it takes a tenth of a second, and a database is upgraded once.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, SCHEMA_REVISION)
