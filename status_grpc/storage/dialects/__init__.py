"""What differs between the databases: how to connect, how a transaction runs, how a list becomes a parameter."""

from __future__ import annotations

import sqlalchemy as sa

from status_grpc.storage.dialects.base import CannotOpenError, Database, Transaction, Work, cause_of
from status_grpc.storage.dialects.postgres import PostgresDatabase, PostgresSettings
from status_grpc.storage.dialects.postgres_hints import PostgresHints
from status_grpc.storage.dialects.sqlite import SqliteDatabase
from status_grpc.storage.dialects.sqlite_hints import SqliteHints
from status_grpc.storage.hints import Hints, NoHints

__all__ = [
    "CannotOpenError",
    "Database",
    "PostgresDatabase",
    "PostgresSettings",
    "SqliteDatabase",
    "Transaction",
    "Work",
    "cause_of",
    "open_database",
    "open_hints",
]


def open_database(url: str, settings: PostgresSettings | None = None) -> Database:
    """Return the database of a SQLAlchemy URL. Raises ValueError for one that is not supported."""
    parsed = _parsed(url)
    match parsed.get_backend_name():
        case "sqlite":
            return SqliteDatabase(parsed)
        case "postgresql":
            return PostgresDatabase(parsed, settings or PostgresSettings())
        case other:
            raise ValueError(
                f"names {other!r}, not a supported database: use sqlite+aiosqlite:///FILE or postgresql+asyncpg://HOST/NAME"
            )


def _parsed(url: str) -> sa.URL:
    try:
        return sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        # The text is not repeated: it may hold a password.
        raise ValueError(
            "is not a database URL, such as sqlite+aiosqlite:///FILE or postgresql+asyncpg://HOST/NAME"
        ) from None


def open_hints(database: Database, listen_url: str | None) -> Hints:
    """Return the hints between the processes that share the database.

    `listen_url` is the SQLAlchemy URL of a direct connection to PostgreSQL. None: no hints. Raises ValueError for a
    text that is not a URL.
    """
    match database:
        case SqliteDatabase():
            return SqliteHints(database)
        case PostgresDatabase() if listen_url is not None:
            _parsed(listen_url)
            return PostgresHints(listen_url)
        case _:
            return NoHints()
