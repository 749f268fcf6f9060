"""What events have read and written: stored with them, found by trace and by dataset, also what was there before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from builders import FINISHED_OK, append, create
from stores import EVENTS_PER_TRACE, OpenStore, opened

from status_grpc.domain.decisions import Recorded
from status_grpc.domain.events import Dataset, TraceEventStatus, TraceStatus
from status_grpc.storage import schema
from status_grpc.storage.dialects import Database
from status_grpc.storage.lineage import DatasetKey, FoundEdge, LineageStore, TraceKey
from status_grpc.storage.store import Store

LATER = datetime(9999, 1, 1, tzinfo=UTC)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with opened(database_url) as database:
        yield database


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database, events_per_trace=EVENTS_PER_TRACE)


@pytest.fixture
def lineage(database: Database) -> LineageStore:
    return LineageStore(database)


def named(*uris: str) -> tuple[Dataset, ...]:
    return tuple(Dataset(uri) for uri in uris)


async def of_trace(lineage: LineageStore, trace_id: str, *, written: bool) -> set[tuple[Dataset, int]]:
    key = await lineage.key_of(trace_id)
    assert key is not None
    edges = await lineage.of_traces([key], written=written, as_of=LATER, most=10_000)
    assert {(edge.trace, edge.written) for edge in edges} <= {(key, written)}
    return {(edge.dataset, edge.sequence) for edge in edges}


async def of_dataset(
    lineage: LineageStore, *keys: DatasetKey, written: bool = True, as_of: datetime = LATER, most: int = 100
) -> list[str]:
    edges = await lineage.of_datasets(keys, written=written, as_of=as_of, most=most)
    return [edge.trace.trace_id for edge in edges]


async def test_what_events_say_is_stored_with_the_first_that_said_so(store: Store, lineage: LineageStore) -> None:
    await store.commit([create("a", inputs=(Dataset("in", "v1"), *named("in", "in"))), append("a", inputs=named("in"))])
    await store.commit([append("a", inputs=(Dataset("in", "v1"), Dataset("in", "v2")), outputs=named("in", "out"))])
    assert await of_trace(lineage, "a", written=False) == {
        (Dataset("in", "v1"), 1),
        (Dataset("in"), 1),
        (Dataset("in", "v2"), 3),
    }
    assert await of_trace(lineage, "a", written=True) == {(Dataset("in"), 3), (Dataset("out"), 3)}


async def test_the_older_convention_is_understood(store: Store, lineage: LineageStore) -> None:
    body = {"files_incoming": ["raw/x"], "files_outgoing": "processed/y", "input": 3, "output": "s3://z"}
    await store.commit([create("a", status_body=body)])
    assert await of_trace(lineage, "a", written=False) == {(Dataset("raw/x"), 1)}
    assert await of_trace(lineage, "a", written=True) == {(Dataset("processed/y"), 1), (Dataset("s3://z"), 1)}


async def test_an_event_that_is_not_recorded_leaves_nothing(store: Store, lineage: LineageStore) -> None:
    await store.commit([create("a", "one", inputs=named("in"))])
    decisions = await store.commit(
        [append("a", expected_sequence=7, outputs=named("x")), create("a", "one", inputs=named("in"))]
    )
    assert not any(isinstance(decision, Recorded) for decision in decisions)
    broken = append("a", "broken", outputs=named("x"))
    object.__setattr__(broken.draft, "operation", "\ud800")
    with pytest.raises(Exception, match="surrogates"):
        await store.commit([append("a", outputs=named("y")), broken])
    assert await of_trace(lineage, "a", written=True) == set()
    assert await of_trace(lineage, "a", written=False) == {(Dataset("in"), 1)}


async def test_the_longest_and_strangest_names_are_kept(store: Store, lineage: LineageStore) -> None:
    uris = ["æ" * 1024, "é", "e\u0301", "a ", "a", "A", "'; --", "%", '["x"]', "🎉" * 512]
    await store.commit([create("🎉" * 128, outputs=tuple(Dataset(uri, "æ" * 256) for uri in uris))])
    assert {dataset for dataset, _ in await of_trace(lineage, "🎉" * 128, written=True)} == {
        Dataset(uri, "æ" * 256) for uri in uris
    }
    for uri in uris:
        assert await of_dataset(lineage, DatasetKey(uri, None)) == ["🎉" * 128]


async def test_traces_of_a_dataset_are_found_the_newest_first(store: Store, lineage: LineageStore) -> None:
    for number in range(5):
        await store.commit(
            [create(f"writer-{number}", outputs=named("x")), create(f"reader-{number}", inputs=named("x"))]
        )
    assert await of_dataset(lineage, DatasetKey("x", None)) == [f"writer-{number}" for number in (4, 3, 2, 1, 0)]
    assert await of_dataset(lineage, DatasetKey("x", None), written=False, most=2) == ["reader-4", "reader-3"]
    third = await store.get_trace("writer-2")
    assert third is not None
    as_of = third.create_time
    assert await of_dataset(lineage, DatasetKey("x", None), as_of=as_of) == ["writer-2", "writer-1", "writer-0"]
    just_before = as_of - timedelta(microseconds=1)
    assert await of_dataset(lineage, DatasetKey("x", None), as_of=just_before) == ["writer-1", "writer-0"]


async def test_versions_are_told_apart(store: Store, lineage: LineageStore) -> None:
    for version in ("", "1", "2"):
        await store.commit([create(f"v{version}", outputs=(Dataset("x", version),))])
    assert await of_dataset(lineage, DatasetKey("x", None)) == ["v2", "v1", "v"]
    assert await of_dataset(lineage, DatasetKey("x", "1"), DatasetKey("x", "")) == ["v1", "v"]
    assert await of_dataset(lineage, DatasetKey("x", "3"), DatasetKey("y", None)) == []


async def test_many_keys_are_answered_in_their_order_and_limited_together(store: Store, lineage: LineageStore) -> None:
    await store.commit([create(f"t{n:04}", outputs=named(f"x{n:04}")) for n in range(1000)])
    keys = [DatasetKey(f"x{n:04}", None) for n in reversed(range(1000))]
    assert await of_dataset(lineage, *keys, most=10_000) == [f"t{n:04}" for n in reversed(range(1000))]
    assert await of_dataset(lineage, *keys, most=3) == ["t0999", "t0998", "t0997"]


async def test_traces_are_told_in_brief(store: Store, lineage: LineageStore) -> None:
    await store.commit([create("a", component="x"), create("b"), append("b", component="end", **FINISHED_OK)])
    found = await lineage.traces(["b", "a", "missing"])
    assert set(found) == {"a", "b"}
    assert (found["a"].done, found["a"].finish_time, found["a"].trace_status) == (False, None, TraceStatus.STARTED)
    trace = await store.get_trace("b")
    assert trace is not None
    assert found["b"].finish_time == trace.finish_time is not None
    assert (found["b"].component, found["b"].trace_event_status) == ("end", TraceEventStatus.OK)
    assert (found["b"].domain, found["b"].domain_id, found["b"].create_time) == (
        "dataset",
        "cycling/1",
        trace.create_time,
    )


async def test_two_processes_that_record_the_same_dataset_record_it_once(
    store: Store, lineage: LineageStore, open_store: OpenStore
) -> None:
    await store.commit([create("a")])
    async with open_store() as other:
        for _ in range(5):
            await store.commit([append("a", inputs=named("x"))])
            await other.commit([append("a", inputs=named("x"))])
    assert await of_trace(lineage, "a", written=False) == {(Dataset("x"), 2)}


# From before there was a table


async def test_a_migration_finds_what_was_recorded_before(store: Store, database: Database) -> None:
    """Edges as the store writes them are made again from the events, in the order of recording."""
    await store.commit(
        [create("a", inputs=(Dataset("in", "v1"),)), append("a", inputs=named("in"), outputs=named("x"))]
    )
    await store.commit(
        [append("a", outputs=named("x", "y"), status_body={"files": ["raw/1", "N/A"], "other": "input"})]
    )
    # More than one batch of traces, and one of events.
    await store.commit([create(f"t{n}", **({"inputs": named(f"u{n}")} if n % 7 == 0 else {})) for n in range(450)])
    await store.commit([append("t0", outputs=named(f"o{n}")) for n in range(600)])
    before = await edges(database)
    assert len(before) == 5 + 65 + 600
    await database.write(lambda connection: migrate(connection, "0001", down=True))
    await database.write(lambda connection: migrate(connection, "0002"))
    assert await edges(database) == before


async def edges(database: Database) -> list[Any]:
    statement = sa.text("SELECT * FROM trace_datasets ORDER BY trace_id, written, dataset_key")
    return await database.read(lambda connection: [tuple(row) for row in connection.execute(statement)])


def migrate(connection: sa.Connection, revision: str, *, down: bool = False) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema._MIGRATIONS))
    config.attributes["connection"] = connection
    (command.downgrade if down else command.upgrade)(config, revision)


def test_what_is_found_says_of_whom() -> None:
    edge = FoundEdge(TraceKey(202601, "a"), True, Dataset("x"), 1, LATER)
    assert edge.trace.trace_id == "a"
