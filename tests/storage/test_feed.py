"""The change feed: lanes, cursors, what a reader may rely on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from builders import append, create
from stores import EVENTS_PER_TRACE, opened

from status_grpc.domain.decisions import Beat, Replayed
from status_grpc.domain.errors import Unavailable
from status_grpc.storage import feed as feed_module
from status_grpc.storage import lane_keeping
from status_grpc.storage.dialects import Database
from status_grpc.storage.feed import ChangeFeed, FeedCursor
from status_grpc.storage.lane_keeping import LaneKeeper
from status_grpc.storage.lanes import TraceChange
from status_grpc.storage.store import Store
from status_grpc.storage.tables import feed_commits, feed_lanes

PATIENCE = 60.0


class Process:
    """A store and the feed that its process reads."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.store = Store(database, events_per_trace=EVENTS_PER_TRACE)
        self.feed = ChangeFeed(database, self.store.lane)
        self.keeper = LaneKeeper(database, self.store.lane, retention_seconds=60)
        self.cursor: FeedCursor = {}

    async def commit(self, *commands: Any) -> None:
        decisions = await self.store.commit(commands)
        assert not any(isinstance(decision, Exception) for decision in decisions), decisions

    async def news(self) -> list[TraceChange]:
        """Read to the end of the feed, which must be whole; the cursor is written down in between."""
        changes: list[TraceChange] = []
        lane: str | None = ""
        while lane is not None:
            page = await self.feed.read(json.loads(json.dumps(self.cursor)), from_lane=lane)
            assert page.intact
            assert not page.gap
            changes += page.changes
            self.cursor, lane = page.cursor, page.more_from
        return changes

    async def lane_rows(self) -> list[tuple[Any, ...]]:
        statement = sa.select(feed_commits.c.lane_id, feed_commits.c.number).order_by(*feed_commits.primary_key)
        return await self.database.read(lambda connection: [tuple(row) for row in connection.execute(statement)])

    async def execute(self, statement: Any) -> None:
        await self.database.write(lambda connection: connection.execute(statement))


@pytest.fixture
async def processes(database_url: str) -> AsyncIterator[Callable[[], Awaitable[Process]]]:
    """Opens the database as a process of its own would, as often as it is called."""
    async with asyncio.TaskGroup() as group:
        done = asyncio.Event()

        async def open_one(opened_one: asyncio.Future[Process]) -> None:
            async with opened(database_url) as database:
                opened_one.set_result(Process(database))
                await done.wait()

        async def process() -> Process:
            opened_one: asyncio.Future[Process] = asyncio.get_running_loop().create_future()
            group.create_task(open_one(opened_one))
            return await opened_one

        yield process
        done.set()


@pytest.fixture
async def ours(processes: Callable[[], Awaitable[Process]]) -> Process:
    return await processes()


@pytest.fixture
async def theirs(processes: Callable[[], Awaitable[Process]]) -> Process:
    return await processes()


def age(lane_id: str, seconds: float, process: Process, column: sa.Column[Any]) -> Any:
    """Return the update that makes a lane's rows look older."""
    then = process.database.codec.time_in(datetime.now(UTC) - timedelta(seconds=seconds))
    table = column.table
    return sa.update(table).where(table.c.lane_id == lane_id).values({column.name: sa.literal(then, column.type)})


# What is told


async def test_each_commit_tells_what_it_changed(ours: Process, theirs: Process) -> None:
    await theirs.commit(create("a", s3_path="p"), append("a"), create("b", domain="other"))
    await theirs.commit(append("a", s3_path="q"), Beat("b"))
    first = [TraceChange("a", "dataset", 0, 2, 2, "p"), TraceChange("b", "other", 0, 1, 1)]
    then = [TraceChange("a", "dataset", 2, 3, 3), TraceChange("b", "other", 1, 1, 2)]
    news = await ours.news()
    assert sorted(news[:2], key=lambda change: change.trace_id) == first
    assert sorted(news[2:], key=lambda change: change.trace_id) == then
    assert await ours.news() == []


async def test_what_changes_nothing_tells_nothing(ours: Process, theirs: Process) -> None:
    await theirs.commit(create("a", "first"))
    decisions = await theirs.store.commit([create("a", "first"), append("missing")])
    assert isinstance(decisions[0], Replayed)
    assert len(await theirs.lane_rows()) == 1
    assert len(await ours.news()) == 1


async def test_a_process_is_not_told_what_it_has_committed_itself(ours: Process) -> None:
    await ours.commit(create("a"))
    assert await ours.news() == []
    await ours.commit(append("a"))
    assert await ours.news() == []


async def test_whoever_begins_at_the_heads_is_told_what_comes_after(ours: Process, theirs: Process) -> None:
    await theirs.commit(create("a"))
    ours.cursor = await ours.feed.heads()
    assert await ours.news() == []
    await theirs.commit(append("a"))
    assert [change.sequence for change in await ours.news()] == [2]


