"""SQLite: one writer on the driver itself, readers beside it through aiosqlite, and a few rows read in the loop."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from status_grpc.storage.dialects.base import (
    CannotOpenError,
    Database,
    T,
    Transaction,
    U,
    Work,
    cause_of,
    unavailable,
    uninterrupted,
    with_connection,
)
from status_grpc.storage.rows import RowCodec

#: Mode of a new database file: what people report is for the server alone.
_PRIVATE = 0o600
_ISO_LENGTH = len("2026-01-01T00:00:00.000000+00:00")


class _IsoText:
    """A time as text: ISO 8601 with microseconds and +00:00, which sorts as the times do."""

    def __init__(self) -> None:
        self._last: tuple[datetime | None, str] = None, ""

    def __call__(self, time: datetime) -> str:
        # One transaction writes the time of its recording many times over: it is converted once.
        last, text = self._last
        if time is not last:
            # A fifth of the time that isoformat takes; without the microseconds where they are none.
            text = orjson.dumps(time).decode()[1:-1]
            if len(text) != _ISO_LENGTH:
                text = time.isoformat(timespec="microseconds")
            self._last = time, text
        return text


class SqliteDatabase(Database):
    """A SQLite file in WAL mode: one writer thread, readers beside it.

    Reads go through aiosqlite, but for those of a few rows. Writes have a thread of their own: aiosqlite hops to its
    once per statement, and on the one connection that decides the throughput that costs more than the statements
    (docs/decisions/0003).
    """

    codec = RowCodec(time_in=_IsoText(), time_out=datetime.fromisoformat)
    upgrades_at_start = True

    #: How long a writer waits for the writer of another process, in seconds.
    BUSY_SECONDS = 5.0
    READERS = 4
    #: What is read in the event loop at most: beyond that, reading takes longer than handing it to a thread.
    FEW_ROWS = 100
    FEW_BYTES = 256 * 1024

    def __init__(self, url: sa.URL) -> None:
        super().__init__()
        if url.database in (None, "", ":memory:"):
            raise ValueError("names no file, which SQLite needs: sqlite+aiosqlite:///status-grpc.db")
        self.file: str = url.database or ""
        self.place = self.file
        arguments = {"timeout": self.BUSY_SECONDS, "isolation_level": None}
        self._writing = sa.create_engine(
            url.set(drivername="sqlite+pysqlite"),
            poolclass=sa.StaticPool,
            hide_parameters=True,  # what people report has no place in a log
            # It waits by itself for other processes (_begin_immediate).
            connect_args={**arguments, "timeout": 0, "check_same_thread": False, "cached_statements": 512},
        )
        self.dialect = self._writing.dialect
        self._reading = create_async_engine(
            url.set(drivername="sqlite+aiosqlite"),
            pool_size=self.READERS,
            max_overflow=0,
            connect_args=arguments,
            isolation_level="AUTOCOMMIT",
            pool_reset_on_return=None,  # nothing to roll back
            hide_parameters=True,
        )
        self._looking = sa.create_engine(
            url.set(drivername="sqlite+pysqlite"),
            poolclass=sa.StaticPool,
            hide_parameters=True,
            connect_args={**arguments, "timeout": 0},
            isolation_level="AUTOCOMMIT",
        )
        for engine in (self._writing, self._reading.sync_engine, self._looking):
            sa.event.listen(engine, "do_connect", self._create_private_file)
        # For the event loop and nobody else.
        self._at_hand: sa.Connection | None = None
        sa.event.listen(self._writing, "connect", self._prepare_writer)
        sa.event.listen(self._writing, "begin", self._begin_work)
        sa.event.listen(self._reading.sync_engine, "connect", self._prepare_reader)
        sa.event.listen(self._looking, "connect", self._prepare_reader)
        self._fetching: dict[sa.Select[Any], tuple[str, list[str]]] = {}
        self._lock = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")

    def _create_private_file(self, *_: object) -> None:
        """Create a missing file for its owner only.

        The umask does not matter. SQLite gives -wal and -shm the same mode.
        """
        if self.file.startswith("file:"):
            return  # a URI, which names a file only to SQLite
        try:
            # O_EXCL: an open file must not be opened once more here, since closing it would drop SQLite's locks.
            descriptor = os.open(
                os.path.realpath(self.file), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _PRIVATE
            )
        except OSError:
            return  # it exists, or SQLite says why it cannot be created
        try:
            os.fchmod(descriptor, _PRIVATE)
        finally:
            os.close(descriptor)

    def _prepare_writer(self, connection: Any, _record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        self._write_ahead(cursor)
        cursor.execute("PRAGMA synchronous = FULL")
        # 16 MiB, four times the default: a page that many transactions change is copied to the file once for all.
        cursor.execute("PRAGMA wal_autocheckpoint = 4000")
        cursor.execute("PRAGMA journal_size_limit = 67108864")
        cursor.execute("PRAGMA cache_size = -65536")
        cursor.close()

    def _write_ahead(self, cursor: sqlite3.Cursor) -> None:
        """Switch the file to WAL. Processes that do so at once refuse each other without the wait that writes have."""
        _when_free(lambda: cursor.execute("PRAGMA journal_mode = WAL"), self.BUSY_SECONDS, again_seconds=0.01)

    def _begin_work(self, connection: sa.Connection) -> None:
        _begin_immediate(connection.connection.driver_connection, self.BUSY_SECONDS)  # type: ignore[arg-type]

    @staticmethod
    def _prepare_reader(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA query_only = ON")
        cursor.execute("PRAGMA cache_size = -16384")
        cursor.close()

    async def open(self) -> None:
        def look() -> None:
            with self._writing.begin() as connection:
                connection.exec_driver_sql("SELECT 1").all()

        try:
            async with self._lock:
                await asyncio.get_running_loop().run_in_executor(self._thread, look)
        except sa.exc.DatabaseError as error:
            if getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _WRONG_FILE:
                raise CannotOpenError(self._why_not(cause_of(error))) from error
            raise unavailable(error) from error

    def _why_not(self, cause: str) -> str:
        """Return why the file cannot be opened, which SQLite itself does not say."""
        file = Path(self.file)
        if not file.parent.is_dir():
            return f"{file}: there is no folder {file.parent}"
        if file.is_dir():
            return f"{file} is a folder, not a file"
        try:
            file.open("r+b").close()
        except FileNotFoundError:
            return f"{file}: no file can be made in {file.parent}"
        except OSError as error:
            return f"{file}: {os.strerror(error.errno or 0).lower()}"
        return f"{file}: {'the file is not a SQLite database' if 'not a database' in cause else cause}"

    async def close(self) -> None:
        if self._at_hand is not None:
            self._at_hand.close()
            self._at_hand = None
        self._looking.dispose()
        await self._reading.dispose()
        async with self._lock:
            await self._in_thread(self._writing.dispose)
            self._thread.shutdown()

    def pools(self) -> dict[str, sa.QueuePool]:
        return {"read": self._reading.pool}  # type: ignore[dict-item]  # the writer is a single one

    async def data_version(self) -> int:
        """Return a number that changes whenever another process has committed something."""

        def look() -> int:
            pooled = self._writing.raw_connection()
            try:
                connection: sqlite3.Connection = pooled.driver_connection  # type: ignore[assignment]
                (version,) = connection.execute("PRAGMA data_version").fetchone()
                return int(version)
            finally:
                pooled.close()

        async with self._lock:
            return await self._in_thread(look)

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
        # What may wait for long runs in the thread: for the lock of another process, for the disk. The rest runs here:
        # two threads of Python only take the interpreter from each other.
        async with self._lock:
            transaction, found = await self._begun(look_up)
            try:
                decided = decide(found)
                store(transaction, decided)
            except BaseException as error:
                await self._in_thread(transaction.rollback)
                if isinstance(error, sqlite3.OperationalError):
                    raise unavailable(error) from error
                raise
            await self._in_thread(self._commit, transaction)
            return decided

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)
        except (sqlite3.OperationalError, sa.exc.OperationalError) as error:
            raise unavailable(error) from error

    async def _begun(self, look_up: Callable[[Transaction], T]) -> tuple[_SqliteTransaction, T]:
        """Begin at once if no other process writes; if that fails, where it may take its time."""
        try:
            return self._begin(look_up, 0)
        except sqlite3.OperationalError:
            return await self._in_thread(self._begin, look_up, self.BUSY_SECONDS)

    def _begin(self, look_up: Callable[[Transaction], T], busy_seconds: float) -> tuple[_SqliteTransaction, T]:
        transaction = _SqliteTransaction(self._writing, self._fetching, busy_seconds)
        try:
            return transaction, look_up(transaction)
        except BaseException:
            transaction.rollback()
            raise

    @staticmethod
    def _commit(transaction: _SqliteTransaction) -> None:
        try:
            transaction.commit()
        except BaseException:
            transaction.rollback()
            raise

    async def read(self, work: Work[T]) -> T:
        return await uninterrupted(self._read(work))

    async def _read(self, work: Work[T]) -> T:
        try:
            return await with_connection(self._reading, work)
        except (sqlite3.OperationalError, sa.exc.OperationalError, sa.exc.TimeoutError) as error:
            raise unavailable(error) from error

    async def read_few(self, work: Work[T]) -> T:
        await asyncio.sleep(0)  # who reads over and over lets others have their turn
        try:
            if self._at_hand is None:
                self._at_hand = self._looking.connect()
            return work(self._at_hand)
        except (sqlite3.OperationalError, sa.exc.OperationalError, _NotFewError):
            # Or somebody has locked the whole file, or it cannot be opened: a thread may wait, and say what it is.
            return await self.read(work)

    def expect(self, connection: sa.Connection, *, rows: int = 0, size: int = 0) -> None:
        if connection is self._at_hand and (rows > self.FEW_ROWS or size > self.FEW_BYTES):
            raise _NotFewError

    def _rows(self, connection: sa.Connection, sql: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        driver: Any = connection.connection.dbapi_connection
        rows: Sequence[Sequence[Any]]
        if isinstance(driver, sqlite3.Connection):
            rows = driver.execute(sql, values).fetchall()
        else:
            # One hop to the connection's thread and back; a cursor would take three.
            rows = driver.run_async(lambda driver: driver.execute_fetchall(sql, values))
        return rows

    def keys(self, *columns: tuple[str, sa.types.TypeEngine[Any]]) -> sa.FromClause:
        rows = sa.func.json_each(sa.bindparam("keys", type_=sa.Text)).table_valued("value", name="rows")
        fields = [
            sa.type_coerce(rows.c.value.op("->>")(sa.literal_column(str(index))), type_).label(name)
            for index, (name, type_) in enumerate(columns)
        ]
        return sa.select(*fields).subquery("keys")

    def key_parameters(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        return {"keys": json.dumps(rows)}

    def of_each(self, keys: sa.FromClause, rows: sa.Select[Any], most: sa.BindParameter[int]) -> sa.Select[Any]:
        # In place of LATERAL, which SQLite has only for functions: the rows of a key as a JSON array, taken apart.
        of_key = rows.correlate(keys).subquery("of_key")
        array = sa.select(sa.func.json_group_array(sa.func.json_array(*of_key.columns))).correlate(keys)
        found = sa.func.json_each(array.scalar_subquery()).table_valued("value", name="found")
        columns = [
            sa.type_coerce(found.c.value.op("->>")(sa.literal_column(str(index))), column.type).label(column.name)
            for index, column in enumerate(of_key.columns)
        ]
        return sa.select(*columns).select_from(keys.join(found, sa.true())).limit(most)

    def locked(self, statement: sa.Select[Any]) -> sa.Select[Any]:
        return statement  # BEGIN IMMEDIATE has locked the whole file


#: SQLite's codes for a file that cannot be used as a database, however long one waits.
_WRONG_FILE = (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_READONLY)


class _NotFewError(Exception):
    """What is read in the event loop turns out to be more than a few rows."""


def _begin_immediate(connection: sqlite3.Connection, patience_seconds: float) -> None:
    """Begin to write, after whoever does so in another process.

    SQLite's own wait looks again after 1 ms, 2 ms, ... 100 ms, and the others take their turns in between.
    """
    _when_free(lambda: connection.execute("BEGIN IMMEDIATE"), patience_seconds, again_seconds=0.0005)


def _when_free(attempt: Callable[[], object], patience_seconds: float, again_seconds: float) -> None:
    """Repeat what another process keeps from being done, until it is done or patience ends."""
    patient_until = time.monotonic() + patience_seconds
    while True:
        try:
            attempt()
            return
        except sqlite3.OperationalError as error:
            # The low byte: SQLITE_BUSY_RECOVERY, for one, is another process that makes the index of the log anew.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= patient_until:
                raise
            time.sleep(again_seconds)


class _SqliteTransaction(Transaction):
    """A transaction on the writer's connection, by the driver itself: it holds the file's write lock from its start.

    Every call of the driver gives up Python's interpreter lock, and getting it back from a busy event loop takes longer
    than most calls: so there are few of them, and each does much.
    """

    def __init__(
        self, engine: sa.Engine, fetching: dict[sa.Select[Any], tuple[str, list[str]]], busy_seconds: float
    ) -> None:
        self._pooled = engine.raw_connection()
        self._connection: sqlite3.Connection = self._pooled.driver_connection  # type: ignore[assignment]
        self._dialect = engine.dialect
        self._fetching = fetching
        _begin_immediate(self._connection, busy_seconds)

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

    def flush(self) -> None:
        pass

    def execute_each(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        self._connection.executemany(sql, rows)

    def commit(self) -> None:
        """Make it durable."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo it; harmless when the driver has done so already."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
