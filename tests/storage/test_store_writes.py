"""The contract of every store: what a commit does, what it leaves alone, and what stays."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest
from builders import FINISHED_FAILED, FINISHED_OK, NOON, append, create, error
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import EVENTS_PER_TRACE, OpenStore
from strategies import drafts

from status_grpc.domain.decisions import AppendEvent, Beat, Command, CreateTrace, Decision, Heard, Recorded, Replayed
from status_grpc.domain.errors import AlreadyExists, SequenceMismatch, TraceExists, TraceFull, TraceNotFound
from status_grpc.domain.events import EventDraft, TraceEvent
from status_grpc.domain.traces import Trace, apply
from status_grpc.service.fingerprint import fingerprint
from status_grpc.storage.store import Store

_numbers = count()

ALL = {"count": 10_000, "most_bytes": 1 << 40}


async def events_of(store: Store, trace_id: str) -> list[TraceEvent]:
    found = await store.get_trace_and_events(trace_id, after=0, **ALL)
    return [] if found is None else found[1]


def trace_of(decision: Decision) -> Trace:
    assert isinstance(decision, Recorded | Replayed | Heard), decision
    return decision.trace


async def test_what_is_committed_is_read_back(store: Store) -> None:
    (recorded,) = await store.commit([create("a", component="uploader", user="kari", s3_path="raw/x")])
    assert isinstance(recorded, Recorded)
    assert await store.get_trace("a") == recorded.trace
    assert await events_of(store, "a") == [recorded.event]
    assert await store.get_trace("b") is None
    assert await store.get_trace_and_events("b", after=0, **ALL) is None


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(recorded=st.lists(drafts(), min_size=1, max_size=6))
async def test_any_event_is_kept_as_it_is(store: Store, recorded: list[EventDraft]) -> None:
    trace_id = f"trace-{next(_numbers)}"
    first, *rest = recorded
    commands = [CreateTrace(trace_id, "0", first, fingerprint(first))]
    commands += [AppendEvent(trace_id, str(number), event, fingerprint(event)) for number, event in enumerate(rest, 1)]
    decisions = await store.commit(commands)
    events = [decision.event for decision in decisions if isinstance(decision, Recorded)]
    assert len(events) == len(commands)
    assert await store.get_trace_and_events(trace_id, after=0, **ALL) == (trace_of(decisions[-1]), events)


async def test_legacy_is_kept_to_the_last_digit_and_is_no_part_of_the_content(store: Store) -> None:
    legacy = '{"as_sent":{"status_body":"[1.50,1E22,\\"å\\"]"}}'
    commands = [create("a", "0"), append("a", "1")]
    for command in commands:
        command.legacy = legacy
    await store.commit(commands)
    assert [event.legacy for event in await events_of(store, "a")] == [legacy, legacy]
    assert isinstance((await store.commit([append("a", "1")]))[0], Replayed)


async def test_what_one_transaction_does_is_seen_by_what_comes_after_in_it(store: Store) -> None:
    decisions = await store.commit(
        [
            append("a"),
            create("a", "one"),
            append("a", "two", expected_sequence=1),
            append("a", "two", expected_sequence=1),
            append("a", expected_sequence=1),
            append("a", **FINISHED_OK),
            append("a", new_run=True),
            Beat("a"),
            create("a", "one"),
            create("a"),
        ]
    )
    assert [type(decision) for decision in decisions] == [
        TraceNotFound,
        Recorded,
        Recorded,
        Replayed,
        SequenceMismatch,
        Recorded,
        Recorded,
        Heard,
        Replayed,
        TraceExists,
    ]
    assert [event.sequence for event in await events_of(store, "a")] == [1, 2, 3, 4]
    assert await store.get_trace("a") == trace_of(decisions[-2])


async def test_a_retry_is_answered_as_the_first_time_and_stores_nothing(store: Store) -> None:
    await store.commit([create("a", "one", user="kari"), append("a", "two", operation="copy")])
    before = await store.get_trace_and_events("a", after=0, **ALL)
    first, second = await store.commit([create("a", "one", user="kari"), append("a", "two", operation="copy")])
    assert (first, second) == (Replayed(trace_of(first), 1, "one"), Replayed(trace_of(first), 2, "two"))
    assert await store.get_trace_and_events("a", after=0, **ALL) == before
    assert before is not None
    assert trace_of(first) == before[0]
    assert await store.get_event(before[0], "two") == before[1][1]
    assert await store.get_event(before[0], "three") is None


async def test_other_content_under_an_id_is_refused(store: Store) -> None:
    await store.commit([create("a", "one"), append("a", "two")])
    decisions = await store.commit(
        [create("a", "one", user="ola"), append("a", "two", user="ola"), create("a", "three")]
    )
    assert [type(decision) for decision in decisions] == [AlreadyExists, AlreadyExists, TraceExists]
    assert len(await events_of(store, "a")) == 2


async def test_an_event_id_is_known_within_its_trace_only(store: Store) -> None:
    decisions = await store.commit([create("a", "one"), create("b", "one", user="ola"), append("b", "two")])
    decisions += await store.commit([append("a", "two", user="kari")])
    assert all(isinstance(decision, Recorded) for decision in decisions)


async def test_ids_that_differ_only_in_case_or_accents_are_two(store: Store) -> None:
    decisions = await store.commit([create(trace_id, "one") for trace_id in ("a", "A", "é", "e\u0301", "a ")])
    decisions += await store.commit([append("a", "two"), append("a", "Two")])
    assert all(isinstance(decision, Recorded) for decision in decisions)


async def test_a_command_that_cannot_be_done_leaves_the_others_alone(store: Store) -> None:
    await store.commit([create("a", "one"), create("b")])
    decisions = await store.commit(
        [append("missing"), append("b"), Beat("missing"), append("a", "one", user="x"), append("a"), create("c")]
    )
    assert [type(decision) for decision in decisions] == [
        TraceNotFound,
        Recorded,
        TraceNotFound,
        AlreadyExists,
        Recorded,
        Recorded,
    ]
    assert [len(await events_of(store, trace_id)) for trace_id in "abc"] == [2, 2, 1]


async def test_a_command_that_breaks_the_transaction_leaves_nothing_of_it(store: Store) -> None:
    await store.commit([create("a")])
    before = await store.get_trace("a")
    # Half of a character: the edges let none through, and no database takes one.
    broken = append("a", "broken")
    object.__setattr__(broken.draft, "operation", "\ud800")
    with pytest.raises(Exception, match="surrogates"):
        await store.commit([append("a", "good"), broken, create("b")])
    assert await store.get_trace("a") == before
    assert await store.get_trace("b") is None
    assert isinstance((await store.commit([append("a", "good")]))[0], Recorded), "the store works on"


async def test_a_heartbeat_changes_the_trace_and_adds_no_event(store: Store) -> None:
    (created,) = await store.commit([create("a")])
    (heard,) = await store.commit([Beat("a")])
    trace = await store.get_trace("a")
    assert trace == trace_of(heard)
    assert trace is not None
    assert trace.last_heard_time > trace_of(created).last_heard_time
    assert trace.revision == trace_of(created).revision + 1
    assert len(await events_of(store, "a")) == 1


async def test_the_stored_state_is_the_fold_of_the_stored_events(store: Store) -> None:
    await store.commit([create("a")])
    await store.commit([append("a", errors=(error("row 3"),), s3_path="raw/x"), append("a", component="writer")])
    await store.commit([append("a", component="end", **FINISHED_FAILED), append("a", component="late")])
    await store.commit([append("a", new_run=True, component="redrive"), append("a", errors=(error("again"),))])
    folded: Trace | None = None
    for event in await events_of(store, "a"):
        folded = apply(folded, event)
    assert folded is not None
    assert await store.get_trace("a") == folded


async def test_an_expire_time_is_that_of_its_run(store: Store) -> None:
    async def expire_time(*commands: Command) -> datetime | None:
        assert all(isinstance(decision, Recorded) for decision in await store.commit(commands))
        trace = await store.get_trace("a")
        assert trace is not None
        return trace.expire_time

    later = NOON + timedelta(hours=1)
    assert await expire_time(create("a", expire_time=NOON)) == NOON
    assert await expire_time(append("a", expire_time=later)) == later
    assert await expire_time(append("a"), append("a", **FINISHED_OK)) == later
    assert await expire_time(append("a", new_run=True)) is None
    assert await expire_time(append("a", expire_time=NOON)) == NOON


async def test_the_limit_of_events_is_counted_over_transactions(store: Store) -> None:
    await store.commit([create("a"), *(append("a") for _ in range(EVENTS_PER_TRACE - 1))])
    decisions = await store.commit([append("a"), append("a", **FINISHED_OK), append("a")])
    assert [type(decision) for decision in decisions] == [TraceFull, Recorded, TraceFull]


async def test_two_processes_write_one_trace_without_a_gap(store: Store, open_store: OpenStore) -> None:
    await store.commit([create("a", "one")])
    async with open_store() as other:

        async def write(to: Store, name: str) -> None:
            for number in range(20):
                await to.commit([append("a", f"{name}-{number}"), create(f"{name}-{number}"), append("a")])

        await asyncio.gather(write(store, "x"), write(other, "y"))
        events = await events_of(other, "a")
    assert [event.sequence for event in events] == list(range(1, 82))
    assert len({event.trace_event_id for event in events}) == 81
    assert [event.record_time for event in events] == sorted(event.record_time for event in events)


async def test_a_retry_at_another_process_meets_what_the_first_stored(store: Store, open_store: OpenStore) -> None:
    command = create("a", "one")
    async with open_store() as other:
        first, second = await asyncio.gather(store.commit([command]), other.commit([command]))
    assert {type(first[0]), type(second[0])} == {Recorded, Replayed}


async def test_what_was_acknowledged_is_there_after_reopening(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.commit([create("a", "one", s3_path="raw/x"), append("a", operation="æøå 🎉")])
        before = await store.get_trace_and_events("a", after=0, **ALL)
    async with open_store() as store:
        assert await store.get_trace_and_events("a", after=0, **ALL) == before
        assert isinstance((await store.commit([create("a", "one", s3_path="raw/x")]))[0], Replayed)
        assert await store.find_by_path("raw/x", domain="", domain_id="", count=1) == ["a"]
        assert trace_of((await store.commit([append("a")]))[0]).last_sequence == 3


async def test_a_reader_that_is_cancelled_gives_its_connection_back(store: Store) -> None:
    await store.commit([create("a"), *(append("a") for _ in range(200))])
    for turns in range(40):
        reading = [asyncio.create_task(events_of(store, "a")) for _ in range(6)]
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.sleep(turns % 5 * 0.0004)
        for task in reading:
            task.cancel()
        await asyncio.gather(*reading, return_exceptions=True)
    assert len(await events_of(store, "a")) == 201
    while len(asyncio.all_tasks()) > 1:  # those that were cancelled read to their end
        await asyncio.sleep(0.01)


async def test_times_come_back_to_the_microsecond(store: Store) -> None:
    start = datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    end = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    duration = timedelta(microseconds=1)
    await store.commit([create("a", start_time=start, end_time=end, duration=duration, expire_time=end)])
    (event,) = await events_of(store, "a")
    assert (event.start_time, event.end_time, event.duration) == (start, end, duration)
    trace = await store.get_trace("a")
    assert trace is not None
    assert trace.expire_time == end
