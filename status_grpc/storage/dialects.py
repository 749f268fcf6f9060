"""What differs between the databases: how to connect, how a transaction runs, how a list becomes a parameter.

Everything else in this package is written once, as functions of a synchronous SQLAlchemy `Connection`; a database runs
such a function as one transaction, on whatever thread or greenlet suits its driver.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

import orjson
import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import create_async_engine

from status_grpc.domain.errors import Unavailable
from status_grpc.storage.rows import RowCodec
from status_grpc.storage.tables import traces

log = structlog.get_logger(__name__)

T = TypeVar("T")
U = TypeVar("U")
Work = Callable[[sa.Connection], T]


class Database(ABC):
    """One database. Implementations MUST keep `write` serialisable with regard to the rows that `work` locks."""

    codec: RowCodec
    #: SQLAlchemy's name for how this database writes its SQL.
    dialect: sa.Dialect
    #: Whether a server applies missing migrations when it starts; where several share a database, an operator does.
    upgrades_at_start: bool

    @abstractmethod
    async def open(self) -> None:
        """Connect. Raises Unavailable when the database cannot be reached."""

    @abstractmethod
    async def close(self) -> None:
        """Close all connections, after what is running has ended."""

    @abstractmethod
    async def write(self, work: Work[T]) -> T:
        """Run `work` as one transaction and return once it is durable; an exception rolls it back.

        Raises Unavailable when the database failed for a reason that passes.
        """

    @abstractmethod
    async def transact(
        self,
        look_up: Callable[[Transaction], T],
        decide: Callable[[T], U],
        store: Callable[[Transaction, U], None],
    ) -> U:
        """Run one transaction in three steps and return what was decided once it is durable.

        `look_up` reads under lock, `decide` computes and touches no database, `store` writes; an exception in any of
        them rolls everything back. A caller that is cancelled does not interrupt it. Raises Unavailable when the
        database failed for a reason that passes.
        """

    @abstractmethod
    async def read(self, work: Work[T]) -> T:
        """Run `work`, which only reads; a caller that is cancelled does not interrupt it.

        Its statements need not see one snapshot. Raises Unavailable when the database failed for a reason that passes.
        """

    @abstractmethod
    def keys(self, *columns: tuple[str, sa.types.TypeEngine[Any]]) -> sa.FromClause:
        """Return a table of the rows in the parameter `keys`: a statement about many keys that is always the same."""

    @abstractmethod
    def key_parameters(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Return the parameters that make `keys` hold these rows."""

    @abstractmethod
    def locked(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        """Return the statement so that it locks the rows it finds until the transaction ends."""


class Transaction(ABC):
    """The transaction that `Database.transact` runs."""

    @abstractmethod
    def fetch(self, statement: sa.Select[Any], parameters: dict[str, Any]) -> list[Sequence[Any]]:
        """Return the rows of a statement; their values are texts, numbers and NULLs."""

    @abstractmethod
    def execute(self, sql: str, values: tuple[Any, ...]) -> None:
        """Execute a statement that was compiled for this database, with its parameters in order."""


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


def open_database(url: str, settings: PostgresSettings = PostgresSettings()) -> Database:
    """Return the database of a SQLAlchemy URL. Raises ValueError for one that is not supported."""
    parsed = sa.make_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            return SqliteDatabase(parsed)
        case "postgresql":
            return PostgresDatabase(parsed, settings)
        case other:
            raise ValueError(
                f"{other!r} is not a supported database: use sqlite+aiosqlite:///FILE or postgresql+asyncpg://..."
            )


class _IsoText:
    """A time as text. One transaction writes the time of its recording many times over: it is converted once."""

    def __init__(self) -> None:
        self._last: tuple[datetime | None, str] = None, ""

    def __call__(self, time: datetime) -> str:
        last, text = self._last
        if time is not last:
            text = time.isoformat(timespec="microseconds")
            self._last = time, text
        return text


class SqliteDatabase(Database):
    """A SQLite file in WAL mode: one writer thread, readers beside it.

    Reads go through aiosqlite. Writes have a thread of their own: aiosqlite hops to its once per statement, and on
    the one connection that decides the throughput that costs more than the statements (docs/decisions/0003).
    """

    codec = RowCodec(time_in=_IsoText(), time_out=datetime.fromisoformat)
    upgrades_at_start = True

    #: How long a writer waits for the writer of another process, in seconds.
    BUSY_SECONDS = 5
    READERS = 4

    def __init__(self, url: sa.URL) -> None:
        if url.database in (None, "", ":memory:"):
            raise ValueError("SQLite needs a file: sqlite+aiosqlite:///status-grpc.db")
        arguments = {"timeout": self.BUSY_SECONDS, "isolation_level": None}
        self._writing = sa.create_engine(
            url.set(drivername="sqlite+pysqlite"),
            poolclass=sa.StaticPool,
            connect_args={**arguments, "check_same_thread": False, "cached_statements": 512},
        )
        self.dialect = self._writing.dialect
        self._reading = create_async_engine(
            url.set(drivername="sqlite+aiosqlite"),
            pool_size=self.READERS,
            max_overflow=0,
            connect_args=arguments,
            isolation_level="AUTOCOMMIT",
        )
        sa.event.listen(self._writing, "connect", self._prepare_writer)
        sa.event.listen(self._writing, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        sa.event.listen(self._reading.sync_engine, "connect", self._prepare_reader)
        self._fetching: dict[sa.Select[Any], tuple[str, list[str]]] = {}
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")

    def _prepare_writer(self, connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        self._write_ahead(cursor)
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA journal_size_limit = 67108864")
        cursor.execute("PRAGMA cache_size = -65536")
        cursor.close()

    def _write_ahead(self, cursor: sqlite3.Cursor) -> None:
        """Switch the file to WAL. Processes that do so at once refuse each other without the wait that writes have."""
        patient_until = time.monotonic() + self.BUSY_SECONDS
        while True:
            try:
                cursor.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() >= patient_until:
                    raise
                time.sleep(0.01)

    @staticmethod
    def _prepare_reader(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only = ON")
        cursor.execute("PRAGMA cache_size = -16384")
        cursor.close()

    async def open(self) -> None:
        await self.write(lambda connection: connection.exec_driver_sql("SELECT 1").all())

    async def close(self) -> None:
        await self._reading.dispose()
        async with self._lock:
            await self._in_thread(self._writing.dispose)
            self._thread.shutdown()

    async def write(self, work: Work[T]) -> T:
        async with self._lock:
            return await self._in_thread(self._transaction, work)

    def _transaction(self, work: Work[T]) -> T:
        with self._writing.begin() as connection:
            return work(connection)

    async def transact(
        self,
        look_up: Callable[[Transaction], T],
        decide: Callable[[T], U],
        store: Callable[[Transaction, U], None],
    ) -> U:
        return await uninterrupted(self._transact(look_up, decide, store))

    async def _transact(
        self,
        look_up: Callable[[Transaction], T],
        decide: Callable[[T], U],
        store: Callable[[Transaction, U], None],
    ) -> U:
        # The statements run in the thread, where they may wait for the disk; the deciding runs here, since two threads
        # of Python would only take the interpreter from each other.
        async with self._lock:
            transaction, found = await self._in_thread(self._begin, look_up)
            try:
                decided = decide(found)
            except BaseException:
                await self._in_thread(transaction.rollback)
                raise
            await self._in_thread(self._finish, transaction, store, decided)
            return decided

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except (sqlite3.OperationalError, sa.exc.OperationalError) as error:
            raise _unavailable(error) from error

    def _begin(self, look_up: Callable[[Transaction], T]) -> tuple[_SqliteTransaction, T]:
        transaction = _SqliteTransaction(self._writing, self._fetching)
        try:
            return transaction, look_up(transaction)
        except BaseException:
            transaction.rollback()
            raise

    @staticmethod
    def _finish(transaction: _SqliteTransaction, store: Callable[[Transaction, U], None], decided: U) -> None:
        try:
            store(transaction, decided)
            transaction.commit()
        except BaseException:
            transaction.rollback()
            raise

    async def read(self, work: Work[T]) -> T:
        return await uninterrupted(self._read(work))

    async def _read(self, work: Work[T]) -> T:
        try:
            async with self._reading.connect() as connection:
                return await connection.run_sync(work)
        except (sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            raise _unavailable(error) from error

    def keys(self, *columns: tuple[str, sa.types.TypeEngine[Any]]) -> sa.FromClause:
        rows = sa.func.json_each(sa.bindparam("keys", type_=sa.Text)).table_valued("value", name="rows")
        fields = [
            sa.type_coerce(rows.c.value.op("->>")(sa.literal_column(str(index))), type_).label(name)
            for index, (name, type_) in enumerate(columns)
        ]
        return sa.select(*fields).subquery("keys")

    def key_parameters(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        return {"keys": json.dumps(rows)}

    def locked(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        return statement  # BEGIN IMMEDIATE has locked the whole file


class _SqliteTransaction(Transaction):
    """A transaction on the writer's connection, by the driver itself: it holds the file's write lock from its start.

    Every call of the driver gives up Python's interpreter lock, and getting it back from a busy event loop takes longer
    than most calls: so there are few of them, and each does much.
    """

    def __init__(self, engine: sa.Engine, fetching: dict[sa.Select[Any], tuple[str, list[str]]]) -> None:
        self._pooled = engine.raw_connection()
        self._connection: sqlite3.Connection = self._pooled.driver_connection  # type: ignore[assignment]
        self._dialect = engine.dialect
        self._fetching = fetching
        self._connection.execute("BEGIN IMMEDIATE")

    def fetch(self, statement: sa.Select[Any], parameters: dict[str, Any]) -> list[Sequence[Any]]:
        compiled = self._fetching.get(statement)
        if compiled is None:
            compiled = self._fetching[statement] = self._compile(statement)
        sql, names = compiled
        row = self._connection.execute(sql, [parameters[name] for name in names]).fetchone()
        found: list[Sequence[Any]] = orjson.loads(row[0])
        return found

    def _compile(self, statement: sa.Select[Any]) -> tuple[str, list[str]]:
        """Return the statement as one that gives all its rows in a single one."""
        rows = statement.subquery("found")
        compiled = sa.select(sa.func.json_group_array(sa.func.json_array(*rows.columns))).compile(dialect=self._dialect)
        return str(compiled), list(compiled.positiontup or ())

    def execute(self, sql: str, values: tuple[Any, ...]) -> None:
        self._connection.execute(sql, values)

    def commit(self) -> None:
        """Make it durable."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo it; harmless when the driver has done so already."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


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
    return _unavailable(error)


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end even when the caller is cancelled: it would leave its connection as it stood."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Nobody will ask how it ended; looking at it keeps asyncio from reporting an error as never retrieved.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise


def _unavailable(error: Exception) -> Unavailable:
    log.warning("database failed", cause=str(getattr(error, "orig", error)))
    return Unavailable("the database cannot serve this now; try again shortly")
