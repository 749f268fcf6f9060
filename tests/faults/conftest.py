"""Servers on one database, and what goes on around them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from engines import Engine, Postgresql, Sqlite
from load import Load
from server_process import Server

#: `make faults`: more rounds of each fault.
LONG = bool(os.environ.get("STATUS_GRPC_LONG_TESTS"))

_FLAGS = ("--checkpoint-seconds", "0.5", "--poll-seconds", "0.3", "--drain-seconds", "1", "--log-level", "warning")

StartServer = Callable[..., Server]
StartLoad = Callable[..., Load]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Each of the databases; it has its tables, or the first server makes them."""
    if request.param == "sqlite":
        return Sqlite(tmp_path)
    return Postgresql(request.getfixturevalue("postgresql_url"))


@pytest.fixture
def rounds() -> Callable[[int], range]:
    """How often a fault is repeated: so many times, and many more in the long form."""
    return lambda short: range(short * 5 if LONG else short)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Start a server on a database, with these flags."""
    servers: list[Server] = []

    def start(url: str, *flags: str, kind: type[Server] = Server) -> Server:
        folder = tmp_path / f"server{len(servers)}"
        folder.mkdir()
        servers.append(kind(folder, *_FLAGS, *flags, database_url=url))
        return servers[-1].start()

    yield start
    for server in servers:
        if server.process is not None:
            server.wake()
        server.kill()


@pytest.fixture
async def start_load() -> AsyncIterator[StartLoad]:
    """Let clients and followers begin."""
    loads: list[Load] = []

    async def start(*servers: Server) -> Load:
        loads.append(Load(servers))
        await loads[-1].start()
        return loads[-1]

    yield start
    for load in loads:
        await load.close()
