"""Which way SQLite takes: every statement of the store finds what it needs through an index.

The statements are taken down as the store sends them, so that one that is new is looked at too.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from builders import FINISHED_OK, NOON, append, create
from stores import opened

from status_grpc.domain.events import Dataset, TraceEventStatus, TraceStatus
from status_grpc.storage.dialects import SqliteDatabase
from status_grpc.storage.lineage import DatasetKey, LineageStore, TraceKey
from status_grpc.storage.listing import TraceFilter
from status_grpc.storage.store import Store

HOUR = timedelta(hours=1)

AS_OF_NOON: dict[str, Any] = {"as_of": NOON, "most": 10}

Explain = Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, list[str]]]


@pytest.fixture
async def store_and_explain(sqlite_url: str, tmp_path: Path) -> AsyncIterator[tuple[Store, Explain]]:
    """A store, and what tells the steps of all statements that a call of it makes."""
    async with opened(sqlite_url) as database:
        assert isinstance(database, SqliteDatabase)
        statements: list[str] = []

        def listen(connection: Any, *_: object) -> None:
            connection.run_async(lambda driver: driver.set_trace_callback(statements.append))

        sa.event.listen(database._reading.sync_engine, "checkout", listen)
        for engine in (database._writing, database._looking):
            driver = engine.raw_connection().driver_connection
            assert isinstance(driver, sqlite3.Connection)
            driver.set_trace_callback(statements.append)
        explaining = sqlite3.connect(tmp_path / "traces.db")

        async def explain(call: Coroutine[Any, Any, Any]) -> list[str]:
            statements.clear()
            await call
            taken, steps = list(statements), []
            for statement in taken:
                if not statement.startswith(("BEGIN", "COMMIT", "PRAGMA")):
                    rows = explaining.execute(f"EXPLAIN QUERY PLAN {statement}").fetchall()
                    steps += [row[3] for row in rows]
            assert any(not statement.startswith(("BEGIN", "COMMIT")) for statement in taken)
            return steps

        store = Store(database, events_per_trace=1000)
        await store.commit([create("a", "one", s3_path="p"), append("a", "two"), create("b", **FINISHED_OK)])
        yield store, explain
        explaining.close()


def whole_tables(steps: list[str]) -> list[str]:
    """Return the steps that read a whole table, or that sort what they have read before the first row comes out."""
    return [
        step
        for step in steps
        if (step.startswith("SCAN trace") and "INDEX" not in step) or step.startswith("USE TEMP B-TREE FOR ORDER")
    ]


def lineage(store: Store) -> LineageStore:
    return LineageStore(store._database)


CALLS: dict[str, tuple[Callable[[Store], Any], str]] = {
    "create": (lambda s: s.commit([create("c", "one", s3_path="p")]), "SEARCH traces USING INDEX"),
    "update": (lambda s: s.commit([append("a", "three", s3_path="q")]), "SEARCH trace_events USING"),
    "retries": (
        lambda s: s.commit([append("a", "two"), append("a", "none"), create("a", "one", s3_path="p")]),
        "SEARCH trace_events USING",
    ),
    "get_trace": (lambda s: s.get_trace("a"), "SEARCH traces USING INDEX"),
    "events": (
        lambda s: s.get_trace_and_events("a", after=1, count=10, most_bytes=1000),
        "(bucket=? AND trace_id=? AND sequence>? AND sequence<?)",
    ),
    "path": (
        lambda s: s.find_by_path("p", domain="", domain_id="", count=10),
        "trace_paths USING PRIMARY KEY (s3_path=?",
    ),
    "path and filters": (
        lambda s: s.find_by_path("p", domain="dataset", domain_id="x", count=10),
        "trace_paths USING PRIMARY KEY (s3_path=?",
    ),
    "newest created": (
        lambda s: s.newest_created_with("p", created_after=None, count=1),
        "(s3_path=? AND created=? AND create_time>?)",
    ),
    "changes": (lambda s: s.changes(["a", "b", "c"], ["p", "q"]), "(s3_path=? AND created=?)"),
    "what traces have read": (
        lambda s: lineage(s).of_traces([TraceKey(202601, "t1"), TraceKey(202601, "a")], written=False, **AS_OF_NOON),
        "SEARCH trace_datasets USING PRIMARY KEY (bucket=? AND trace_id=? AND written=?)",
    ),
    "who has written datasets": (
        lambda s: lineage(s).of_datasets([DatasetKey("uri1", None), DatasetKey("x", "1")], written=True, **AS_OF_NOON),
        "SEARCH trace_datasets USING INDEX trace_datasets_by_uri (uri=? AND written=? AND record_time<?)",
    ),
    "traces of a lineage": (lambda s: lineage(s).traces(["a", "b", "t1"]), "SEARCH traces USING INDEX"),
    "a trace's key": (lambda s: lineage(s).key_of("a"), "SEARCH traces USING INDEX"),
    "an event with datasets": (
        lambda s: s.commit([append("a", inputs=tuple(Dataset(f"s3://in/{n}") for n in range(100)))]),
        "SEARCH traces USING INDEX",
    ),
    "expiring": (lambda s: s.expiring(NOON, count=10), "traces_expiring"),
}


@pytest.mark.parametrize("name", CALLS)
async def test_no_call_reads_a_whole_table(store_and_explain: tuple[Store, Explain], name: str) -> None:
    store, explain = store_and_explain
    call, way = CALLS[name]
    steps = await explain(call(store))
    assert whole_tables(steps) == []
    assert any(way in step for step in steps), steps


async def test_a_known_event_is_found_by_its_id(store_and_explain: tuple[Store, Explain]) -> None:
    store, explain = store_and_explain
    trace = await store.get_trace("a")
    assert trace is not None
    by_id = "(bucket=? AND trace_id=? AND trace_event_id=?)"
    assert any(by_id in step for step in await explain(store.get_event(trace, "two")))
    assert any(by_id in step for step in await explain(store.commit([append("a", "two")])))


PAGES: dict[str, tuple[TraceFilter, str]] = {
    "all": (TraceFilter(), "traces_by_create_time"),
    "domain": (TraceFilter(domain="dataset"), "traces_by_domain "),
    "domain id": (TraceFilter(domain_id="cycling/1", domain="dataset"), "traces_by_domain_id"),
    "user": (TraceFilter(user="kari", domain="dataset"), "traces_by_user"),
    "running": (TraceFilter(status=TraceStatus.CONTINUE), "traces_unfinished"),
    "started": (TraceFilter(status=TraceStatus.STARTED, component="x"), "traces_unfinished"),
    "failed": (TraceFilter(outcome=TraceEventStatus.FAILED), "traces_failed"),
    "finished": (TraceFilter(status=TraceStatus.FINISHED), "traces_by_create_time"),
    "times": (TraceFilter(created_after=NOON, created_before=NOON + HOUR), "traces_by_create_time"),
    "domain and times": (TraceFilter(domain="dataset", created_before=NOON + HOUR), "traces_by_domain "),
    "updated": (TraceFilter(domain="dataset", updated_after=NOON), "traces_by_domain "),
}


@pytest.mark.parametrize("later_page", [False, True])
@pytest.mark.parametrize("name", PAGES)
async def test_a_page_of_a_listing_is_read_in_the_order_of_its_index(
    store_and_explain: tuple[Store, Explain], name: str, later_page: bool
) -> None:
    store, explain = store_and_explain
    wanted, index = PAGES[name]
    steps = await explain(store.list_traces(wanted, before=(NOON, "x") if later_page else None, count=10))
    # What is checked trace by trace comes from a bounded scan, and that is sorted again: the scan itself is not.
    unsorted = [step for step in steps if not (step.startswith("USE TEMP B-TREE") and "CO-ROUTINE scanned" in steps)]
    assert whole_tables(unsorted) == []
    reading = [f"{step} " for step in steps if " traces " in step]
    assert reading
    assert all(index in step for step in reading), steps
    if later_page:
        assert all("(create_time,trace_id)<(?,?)" in step for step in reading), "an earlier page is read again"
