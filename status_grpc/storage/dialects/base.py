"""What a database does for the store, whichever it is.

Everything else in `storage` is written once, as functions of a synchronous SQLAlchemy `Connection`; a database runs
such a function as one transaction, on whatever thread or greenlet suits its driver.
"""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import sqlalchemy as sa
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from status_grpc.domain.errors import Unavailable
from status_grpc.storage.rows import RowCodec

log = structlog.get_logger(__name__)

T = TypeVar("T")
U = TypeVar("U")
Work = Callable[[sa.Connection], T]


class CannotOpenError(Exception):
    """The URL, the file or its rights allow no connection to the database."""


class Prepared(NamedTuple):
    """A statement as the driver takes it: the names of its parameters in order, the values of those that are fixed."""

    sql: str
    names: Sequence[str]
    given: dict[str, Any]


class Database(ABC):
    """One database. Implementations MUST keep `write` serialisable with regard to the rows that `work` locks."""

    codec: RowCodec
    #: SQLAlchemy's name for how this database writes its SQL.
    dialect: sa.Dialect
    #: What a person calls it: its file, or its host and port. It holds no password.
    place: str
    #: Whether a server applies missing migrations when it starts; where several share a database, an operator does.
    upgrades_at_start: bool

    def __init__(self) -> None:
        self._prepared: WeakKeyDictionary[sa.Select[Any], Prepared] = WeakKeyDictionary()

    @abstractmethod
    async def open(self) -> None:
        """Connect.

        Raises Unavailable when the database cannot be reached, CannotOpenError when waiting cannot help.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close all connections, after what is running has ended."""

    @abstractmethod
    def pools(self) -> dict[str, sa.QueuePool]:
        """Return the pools of connections, by what they are for."""

    def connections(self) -> dict[str, tuple[int, int]]:
        """Return how many connections of each pool are in use, and how many it may have."""
        return {name: (pool.checkedout(), pool.size()) for name, pool in self.pools().items()}

    @abstractmethod
    async def write(self, work: Work[T]) -> T:
        """Run `work` as one transaction and return once it is durable; an exception rolls it back.

        Raises Unavailable when the database failed for a reason that passes.
        """

    async def change_schema(self, work: Work[T]) -> T:
        """Run `work`, which may change tables, as `write` does, with limits that suit it.

        Raises Unavailable also when tables that it changes are in use for too long.
        """
        return await self.write(work)

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

    async def read_few(self, work: Work[T]) -> T:
        """Run `work`, which reads by key and through `fetch`, as `read` does.

        Where handing a few rows to a thread would take longer than reading them, it runs at once; when it turns out to
        be about more (`expect`), it is run again as `read` does.
        """
        return await self.read(work)

    def expect(self, connection: sa.Connection, *, rows: int = 0, size: int = 0) -> None:  # noqa: B027 - nothing to do
        """Say within `read_few` how many rows, or bytes of them, are fetched next."""

    def fetch(
        self, connection: sa.Connection, statement: sa.Select[Any], parameters: dict[str, Any]
    ) -> Sequence[Sequence[Any]]:
        """Return the rows of a statement within `read` or `read_few`, in the driver's own values.

        For statements that are made once: how each is put to the driver is kept as long as the statement is.
        """
        sql, names, given = self._prepare(statement)
        return self._rows(connection, sql, [parameters[name] if name in parameters else given[name] for name in names])

    def _prepare(self, statement: sa.Select[Any]) -> Prepared:
        prepared = self._prepared.get(statement)
        if prepared is None:
            compiled = statement.compile(dialect=self.dialect)
            prepared = Prepared(str(compiled), compiled.positiontup or [], compiled.params)
            self._prepared[statement] = prepared
        return prepared

    @abstractmethod
    def _rows(self, connection: sa.Connection, sql: str, values: Sequence[Any]) -> Sequence[Sequence[Any]]:
        """Return the rows of a statement from the driver itself: SQLAlchemy's way costs more than most statements."""

    @abstractmethod
    def keys(self, *columns: tuple[str, sa.types.TypeEngine[Any]]) -> sa.FromClause:
        """Return a table of the rows in the parameter `keys`: a statement about many keys that is always the same."""

    @abstractmethod
    def key_parameters(self, rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        """Return the parameters that make `keys` hold these rows."""

    @abstractmethod
    def of_each(self, keys: sa.FromClause, rows: sa.Select[Any], most: sa.BindParameter[int]) -> sa.Select[Any]:
        """Return the rows that `rows` finds for each of the keys, to whose columns it refers; `most` rows in all.

        The order and the limit of `rows` hold for each key: what there is beyond the limit is not read. Both databases
        take the keys in their order, and stop when they have enough: to sort, they would have to find all.
        """

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
        """Execute a statement that was compiled for this database, with its parameters in order.

        It may be put off to the next `flush` or `fetch`, and then fails there.
        """

    @abstractmethod
    def flush(self) -> None:
        """Execute what was put off."""

    def execute_each(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Execute it for each of many rows of parameters."""
        for row in rows:
            self.execute(sql, tuple(row))


async def with_connection(engine: AsyncEngine, work: Work[T]) -> T:
    """Run `work` with a connection of the engine's pool."""

    def run() -> T:
        with engine.sync_engine.connect() as connection:
            return work(connection)

    # AsyncConnection takes a greenlet to connect, one to work and one to give back: a third of a short read.
    return await greenlet_spawn(run)


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end even when the caller is cancelled: it would leave its connection as it stood."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # Nobody will ask how it ended; looking at it keeps asyncio from reporting an error as never retrieved.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        raise


def unavailable(error: Exception) -> Unavailable:
    """Return what callers are told of a database that failed; the log gets the cause."""
    log.warning("database failed", cause=str(getattr(error, "orig", error)))
    return Unavailable("the database cannot serve this now; try again shortly")


def cause_of(error: BaseException) -> str:
    """Return the driver's own words for why a database failed."""
    while isinstance(error, Unavailable | sa.exc.DBAPIError) or getattr(error, "__module__", "").startswith(
        "sqlalchemy"
    ):
        inner = getattr(error, "orig", None) or error.__cause__
        if inner is None:
            break
        error = inner
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno).lower()  # event loops put words of their own around it
    return str(error) or type(error).__name__
