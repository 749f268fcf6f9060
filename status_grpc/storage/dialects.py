"""What differs between the databases: how to connect, how a transaction runs, how a list becomes a parameter.

Everything else in this package is written once, as functions of a synchronous SQLAlchemy `Connection`; a database runs
such a function as one transaction, on whatever thread or greenlet suits its driver.
"""

from __future__ import annotations

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any, TypeVar

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import create_async_engine

from status_grpc.domain.errors import Unavailable
from status_grpc.storage.rows import RowCodec

log = structlog.get_logger(__name__)

T = TypeVar("T")
Work = Callable[[sa.Connection], T]


class Database(ABC):
    """One database. Implementations MUST keep `write` serialisable with regard to the rows that `work` locks."""

    codec: RowCodec
    #: SQLAlchemy's name for how this database writes its SQL.
    dialect: sa.Dialect

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


def open_database(url: str) -> Database:
    """Return the database of a SQLAlchemy URL. Raises ValueError for one that is not supported."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return SqliteDatabase(parsed)
    raise ValueError(f"{parsed.get_backend_name()!r} is not a supported database; use sqlite+aiosqlite:///FILE")


class SqliteDatabase(Database):
    """A SQLite file in WAL mode: one writer thread, readers beside it.

    Reads go through aiosqlite. A write goes to its thread in one hop, whole: aiosqlite hops once per statement, and on
    the one connection that decides the throughput that costs a third of it (docs/decisions/0003).
    """

    codec = RowCodec(
        time_in=lambda time: time.isoformat(timespec="microseconds"),
        time_out=datetime.fromisoformat,
    )

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
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")

    @staticmethod
    def _prepare_writer(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA journal_size_limit = 67108864")
        cursor.execute("PRAGMA cache_size = -65536")
        cursor.close()

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
        await asyncio.get_running_loop().run_in_executor(self._thread, self._writing.dispose)
        self._thread.shutdown()

    async def write(self, work: Work[T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    def _transaction(self, work: Work[T]) -> T:
        try:
            with self._writing.begin() as connection:
                return work(connection)
        except sa.exc.OperationalError as error:
            raise _unavailable(error) from error

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
            sa.type_coerce(rows.c.value.op("->>")(index), type_).label(name)
            for index, (name, type_) in enumerate(columns)
        ]
        return sa.select(*fields).subquery("keys")

    def key_parameters(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        return {"keys": json.dumps(rows)}

    def locked(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        return statement  # BEGIN IMMEDIATE has locked the whole file


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end even when the caller is cancelled: an interrupted read would leak its connection."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Nobody will ask how it ended; looking at it keeps asyncio from reporting an error as never retrieved.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise


def _unavailable(error: sa.exc.SQLAlchemyError) -> Unavailable:
    log.warning("database failed", cause=str(getattr(error, "orig", error)))
    return Unavailable("the database cannot serve this now; try again shortly")
