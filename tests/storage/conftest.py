"""The stores that the contract suite (`test_store_*.py`) runs over.

An engine is a name in ENGINES and a fixture `<name>_url` that gives the URL of an empty database; nothing else knows
which engine it is. What is about one engine only is in a file of its own.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from stores import EVENTS_PER_TRACE, OpenStore, opened

from status_grpc.storage.store import Store

ENGINES = ["sqlite", "postgresql"]

#: What needs a program that no package brings along.
collect_ignore = [] if "STATUS_GRPC_TEST_PGBOUNCER" in os.environ else ["test_pgbouncer.py"]


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'traces.db'}"


@pytest.fixture(params=ENGINES)
def database_url(request: pytest.FixtureRequest) -> str:
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def open_store(database_url: str) -> OpenStore:
    @asynccontextmanager
    async def open_it() -> AsyncIterator[Store]:
        async with opened(database_url) as database:
            yield Store(database, events_per_trace=EVENTS_PER_TRACE)

    return open_it


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[Store]:
    async with open_store() as store:
        yield store
