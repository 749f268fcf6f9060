"""Which way PostgreSQL takes: every statement of the store finds what it needs through an index.

The statements are taken down as the driver sends them, so that one that is new is looked at too. Each is planned for
its parameters, and once for any: the server takes either plan for a prepared statement.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any

import asyncpg
import pytest
import sqlalchemy as sa
from builders import FINISHED_OK, NOON, append, create
from postgres import Databases
from stores import opened
from test_sqlite_plans import CALLS, PAGES

from status_grpc.storage.dialects import Database, PostgresDatabase
from status_grpc.storage.feed import ChangeFeed
from status_grpc.storage.store import Store

Plans = list[dict[str, Any]]
Explain = Callable[[Coroutine[Any, Any, Any]], Coroutine[Any, Any, Plans]]

#: Large enough that no plan reads a whole table because it is small.
_FILL = """
INSERT INTO traces SELECT 't' || n, 202601, 1, 'domain' || n % 3, 'd' || n % 9, 'user' || n % 9, 'p' || n,
  'FINISHED', CASE n % 100 WHEN 0 THEN 'FAILED' ELSE 'OK' END, n % 4 <> 0, 1, t, t, NULL, 3, 0, 3, 'e3', t,
  CASE WHEN n % 40 = 0 THEN t + interval '1 year' END, 'c', 'o', NULL, 0, NULL
  FROM generate_series(1, 60000) n, LATERAL (SELECT timestamptz '2026-01-01' + n * interval '1 minute' AS t) AS times;
INSERT INTO trace_events SELECT 202601, 't' || n, s, 'e' || s, 'hash', 500, 1, t, 'domain', 'd', t, NULL,
  'CONTINUE', 'OK', NULL, 'c', 'o', NULL, NULL, NULL, NULL, '{"a": 1}', NULL, NULL, NULL, NULL, NULL
  FROM generate_series(1, 20000) n, generate_series(1, 3) s, LATERAL (SELECT timestamptz '2026-01-01' AS t) AS times;
INSERT INTO trace_paths SELECT 'p' || n, true, timestamptz '2026-01-01', 't' || n FROM generate_series(1, 20000) n;
INSERT INTO trace_datasets SELECT 202601, 't' || n, n % 2 = 0, 'k' || n, 'uri' || n % 5000, NULL, 1,
  timestamptz '2026-01-01' + n * interval '1 minute' FROM generate_series(1, 20000) n;
