"""Hints by LISTEN and NOTIFY, on a connection of their own.

NOTIFY takes a lock of the whole cluster while it commits: it is sent outside of the transactions it tells about, once
for many of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from typing import Any

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from status_grpc.storage.hints import Hints

log = structlog.get_logger(__name__)

_CHANNEL = "status_grpc"


class PostgresHints(Hints):
    """Tells and is told through a channel of PostgreSQL, over a direct connection: not through a transaction pooler."""

    #: At most one hint is given in this time, in seconds.
    SPACING_SECONDS = 0.01
    #: How often the connection is asked whether it still works, and how long an answer may take.
    PING_SECONDS = 5.0
    RECONNECT_SECONDS = (0.5, 10.0)

    def __init__(self, url: str) -> None:
        super().__init__()
        # Ours are not for us.
        self._name = uuid.uuid4().hex
        self._engine = create_async_engine(
            sa.make_url(url).set(drivername="postgresql+asyncpg"),
            poolclass=sa.NullPool,
            isolation_level="AUTOCOMMIT",
            connect_args={"timeout": self.PING_SECONDS, "command_timeout": self.PING_SECONDS},
        )
        self._to_give = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="hints")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._engine.dispose()

    def give(self) -> None:
        self._to_give.set()

    async def _run(self) -> None:
        pause, most = self.RECONNECT_SECONDS
        while True:
            began = asyncio.get_running_loop().time()
            try:
                await self._serve()
            except (sa.exc.SQLAlchemyError, OSError, TimeoutError, _Lost) as error:
                log.warning("no hints from other servers: polling meanwhile", cause=str(getattr(error, "orig", error)))
            except Exception:
                log.exception("hints failed: polling meanwhile")
            if asyncio.get_running_loop().time() - began > most:
                pause = self.RECONNECT_SECONDS[0]
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
            pause = min(pause * 2, most)

    async def _serve(self) -> None:
        connection = await self._engine.connect()
        try:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            driver.add_termination_listener(lambda _: self._to_give.set())
            await driver.add_listener(_CHANNEL, self._told)
            # What was told while nobody listened is not told again.
            self._given.set()
            while True:
                await self._give_one(driver)
        finally:
            # Whether or not the database still answers, within a bounded time, and whoever cancels meanwhile.
            await asyncio.shield(_closed(connection))

    async def _give_one(self, driver: Any) -> None:
        """Wait until there is something to tell, and tell it; ask whether the connection works when there is not."""
        try:
            async with asyncio.timeout(self.PING_SECONDS):
                await self._to_give.wait()
        except TimeoutError:
            await driver.execute("SELECT 1")
            return
        if driver.is_closed():
            raise _Lost("the connection was lost")
        self._to_give.clear()
        await driver.execute(f"NOTIFY {_CHANNEL}, '{self._name}'")
        await asyncio.sleep(self.SPACING_SECONDS)

    def _told(self, _connection: object, _process: int, _channel: str, name: object) -> None:
        if name != self._name:
            self._given.set()


class _Lost(Exception):
    """The connection is gone."""


async def _closed(connection: AsyncConnection) -> None:
    with contextlib.suppress(sa.exc.SQLAlchemyError, OSError, TimeoutError):
        async with asyncio.timeout(1):
            await connection.invalidate()
            await connection.close()
