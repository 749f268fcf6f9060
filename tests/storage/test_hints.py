"""Hints between processes: they come soon, they may be lost, and nobody needs them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from builders import append, create
from postgres import Databases
from stores import EVENTS_PER_TRACE, opened

from status_grpc.storage.dialects import Database, PostgresDatabase, open_hints
from status_grpc.storage.dialects.postgres_hints import PostgresHints
from status_grpc.storage.hints import Hints, NoHints
from status_grpc.storage.store import Store

#: What must come does so long before.
PATIENCE = 60.0
#: What must not come would be there by then.
A_WHILE = 0.3


class Process:
    """A process that writes and is told of what others write."""

    def __init__(self, database: Database, hints: Hints) -> None:
        self.hints = hints
        self.store = Store(database, events_per_trace=EVENTS_PER_TRACE)

    async def write(self, *commands: object) -> None:
        await self.store.commit(commands)  # type: ignore[arg-type]
        self.hints.give()

    async def is_quiet(self) -> None:
        """Take what has been told so far, and be told no more."""
        while await self.hints.wait(A_WHILE):
            pass


@contextlib.asynccontextmanager
async def two_processes(url: str) -> AsyncIterator[tuple[Process, Process]]:
    async with contextlib.AsyncExitStack() as stack:
        found = []
        for _ in range(2):
            database = await stack.enter_async_context(opened(url))
            hints = open_hints(database, url)
            await hints.start()
            stack.push_async_callback(hints.close)
            if isinstance(hints, PostgresHints):
                assert await hints.wait(PATIENCE)  # that it listens now
            found.append(Process(database, hints))
        for process in found:
            await process.is_quiet()
        yield found[0], found[1]


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[tuple[Process, Process]]:
    async with two_processes(database_url) as processes:
        yield processes


async def test_whoever_commits_tells_the_others_and_not_itself(processes: tuple[Process, Process]) -> None:
    ours, theirs = processes
    await theirs.write(create("a"))
    assert await ours.hints.wait(PATIENCE)
    assert not await theirs.hints.wait(A_WHILE)
    await ours.is_quiet()
    await ours.write(append("a"))
    assert await theirs.hints.wait(PATIENCE)
    assert not await ours.hints.wait(A_WHILE)


async def test_a_hint_that_comes_while_nobody_waits_is_kept(processes: tuple[Process, Process]) -> None:
    ours, theirs = processes
    await theirs.write(create("a"))
    await theirs.write(append("a"))
    assert await theirs.store.get_trace("a")
    await asyncio.sleep(A_WHILE)
    assert await ours.hints.wait(PATIENCE)
    assert not await ours.hints.wait(A_WHILE), "many may become one"


async def test_a_connection_that_was_lost_is_made_again_and_what_was_missed_is_looked_for(
    postgresql_url: str, postgresql_databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PostgresHints, "RECONNECT_SECONDS", (0.05, 0.1))
    of_hints = "datname = current_database() AND (query LIKE 'LISTEN%' OR query LIKE 'NOTIFY%')"
    lose = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {of_hints}"
    async with two_processes(postgresql_url) as (ours, theirs):
        postgresql_databases.execute(lose, postgresql_url)
        assert await ours.hints.wait(PATIENCE), "there may have been one in between"
        await ours.is_quiet()
        await theirs.write(create("a"))
        assert await ours.hints.wait(PATIENCE)


async def test_hints_from_nowhere_are_waited_for_and_nothing_else_happens() -> None:
    hints = PostgresHints("postgresql+asyncpg://nobody@127.0.0.1:9/nothing")
    await hints.start()
    hints.give()
    assert not await hints.wait(A_WHILE)
    await hints.close()


async def test_without_a_direct_connection_there_are_none(postgresql_url: str) -> None:
    async with opened(postgresql_url) as database:
        assert isinstance(database, PostgresDatabase)
        hints = open_hints(database, None)
        assert isinstance(hints, NoHints)
        await hints.start()
        hints.give()
        assert not await hints.wait(0.01)
        await hints.close()
