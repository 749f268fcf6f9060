"""Opens real databases for tests, and sees to it that nobody keeps a connection."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from status_grpc.storage.dialects import Database, SqliteDatabase, open_database
from status_grpc.storage.schema import upgrade
from status_grpc.storage.store import Store

D = TypeVar("D", bound=Database)

EVENTS_PER_TRACE = 1_000


class OpenStore(Protocol):
    """Opens the test's database once more, as another process would."""

    def __call__(self) -> AbstractAsyncContextManager[Store]: ...


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """A database with its schema; afterwards nobody may keep one of its connections."""
    async with opened_as(open_database(url)) as database:
        yield database


@asynccontextmanager
async def opened_as(database: D) -> AsyncIterator[D]:
    """Do so with a database of a kind that a test needs."""
    if isinstance(database, SqliteDatabase) and not Path(database.file).exists():
        Path(database.file).write_bytes(await _new_file())
    await database.open()
    try:
        await database.write(upgrade)
        yield database
        patient_until = time.monotonic() + 5  # those whose callers were cancelled read to their end
        while checked_out(database) and time.monotonic() < patient_until:
            await asyncio.sleep(0.01)
        assert checked_out(database) == 0, "connections are still checked out"
    finally:
        await database.close()


_made: list[bytes] = []


async def _new_file() -> bytes:
    """A SQLite file with all tables and no rows: it is made once, which takes longer than most tests."""
    if not _made:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "traces.db")
            database = open_database(f"sqlite+aiosqlite:///{file}")
            await database.open()
            await database.write(upgrade)
            await database.close()
            _made.append(file.read_bytes())
    return _made[0]


def checked_out(database: Database) -> int:
    engines = [value for value in vars(database).values() if isinstance(value, sa.Engine | AsyncEngine)]
    assert engines
    return sum(engine.pool.checkedout() for engine in engines if isinstance(engine.pool, sa.QueuePool))
