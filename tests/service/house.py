"""The service as the server puts it together, over a real database, without the RPC edge."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from stores import opened_as

from status_grpc.domain.decisions import Command, Decision
from status_grpc.domain.errors import Unavailable
from status_grpc.domain.events import TraceEvent
from status_grpc.service.feeds import Feeds
from status_grpc.service.following import Checkpoint, Cursor, Following, FollowItem, FollowSettings, Target
from status_grpc.service.traces import Traces
from status_grpc.storage.dialects import Database, PostgresDatabase, PostgresSettings, SqliteDatabase, Work
from status_grpc.storage.feed import ChangeFeed
from status_grpc.storage.group_commit import GroupCommit
from status_grpc.storage.hints import NoHints
from status_grpc.storage.store import Store

T = TypeVar("T")

BEGINNING = Cursor()
PATIENT = FollowSettings()

#: How long a test waits for what must happen, in seconds.
PATIENCE = 30.0


class Interruptible(Database):
    """A database that can be taken away and given back."""

    away = False

    async def read(self, work: Work[T]) -> T:
        self._raise_if_away()
        return await super().read(work)

    async def read_few(self, work: Work[T]) -> T:
        self._raise_if_away()
        return await super().read_few(work)

    async def transact(self, look_up: Any, decide: Any, store: Any) -> Any:
        self._raise_if_away()
        return await super().transact(look_up, decide, store)

    def _raise_if_away(self) -> None:
        if self.away:
            raise Unavailable("the database was taken away")


class InterruptibleSqlite(Interruptible, SqliteDatabase):
    """SQLite, taken away as PostgreSQL can be."""


class InterruptiblePostgres(Interruptible, PostgresDatabase):
    """PostgreSQL."""


def interruptible(url: str) -> Interruptible:
    """Return the database of that URL, not opened yet."""
    if url.startswith("sqlite"):
        return InterruptibleSqlite(sa.make_url(url))
    return InterruptiblePostgres(sa.make_url(url), PostgresSettings())


class CountingStore(Store):
    """Counts its reads."""

    reads: Counter[str]

    async def get_trace(self, trace_id: str) -> Any:
        self.reads["get_trace"] += 1
        return await super().get_trace(trace_id)

    async def read_events(self, *arguments: Any, **options: Any) -> Any:
        self.reads["read_events"] += 1
        return await super().read_events(*arguments, **options)

    async def newest_created_with(self, *arguments: Any, **options: Any) -> Any:
        found = await super().newest_created_with(*arguments, **options)
        self.reads["newest_created_with"] += 1
        return found


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.005)


class House:
    def __init__(self, database: Interruptible, settings: FollowSettings, poll_seconds: float) -> None:
        self.database = database
        self.store = CountingStore(database, events_per_trace=100_000)
        self.store.reads = Counter()
        self.feeds = Feeds(self.store, ChangeFeed(database, self.store.lane), NoHints(), poll_seconds=poll_seconds)
        self.writer = GroupCommit(self._commit, queue_commands=10_000, queue_bytes=1 << 30)
        self.traces = Traces(self.store, self.writer)
        self.following = Following(self.store, self.feeds, settings)
        self.followers: list[Follower] = []

    async def _commit(self, commands: Sequence[Command]) -> list[Decision]:
        decisions = await self.store.commit(commands)
        self.feeds.publish(decisions)
        return decisions

    async def write(self, *commands: Command) -> list[Decision]:
        """Commit commands that must succeed."""
        decisions = await self.writer.submit(commands)
        assert not any(isinstance(decision, Exception) for decision in decisions), decisions
        return decisions

    def follow(self, target: Target | str, cursor: Cursor = BEGINNING, *, caller: str = "") -> Follower:
        """Begin to follow; a text is a trace id."""
        target = Target(trace_id=target) if isinstance(target, str) else target
        follower = Follower(self.following, target, cursor, caller)
        self.followers.append(follower)
        return follower


@asynccontextmanager
async def open_house(
    url: str, *, settings: FollowSettings = PATIENT, poll_seconds: float = 0.05
) -> AsyncIterator[House]:
    async with opened_as(interruptible(url)) as database:
        house = House(database, settings, poll_seconds)
        house.writer.start()
        house.feeds.start()
        yield house
        for follower in house.followers:
            await follower.leave()
        assert house.following.followers == 0
        assert list(house.feeds.all_signals()) == [], "those who left are still subscribed"
        await house.feeds.close()
        await house.writer.close()


class Follower:
    """Follows in a task of its own, and remembers what it was given."""

    def __init__(self, following: Following, target: Target, cursor: Cursor, caller: str) -> None:
        self.items: list[FollowItem] = []
        self.ended_at = 0.0
        self._reading = asyncio.Event()
        self._reading.set()
        self._news = asyncio.Event()
        self.task = asyncio.create_task(self._run(following, target, cursor, caller))

    async def _run(self, following: Following, target: Target, cursor: Cursor, caller: str) -> None:
        stream = following.follow(target, cursor, caller=caller)
        try:
            async for item in stream:
                self.items.append(item)
                self._news.set()
                await self._reading.wait()
        finally:
            await stream.aclose()
            self.ended_at = asyncio.get_running_loop().time()
            self._news.set()

    def stop_reading(self) -> None:
        self._reading.clear()

    def read_on(self) -> None:
        self._reading.set()

    @property
    def events(self) -> list[TraceEvent]:
        return [event for item in self.items if not isinstance(item, Checkpoint) for event in item]

    @property
    def sequences(self) -> list[int]:
        return [event.sequence for event in self.events]

    @property
    def checkpoints(self) -> list[Checkpoint]:
        return [item for item in self.items if isinstance(item, Checkpoint)]

    @property
    def caught_up(self) -> bool:
        return any(checkpoint.caught_up for checkpoint in self.checkpoints)

    async def until(self, condition: Callable[[Follower], Any]) -> None:
        """Wait until something is true of what was given."""
        async with asyncio.timeout(PATIENCE):
            while not condition(self):
                assert not self.task.done(), (self.items[-1:], self.task)
                self._news.clear()
                await self._news.wait()

    async def end(self) -> Checkpoint:
        """Wait for the end of the stream, which is a good one; return its last checkpoint."""
        await asyncio.wait_for(self.task, PATIENCE)
        last = self.items[-1]
        assert isinstance(last, Checkpoint)
        return last

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
