"""What differs between the databases: how to connect, how a transaction runs, how a list becomes a parameter."""

from __future__ import annotations

import sqlalchemy as sa

from status_grpc.storage.dialects.base import Database, Transaction, Work
from status_grpc.storage.dialects.postgres import PostgresDatabase, PostgresSettings
from status_grpc.storage.dialects.postgres_hints import PostgresHints
from status_grpc.storage.dialects.sqlite import SqliteDatabase
from status_grpc.storage.dialects.sqlite_hints import SqliteHints
from status_grpc.storage.hints import Hints, NoHints

__all__ = [
    "Database",
    "PostgresDatabase",
    "PostgresSettings",
    "SqliteDatabase",
    "Transaction",
    "Work",
    "open_database",
    "open_hints",
]


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


def open_hints(database: Database, listen_url: str | None) -> Hints:
    """Return the hints between the processes that share the database.

    `listen_url` is the SQLAlchemy URL of a direct connection to PostgreSQL; None: there is none, and no hints.
    """
    match database:
        case SqliteDatabase():
            return SqliteHints(database)
        case PostgresDatabase() if listen_url is not None:
            return PostgresHints(listen_url)
        case _:
            return NoHints()
