"""What differs between the databases: how to connect, how a transaction runs, how a list becomes a parameter."""

from __future__ import annotations

import sqlalchemy as sa

from status_grpc.storage.dialects.base import Database, Transaction, Work
from status_grpc.storage.dialects.postgres import PostgresDatabase, PostgresSettings
from status_grpc.storage.dialects.sqlite import SqliteDatabase

__all__ = ["Database", "PostgresDatabase", "PostgresSettings", "SqliteDatabase", "Transaction", "Work", "open_database"]


def open_database(url: str, settings: PostgresSettings | None = None) -> Database:
    """Return the database of a SQLAlchemy URL. Raises ValueError for one that is not supported."""
    parsed = sa.make_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            return SqliteDatabase(parsed)
        case "postgresql":
            return PostgresDatabase(parsed, settings or PostgresSettings())
        case other:
            raise ValueError(
                f"{other!r} is not a supported database: use sqlite+aiosqlite:///FILE or postgresql+asyncpg://..."
            )
