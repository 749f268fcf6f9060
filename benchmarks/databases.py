"""The databases of a run: an SQLite file, or a PostgreSQL server of our own that writes through to the disk."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import sqlalchemy as sa

from tests.postgres import Databases, own_cluster

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"

#: Unlike in tests, a write has to survive a loss of power: that is what it costs.
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
SIZED = {"max_connections": "200", "shared_buffers": "512MB", "max_wal_size": "4GB"}


class Engines:
    """Makes new databases; PostgreSQL is started when it is first asked for."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._servers: dict[str, Databases] = {}

    @contextmanager
    def database(self, engine: str) -> Iterator[str]:
        """The URL of a new database, which has its tables already on PostgreSQL; gone afterwards."""
        if engine == POSTGRESQL:
            with self._server().database() as url:
                yield url
            return
        folder = Path(tempfile.mkdtemp(prefix="status-grpc-bench-"))
        try:
            yield f"sqlite+aiosqlite:///{folder / 'bench.db'}"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _server(self) -> Databases:
        if POSTGRESQL not in self._servers:
            cluster = self._stack.enter_context(own_cluster(**DURABLE, **SIZED))
            self._servers[POSTGRESQL] = Databases(cluster.url)
        return self._servers[POSTGRESQL]


def size(url: str) -> int:
    """How many bytes a database takes on the disk, its log of writes left out."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        assert parsed.database is not None
        engine = sa.create_engine(parsed.set(drivername="sqlite+pysqlite"))
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        engine.dispose()
        return Path(parsed.database).stat().st_size
    return int(ask(url, "SELECT pg_database_size(current_database())"))


def ask(url: str, query: str) -> int:
    """The number that a query on PostgreSQL gives."""
    import asyncio

    import asyncpg

    async def fetch() -> int:
        plain = sa.make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        connection = await asyncpg.connect(plain)
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()

    return asyncio.run(fetch())
