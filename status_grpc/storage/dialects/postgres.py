"""PostgreSQL through asyncpg: several processes and hosts share one database."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import create_async_engine

from status_grpc.storage.dialects.base import Database, T, Transaction, U, Work, unavailable, uninterrupted
from status_grpc.storage.rows import RowCodec
from status_grpc.storage.tables import traces


@dataclass(frozen=True, slots=True)
class PostgresSettings:
    """How a process uses PostgreSQL. Times in seconds."""

    #: Connections for reads; the writer has one of its own.
    readers: int = 8
    connect_seconds: float = 5.0
    #: How long one statement may take.
    statement_seconds: float = 30.0
    #: How long a transaction waits for a row that another one holds, and how long one that does nothing keeps its rows:
    #: a process that freezes in the middle of a transaction must not stop its traces for everyone.
    lock_seconds: float = 3.0
    #: Whether a transaction pooler such as PgBouncer stands in between: prepared statements are not kept then.
    pooled: bool = False


class PostgresDatabase(Database):
    """PostgreSQL through asyncpg: one connection writes, a pool of others reads; several processes share it."""

    codec = RowCodec(time_in=lambda time: time, time_out=lambda value: value.astimezone(UTC))
    upgrades_at_start = False

    #: How often a transaction is tried again that lost to another one.
    ATTEMPTS = 5

    def __init__(self, url: sa.URL, settings: PostgresSettings) -> None:
        arguments: dict[str, Any] = {
            "timeout": settings.connect_seconds,
            "command_timeout": settings.statement_seconds,
        }
        if settings.pooled:
            arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
        url = url.set(drivername="postgresql+asyncpg")
        # JSON is text on both sides (storage.rows), and a connection that was lost is noticed when it is next used.
        options: dict[str, Any] = {
            "connect_args": arguments,
            "pool_pre_ping": True,
            "pool_recycle": 1800,
            "hide_parameters": True,  # what people report has no place in a log
            "json_serializer": _same,
            "json_deserializer": _same,
        }
        self._writing = create_async_engine(url, pool_size=1, max_overflow=0, **options)
        self._reading = create_async_engine(
            url, pool_size=settings.readers, max_overflow=0, pool_timeout=10, isolation_level="AUTOCOMMIT", **options
        )
        self.dialect = self._writing.sync_engine.dialect
        limits = {
            "lock_timeout": settings.lock_seconds,
            "idle_in_transaction_session_timeout": settings.lock_seconds,
            "statement_timeout": settings.statement_seconds,
        }
        # Set by statement, not in the connection's start: poolers refuse parameters there.
        self._setting_up = "; ".join(f"SET {name} = {int(seconds * 1000)}" for name, seconds in limits.items())
        for engine in (self._writing, self._reading):
            sa.event.listen(engine.sync_engine, "connect", self._prepare)

    def _prepare(self, connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for statement in self._setting_up.split("; "):
            cursor.execute(statement)
        cursor.close()
        connection.commit()

    async def open(self) -> None:
        await self.read(lambda connection: connection.exec_driver_sql("SELECT 1").all())

    async def close(self) -> None:
        await self._reading.dispose()
        await self._writing.dispose()

    def pools(self) -> dict[str, sa.QueuePool]:
        return {"write": self._writing.pool, "read": self._reading.pool}  # type: ignore[dict-item]

    async def write(self, work: Work[T]) -> T:
        return await uninterrupted(self._write(work))

    async def _write(self, work: Work[T]) -> T:
        for attempt in range(1, self.ATTEMPTS + 1):
            try:
                async with self._writing.begin() as connection:
                    return await connection.run_sync(work)
            except (sa.exc.DBAPIError, sa.exc.TimeoutError, OSError, TimeoutError) as error:
                if not _lost_to_another(error) or attempt == self.ATTEMPTS:
                    raise _translated(error) from error
                await asyncio.sleep(random.uniform(0, 0.02 * attempt))  # noqa: S311
        raise AssertionError("unreachable")

    async def transact(
        self,
        look_up: Callable[[Transaction], T],
        decide: Callable[[T], U],
        store: Callable[[Transaction, U], None],
    ) -> U:
        def work(connection: sa.Connection) -> U:
            transaction = _PostgresTransaction(connection)
            decided = decide(look_up(transaction))
            store(transaction, decided)
            return decided

        return await self.write(work)

    async def read(self, work: Work[T]) -> T:
        return await uninterrupted(self._read(work))

    async def _read(self, work: Work[T]) -> T:
        try:
            async with self._reading.connect() as connection:
                return await connection.run_sync(work)
        except (sa.exc.DBAPIError, sa.exc.TimeoutError, OSError, TimeoutError) as error:
            raise _translated(error) from error

    def keys(self, *columns: tuple[str, sa.types.TypeEngine[Any]]) -> sa.FromClause:
        arrays = [sa.bindparam(f"keys_{index}", type_=ARRAY(type_)) for index, (_, type_) in enumerate(columns)]
        return (
            sa.func.unnest(*arrays)
            .table_valued(*[sa.column(*column) for column in columns], name="keys")
            .render_derived()
        )

    def key_parameters(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        return {f"keys_{index}": list(values) for index, values in enumerate(zip(*rows, strict=True))}

    def locked(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        return statement.order_by(traces.c.trace_id).with_for_update(of=traces)


class _PostgresTransaction(Transaction):
    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def fetch(self, statement: sa.Select[Any], parameters: dict[str, Any]) -> list[Sequence[Any]]:
        return list(self._connection.execute(statement, parameters))

    def execute(self, sql: str, values: tuple[Any, ...]) -> None:
        self._connection.exec_driver_sql(sql, values)


def _same(value: Any) -> Any:
    return value


#: SQLSTATEs of a transaction that lost to another one and may be tried again: serialization failure, deadlock, and a
#: row that another one inserted in the meantime (two first events of one trace: the second then finds the first).
_LOST = {"40001", "40P01", "23505"}
#: Classes of SQLSTATEs of a database that cannot serve now: connection, resources, operator intervention, locks, I/O.
_AWAY = ("08", "53", "57", "55", "58", "25", "40")


def _sqlstate(error: Exception) -> str:
    return getattr(getattr(error, "orig", None), "sqlstate", None) or ""


def _lost_to_another(error: Exception) -> bool:
    return _sqlstate(error) in _LOST


def _translated(error: Exception) -> Exception:
    """Return what a database error is to callers: Unavailable if it passes, else the error itself."""
    state = _sqlstate(error)
    if isinstance(error, sa.exc.DBAPIError) and state and not state.startswith(_AWAY):
        return error
    return unavailable(error)
