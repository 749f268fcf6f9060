"""Opens the database of a server, also one that is not there yet."""

from __future__ import annotations

import asyncio

import structlog

from status_grpc.domain.errors import Unavailable
from status_grpc.server.settings import Settings
from status_grpc.storage.dialects import Database, PostgresSettings, open_database
from status_grpc.storage.schema import require_current, upgrade

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 0.5


def database_of(settings: Settings) -> Database:
    """Return the database that the settings name, not opened yet."""
    return open_database(
        settings.database_url,
        PostgresSettings(
            readers=settings.database_pool_size,
            connect_seconds=settings.database_connect_seconds,
            statement_seconds=settings.database_statement_seconds,
            lock_seconds=settings.database_lock_seconds,
            pooled=settings.database_pooled,
        ),
    )


async def prepare(database: Database) -> None:
    """Open it, and bring it to the schema of this release or see that it has it.

    Raises Unavailable when it cannot be reached, and SchemaMismatch.
    """
    await database.open()
    await database.write(upgrade if database.upgrades_at_start else require_current)


async def prepare_patiently(database: Database, seconds: float) -> None:
    """Do so, again and again while the database cannot be reached, for that time at most."""
    loop = asyncio.get_running_loop()
    patient_until = loop.time() + seconds
    while True:
        try:
            await prepare(database)
            return
        except Unavailable:
            if loop.time() + _PAUSE_SECONDS > patient_until:
                sentence = f"the database could not be reached within {seconds:g} seconds; the log has the cause"
                raise Unavailable(sentence) from None
        await asyncio.sleep(_PAUSE_SECONDS)
