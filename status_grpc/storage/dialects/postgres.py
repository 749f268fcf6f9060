"""PostgreSQL through asyncpg: several processes and hosts share one database."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import cache
from typing import Any, NoReturn

import asyncpg
import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from status_grpc.storage.dialects.base import (
    CannotOpenError,
    Database,
    Prepared,
    T,
    Transaction,
    U,
    Work,
    cause_of,
    unavailable,
    uninterrupted,
    with_connection,
)
from status_grpc.storage.rows import RowCodec, to_json, without_exponents
from status_grpc.storage.tables import traces

#: PostgreSQL's port where the URL names none.
_PORT = 5432


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
    #: Whether a transaction pooler such as PgBouncer stands in between: one connection is then another session in each
    #: transaction, so nothing is prepared or set for longer than that.
    pooled: bool = False


class PostgresDatabase(Database):
    """PostgreSQL through asyncpg: one connection writes, a pool of others reads; several processes share it."""

    codec = RowCodec(
        time_in=lambda time: time,
        time_out=lambda value: value.astimezone(UTC),
        json_in=lambda value: orjson.Fragment(without_exponents(to_json(value))),
    )
    upgrades_at_start = False

    #: How often a transaction is tried again that lost to another one.
    ATTEMPTS = 5
    #: How long a change of the schema waits for a table, in seconds; those who come after it wait as long.
    SCHEMA_LOCK_SECONDS = 0.5

    def __init__(self, url: sa.URL, settings: PostgresSettings) -> None:
        super().__init__()
        self._url = url.set(drivername="postgresql+asyncpg")
        host = url.query.get("host") or url.host or "this machine"
        self.place = f"the database at {host if isinstance(host, str) else ', '.join(host)}:{url.port or _PORT}"
        self._settings = settings
        limits = _limits(settings.statement_seconds, settings.lock_seconds, settings.lock_seconds)
        # Statements take the first rows of an index in its order. A bitmap of all that match, and a sort, look cheaper
        # where few are expected; but there may be a hundred thousand (a file that all traces read).
        limits["enable_bitmapscan"] = "off"
        self._begin = "BEGIN"
        if settings.pooled:
            self._begin = "; ".join(["BEGIN", *(f"SET LOCAL {name} = {value}" for name, value in limits.items())])
        self._writing = self._engine(limits, settings.statement_seconds, pool_size=1)
        self._reading = self._engine(
            limits,
            settings.statement_seconds,
            pool_size=settings.readers,
            pool_timeout=10,
            # A pooler may prepare a statement in one session and run it in the next, unless it is one transaction.
            **({} if settings.pooled else {"isolation_level": "AUTOCOMMIT"}),
        )
        if settings.pooled:
            sa.event.listen(self._writing.sync_engine, "begin", self._limit_transaction)
        self.dialect = self._writing.sync_engine.dialect

    def _engine(self, limits: dict[str, str], statement_seconds: float | None, **options: Any) -> AsyncEngine:
        arguments: dict[str, Any] = {"timeout": self._settings.connect_seconds, "command_timeout": statement_seconds}
        # A parameter of the connection costs no round trip; a transaction pooler refuses or forgets it.
        arguments["server_settings"] = {"application_name": "status-grpc"}
        if self._settings.pooled:
            arguments |= {"statement_cache_size": 0, "prepared_statement_cache_size": 0}
            arguments["prepared_statement_name_func"] = lambda: ""
        else:
            arguments["server_settings"] |= limits
        if options.get("poolclass") is None:
            options |= {"max_overflow": 0, "pool_recycle": 1800}
        engine = create_async_engine(
            self._url,
            connect_args=arguments,
            hide_parameters=True,  # what people report has no place in a log
            json_serializer=_same,
            json_deserializer=_same,
            **options,
        )
        sa.event.listen(engine.sync_engine, "connect", _take_json_as_text)
        return engine

    def _limit_transaction(self, connection: sa.Connection) -> None:
        for statement in self._begin.split("; ")[1:]:
            connection.exec_driver_sql(statement)

    async def open(self) -> None:
        try:
            await self.read(lambda connection: connection.exec_driver_sql("SELECT 1").all())
        except _ERRORS as error:  # what would pass is Unavailable
            raise CannotOpenError(f"{self.place} refuses: {cause_of(error)}") from error

    async def close(self) -> None:
        await self._reading.dispose()
        await self._writing.dispose()

    def pools(self) -> dict[str, sa.QueuePool]:
        return {"write": self._writing.pool, "read": self._reading.pool}  # type: ignore[dict-item]

    async def write(self, work: Work[T]) -> T:
        return await uninterrupted(self._write(self._writing, work))

    async def change_schema(self, work: Work[T]) -> T:
        # A session of its own: its statements may take their time, but not wait for others while holding up more.
        limits = _limits(0, self.SCHEMA_LOCK_SECONDS, 0)
        engine = self._engine(limits, None, poolclass=sa.NullPool)
        try:
            return await uninterrupted(self._write(engine, work))
        finally:
            await engine.dispose()

    async def _write(self, engine: AsyncEngine, work: Work[T]) -> T:
        async def attempt() -> T:
            async with engine.begin() as connection:
                return await connection.run_sync(work)

        return await self._until_done(attempt)

    async def transact(
        self,
        look_up: Callable[[Transaction], T],
        decide: Callable[[T], U],
        store: Callable[[Transaction, U], None],
    ) -> U:
        def work(connection: sa.Connection) -> U:
            with _PostgresTransaction(connection, self._begin, self._prepare) as transaction:
                decided = decide(look_up(transaction))
                store(transaction, decided)
                transaction.flush()
                return decided

        return await uninterrupted(self._until_done(lambda: with_connection(self._writing, work)))

    async def _until_done(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try, and again if it has certainly left nothing behind: not after a COMMIT that was not answered."""
        for tries_left in reversed(range(self.ATTEMPTS)):
            try:
                return await attempt()
            except _NotBegunError as error:
                # The connection had been lost since it was last used: the next one is new.
                if not tries_left:
                    raise unavailable(error) from error
            except _ERRORS as error:
                if not tries_left or _sqlstate(error) not in _LOST:
                    _raise(error)
                await asyncio.sleep(random.uniform(0, 0.05))  # noqa: S311
        raise AssertionError("unreachable")

    async def read(self, work: Work[T]) -> T:
        return await uninterrupted(self._read(work))

    async def _read(self, work: Work[T]) -> T:
        for tries_left in (1, 0):
            try:
                return await with_connection(self._reading, work)
            except _ERRORS as error:
                # Lost since it was last used, and with it all others of the pool: the next one is new. Asking each time
                # whether it is still there would cost a round trip.
                if not tries_left or not getattr(error, "connection_invalidated", False):
                    _raise(error)
        raise AssertionError("unreachable")

    def _rows(self, connection: sa.Connection, sql: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        if self._settings.pooled:  # what is a transaction is SQLAlchemy's business then
            return connection.exec_driver_sql(sql, tuple(values)).all()
        driver = connection.connection.dbapi_connection
        try:
            rows: Sequence[Sequence[Any]] = driver.run_async(lambda driver: driver.fetch(sql, *values))  # type: ignore[union-attr]
        except _ERRORS as error:
            if driver.driver_connection.is_closed():  # type: ignore[union-attr]
                connection.invalidate()
                error.connection_invalidated = True  # type: ignore[union-attr] # as SQLAlchemy marks its own
            raise
        return rows

    def keys(self, *columns: tuple[str, sa.types.TypeEngine[Any]]) -> sa.FromClause:
        # An array of rows. One array for each column looks simpler: the driver takes four times as long to encode them,
        # since it asks of each element whether it is an array itself. And one JSON text for all rows would be encoded
        # faster still, but PostgreSQL knows how long an array is, and takes a hundred rows for granted in a text.
        rows = sa.func.unnest(sa.bindparam("keys", type_=ARRAY(JSONB)))
        row = rows.table_valued(sa.column("value", JSONB)).render_derived(name="rows").c.value
        fields = [
            _field(row, index, type_.dialect_impl(self.dialect)).label(name)
            for index, (name, type_) in enumerate(columns)
        ]
        return sa.select(*fields).subquery("keys")

    def key_parameters(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        return {"keys": [orjson.dumps(row).decode() for row in rows]}

    def of_each(self, keys: sa.FromClause, rows: sa.Select[Any], most: sa.BindParameter[int]) -> sa.Select[Any]:
        found = rows.lateral("found")
        return sa.select(*found.c).select_from(keys.join(found, sa.true())).limit(most)

    def locked(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        return statement.order_by(traces.c.trace_id).with_for_update(of=traces)


def _field(row: sa.ColumnElement[Any], index: int, type_: sa.types.TypeEngine[Any]) -> sa.ColumnElement[Any]:
    """Return a value of a row that is a JSON array; null stands for NULL."""
    place: sa.ColumnElement[int] = sa.literal_column(str(index))
    if isinstance(type_, JSONB):
        value = row.op("->", return_type=type_)(place)
        return sa.func.nullif(value, sa.literal_column("'null'::jsonb"), type_=type_)
    text = row.op("->>", return_type=sa.Text())(place)
    return text if isinstance(type_, sa.String) else sa.cast(text, type_)


_PARAMETER = re.compile(r"\$(\d+)")


class _PostgresTransaction(Transaction):
    """A transaction by the driver itself: SQLAlchemy's way to it costs more than most statements do.

    The connection stays one of SQLAlchemy's pool, and goes back to it clean, or is thrown away.
    """

    def __init__(self, connection: sa.Connection, begin: str, prepare: Callable[[sa.Select[Any]], Prepared]) -> None:
        self._connection = connection
        self._run = connection.connection.dbapi_connection.run_async  # type: ignore[union-attr]
        self._begin = begin
        self._prepare = prepare
        self._writes: list[tuple[str, tuple[Any, ...]]] = []

    def __enter__(self) -> _PostgresTransaction:
        try:
            self._run(lambda driver: driver.execute(self._begin))
        except Exception as error:
            self._connection.invalidate()
            raise _NotBegunError(str(error)) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._run(lambda driver: driver.execute("COMMIT" if kind is None else "ROLLBACK"))
        except BaseException:
            self._connection.invalidate()
            if kind is None:
                raise

    def fetch(self, statement: sa.Select[Any], parameters: dict[str, Any]) -> list[Sequence[Any]]:
        self.flush()
        sql, names, _ = self._prepare(statement)
        rows: list[Sequence[Any]] = self._run(lambda driver: driver.fetch(sql, *[parameters[name] for name in names]))
        return rows

    def execute(self, sql: str, values: tuple[Any, ...]) -> None:
        self._writes.append((sql, values))

    def flush(self) -> None:
        # All of it in one round trip: none of it depends on the rest.
        if self._writes:
            sql = _together(tuple(sql for sql, _ in self._writes))
            values = [value for _, values in self._writes for value in values]
            self._writes.clear()
            self._run(lambda driver: driver.execute(sql, *values))


@cache
def _together(statements: tuple[str, ...]) -> str:
    """Return one statement that does what these do; its parameters are theirs, one after another."""
    *parts, last = _renumbered(statements)
    if not parts:
        return last
    return f"WITH {', '.join(f'part_{number} AS ({part})' for number, part in enumerate(parts))} {last}"


def _renumbered(statements: Iterable[str]) -> Iterator[str]:
    before = 0
    for sql in statements:
        own = 0

        def shifted(match: re.Match[str], before: int = before) -> str:
            nonlocal own
            own = max(own, int(match[1]))
            return f"${before + int(match[1])}"

        yield _PARAMETER.sub(shifted, sql)
        before += own


class _NotBegunError(Exception):
    """The connection was lost before the transaction began."""


def _limits(statement_seconds: float, lock_seconds: float, idle_seconds: float) -> dict[str, str]:
    """Return the settings of a session that bound its waits; 0 is no bound."""
    limits = {
        "statement_timeout": statement_seconds,
        "lock_timeout": lock_seconds,
        "idle_in_transaction_session_timeout": idle_seconds,
    }
    return {name: str(int(seconds * 1000)) for name, seconds in limits.items()}


def _take_json_as_text(connection: Any, _record: object) -> None:
    """Let the driver pass JSONB through as text, which it is on both sides (storage.rows)."""
    connection.run_async(lambda driver: driver.reset_type_codec("jsonb", schema="pg_catalog"))


def _same(value: Any) -> Any:
    return value


_ERRORS = (
    sa.exc.DBAPIError,
    sa.exc.TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what is left of a connection that was cut off in the middle of a statement
    OSError,
    TimeoutError,
)
#: SQLSTATEs of a transaction that lost to another one and may be tried again: serialization failure, deadlock, a row
#: that another one inserted in the meantime (two first events of one trace: the second then finds the first), and a
#: statement that was prepared before the schema was changed.
_LOST = {"40001", "40P01", "23505", "0A000"}
#: Classes of SQLSTATEs of a database that cannot serve now: connection, resources, operator intervention, locks, I/O.
_AWAY = ("08", "53", "57", "55", "58", "25", "40")


def _sqlstate(error: Exception) -> str:
    return getattr(getattr(error, "orig", error), "sqlstate", None) or ""


def _raise(error: Exception) -> NoReturn:
    """Raise what a database error is to callers: Unavailable if it passes, else the error itself."""
    if isinstance(error, ValueError):  # a value that the driver cannot send; its message shows it
        message = str(error)
        raise ValueError(f"{message.partition(':')[0]}: {message.rpartition(' (')[2].rstrip(')')}") from None
    if isinstance(error, asyncpg.PostgresError):
        error.detail = None  # the row that was refused, as a rule
    state = _sqlstate(error)
    if state and not state.startswith(_AWAY):
        raise error
    raise unavailable(error) from error
