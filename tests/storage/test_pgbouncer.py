"""The contract of the store behind PgBouncer in transaction mode, with `pooled`.

Collected where STATUS_GRPC_TEST_PGBOUNCER names the program: `make test-pgbouncer`.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from builders import append, create
from ports import free_port
from postgres import Cluster, Databases, as_user, own_cluster, user
from stores import EVENTS_PER_TRACE, OpenStore, opened_as
from test_store_reads import *  # noqa: F403
from test_store_writes import *  # noqa: F403

from status_grpc.domain.decisions import Recorded
from status_grpc.domain.errors import Unavailable
from status_grpc.storage.dialects import PostgresSettings, open_database
from status_grpc.storage.store import Store


@pytest.fixture(scope="module")
def bouncer() -> Iterator[tuple[Cluster, int]]:
    """PostgreSQL and the port of a PgBouncer in front of it, with fewer connections than its clients have."""
    folder = Path(tempfile.mkdtemp(prefix="status-grpc-pgbouncer-"))
    with own_cluster(max_connections="100") as cluster:
        port = free_port()
        (folder / "users").write_text(f'"postgres" "{cluster.url.password}"\n')
        (folder / "pgbouncer.ini").write_text(f"""
[databases]
* = host=127.0.0.1 port={cluster.port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {folder / "users"}
pool_mode = transaction
default_pool_size = 3
""")
        for path in (folder, folder / "users", folder / "pgbouncer.ini"):
            os.chown(path, *user())
        command = as_user([os.environ["STATUS_GRPC_TEST_PGBOUNCER"], "-q", str(folder / "pgbouncer.ini")])
        with subprocess.Popen(command, cwd="/") as process:
            try:
                _wait_for(port)
                yield cluster, port
            finally:
                process.kill()
    shutil.rmtree(folder)


def _wait_for(port: int) -> None:
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return


@pytest.fixture(scope="module")
def bouncer_databases(bouncer: tuple[Cluster, int]) -> Databases:
    return Databases(bouncer[0].url)


@pytest.fixture
def database_url(bouncer: tuple[Cluster, int], bouncer_databases: Databases) -> Iterator[str]:
    with bouncer_databases.database() as url:
        yield sa.make_url(url).set(port=bouncer[1]).render_as_string(hide_password=False)


@pytest.fixture
def open_store(database_url: str) -> OpenStore:
    @asynccontextmanager
    async def open_it(**settings: float) -> AsyncIterator[Store]:
        pooled = PostgresSettings(pooled=True, **settings)  # type: ignore[arg-type]
        async with opened_as(open_database(database_url, pooled)) as database:
            yield Store(database, events_per_trace=EVENTS_PER_TRACE)

    return open_it


async def test_the_limits_hold_in_every_transaction(open_store: OpenStore) -> None:
    async with open_store(lock_seconds=0.2, statement_seconds=1.0) as store, open_store() as other:  # type: ignore[call-arg]
        await store.commit([create("a")])
        async with other._database._writing.connect() as connection:  # type: ignore[attr-defined]
            await connection.exec_driver_sql("SELECT FROM traces FOR UPDATE")
            with pytest.raises(Unavailable):
                await store.commit([append("a")])
        (decision,) = await store.commit([append("a")])
        assert isinstance(decision, Recorded)
        shown = await other._database.write(lambda c: c.exec_driver_sql("SHOW lock_timeout").scalar())
        assert shown == "3s"


async def test_many_stores_share_few_connections(open_store: OpenStore) -> None:
    async def write(number: int) -> None:
        async with open_store() as store:
            await store.commit([create(f"t{number}", "one")])
            for count in range(20):
                await store.commit([append(f"t{number}", f"e{count}")])
                found = await store.get_trace_and_events(f"t{number}", after=0, count=100, most_bytes=1 << 20)
                assert found is not None
                assert len(found[1]) == count + 2

    await asyncio.gather(*(write(number) for number in range(8)))
