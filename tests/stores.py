"""Opens real databases for tests, and sees to it that nobody keeps a connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from status_grpc.storage.dialects import Database, open_database
from status_grpc.storage.schema import upgrade
from status_grpc.storage.store import Store

EVENTS_PER_TRACE = 1_000


class OpenStore(Protocol):
    """Opens the test's database once more, as another process would."""

    def __call__(self) -> AbstractAsyncContextManager[Store]: ...


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """A database with its schema; afterwards nobody may still hold one of its connections."""
    database = open_database(url)
    await database.open()
    try:
        await database.write(upgrade)
        yield database
        assert checked_out(database) == 0, "connections are still checked out"
    finally:
        await database.close()


def checked_out(database: Database) -> int:
    engines = [value for value in vars(database).values() if isinstance(value, sa.Engine | AsyncEngine)]
    assert engines
    return sum(engine.pool.checkedout() for engine in engines if isinstance(engine.pool, sa.QueuePool))
