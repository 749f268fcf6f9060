"""Following lineage over a real store: the whole of it, once, in pages, also in a circle, bounded."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from builders import append, create
from stores import opened

from status_grpc.domain.errors import TraceNotFound
from status_grpc.domain.events import Dataset
from status_grpc.domain.lineage import LineageDirection, LineageEdge
from status_grpc.service.lineage import Lineage, LineagePage, LineageQuery
from status_grpc.storage.dialects import Database
from status_grpc.storage.lineage import LineageStore
from status_grpc.storage.store import Store

UP, DOWN = LineageDirection.UPSTREAM, LineageDirection.DOWNSTREAM


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with opened(url) as database:
        yield database


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database, events_per_trace=100_000)


class Counting(LineageStore):
    """Counts how often the database is asked."""

    questions = 0

    async def _edges(self, *arguments: Any) -> Any:
        self.questions += 1
        return await super()._edges(*arguments)


@pytest.fixture
def lineage_store(database: Database) -> Counting:
    return Counting(database)


@pytest.fixture
def lineage(lineage_store: Counting) -> Lineage:
    return Lineage(lineage_store)


def query(
    uri: str = "",
    *,
    version: str = "",
    trace_id: str = "",
    direction: LineageDirection = UP,
    max_depth: int = 200,
    max_edges: int = 10_000,
) -> LineageQuery:
    return LineageQuery(Dataset(uri, version), trace_id, direction, max_depth, max_edges)


async def ask(lineage: Lineage, wanted: LineageQuery, *, count: int = 10_000) -> LineagePage:
    return await lineage.get(wanted, as_of=datetime.now(UTC), skip=0, count=count)


def named(*uris: str) -> tuple[Dataset, ...]:
    return tuple(Dataset(uri) for uri in uris)


async def test_a_chain_is_followed_to_both_ends_one_question_per_edge(
    store: Store, lineage: Lineage, lineage_store: Counting
) -> None:
    await store.commit([create(f"t{n}", inputs=named(f"d{n}"), outputs=named(f"d{n + 1}")) for n in range(50)])
    up = await ask(lineage, query("d50"))
    assert [edge.depth for edge in up.edges] == list(range(1, 101))
    assert [edge.trace_id for edge in up.edges[::2]] == [f"t{n}" for n in reversed(range(50))]
    assert (up.complete, up.truncated) == (True, False)
    assert lineage_store.questions == 101
    down = await ask(lineage, query(trace_id="t0", direction=DOWN))
    assert [edge.dataset.uri for edge in down.edges[::2]] == [f"d{n}" for n in range(1, 51)]
    assert set(down.traces) == {f"t{n}" for n in range(50)}


async def test_a_wide_fan_is_followed_in_three_questions(
    store: Store, lineage: Lineage, lineage_store: Counting
) -> None:
    await store.commit([create("fan", inputs=named("one"), outputs=named(*(f"p{n}" for n in range(1000))))])
    await store.commit([create(f"r{n}", inputs=named(f"p{n}")) for n in range(1000)])
    found = await ask(lineage, query("one", direction=DOWN))
    assert [edge.depth for edge in found.edges] == [1] + [2] * 1000 + [3] * 1000
    assert lineage_store.questions == 4, "the fourth finds that nobody wrote anything more"


async def test_a_circle_ends(store: Store, lineage: Lineage) -> None:
    await store.commit([create("a", inputs=named("x"), outputs=named("x", "y"))])
    await store.commit([create("b", inputs=named("y"), outputs=named("x"))])
    for direction in (UP, DOWN):
        found = await ask(lineage, query("x", direction=direction))
        assert len(found.edges) == 5
        assert not found.truncated


async def test_limits_cut_and_say_so(store: Store, lineage: Lineage) -> None:
    await store.commit([create(f"t{n}", inputs=named(f"d{n}"), outputs=named(f"d{n + 1}")) for n in range(5)])
    for limits, edges, truncated in (
        ({"max_depth": 3}, 3, True),
        ({"max_depth": 10}, 10, False),
        ({"max_edges": 9}, 9, True),
        ({"max_edges": 10}, 10, False),
    ):
        page = await ask(lineage, query("d5", **limits))
        assert (len(page.edges), page.complete, page.truncated) == (edges, True, truncated), limits


async def test_versions_meet_themselves_and_what_has_none(store: Store, lineage: Lineage) -> None:
    await store.commit([create("w1", outputs=(Dataset("x", "1"),)), create("w2", outputs=(Dataset("x", "2"),))])
    await store.commit([create("w", outputs=named("x")), create("r1", inputs=(Dataset("x", "1"),))])
    await store.commit([create("r", inputs=named("x")), create("both", inputs=(Dataset("x", "1"), Dataset("x", "2")))])
    assert await writers(lineage, query("x")) == {"w1", "w2", "w"}
    assert await writers(lineage, query("x", version="1")) == {"w1", "w"}
    assert await writers(lineage, query(trace_id="r1")) == {"w1", "w"}
    assert await writers(lineage, query(trace_id="r")) == {"w1", "w2", "w"}
    assert await writers(lineage, query(trace_id="both")) == {"w1", "w2", "w"}
    page = await ask(lineage, query(trace_id="both", max_edges=4))
    assert (len(page.edges), page.truncated) == (4, True), "what two versions share counts once"


async def test_what_is_found_in_two_ways_takes_no_room_from_what_is_found_in_one(
    store: Store, lineage: Lineage
) -> None:
    others = named(*(f"y{n}" for n in range(8)))
    await store.commit([create(f"w{n}", outputs=named("x")) for n in range(30)])
    await store.commit([create("v", outputs=others), create("r", inputs=(Dataset("x", "1"), *named("x"), *others))])
    page = await ask(lineage, query(trace_id="r", max_edges=48))
    assert (len(page.edges), page.complete, page.truncated) == (10 + 30 + 8, True, False)


async def writers(lineage: Lineage, wanted: LineageQuery) -> set[str]:
    edges = (await ask(lineage, wanted)).edges
    assert len({(edge.trace_id, edge.dataset, edge.written) for edge in edges}) == len(edges)
    return {edge.trace_id for edge in edges if edge.written}


async def test_what_is_recorded_while_pages_are_read_comes_in_none(store: Store, lineage: Lineage) -> None:
    await store.commit([create(f"t{n}", inputs=named("x")) for n in range(5)])
    as_of, wanted = datetime.now(UTC), query("x", direction=DOWN)
    first = await lineage.get(wanted, as_of=as_of, skip=0, count=2)
    await store.commit([create(f"new{n}", inputs=named("x")) for n in range(5)])
    second = await lineage.get(wanted, as_of=as_of, skip=2, count=2)
    third = await lineage.get(wanted, as_of=as_of, skip=4, count=2)
    assert [edge.trace_id for page in (first, second, third) for edge in page.edges] == ["t4", "t3", "t2", "t1", "t0"]
    assert [page.complete for page in (first, second, third)] == [False, False, True]


async def test_a_trace_without_lineage_is_told_and_one_that_is_not_there_is_not(store: Store, lineage: Lineage) -> None:
    await store.commit([create("a")])
    page = await ask(lineage, query(trace_id="a"))
    assert (page.edges, set(page.traces), page.complete, page.truncated) == ([], {"a"}, True, False)
    with pytest.raises(TraceNotFound):
        await ask(lineage, query(trace_id="b"))


async def test_any_lineage_is_told_as_a_plain_search_finds_it(store: Store, lineage: Lineage) -> None:
    """Random graphs, circles and versions among them, against a search that knows all edges."""
    for seed in range(8):
        chance = random.Random(seed)
        edges: set[tuple[str, bool, Dataset]] = set()
        for number in range(chance.randint(2, 12)):
            trace_id = f"{seed}-t{number}"
            read, written = (
                tuple(
                    Dataset(f"{seed}-d{chance.randrange(8)}", chance.choice(["", "", "1", "2"]))
                    for _ in range(chance.randrange(4))
                )
                for _ in range(2)
            )
            await store.commit([create(trace_id, inputs=read), append(trace_id, outputs=written)])
            edges |= {(trace_id, False, dataset) for dataset in read} | {(trace_id, True, d) for d in written}
        for direction in (UP, DOWN):
            for wanted in (
                query(f"{seed}-d0", direction=direction),
                query(f"{seed}-d1", version="1", direction=direction),
                query(trace_id=f"{seed}-t0", direction=direction),
            ):
                found = (await ask(lineage, wanted)).edges
                assert {key(edge) for edge in found} == plain_search(edges, wanted), (seed, wanted)
                assert len({key(edge) for edge in found}) == len(found)
                as_of, pages = datetime.now(UTC), []
                while len(pages) < len(found):
                    pages += (await lineage.get(wanted, as_of=as_of, skip=len(pages), count=3)).edges
                assert pages == found


def key(edge: LineageEdge) -> tuple[str, bool, Dataset]:
    return edge.trace_id, edge.written, edge.dataset


def plain_search(edges: set[tuple[str, bool, Dataset]], wanted: LineageQuery) -> set[tuple[str, bool, Dataset]]:
    upstream = wanted.direction is UP
    found: set[tuple[str, bool, Dataset]] = set()
    nodes: set[Any] = {wanted.trace_id or wanted.dataset}
    while True:
        grown = {
            edge
            for edge in edges
            for node in nodes
            if (edge[1] is not upstream and edge[0] == node)
            or (edge[1] is upstream and isinstance(node, Dataset) and same(edge[2], node))
        }
        if grown <= found:
            return found
        found |= grown
        nodes |= {trace_id if written is upstream else dataset for trace_id, written, dataset in grown}


def same(one: Dataset, other: Dataset) -> bool:
    return one.uri == other.uri and (one.version == other.version or not one.version or not other.version)
