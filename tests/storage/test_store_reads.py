"""The contract of every store: pages of events, lookup by path, listing, and what followers and expiry ask."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from builders import FINISHED_FAILED, FINISHED_OK, NOON, append, create
from stores import OpenStore

from status_grpc.domain.decisions import Beat, Command, Recorded
from status_grpc.domain.events import TraceEvent, TraceEventStatus, TraceStatus
from status_grpc.domain.traces import Trace
from status_grpc.storage import listing
from status_grpc.storage.listing import TraceFilter
from status_grpc.storage.store import Store
from status_grpc.wire.events import encode_event

MIB = 1024 * 1024


async def commit(store: Store, *commands: Command) -> list[Trace]:
    """Commit what must succeed; return the states after each."""
    decisions = await store.commit(commands)
    assert all(not isinstance(decision, Exception) for decision in decisions), decisions
    return [decision.trace for decision in decisions]


async def one_by_one(store: Store, *commands: Command) -> None:
    """Commit each command at a time of its own."""
    for command in commands:
        await commit(store, command)


async def get(store: Store, trace_id: str) -> Trace:
    trace = await store.get_trace(trace_id)
    assert trace is not None
    return trace


# Events


async def test_pages_are_bounded_in_count(store: Store) -> None:
    await commit(store, create("a"), *(append("a") for _ in range(9)), create("b"))
    trace = await get(store, "a")

    async def page(after: int, count: int) -> list[int]:
        events = await store.read_events(trace, after=after, count=count, most_bytes=MIB)
        return [event.sequence for event in events]

    assert await page(0, 4) == [1, 2, 3, 4]
    assert await page(4, 4) == [5, 6, 7, 8]
    assert await page(8, 4) == [9, 10]
    assert await page(10, 4) == []
    assert await page(99, 4) == []


async def test_pages_are_bounded_in_bytes_but_never_empty(store: Store) -> None:
    body = {"status_body": {"text": "x" * 10_000}}
    await commit(store, create("a"), *(append("a", **body) for _ in range(6)), append("a"))
    trace = await get(store, "a")

    async def page(after: int, most_bytes: int, at_least: int = 1) -> list[int]:
        events = await store.read_events(trace, after=after, count=100, most_bytes=most_bytes, at_least=at_least)
        assert len(events) <= at_least or sum(len(encode_event(event)) for event in events) <= most_bytes
        return [event.sequence for event in events]

    assert await page(1, 35_000) == [2, 3, 4]
    assert await page(1, 5_000) == [2], "a single event is larger"
    assert await page(1, 0) == [2]
    assert await page(1, 0, at_least=2) == [2, 3]
    assert await page(6, 35_000) == [7, 8]


async def test_a_page_ends_where_the_trace_stood_when_it_was_read(store: Store) -> None:
    await commit(store, create("a"), append("a"))
    before = await get(store, "a")
    await commit(store, append("a"))
    events = await store.read_events(before, after=0, count=100, most_bytes=MIB)
    assert [event.sequence for event in events] == [1, 2]


async def test_a_trace_of_20_mb_is_read_whole_through_pages_under_4_mb(store: Store) -> None:
    body = {"text": "æ" * 490_000}  # just under the largest event
    await commit(store, create("a", component="uploader"))
    for number in range(21):
        await commit(store, append("a", f"e{number}", status_body=body), append("a", f"small{number}"))
    events: list[TraceEvent] = []
    pages = 0
    while True:
        found = await store.get_trace_and_events(
            "a", after=events[-1].sequence if events else 0, count=1000, most_bytes=3 * MIB
        )
        assert found is not None
        if not found[1]:
            break
        pages += 1
        assert sum(len(encode_event(event)) for event in found[1]) < 4 * 1000 * 1000
        events += found[1]
    assert [event.sequence for event in events] == list(range(1, 44))
    assert sum(event.status_body == body for event in events) == 21
    assert sum(len(encode_event(event)) for event in events) > 20_000_000
    assert pages <= 11


# Paths


async def found(store: Store, path: str, count: int = 100, **filters: str) -> list[str]:
    return await store.find_by_path(path, **{"domain": "", "domain_id": ""} | filters, count=count)


async def test_a_path_finds_the_newest_created_with_it_first(store: Store) -> None:
    await one_by_one(store, *(create(f"upload-{number}", s3_path="raw/x") for number in range(3)))
    assert await found(store, "raw/x") == ["upload-2", "upload-1", "upload-0"]
    assert await found(store, "raw/x", count=2) == ["upload-2", "upload-1"]


async def test_traces_that_only_touched_a_path_come_after_those_created_with_it(store: Store) -> None:
    await one_by_one(
        store,
        create("created-1", s3_path="raw/x"),
        create("touched-1"),
        create("created-2", s3_path="raw/x"),
        create("touched-2", s3_path="raw/other"),
        append("touched-2", s3_path="raw/x"),
        append("touched-1", s3_path="raw/x"),
        append("touched-1", s3_path="raw/x"),
        append("created-1", s3_path="raw/y"),
        append("created-1", s3_path="raw/x"),
    )
    assert await found(store, "raw/x") == ["created-2", "created-1", "touched-2", "touched-1"]
    assert await found(store, "raw/y") == ["created-1"]


async def test_every_path_that_any_event_carried_finds_the_trace(store: Store) -> None:
    await commit(store, create("a", s3_path="p1"), *(append("a", s3_path=path) for path in ("p2", "p3", "p1")))
    await commit(store, append("a", s3_path="p2"), append("a", s3_path="p4", **FINISHED_OK), append("a", s3_path="p5"))
    assert [await found(store, f"p{number}") for number in range(1, 7)] == [["a"]] * 5 + [[]]


async def test_a_path_that_an_early_event_carried_and_not_the_first_finds_the_trace(store: Store) -> None:
    await commit(store, create("a"))
    await commit(store, append("a", s3_path="p"), append("a", s3_path="q"))
    assert await found(store, "p") == ["a"]
    assert await store.newest_created_with("p", created_after=None, count=1) == [], "it was not created with it"
    assert (await get(store, "a")).s3_path == "p"


PATHS = [
    "raw/x",
    "raw/X",
    "raw//x",
    "raw/x/",
    "/raw/x",
    "raw/./x",
    "raw/%78",
    "raw/x ",
    "raw/é",
    "raw/e\u0301",
    "%",
    "raw/_",
]


async def test_paths_are_exact_strings(store: Store) -> None:
    await commit(store, *(create(f"trace-{number}", s3_path=path) for number, path in enumerate(PATHS)))
    assert [await found(store, path) for path in PATHS] == [[f"trace-{number}"] for number in range(len(PATHS))]
    assert await found(store, "raw") == []


async def test_the_search_by_path_is_narrowed_by_domain_and_domain_id(store: Store) -> None:
    await one_by_one(
        store,
        create("a", s3_path="p"),
        create("b", s3_path="p", domain="other"),
        create("c", s3_path="p", domain_id="walking/1"),
    )
    assert await found(store, "p", domain="dataset") == ["c", "a"]
    assert await found(store, "p", domain_id="cycling/1") == ["b", "a"]
    assert await found(store, "p", domain="dataset", domain_id="cycling/1") == ["a"]
    assert await found(store, "p", domain="missing") == []


async def test_the_newest_created_with_a_path_after_a_time(store: Store) -> None:
    await one_by_one(store, *(create(f"upload-{number}", s3_path="p") for number in range(3)))
    times = [(await get(store, f"upload-{number}")).create_time for number in range(3)]
    newest = [("upload-2", times[2]), ("upload-1", times[1]), ("upload-0", times[0])]
    assert await store.newest_created_with("p", created_after=None, count=10) == newest
    assert await store.newest_created_with("p", created_after=None, count=1) == newest[:1]
    assert await store.newest_created_with("p", created_after=times[0], count=10) == newest[:2]
    assert await store.newest_created_with("p", created_after=times[2], count=10) == []


# What followers poll


async def test_changes_tell_the_revision_of_each_trace_and_the_newest_of_each_path(store: Store) -> None:
    await one_by_one(store, create("a", s3_path="p"), create("b", s3_path="p"), append("a", s3_path="q"), Beat("a"))
    revisions, created = await store.changes(["a", "b", "missing"], ["p", "q", "r"])
    assert revisions == {"a": (await get(store, "a")).revision, "b": (await get(store, "b")).revision}
    assert created == {"p": (await get(store, "b")).create_time}, "q was touched, not created with"
    await one_by_one(store, append("b"))
    assert (await store.changes(["b"], [])) == ({"b": revisions["b"] + 1}, {})
    assert await store.changes([], []) == ({}, {})


async def test_changes_of_very_many_are_one_question(store: Store) -> None:
    await commit(store, *(create(f"t{number}", s3_path=f"p{number}") for number in range(300)))
    names = range(5_000)
    revisions, created = await store.changes([f"t{number}" for number in names], [f"p{number}" for number in names])
    assert (len(revisions), len(created)) == (300, 300)


# Expiry


async def test_unfinished_traces_expire_when_their_time_has_come(store: Store) -> None:
    hour = timedelta(hours=1)
    await commit(
        store,
        create("later", expire_time=NOON + hour),
        create("second", expire_time=NOON),
        create("first", expire_time=NOON - hour),
        create("never"),
        create("done", expire_time=NOON - hour, **FINISHED_OK),
    )
    assert [trace.trace_id for trace in await store.expiring(NOON, count=10)] == ["first", "second"]
    assert [trace.trace_id for trace in await store.expiring(NOON, count=1)] == ["first"]
    await commit(store, append("first", **FINISHED_FAILED), append("second", expire_time=NOON + hour))
    assert await store.expiring(NOON, count=10) == []


# Listing


async def listed(store: Store, count: int = 3, **wanted: Any) -> list[str]:
    """Return the ids on all pages."""
    ids: list[str] = []
    before = None
    while True:
        page, before = await store.list_traces(TraceFilter(**wanted), before=before, count=count)
        assert len(page) <= count
        ids += [trace.trace_id for trace in page]
        if before is None:
            return ids


@pytest.mark.parametrize("count", [1, 2, 3, 7, 100])
async def test_pages_list_every_trace_once_newest_first(store: Store, count: int) -> None:
    # Those of one transaction have one create_time: the ids decide among them.
    for batch in range(3):
        await commit(store, *(create(f"{batch}-{number}") for number in range(4)))
    everything = [f"{batch}-{number}" for batch in (2, 1, 0) for number in (3, 2, 1, 0)]
    assert await listed(store, count) == everything


async def test_what_is_created_while_pages_are_read_shifts_nothing(store: Store) -> None:
    await commit(store, *(create(f"old-{number}") for number in range(5)))
    first, before = await store.list_traces(TraceFilter(), before=None, count=2)
    await commit(store, *(create(f"new-{number}") for number in range(5)))
    rest, end = await store.list_traces(TraceFilter(), before=before, count=10)
    assert [trace.trace_id for trace in first + rest] == [f"old-{number}" for number in (4, 3, 2, 1, 0)]
    assert end is None


@pytest.fixture
async def many(store: Store) -> Store:
    """Traces of all kinds, each created at a time of its own."""
    await one_by_one(
        store,
        create("running", user="kari", component="uploader"),
        create("continued", user="ola"),
        append("continued", component="writer"),
        create("well", user="kari", domain="other"),
        append("well", component="end", **FINISHED_OK),
        create("failed", user="kari", domain_id="walking/1"),
        append("failed", component="end", **FINISHED_FAILED),
        create("step-failed", trace_event_status=TraceEventStatus.FAILED),
        create("rerun", user="ola", **FINISHED_FAILED),
        append("rerun", new_run=True),
    )
    return store


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, "rerun step-failed failed well continued running"),
        ({"domain": "other"}, "well"),
        ({"domain": "dataset"}, "rerun step-failed failed continued running"),
        ({"domain_id": "walking/1"}, "failed"),
        ({"user": "kari"}, "failed well running"),
        ({"component": "end"}, "failed well"),
        ({"component": "writer"}, "continued"),
        ({"status": TraceStatus.STARTED}, "step-failed running"),
        ({"status": TraceStatus.CONTINUE}, "rerun continued"),
        ({"status": TraceStatus.FINISHED}, "failed well"),
        ({"outcome": TraceEventStatus.OK}, "well"),
        ({"outcome": TraceEventStatus.FAILED}, "failed"),
        ({"user": "kari", "outcome": TraceEventStatus.FAILED}, "failed"),
        ({"user": "kari", "domain": "dataset", "status": TraceStatus.FINISHED}, "failed"),
        ({"domain": "dataset", "domain_id": "cycling/1", "user": "ola"}, "rerun continued"),
        ({"status": TraceStatus.STARTED, "outcome": TraceEventStatus.OK}, ""),
        ({"user": "Kari"}, ""),
        ({"user": "kar%"}, ""),
    ],
)
@pytest.mark.parametrize("count", [1, 50])
async def test_filters(many: Store, wanted: dict[str, Any], expected: str, count: int) -> None:
    assert await listed(many, count, **wanted) == expected.split()


async def test_time_ranges_include_their_beginning_and_not_their_end(many: Store) -> None:
    well, failed = await get(many, "well"), await get(many, "failed")
    assert await listed(many, created_after=well.create_time, created_before=failed.create_time) == ["well"]
    assert await listed(many, updated_after=well.update_time, updated_before=failed.update_time) == ["well"]
    assert (await listed(many, created_after=failed.create_time))[-1] == "failed"
    assert (await listed(many, created_before=well.create_time)) == ["continued", "running"]
    assert await listed(many, updated_after=datetime.now(UTC)) == []
    assert await listed(many, updated_before=(await get(many, "running")).update_time) == []
    assert await listed(many, user="kari", created_after=well.create_time) == ["failed", "well"]
    assert await listed(many, user="kari", updated_after=failed.update_time) == ["failed"]


async def test_a_page_looks_at_a_bounded_number_of_traces(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "SCANNED_PER_PAGE", 10)
    await commit(
        store, *(create(f"t{number:02}", component="rare" if number == 3 else "usual") for number in range(35))
    )
    found_on: list[list[str]] = []
    before = None
    while True:
        page, before = await store.list_traces(TraceFilter(component="rare"), before=before, count=5)
        found_on.append([trace.trace_id for trace in page])
        if before is None:
            break
    assert found_on == [[], [], [], ["t03"]], "an empty page with somewhere to go on, and nothing missed"
    assert len(await listed(store, 4, component="usual")) == 34


async def test_all_that_is_listed_is_as_it_is_now(many: Store) -> None:
    page, _ = await many.list_traces(TraceFilter(), before=None, count=50)
    assert page == [await get(many, trace.trace_id) for trace in page]


# The database


async def test_reads_go_on_beside_writes(store: Store) -> None:
    await commit(store, create("a"))

    async def write() -> None:
        for _ in range(30):
            await commit(store, append("a"))

    async def read() -> None:
        last = 0
        while last < 31:
            found = await store.get_trace_and_events("a", after=0, count=1000, most_bytes=MIB)
            assert found is not None
            trace, events = found
            assert [event.sequence for event in events] == list(range(1, trace.last_sequence + 1))
            assert trace.last_sequence >= last, "a later read saw less"
            last = trace.last_sequence

    await asyncio.gather(write(), *(read() for _ in range(8)))


async def test_a_write_is_seen_by_reads_of_every_process_once_it_is_acknowledged(
    store: Store, open_store: OpenStore
) -> None:
    await commit(store, create("a"))
    async with open_store() as other:
        for number in range(2, 20):
            (decision,) = await store.commit([append("a")])
            assert isinstance(decision, Recorded)
            assert (await get(other, "a")).last_sequence == number
            assert (await get(store, "a")).last_sequence == number


async def test_ping(store: Store) -> None:
    await store.ping()
