"""Earlier releases and later schemas: what they recorded is kept, and they go on, on the next schema, while it changes.

The archives in `releases/` are named by the schema that they were written for.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from builders import append
from postgres import PATIENCE
from stores import EVENTS_PER_TRACE, opened_as

from status_grpc.domain.decisions import Recorded
from status_grpc.storage.dialects import Database, open_database
from status_grpc.storage.schema import all_revisions, migrate
from status_grpc.storage.store import Store
from status_grpc.storage.tables import SCHEMA_REVISION

sys.path.insert(0, str(Path(__file__).parent / "releases"))
import earlier

ARCHIVES = {path.stem: path for path in sorted((Path(__file__).parent / "releases").glob("*.zip"))}


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest) -> str:
    name = "sqlite_url" if request.param == "sqlite" else "empty_postgresql_url"
    url: str = request.getfixturevalue(name)
    return url


class Earlier:
    """A process of an earlier release, on the same database."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def do(self, *command: str) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        return await self.answer()

    async def answer(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(await asyncio.wait_for(self._process.stdout.readline(), PATIENCE))


@asynccontextmanager
async def earlier_release(archive: Path, url: str) -> AsyncIterator[Earlier]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        earlier.__file__,
        url,
        env=os.environ | {"PYTHONPATH": str(archive)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    release = Earlier(process)
    try:
        assert await release.answer() == archive.stem, "the archive is of a release with another schema"
        yield release
        assert process.stdin is not None
        process.stdin.close()
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def test_every_earlier_schema_has_an_archive() -> None:
    assert list(ARCHIVES) == [revision.number for revision in all_revisions() if revision.number != SCHEMA_REVISION]


@pytest.mark.parametrize("schema", ARCHIVES)
async def test_an_earlier_release_goes_on_while_the_schema_is_upgraded_and_nothing_is_lost(
    empty_url: str, schema: str
) -> None:
    database: Database = open_database(empty_url)
    numbers = [revision.number for revision in all_revisions()]
    following = numbers[numbers.index(schema) + 1]
    await database.open()
    await migrate(database, schema)
    async with earlier_release(ARCHIVES[schema], empty_url) as release:
        assert await release.do("create", "a") == ["Recorded"]
        assert await release.do("append", "a", "two") == ["Recorded"]
        await migrate(database, following)
        assert await release.do("append", "a", "two") == ["Replayed"]
        assert await release.do("append", "a", "three") == ["Recorded"]
        assert await release.do("create", "b") == ["Recorded"]
        told = await release.do("read", "a")
        assert [event["sequence"] for event in told] == [1, 2, 3]
        if following != SCHEMA_REVISION:
            await migrate(database)
        async with opened_as(database):
            store = Store(database, events_per_trace=EVENTS_PER_TRACE)
            read = await earlier.read(store, "a")
            assert [{name: event[name] for name in told[0]} for event in read] == told
            for trace_id in ("a", "b"):
                (decision,) = await store.commit([append(trace_id, "new", status_body={"by": "this release"})])
                assert isinstance(decision, Recorded)
            if following == SCHEMA_REVISION:
                # The rollback: the earlier release reads what this one wrote, and goes on.
                assert [event["trace_event_id"] for event in await release.do("read", "a")][-1] == "new"
                assert await release.do("append", "a", "after") == ["Recorded"]
                assert [event["sequence"] for event in await earlier.read(store, "a")] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("schema", ARCHIVES)
async def test_a_schema_goes_down_to_an_earlier_release_which_goes_on(empty_url: str, schema: str) -> None:
    async with opened_as(open_database(empty_url)) as database:
        await migrate(database)
        store = Store(database, events_per_trace=EVENTS_PER_TRACE)
        await earlier.create(store, "a")
        await earlier.append(store, "a", "two")
        told = await earlier.read(store, "a")
        await migrate(database, schema)
        async with earlier_release(ARCHIVES[schema], empty_url) as release:
            assert [event["trace_event_id"] for event in await release.do("read", "a")] == ["one", "two"]
            assert await release.do("append", "a", "three") == ["Recorded"]
        await migrate(database)
        assert (await earlier.read(store, "a"))[:2] == told
