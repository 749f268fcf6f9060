"""Hints by looking at the file: SQLite counts in it what other connections have committed."""

from __future__ import annotations

import asyncio
import sqlite3

from status_grpc.domain.errors import Unavailable
from status_grpc.storage.dialects.sqlite import SqliteDatabase
from status_grpc.storage.hints import Hints


class SqliteHints(Hints):
    """Looks every few milliseconds, while somebody waits, whether another process has committed."""

    #: How often, in seconds. A look takes some microseconds.
    EVERY_SECONDS = 0.01

    def __init__(self, database: SqliteDatabase) -> None:
        super().__init__()
        self._database = database
        self._looking: sqlite3.Connection | None = None
        self._seen = self._seen_by_writer = -1

    async def start(self) -> None:
        # A connection that never waits: it is used on the event loop.
        self._looking = sqlite3.connect(self._database.file, timeout=0, isolation_level=None)

    async def close(self) -> None:
        if self._looking is not None:
            self._looking.close()
            self._looking = None

    def give(self) -> None:
        """Do nothing: the others look."""

    async def wait(self, seconds: float) -> bool:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while loop.time() < until:
            if await self._changed():
                return True
            await asyncio.sleep(min(self.EVERY_SECONDS, max(0.0, until - loop.time())))
        return False

    async def _changed(self) -> bool:
        """Return whether another process has committed since this was last asked."""
        if self._looking is None:
            return False
        try:
            (version,) = self._looking.execute("PRAGMA data_version").fetchone()
            if version == self._seen:
                return False
            # It may have been this process itself. The connection that writes does not count its own commits.
            by_writer = await self._database.data_version()
        except (sqlite3.OperationalError, Unavailable):
            return False  # the file is locked for a moment, or away
        changed = by_writer != self._seen_by_writer
        self._seen, self._seen_by_writer = version, by_writer
        return changed
