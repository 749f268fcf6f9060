"""The two databases, as an operator has them: a URL, a backup, a restore."""

from __future__ import annotations

import sqlite3
from abc import ABC, abstractmethod
from pathlib import Path

import asyncpg
import sqlalchemy as sa

from status_grpc.storage.dialects import open_database
from status_grpc.storage.schema import upgrade
from status_grpc.storage.tables import metadata


class Engine(ABC):
    """A database that servers share."""

    url: str

    @abstractmethod
    async def back_up(self) -> None:
        """Keep a consistent copy of this moment, whatever is going on."""

    @abstractmethod
    async def restore(self) -> None:
        """Put the copy in the place of the database, while servers run on it."""


class Sqlite(Engine):
    """A file."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "traces.db"
        self._copy = folder / "backup.db"
        self.url = f"sqlite+aiosqlite:///{self._file}"

    async def back_up(self) -> None:
        _copy(self._file, self._copy)

    async def restore(self) -> None:
        _copy(self._copy, self._file)


def _copy(source: Path, target: Path) -> None:
    reading, writing = sqlite3.connect(source), sqlite3.connect(target, timeout=30)
    try:
        reading.backup(writing)
    finally:
        reading.close()
        writing.close()


class Postgresql(Engine):
    """A database on a server. Its backup is a schema beside the tables, filled and read in one transaction."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._tables = [table.name for table in metadata.sorted_tables]

    async def back_up(self) -> None:
        async with _Connection(self.url) as connection, connection.transaction(isolation="repeatable_read"):
            await connection.execute("CREATE SCHEMA backup")
            for table in self._tables:
                await connection.execute(f"CREATE TABLE backup.{table} AS SELECT * FROM public.{table}")

    async def restore(self) -> None:
        async with _Connection(self.url) as connection:
            async with connection.transaction():
                await connection.execute(f"TRUNCATE {', '.join(f'public.{table}' for table in self._tables)}")
                for table in self._tables:
                    await connection.execute(f"INSERT INTO public.{table} SELECT * FROM backup.{table}")
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )


class _Connection:
    def __init__(self, url: str) -> None:
        self._dsn = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)

    async def __aenter__(self) -> asyncpg.Connection:
        self._connection = await asyncpg.connect(self._dsn, timeout=60)
        return self._connection

    async def __aexit__(self, *exc_info: object) -> None:
        await self._connection.close()


async def migrated(url: str) -> None:
    """Make the tables in an empty database."""
    database = open_database(url)
    await database.open()
    await database.write(upgrade)
    await database.close()
