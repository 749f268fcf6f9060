"""Following lineage: from datasets to traces to datasets, level by level."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from status_grpc.domain.errors import TraceNotFound
from status_grpc.domain.events import Dataset
from status_grpc.domain.lineage import LineageDirection, LineageEdge, LineageTrace
from status_grpc.storage.lineage import DatasetKey, FoundEdge, LineageStore, TraceKey

_Node: TypeAlias = DatasetKey | TraceKey


@dataclass(frozen=True, slots=True)
class LineageQuery:
    """What to begin with (`trace_id`, or else `dataset`; without a version, all of them), which way, and how far."""

    dataset: Dataset
    trace_id: str
    direction: LineageDirection
    max_depth: int
    max_edges: int


@dataclass(frozen=True, slots=True)
class LineagePage:
    """A page of edges, and the traces they are about by their ids; `complete` when there are no more pages."""

    edges: list[LineageEdge]
    traces: dict[str, LineageTrace]
    complete: bool
    #: There is more than the query's limits let through. Known on the last page.
    truncated: bool


class Lineage:
    """Follows what traces have read and written."""

    def __init__(self, store: LineageStore) -> None:
        self._store = store

    async def get(self, query: LineageQuery, *, as_of: datetime, skip: int, count: int) -> LineagePage:
        """Return at most `count` edges after the first `skip`, of what was recorded until `as_of`.

        A later page follows the lineage once more, from the beginning: nothing is kept between the calls, and what
        that costs is bounded by the query. Raises TraceNotFound.
        """
        start: list[_Node] = [*_keys(query.dataset)]
        if query.trace_id:
            trace = await self._store.key_of(query.trace_id)
            if trace is None:
                raise TraceNotFound(f"there is no trace {query.trace_id!r}")
            start = [trace]
        most = min(skip + count, query.max_edges)
        # One more than are asked for, to know whether there are more.
        edges, reached_depth = await _Walk(self._store, query, as_of, most + 1).from_(start)
        page = edges[skip:most]
        complete = len(edges) <= most or most == query.max_edges
        trace_ids = dict.fromkeys([query.trace_id] if query.trace_id and not skip else [])
        trace_ids |= dict.fromkeys(edge.trace_id for edge in page)
        return LineagePage(
            page,
            await self._store.traces(list(trace_ids)) if trace_ids else {},
            complete,
            truncated=complete and (len(edges) > most or reached_depth),
        )


class _Walk:
    """One way through the lineage, until it ends or there are enough edges."""

    def __init__(self, store: LineageStore, query: LineageQuery, as_of: datetime, enough: int) -> None:
        self._store = store
        self._as_of = as_of
        self._max_depth = query.max_depth
        self._enough = enough
        self._upstream = query.direction is LineageDirection.UPSTREAM
        self._edges: dict[tuple[TraceKey, Dataset, bool], LineageEdge] = {}
        #: What has been, or is about to be, gone on from: a lineage may be a circle.
        self._seen: set[_Node] = set()

    async def from_(self, start: list[_Node]) -> tuple[list[LineageEdge], bool]:
        """Return the edges, the nearest first, and whether there are some beyond the query's depth."""
        level = start
        self._seen.update(start)
        for depth in range(1, self._max_depth + 1):
            found = await self._found(level, self._enough)
            level = self._next(found, depth)
            if not level or len(self._edges) >= self._enough:
                break
        edges = list(self._edges.values())[: self._enough]
        beyond = bool(level) and len(edges) < self._enough and bool(await self._found(level, 1))
        return edges, beyond

    async def _found(self, level: list[_Node], most: int) -> list[FoundEdge]:
        """Return the edges of a level, which holds either datasets or traces."""
        traces = [node for node in level if isinstance(node, TraceKey)]
        if traces:
            return await self._store.of_traces(traces, written=not self._upstream, as_of=self._as_of, most=most)
        datasets = [node for node in level if isinstance(node, DatasetKey)]
        return await self._store.of_datasets(datasets, written=self._upstream, as_of=self._as_of, most=most)

    def _next(self, found: list[FoundEdge], depth: int) -> list[_Node]:
        """Take the edges, and return the nodes that they lead to and nobody has been at."""
        level: list[_Node] = []
        for edge in found:
            key = edge.trace, edge.dataset, edge.written
            if key not in self._edges:
                self._edges[key] = LineageEdge(
                    edge.trace.trace_id, edge.written, edge.dataset, edge.sequence, edge.record_time, depth
                )
            # Upstream, what was written leads to the trace that wrote it; what was read, to the dataset.
            for node in [edge.trace] if edge.written is self._upstream else _keys(edge.dataset):
                if node not in self._seen:
                    self._seen.add(node)
                    level.append(node)
        # Last, since what covers a node may come behind it. No edge may be found twice in one level: it is counted.
        return [node for node in level if not self._is_covered(node)]

    def _is_covered(self, node: _Node) -> bool:
        """Return whether it is a version of a dataset that is gone on from in all its versions."""
        return isinstance(node, DatasetKey) and node.version is not None and DatasetKey(node.uri, None) in self._seen


def _keys(dataset: Dataset) -> list[DatasetKey]:
    """Return where to look for a dataset: one without a version may be any, one with a version that or none."""
    if not dataset.version:
        return [DatasetKey(dataset.uri, None)]
    return [DatasetKey(dataset.uri, dataset.version), DatasetKey(dataset.uri, "")]