async def test_there_may_be_more_lanes_and_more_commits_than_one_query_returns(
    processes: Callable[[], Awaitable[Process]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "_ROWS", 3)
    ours = await processes()
    stores = [Store(ours.database, events_per_trace=EVENTS_PER_TRACE) for _ in range(7)]
    for round_number in range(3):
        for number, store in enumerate(stores):
            for _ in range(number):
                await store.commit([create(f"{round_number}-{number}-{_}")])
        assert len(await ours.news()) == sum(range(7))
    assert await ours.news() == []


# Lanes


async def test_after_a_commit_of_unknown_outcome_another_lane_is_opened(
    ours: Process, theirs: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    await theirs.commit(create("a"))
    transact = theirs.database.transact

    async def unanswered(*steps: Any) -> Any:
        await transact(*steps)
        raise Unavailable("the connection was lost")

    monkeypatch.setattr(theirs.database, "transact", unanswered)
    with pytest.raises(Unavailable):
        await theirs.store.commit([append("a", "lost")])
    monkeypatch.setattr(theirs.database, "transact", transact)
    (decision,) = await theirs.store.commit([append("a", "lost")])
    assert isinstance(decision, Replayed), "it was made"
    await theirs.commit(append("a"))
    lanes = await theirs.lane_rows()
    assert sorted(number for _, number in lanes) == [1, 1, 2]
    assert len({lane_id for lane_id, _ in lanes}) == 2
    assert sorted(change.sequence for change in await ours.news()) == [1, 2, 3]
    assert [change.sequence for change in await theirs.news()] == [1, 2], "its own old lane is as any other"


async def test_a_transaction_that_fails_leaves_no_gap_and_keeps_its_lane(ours: Process, theirs: Process) -> None:
    await theirs.commit(create("a"))
    broken = append("a")
    object.__setattr__(broken.draft, "component", None)
    for _ in range(3):
        with pytest.raises(Exception, match=r"(?i)null"):
            await theirs.store.commit([broken])
    await theirs.commit(append("a"))
    assert len({lane_id for lane_id, _ in await theirs.lane_rows()}) == 1
    assert [change.sequence for change in await ours.news()] == [1, 2]


async def test_a_process_whose_lane_was_ended_goes_on_in_another(ours: Process, theirs: Process) -> None:
    await theirs.commit(create("a"))
    lane_id = theirs.store.lane.lane_id
    await ours.execute(age(lane_id, 3600, ours, feed_lanes.c.seen_time))
    await ours.keeper.tidy()  # takes it for dead
    assert await ours.lane_rows() == [(lane_id, 1), (lane_id, 2)]
    commands = [append("a", "second"), append("a", "third")]
    with contextlib.suppress(sqlite3.IntegrityError):  # where PostgreSQL tries again, group commit does for SQLite
        await theirs.store.commit(commands)
    await theirs.commit(*commands)
    assert theirs.store.lane.lane_id != lane_id
    assert sorted(change.sequence for change in await ours.news()) == [1, 3]
    assert ours.cursor[lane_id] is None, "read to its end"


async def test_no_reader_passes_a_gap(ours: Process, theirs: Process) -> None:
    for trace_id in "abcd":
        await theirs.commit(create(trace_id))
    lane_id = theirs.store.lane.lane_id
    missing = (feed_commits.c.lane_id == lane_id) & (feed_commits.c.number == 3)
    (row,) = await ours.database.read(
        lambda connection: connection.execute(sa.select(feed_commits).where(missing)).all()
    )
    await ours.execute(sa.delete(feed_commits).where(missing))
    page = await ours.feed.read({})
    assert [change.trace_id for change in page.changes] == ["a", "b"]
    assert page.gap
    assert page.cursor == {lane_id: 2}
    await ours.execute(sa.insert(feed_commits).values(tuple(row)))
    page = await ours.feed.read(page.cursor)
    assert [change.trace_id for change in page.changes] == ["c", "d"]
    assert not page.gap


async def test_a_cursor_of_another_history_is_noticed(ours: Process, theirs: Process) -> None:
    for trace_id in "abc":
        await theirs.commit(create(trace_id))
    await ours.news()
    lane_id = theirs.store.lane.lane_id
    of_lane = feed_commits.c.lane_id == lane_id
    await ours.execute(sa.delete(feed_commits).where(of_lane & (feed_commits.c.number > 1)))
    assert not (await ours.feed.read(ours.cursor)).intact, "commits that were read are gone"
    assert not (await theirs.feed.read({})).intact, "and so are our own"
    theirs.feed.lost_place()
    await theirs.commit(create("d"))
    assert theirs.store.lane.lane_id != lane_id
    await ours.execute(sa.delete(feed_commits).where(of_lane))
    await ours.execute(sa.delete(feed_lanes).where(feed_lanes.c.lane_id == lane_id))
    page = await ours.feed.read(ours.cursor)
    assert not page.intact, "the lane is gone"
    assert (await ours.feed.read(page.cursor)).intact, "which is said once"


# Keeping them in order


async def test_old_commits_are_forgotten_and_with_them_lanes_that_have_ended(
    ours: Process, theirs: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane_keeping, "_FORGOTTEN_AT_ONCE", 2)
    for trace_id in "abcde":
        await theirs.commit(create(trace_id))
    await ours.news()
    late: FeedCursor = {**ours.cursor, theirs.store.lane.lane_id: 2}
    lane_id = theirs.store.lane.lane_id
    await ours.execute(age(lane_id, 3600, ours, feed_commits.c.commit_time))
    await ours.keeper.tidy()
    assert len(await ours.lane_rows()) == 5, "a lane that goes on is its own process's"
    await theirs.keeper.tidy()
    assert await ours.lane_rows() == []
    assert await ours.news() == [], "who had read them misses nothing"
    assert not (await ours.feed.read(late)).intact, "who had not is told"
    assert not (await ours.feed.read({})).intact
    await theirs.commit(create("f"))
    assert [change.trace_id for change in await ours.news()] == ["f"]
    await theirs.keeper.close()
    assert await ours.news() == []
    assert ours.cursor == {lane_id: None}
    await ours.execute(age(lane_id, 3600, ours, feed_commits.c.commit_time))
    await ours.keeper.tidy()
    assert await ours.news() == []
    assert ours.cursor == {}, "a lane that was read to its end leaves the cursor"


async def test_lanes_of_dead_processes_are_ended_and_those_of_living_ones_are_not(
    ours: Process, theirs: Process
) -> None:
    await ours.commit(create("a"))
    await theirs.commit(create("b"))
    for process in (ours, theirs):
        await ours.execute(age(process.store.lane.lane_id, 3600, ours, feed_lanes.c.seen_time))
    await ours.keeper.tidy()
    await ours.commit(append("a"))
    ended = sa.select(feed_lanes.c.lane_id).where(feed_lanes.c.last_number.is_not(None))
    assert await ours.database.read(lambda connection: connection.scalars(ended).all()) == [theirs.store.lane.lane_id]


# Many processes


@asynccontextmanager
async def writing(url: str, name: str, *traces: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that writes for as long as its standard input is open."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("feed_writer.py")),
        url,
        name,
        *traces,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            assert await process.stdout.readline() == b"began\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate(b"")


async def test_with_several_writers_nothing_is_skipped_and_nothing_comes_twice(
    ours: Process, theirs: Process, database_url: str
) -> None:
    shared = [f"shared-{number}" for number in range(6)]
    await ours.commit(*(create(trace_id) for trace_id in shared))
    early, late = ours, theirs
    late.cursor = await late.feed.heads()
    told: dict[str, list[TraceChange]] = {}

    async def read_on() -> None:
        for change in await early.news():
            told.setdefault(change.trace_id, []).append(change)

    async with (
        writing(database_url, "one", *shared) as one,
        writing(database_url, "two", *shared) as two,
        writing(database_url, "three", *shared) as three,
    ):
        before: FeedCursor | None = None
        while sum(map(len, told.values())) < 400:
            await read_on()
            if before is None and len(told) > 20:
                before = early.cursor
                three.kill()  # in the middle of whatever it does
                await three.wait()
        acknowledged = 0
        for process in (one, two):
            output, _ = await process.communicate(b"")
            acknowledged += int(output)
    await read_on()
    recorded = 0
    for trace_id, changes in told.items():
        trace = await ours.store.get_trace(trace_id)
        assert trace is not None
        # Whatever the order between the lanes: each event is told by one commit.
        ranges = sorted((change.after, change.sequence) for change in changes if change.after < change.sequence)
        begins = [1 if trace_id in shared else 0, *(last for _, last in ranges)]
        assert [after for after, _ in ranges] == begins[:-1], trace_id
        assert ranges[-1][1] == trace.last_sequence, "up to the last"
        recorded += trace.last_sequence - begins[0]
    assert recorded >= acknowledged
    count = sa.select(sa.func.count()).select_from(sa.table("trace_events"))
    assert recorded + len(shared) == await ours.database.read(lambda connection: connection.scalar(count))
    # A cursor from the middle leads to the same end.
    assert before is not None
    early.cursor = before
    again = {(change.trace_id, change.revision) for change in await early.news()}
    assert again < {(change.trace_id, change.revision) for changes in told.values() for change in changes}
    assert {(change.trace_id, change.revision) for change in await late.news()} >= again
