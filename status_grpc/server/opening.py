"""Opens the database of a server, also one that is not there yet."""

from __future__ import annotations

import asyncio

import structlog

from status_grpc.domain.errors import Unavailable
from status_grpc.server.settings import Settings, SettingsError
from status_grpc.storage.dialects import CannotOpenError, Database, PostgresSettings, cause_of, open_database
from status_grpc.storage.schema import require_current, upgrade

log = structlog.get_logger(__name__)

_PAUSE_SECONDS = 0.5


def database_of(settings: Settings) -> Database:
    """Return the database that the settings name, not opened yet. Raises SettingsError."""
    how = PostgresSettings(
        readers=settings.database_pool_size,
        connect_seconds=settings.database_connect_seconds,
        statement_seconds=settings.database_statement_seconds,
        lock_seconds=settings.database_lock_seconds,
        pooled=settings.database_pooled,
    )
    try:
        return open_database(settings.database_url, how)
    except ValueError as error:
        raise SettingsError(f"--database-url {error}") from None


async def prepare(database: Database) -> None:
    """Open it, and bring it to the schema of this release or see that it has it.

    Raises Unavailable when it cannot be reached, SettingsError when its URL or file cannot be used, SchemaMismatch.
    """
    try:
        await database.open()
        await database.write(upgrade if database.upgrades_at_start else require_current)
    except CannotOpenError as error:
        raise SettingsError(f"--database-url: {error}") from error
    except Unavailable as error:
        raise Unavailable(f"{database.place} cannot be reached: {cause_of(error)}") from error


async def prepare_patiently(database: Database, seconds: float) -> None:
    """Do so, again and again while the database cannot be reached, for that time at most."""
    loop = asyncio.get_running_loop()
    patient_until = loop.time() + seconds
    while True:
        try:
            await prepare(database)
            return
        except Unavailable as error:
            if loop.time() + _PAUSE_SECONDS > patient_until:
                raise Unavailable(f"{error.message}; the server waited {seconds:g} s for it") from None
        await asyncio.sleep(_PAUSE_SECONDS)
