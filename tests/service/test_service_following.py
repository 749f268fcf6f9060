"""Following: the promises of a stream, over a real store."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest
from builders import FINISHED_FAILED, FINISHED_OK, append, create
from house import House, open_house, until

from status_grpc.domain.decisions import Beat, Command, Recorded
from status_grpc.domain.errors import (
    CursorAhead,
    Draining,
    HistoryChanged,
    Overloaded,
    PathNotFound,
    StreamTooOld,
    TraceNotFound,
    Unavailable,
)
from status_grpc.domain.events import TraceEventStatus
from status_grpc.service import feeds, waking
from status_grpc.service.following import Checkpoint, Cursor, FollowSettings, Target


def upto(last: int, first: int = 1) -> list[int]:
    return list(range(first, last + 1))


def appended(count: int, trace_id: str = "a") -> list[Command]:
    return [append(trace_id) for _ in range(count)]


# What a stream is made of


async def test_a_finished_trace_is_told_from_its_beginning_to_its_end(house: House) -> None:
    await house.write(create("a"), *appended(3), append("a", **FINISHED_FAILED), append("a", component="late"))
    follower = house.follow("a")
    last = await follower.end()
    first = follower.items[0]
    assert isinstance(first, Checkpoint)
    assert (first.trace_id, first.sequence, first.caught_up, first.done) == ("a", 0, False, False)
    assert first.trace is not None
    assert follower.sequences == upto(6), "the late event too"
    assert (last.sequence, last.caught_up, last.done) == (6, True, True)
    assert last.trace == await house.store.get_trace("a")
    assert last.trace is not None
    assert last.trace.trace_event_status is TraceEventStatus.FAILED
    assert last.read_time is not None


async def test_history_comes_first_then_what_happens_then_the_end(house: House) -> None:
    await house.write(create("a"), append("a"))
    follower = house.follow("a")
    await follower.until(lambda f: f.caught_up)
    assert [type(item) for item in follower.items] == [Checkpoint, list, Checkpoint]
    (caught_up,) = [checkpoint for checkpoint in follower.checkpoints if checkpoint.caught_up]
    assert (caught_up.sequence, caught_up.done) == (2, False)
    assert caught_up.trace == await house.store.get_trace("a")
    for sequence in (3, 4):
        await house.write(append("a"))
        await follower.until(lambda f, sequence=sequence: f.sequences == upto(sequence))
    await house.write(append("a", **FINISHED_OK))
    last = await follower.end()
    assert follower.sequences == upto(5)
    assert (last.sequence, last.done) == (5, True)


async def test_events_are_the_recorded_ones(house: House) -> None:
    decisions = await house.write(
        create("a", s3_path="p"), append("a", status_body={"n": 1}), append("a", **FINISHED_OK)
    )
    early = house.follow("a")
    await early.end()
    assert early.events == [decision.event for decision in decisions if isinstance(decision, Recorded)]


async def test_a_trace_that_is_run_again_is_followed_to_the_end_of_that_run(house: House) -> None:
    await house.write(create("a"), append("a", **FINISHED_FAILED), append("a", new_run=True))
    follower = house.follow("a")
    await follower.until(lambda f: f.caught_up)
    assert not follower.task.done()
    await house.write(append("a", **FINISHED_OK))
    last = await follower.end()
    assert follower.sequences == upto(4)
    assert last.trace is not None
    assert (last.trace.run, last.trace.trace_event_status) == (2, TraceEventStatus.OK)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "another process"])
async def test_whenever_one_begins_to_follow_nothing_is_missed_and_nothing_comes_twice(
    house: House, url: str, elsewhere: bool
) -> None:
    await house.write(create("a"))
    async with open_house(url) as other:
        writing = other if elsewhere else house

        async def write() -> None:
            for _ in range(60):
                await writing.write(*appended(random.choice((1, 1, 3))))
                await asyncio.sleep(random.choice((0, 0, 0.002)))
            await writing.write(append("a", **FINISHED_OK))

        task = asyncio.create_task(write())
        followers = []
        for number in range(30):
            after = random.randint(0, 1) if number % 2 else 0
            followers.append((after, house.follow("a", Cursor(after))))
            await asyncio.sleep(random.choice((0, 0, 0.001, 0.005)))
        await task
        for after, follower in followers:
            last = await follower.end()
            assert follower.sequences == upto(last.sequence, after + 1)
            assert last.trace is not None
            assert last.sequence == last.trace.last_sequence


async def test_when_nothing_happens_checkpoints_come(url: str) -> None:
    async with open_house(url, settings=FollowSettings(checkpoint_seconds=0.1)) as house:
        await house.write(create("a"))
        follower = house.follow("a")
        await follower.until(lambda f: f.caught_up)
        await house.write(Beat("a"))
        heard = (await house.store.get_trace("a") or pytest.fail("gone")).last_heard_time
        await follower.until(lambda f: len(f.checkpoints) > 4)
        idle = follower.checkpoints[2:]
        assert all(checkpoint.caught_up and not checkpoint.done for checkpoint in idle)
        assert all(checkpoint.trace is None for checkpoint in idle), "the state is told where it is new"
        assert [c.server_time for c in idle] == sorted(c.server_time for c in idle)
        assert all(c.read_time is not None and c.read_time <= c.server_time for c in idle)
        await follower.until(lambda f: f.checkpoints[-1].last_heard_time == heard)
        read = follower.checkpoints[-1].read_time
        await follower.until(lambda f: f.checkpoints[-1].read_time > read)
        assert follower.sequences == [1], "a heartbeat is no event"


# Where a stream begins


async def test_a_cursor_goes_on_after_its_event(house: House) -> None:
    decisions = await house.write(create("a"), *appended(4))
    third = decisions[2]
    assert isinstance(third, Recorded)
    follower = house.follow("a", Cursor(3, third.event.trace_event_id))
    await follower.until(lambda f: f.caught_up)
    assert follower.sequences == [4, 5]
    assert follower.checkpoints[0].sequence == 3
    at_the_end = house.follow("a", Cursor(5))
    await at_the_end.until(lambda f: f.caught_up)
    assert at_the_end.sequences == []


async def test_a_cursor_at_the_end_of_a_done_trace_is_told_that_it_is_done(house: House) -> None:
    await house.write(create("a"), append("a", **FINISHED_OK))
    follower = house.follow("a", Cursor(2))
    last = await follower.end()
    assert follower.sequences == []
    assert (last.sequence, last.done) == (2, True)


async def test_a_cursor_ahead_of_the_trace_is_refused(house: House) -> None:
    await house.write(create("a"))
    with pytest.raises(CursorAhead, match="after_sequence is 2, but the trace's last is 1"):
        await house.follow("a", Cursor(2)).end()


async def test_a_cursor_of_another_history_is_refused(house: House) -> None:
    await house.write(create("a", "one"), append("a", "two"), append("a", "three"))
    with pytest.raises(HistoryChanged):
        await house.follow("a", Cursor(2, "another")).end()
    with pytest.raises(HistoryChanged):
        await house.follow("a", Cursor(3, "two")).end()


async def test_what_does_not_exist_is_told_at_once_unless_it_is_waited_for(house: House) -> None:
    with pytest.raises(TraceNotFound, match="there is no trace 'a'"):
        await house.follow("a").end()
    with pytest.raises(PathNotFound, match="no trace was created with the path 'p'"):
        await house.follow(Target(s3_path="p")).end()


@pytest.mark.parametrize(
    "target", [Target(trace_id="a", wait_for_trace=True), Target(s3_path="p", wait_for_trace=True)]
)
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "another process"])
async def test_a_trace_is_waited_for(house: House, url: str, target: Target, elsewhere: bool) -> None:
    follower = house.follow(target)
    await follower.until(lambda f: f.items)
    assert [c.trace_id for c in follower.checkpoints] == [""]
    async with open_house(url) as other:
        writing = other if elsewhere else house
        await writing.write(create("b", s3_path="q"), create("a", s3_path="p"))
        await follower.until(lambda f: f.caught_up)
        await writing.write(append("a", **FINISHED_OK))
        last = await follower.end()
    assert (last.trace_id, follower.sequences) == ("a", [1, 2])


async def test_a_path_means_the_newest_trace_that_was_created_with_it(house: House) -> None:
    await house.write(create("old", s3_path="p", **FINISHED_OK))
    await house.write(create("new", s3_path="p", **FINISHED_OK))
    await house.write(create("touched"), append("touched", s3_path="p"))
    assert (await house.follow(Target(s3_path="p")).end()).trace_id == "new"
    # Once it is named, the trace is followed, whatever else is created with the path.
    await house.write(create("running", s3_path="p"))
    follower = house.follow(Target(s3_path="p"))
    await follower.until(lambda f: f.caught_up)
    await house.write(create("newer", s3_path="p"))
    await house.write(append("running", **FINISHED_OK))
    assert (await follower.end()).trace_id == "running"


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "another process"])
async def test_new_only_waits_for_a_trace_that_is_created_from_now_on(house: House, url: str, elsewhere: bool) -> None:
    await house.write(create("old", s3_path="p", **FINISHED_OK), create("running", s3_path="p"))
    follower = house.follow(Target(s3_path="p", new_only=True))
    await follower.until(lambda f: f.items)
    assert follower.checkpoints[0].trace_id == ""
    async with open_house(url) as other:
        writing = other if elsewhere else house
        await writing.write(append("running", s3_path="p"), append("old", s3_path="p"))
        await asyncio.sleep(0.2)
        assert follower.sequences == []
        await writing.write(create("new", s3_path="p", **FINISHED_OK))
        assert (await follower.end()).trace_id == "new"


async def test_a_wait_for_a_new_trace_that_broke_is_taken_up_where_it_was(house: House) -> None:
    await house.write(create("old", s3_path="p", **FINISHED_OK))
    broken = house.follow(Target(s3_path="p", new_only=True))
    await broken.until(lambda f: f.items)
    await broken.leave()
    await house.write(create("missed", s3_path="p", **FINISHED_OK))
    registered = broken.checkpoints[0].server_time
    resumed = house.follow(Target(s3_path="p", new_only=True, created_after=registered))
    assert (await resumed.end()).trace_id == "missed"


# Many followers, slow followers


async def test_many_followers_cost_one_read_of_each_event(url: str) -> None:
    # No poll meanwhile: it lets go of the pages that followers share.
    async with open_house(url, poll_seconds=60) as house:
        await house.write(create("a"), *appended(449))
        house.store.reads.clear()
        followers = [house.follow("a") for _ in range(60)]
        for follower in followers:
            await follower.until(lambda f: f.caught_up)
            assert follower.sequences == upto(450)
        assert house.store.reads["read_events"] <= 2 * 450 / feeds._PAGE_EVENTS + 1
        assert house.store.reads["get_trace"] <= 3
        house.store.reads.clear()
        for _ in range(20):
            await house.write(*appended(3))
        await house.write(append("a", **FINISHED_OK))
        for follower in followers:
            await follower.end()
            assert follower.sequences == upto(511)
        assert house.store.reads["read_events"] == 0, "what this process writes is not read at all"
        assert all(mine is first for f in followers for mine, first in zip(f.events, followers[0].events, strict=True))


async def test_one_read_serves_all_when_another_process_writes(house: House, url: str) -> None:
    await house.write(create("a"))
    followers = [house.follow("a") for _ in range(60)]
    for follower in followers:
        await follower.until(lambda f: f.caught_up)
    house.store.reads.clear()
    async with open_house(url) as other:
        await other.write(*appended(50), append("a", **FINISHED_OK))
        for follower in followers:
            await follower.end()
            assert follower.sequences == upto(52)
    assert sum(house.store.reads.values()) <= 6


async def test_a_follower_that_does_not_read_delays_nobody_and_misses_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "_WINDOW_EVENTS", 50)
    await house.write(create("a"))
    slow, quick = house.follow("a"), house.follow("a")
    await slow.until(lambda f: f.caught_up)
    slow.stop_reading()
    for _ in range(40):
        await house.write(*appended(10))
        await quick.until(lambda f: len(f.sequences) % 10 == 1)
    await house.write(append("a", **FINISHED_OK))
    assert (await quick.end()).sequence == 402
    assert len(slow.sequences) < 200, "it is given no more than it reads"
    assert len(house.feeds._feeds["a"]._window) <= 50
    slow.read_on()
    await slow.end()
    assert slow.sequences == upto(402)


async def test_followers_that_read_slowly_are_not_taken_for_stuck(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "_PATIENCE_SECONDS", 0.2)
    await house.write(create("a"))
    told = [0] * (waking._AT_ONCE + 1)
    ends = 0
    ended_before: list[int] = []

    async def read_slowly(place: int) -> None:
        nonlocal ends
        async with aclosing(house.following.follow(Target(trace_id="a"), Cursor())) as items:
            async for item in items:
                if isinstance(item, Checkpoint):
                    continue
                if told[place] == 1:
                    ended_before.append(ends)
                told[place] += len(item)
                if told[place] > 1:
                    await asyncio.sleep(0.05)
                if told[place] == 161:
                    ends += 1
                    return

    reading = [asyncio.create_task(read_slowly(place)) for place in range(len(told))]
    await until(lambda: all(told))
    await asyncio.sleep(0.05)
    await house.write(*appended(160))
    await asyncio.gather(*reading)
    assert ended_before[-1] > 0, "the turn of one more comes when one of the others has ended its own"


async def test_the_window_is_bounded_in_bytes(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "_WINDOW_BYTES", 100_000)
    await house.write(create("a"))
    slow = house.follow("a")
    await slow.until(lambda f: f.caught_up)
    slow.stop_reading()
    for _ in range(30):
        await house.write(append("a", status_body={"text": "x" * 20_000}))
    assert 1 <= len(house.feeds._feeds["a"]._window) <= 5
    slow.read_on()
    await slow.until(lambda f: f.sequences == upto(31))


async def test_a_long_history_comes_in_pages_of_bounded_size(house: House) -> None:
    body = {"text": "x" * 300_000}
    await house.write(create("a"), *(append("a", status_body=body) for _ in range(10)), append("a", **FINISHED_OK))
    follower = house.follow("a")
    await follower.end()
    assert follower.sequences == upto(12)
    runs = [item for item in follower.items if not isinstance(item, Checkpoint)]
    assert max(sum(bool(event.status_body) for event in run) for run in runs) <= 3


async def test_a_feed_that_nobody_follows_is_forgotten(house: House) -> None:
    await house.write(create("a", s3_path="p"))
    followers = [house.follow("a"), house.follow(Target(s3_path="p")), house.follow(Target(s3_path="q", new_only=True))]
    for follower in followers:
        await follower.until(lambda f: f.items)
    assert house.following.followers == 3
    for follower in followers:
        await follower.leave()
    assert house.following.followers == 0
    assert house.feeds._feeds == {}
    assert house.feeds._path_signals == {}


# What may go wrong


async def test_while_the_store_is_away_followers_stay_and_then_catch_up(url: str) -> None:
    async with open_house(url, settings=FollowSettings(checkpoint_seconds=0.1)) as house, open_house(url) as other:
        await house.write(create("a"))
        live, waiting = house.follow("a"), house.follow(Target(s3_path="p", wait_for_trace=True))
        await live.until(lambda f: f.caught_up)
        await waiting.until(lambda f: f.items)
        house.database.away = True
        await other.write(*appended(5), create("b", s3_path="p", **FINISHED_OK))
        seen = len(live.checkpoints)
        await live.until(lambda f: len(f.checkpoints) > seen + 3)
        told = live.checkpoints[-2:]
        assert told[0].read_time == told[1].read_time, "it tells that nothing was read meanwhile"
        with pytest.raises(Unavailable):
            await house.follow("a").end()
        house.database.away = False
        await live.until(lambda f: f.sequences == upto(6))
        assert (await waiting.end()).trace_id == "b"
        await other.write(append("a", **FINISHED_OK))
        assert (await live.end()).sequence == 7


async def test_a_store_that_goes_away_in_the_middle_of_the_history_costs_nothing_but_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "_PAGE_EVENTS", 10)
    await house.write(create("a"), *appended(99), append("a", **FINISHED_OK))
    follower = house.follow("a")
    await follower.until(lambda f: f.sequences)
    house.database.away = True
    follower.stop_reading()
    await asyncio.sleep(0.05)
    follower.read_on()
    await asyncio.sleep(0.1)
    house.database.away = False
    await follower.end()
    assert follower.sequences == upto(101)


@pytest.mark.parametrize("rewritten", [0, 1, 2, 3, 4, 9])
async def test_a_restored_and_rewritten_history_is_noticed(house: House, tmp_path: Path, rewritten: int) -> None:
    await house.write(create("a"), append("a"))
    live, backup = sqlite3.connect(tmp_path / "traces.db"), sqlite3.connect(tmp_path / "backup.db")
    live.backup(backup)
    await house.write(*appended(3))
    follower = house.follow("a")
    await follower.until(lambda f: f.caught_up)
    await house.write(append("a"))
    await follower.until(lambda f: f.sequences == upto(6))
    async with open_house(f"sqlite+aiosqlite:///{tmp_path / 'backup.db'}") as other:
        await other.write(*appended(1), *appended(rewritten))
    backup.backup(live)
    with pytest.raises(HistoryChanged):
        await follower.end()
    assert follower.sequences == upto(6), "nothing of the other history"
    # Whoever comes anew follows the history as it is now.
    again = house.follow("a")
    await again.until(lambda f: f.caught_up)
    assert again.sequences == upto(3 + rewritten)
    backup.close()
    live.close()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "another process"])
async def test_a_history_of_the_same_length_is_told_from_the_one_that_was_followed_at_its_next_event(
    house: House, url: str, tmp_path: Path, elsewhere: bool
) -> None:
    await house.write(create("a"))
    live, backup = sqlite3.connect(tmp_path / "traces.db"), sqlite3.connect(tmp_path / "backup.db")
    live.backup(backup)
    await house.write(*appended(3))
    follower = house.follow("a")
    await follower.until(lambda f: f.caught_up)
    async with open_house(f"sqlite+aiosqlite:///{tmp_path / 'backup.db'}") as other:
        await other.write(*appended(3))
    backup.backup(live)
    async with open_house(url) as other:
        await (other if elsewhere else house).write(append("a"))
        with pytest.raises(HistoryChanged):
            await follower.end()
    assert follower.sequences == upto(4), "nothing of the other history"
    backup.close()
    live.close()


async def test_the_end_of_another_history_of_the_same_length_is_not_taken_for_the_end(
    house: House, tmp_path: Path
) -> None:
    await house.write(create("a"))
    live, backup = sqlite3.connect(tmp_path / "traces.db"), sqlite3.connect(tmp_path / "backup.db")
    live.backup(backup)
    await house.write(append("a"))
    follower = house.follow("a")
    await follower.until(lambda f: f.caught_up)
    async with open_house(f"sqlite+aiosqlite:///{tmp_path / 'backup.db'}") as other:
        await other.write(Beat("a"), Beat("a"), append("a", **FINISHED_OK))
    backup.backup(live)
    with pytest.raises(HistoryChanged):
        await follower.end()
    backup.close()
    live.close()


async def test_a_follower_in_the_middle_of_its_history_notices_that_it_was_rewritten(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds, "_PAGE_EVENTS", 10)
    await house.write(create("a"))
    live, backup = sqlite3.connect(tmp_path / "traces.db"), sqlite3.connect(tmp_path / "backup.db")
    live.backup(backup)
    ours = await house.write(*appended(99))
    follower = house.follow("a")
    follower.stop_reading()
    await follower.until(lambda f: f.items)
    async with open_house(f"sqlite+aiosqlite:///{tmp_path / 'backup.db'}") as other:
        await other.write(*appended(150))
    follower.read_on()
    await follower.until(lambda f: f.sequences)
    follower.stop_reading()
    backup.backup(live)
    follower.read_on()
    with pytest.raises(HistoryChanged):
        await follower.end()
    history = [decision.event for decision in ours if isinstance(decision, Recorded)]
    assert follower.events[1:] == history[: len(follower.events) - 1], "nothing of the other history"
    backup.close()
    live.close()


async def test_a_trace_that_is_gone_is_noticed(house: House, tmp_path: Path) -> None:
    await house.write(create("a"))
    follower = house.follow("a")
    await follower.until(lambda f: f.caught_up)
    with sqlite3.connect(tmp_path / "traces.db") as connection:
        connection.execute("DELETE FROM trace_events")
        connection.execute("DELETE FROM traces")
    connection.close()
    with pytest.raises(HistoryChanged):
        await follower.end()


async def test_streams_end_when_they_are_old(url: str) -> None:
    async with open_house(url, settings=FollowSettings(longest_seconds=0.3)) as house:
        await house.write(create("a"))
        for target in (Target(trace_id="a"), Target(s3_path="p", wait_for_trace=True)):
            with pytest.raises(StreamTooOld) as caught:
                await house.follow(target).end()
            assert caught.value.retry_after == timedelta(), "another replica may be asked at once"


async def test_so_many_may_follow_and_no_more(url: str) -> None:
    settings = FollowSettings(most_followers=5, most_followers_per_caller=3)
    async with open_house(url, settings=settings) as house:
        await house.write(create("a"))
        mine = [house.follow("a", caller="me") for _ in range(3)]
        for follower in mine:
            await follower.until(lambda f: f.caught_up)
        with pytest.raises(Overloaded):
            await house.follow("a", caller="me").end()
        others = [house.follow("a", caller=f"other-{number}") for number in range(2)]
        for follower in others:
            await follower.until(lambda f: f.caught_up)
        with pytest.raises(Overloaded) as caught:
            await house.follow("a", caller="third").end()
        assert caught.value.retry_after > timedelta()
        await mine[0].leave()
        await house.follow("a", caller="me").until(lambda f: f.caught_up)


async def test_a_drain_of_two_streams_ends_them_at_once(house: House) -> None:
    await house.write(create("a"))
    followers = [house.follow("a"), house.follow(Target(s3_path="p", wait_for_trace=True))]
    for follower in followers:
        await follower.until(lambda f: f.items)
    assert house.following.drain(600.0) == 2
    for follower in followers:
        with pytest.raises(Draining):
            await asyncio.wait_for(follower.end(), 20)


async def test_a_drain_ends_all_streams_spread_over_its_time(house: House) -> None:
    await house.write(create("a"))
    followers = [house.follow("a") for _ in range(100)]
    followers += [house.follow(Target(s3_path="p", wait_for_trace=True)) for _ in range(50)]
    for follower in followers:
        await follower.until(lambda f: f.items)
    assert house.following.drain(600.0) == 150
    for follower in followers:
        with pytest.raises(Draining) as caught:
            await follower.end()
        assert timedelta() < caught.value.retry_after <= timedelta(seconds=1)
    ends = sorted(follower.ended_at for follower in followers)
    assert ends[-1] - ends[0] > 0.5, "they would all come back at once"
    # Several moments, not one: the shared timer sets how many.
    assert len({round(end, 1) for end in ends}) >= 4


async def test_writes_go_on_while_streams_drain(house: House) -> None:
    await house.write(create("a"))
    followers = [house.follow("a") for _ in range(20)]
    for follower in followers:
        await follower.until(lambda f: f.caught_up)
    house.following.drain(0.5)
    await house.write(append("a", **FINISHED_OK))
    endings = await asyncio.gather(*(follower.task for follower in followers), return_exceptions=True)
    assert all(ending is None or isinstance(ending, Draining) for ending in endings)
    for follower, ending in zip(followers, endings, strict=True):
        assert follower.sequences == ([1] if ending else [1, 2])


# Waiting


def soon(seconds: float = 60.0) -> float:
    return asyncio.get_running_loop().time() + seconds


@pytest.mark.parametrize("elsewhere", [False, True], ids=["same process", "another process"])
async def test_waiting_answers_when_the_trace_is_done(house: House, url: str, elsewhere: bool) -> None:
    await house.write(create("a", s3_path="p"))
    by_id = asyncio.create_task(house.following.wait(Target(trace_id="a"), until=soon()))
    by_path = asyncio.create_task(house.following.wait(Target(s3_path="p"), until=soon()))
    await asyncio.sleep(0.05)
    assert not by_id.done()
    async with open_house(url) as other:
        await (other if elsewhere else house).write(append("a"), append("a", **FINISHED_FAILED))
    for trace in await asyncio.gather(by_id, by_path):
        assert trace == await house.store.get_trace("a")
    finished = await house.following.wait(Target(trace_id="a"), until=soon())
    assert finished is not None
    assert finished.done


async def test_waiting_answers_with_what_there_is_when_its_time_is_up(house: House) -> None:
    await house.write(create("a"))
    trace = await house.following.wait(Target(trace_id="a"), until=soon(0.1))
    assert trace == await house.store.get_trace("a")
    assert await house.following.wait(Target(trace_id="b", wait_for_trace=True), until=soon(0.1)) is None
    assert await house.following.wait(Target(s3_path="p", new_only=True), until=soon(0.1)) is None
    at_once = await house.following.wait(Target(trace_id="a"), until=soon(-1))
    assert at_once is not None
    assert not at_once.done
    assert house.following.followers == 0


async def test_waiting_for_what_does_not_exist_is_refused_unless_it_is_asked_for(house: House) -> None:
    with pytest.raises(TraceNotFound):
        await house.following.wait(Target(trace_id="a"), until=soon())
    with pytest.raises(PathNotFound):
        await house.following.wait(Target(s3_path="p"), until=soon())


async def test_waiting_for_a_new_trace(house: House) -> None:
    await house.write(create("old", s3_path="p", **FINISHED_OK))
    waiting = asyncio.create_task(house.following.wait(Target(s3_path="p", new_only=True), until=soon()))
    await until(lambda: house.store.reads["newest_created_with"])  # it knows what was there before
    await house.write(create("new", s3_path="p"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await house.write(append("new", **FINISHED_OK))
    trace = await waiting
    assert trace is not None
    assert trace.trace_id == "new"


async def test_a_drain_ends_waiting(house: House) -> None:
    await house.write(create("a"))
    waiting = [asyncio.create_task(house.following.wait(Target(trace_id="a"), until=soon())) for _ in range(5)]
    await asyncio.sleep(0.05)
    house.following.drain(0.2)
    for task in waiting:
        with pytest.raises(Draining):
            await asyncio.wait_for(task, 20)


async def test_waiting_that_is_cancelled_leaves_nothing_behind(house: House) -> None:
    await house.write(create("a"))
    targets = [
        Target(trace_id="a"),
        Target(trace_id="b", wait_for_trace=True),
        Target(s3_path="p", wait_for_trace=True),
    ]
    waiting = [asyncio.create_task(house.following.wait(target, until=soon())) for target in targets]
    await asyncio.sleep(0.05)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert house.following.followers == 0
    assert list(house.feeds.all_signals()) == []