INSERT INTO feed_lanes SELECT 'lane' || n, now(), 0, NULL FROM generate_series(1, 2000) n;
INSERT INTO feed_commits SELECT 'lane' || n % 20, n / 20 + 1, now(), '{}' FROM generate_series(0, 199999) n;
ANALYZE;
"""


#: What is in statements that no call makes: the driver asks what types there are.
_THE_DRIVERS_OWN = ("BEGIN", "COMMIT", "pg_catalog", "'jit'")


@pytest.fixture(scope="module")
def filled_url(postgresql_databases: Databases) -> Iterator[str]:
    with postgresql_databases.database() as url:
        postgresql_databases.execute(_FILL, url)
        yield url


@pytest.fixture
async def store_and_explain(filled_url: str) -> AsyncIterator[tuple[Store, Explain]]:
    """A store, and what tells the plans of all statements that a call of it makes."""
    async with opened(filled_url) as database:
        yield Store(database, events_per_trace=1000), explaining(database)


def explaining(database: Database) -> Explain:
    """Return what runs a call, and explains the statements that the driver was given by it."""
    assert isinstance(database, PostgresDatabase)
    taken: list[tuple[str, Any]] = []

    def take(statement: Any) -> None:
        taken.append((statement.query, statement.args))

    def read(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        taken.append((statement, parameters))

    def listen(connection: Any, _record: object, _proxy: object) -> None:
        connection.driver_connection.add_query_logger(take)

    sa.event.listen(database._reading.sync_engine, "before_cursor_execute", read)
    sa.event.listen(database._reading.sync_engine, "checkout", listen)

    async def explain(call: Coroutine[Any, Any, Any]) -> Plans:
        async with database._writing.connect() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            driver.add_query_logger(take)
        taken.clear()
        await call
        driver.remove_query_logger(take)
        of_the_call, plans = list(taken), []
        for statement, parameters in of_the_call:
            if not any(word in statement for word in _THE_DRIVERS_OWN):
                plans += [await plan(driver, statement, parameters), await plan_for_any(driver, statement, parameters)]
        assert plans
        return plans

    return explain


async def plan(driver: asyncpg.Connection, statement: str, parameters: Any) -> dict[str, Any]:
    (found,) = json.loads(await driver.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *parameters))
    return {"statement": statement, **found["Plan"]}


async def plan_for_any(driver: asyncpg.Connection, statement: str, parameters: Any) -> dict[str, Any]:
    values = f"({', '.join(['NULL'] * len(parameters))})" if parameters else ""
    await driver.execute(f"SET plan_cache_mode = force_generic_plan; PREPARE any_plan AS {statement}")
    (found,) = json.loads(await driver.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE any_plan{values}"))
    await driver.execute("DEALLOCATE any_plan; RESET plan_cache_mode")
    return {"statement": statement, **found["Plan"]}


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from steps(below)


def whole_tables(plans: Plans) -> list[tuple[str, str]]:
    """Return the steps that read a whole table, or sort what has no bound before the first row comes out."""
    return [
        (step["Node Type"] + " " + step.get("Relation Name", ""), plan["statement"])
        for plan in plans
        for step in steps(plan)
        if step["Node Type"] == "Seq Scan" or (step["Node Type"] == "Sort" and not is_bounded(step))
    ]


def is_bounded(sort: dict[str, Any]) -> bool:
    """Return whether what is sorted is limited before, or is what the parameters hold."""
    below = [step["Node Type"] for step in steps(sort)]
    return "Limit" in below or "Function Scan" in below


@pytest.mark.parametrize("name", CALLS)
async def test_no_call_reads_a_whole_table(store_and_explain: tuple[Store, Explain], name: str) -> None:
    store, explain = store_and_explain
    for trace_id in ("a", "b"):
        await store.commit([create(trace_id, "one", s3_path="p"), append(trace_id, "two")])
    call, _ = CALLS[name]
    assert whole_tables(await explain(call(store))) == []


async def test_a_busy_transaction_reads_no_whole_table(store_and_explain: tuple[Store, Explain]) -> None:
    store, explain = store_and_explain
    commands = [append(f"t{number}", f"new{number}", s3_path=f"q{number}") for number in range(1, 65)]
    commands += [create(f"new{number}", "one", **FINISHED_OK) for number in range(64)]
    assert whole_tables(await explain(store.commit(commands))) == []


@pytest.mark.parametrize("later_page", [False, True])
@pytest.mark.parametrize("name", PAGES)
async def test_a_page_of_a_listing_is_read_in_the_order_of_an_index(
    store_and_explain: tuple[Store, Explain], name: str, later_page: bool
) -> None:
    store, explain = store_and_explain
    wanted, _ = PAGES[name]
    plans = await explain(store.list_traces(wanted, before=(NOON, "x") if later_page else None, count=10))
    assert whole_tables(plans) == []


@pytest.mark.parametrize("lanes", [1, 20])
async def test_the_change_feed_is_read_on_from_where_it_was_left(
    store_and_explain: tuple[Store, Explain], lanes: int
) -> None:
    store, explain = store_and_explain
    feed = ChangeFeed(store._database, store.lane)
    cursor = {f"lane{number}": 9000 for number in range(lanes)}
    # All lanes are asked: they are few. Their commits are many.
    reading, beginning = await explain(feed.read(cursor)), await explain(feed.heads())
    conditions = [scan.get("Index Cond") or scan["Recheck Cond"] for scan in scans_of_commits(reading)]
    assert all("number >=" in condition for condition in conditions)
    assert all(scan["Scan Direction"] == "Backward" for scan in scans_of_commits(beginning)), "from the last one"


def scans_of_commits(plans: Plans) -> list[dict[str, Any]]:
    # Not what the driver asks for itself.
    of_feed = [plan for plan in plans if "feed_lanes" in plan["statement"]]
    scans = [step for plan in of_feed for step in steps(plan) if step.get("Relation Name") == "feed_commits"]
    assert len(scans) == len(of_feed) > 0
    return scans
