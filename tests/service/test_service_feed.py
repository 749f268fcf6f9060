"""What a process learns of the writes of others: at what cost, and what becomes of it when something fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import sqlalchemy as sa
from builders import FINISHED_OK, append, create
from house import House, open_house, until

from status_grpc.domain.errors import Unavailable
from status_grpc.service import feeds
from status_grpc.storage.tables import feed_commits


async def test_a_poll_is_one_question_however_many_are_followed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_POLLS_PER_COMPARISON", 1_000_000)
    async with open_house(url) as house, open_house(url) as other:
        await other.write(*(create(f"t{number}") for number in range(50)))
        followers = [house.follow(f"t{number}") for number in range(50)]
        for follower in followers:
            await follower.until(lambda f: f.caught_up)
        asked: list[Any] = []
        read = house.database.read

        async def counted(work: Any) -> Any:
            asked.append(work)
            return await read(work)

        monkeypatch.setattr(house.database, "read", counted)
        polls = 0
        changes = house.feeds._changes.read

        async def polled(*arguments: Any, **options: Any) -> Any:
            nonlocal polls
            polls += 1
            return await changes(*arguments, **options)

        monkeypatch.setattr(house.feeds._changes, "read", polled)
        await until(lambda: polls >= 4)
        assert len(asked) == polls
        asked.clear()
        polls = 0
        await other.write(append("t7"))
        await followers[7].until(lambda f: f.sequences == [1, 2])
        assert len(asked) - polls <= 2, "the one that changed is read"


async def test_nobody_asks_while_nobody_follows(house: House, url: str) -> None:
    await house.write(create("a"))
    follower = house.follow("a")
    await follower.until(lambda f: f.caught_up)
    await until(lambda: house.feeds._cursor is not None)
    await follower.leave()
    await until(lambda: house.feeds._cursor is None)
    async with open_house(url) as other:
        await other.write(append("a"))
        follower = house.follow("a")
        await follower.until(lambda f: f.sequences == [1, 2])
        await other.write(append("a", **FINISHED_OK))
        await follower.end()


async def test_a_trace_that_could_not_be_read_is_read_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_POLLS_PER_COMPARISON", 1_000_000)
    async with open_house(url) as house, open_house(url) as other:
        await house.write(create("a"))
        follower = house.follow("a")
        await follower.until(lambda f: f.caught_up)
        failures = 0
        get_trace = house.store.get_trace

        async def failing(trace_id: str) -> Any:
            nonlocal failures
            if failures < 3:
                failures += 1
                raise Unavailable("the database was busy")
            return await get_trace(trace_id)

        monkeypatch.setattr(house.store, "get_trace", failing)
        told = follower.checkpoints[-1].read_time
        await other.write(append("a"))
        await follower.until(lambda f: f.sequences == [1, 2])
        assert failures == 3
        assert house.feeds._feeds["a"].read_time > told


async def test_what_was_written_before_the_change_feed_is_read_for_the_first_time_is_read_until_it_can_be(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the comparison finds it, and no other one comes."""
    monkeypatch.setattr(feeds, "_POLLS_PER_COMPARISON", 1_000_000)
    async with open_house(url) as house, open_house(url) as other:
        await house.write(create("a"))
        may_begin, heads, get_trace = asyncio.Event(), house.feeds._changes.heads, house.store.get_trace

        async def late() -> Any:
            await may_begin.wait()
            return await heads()

        monkeypatch.setattr(house.feeds._changes, "heads", late)
        follower = house.follow("a")
        await follower.until(lambda f: f.caught_up)
        await other.write(append("a"))
        failures = 0

        async def failing(trace_id: str) -> Any:
            nonlocal failures
            if failures < 3:
                failures += 1
                raise Unavailable("the database was busy")
            return await get_trace(trace_id)

        monkeypatch.setattr(house.store, "get_trace", failing)
        may_begin.set()
        await follower.until(lambda f: f.sequences == [1, 2])
        assert failures == 3


async def test_what_is_written_here_while_the_writes_of_others_are_being_read_is_told(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not follow on what is known, and what is being read does not have it yet."""
    monkeypatch.setattr(feeds, "_POLLS_PER_COMPARISON", 1_000_000)
    async with open_house(url) as house, open_house(url) as other:
        await house.write(create("a"))
        follower = house.follow("a")
        await follower.until(lambda f: f.caught_up)
        has_read, may_go_on = asyncio.Event(), asyncio.Event()
        get_trace = house.store.get_trace

        async def slow(trace_id: str) -> Any:
            trace = await get_trace(trace_id)
            has_read.set()
            await may_go_on.wait()
            return trace

        monkeypatch.setattr(house.store, "get_trace", slow)
        await other.write(append("a"))
        await has_read.wait()
        await house.write(append("a", **FINISHED_OK))
        may_go_on.set()
        await follower.end()
        assert follower.sequences == [1, 2, 3]


async def test_a_commit_that_is_missing_for_good_stops_nobody(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_POLLS_PER_COMPARISON", 1_000_000)
    async with open_house(url) as house, open_house(url) as other:
        await other.write(create("a"))
        follower = house.follow("a")
        await follower.until(lambda f: f.caught_up)
        await until(lambda: house.feeds._cursor)
        transact = other.database.transact

        async def missing(*steps: Any) -> Any:
            decided = await transact(*steps)
            number = other.store.lane.number + 1
            lost = sa.delete(feed_commits).where(feed_commits.c.number == number)
            await other.database.write(lambda connection: connection.execute(lost))
            return decided

        for lost in (True, False, False):
            if lost:
                monkeypatch.setattr(other.database, "transact", missing)
            else:
                monkeypatch.setattr(other.database, "transact", transact)
            await other.write(append("a"))
        await follower.until(lambda f: f.sequences == [1, 2, 3, 4])
        await other.write(append("a", **FINISHED_OK))
        await follower.end()
