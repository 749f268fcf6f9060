"""Lineage: what traces have read and written, found by trace and by dataset."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from status_grpc.domain.events import Dataset, TraceEvent, TraceEventStatus, TraceStatus
from status_grpc.domain.lineage import LineageTrace, datasets_of
from status_grpc.storage.dialects import Database
from status_grpc.storage.rows import RowCodec
from status_grpc.storage.tables import trace_datasets, traces


def dataset_key(dataset: Dataset) -> str:
    """Return what a dataset is known by within its trace: 32 hexadecimal digits for any uri and version."""
    return hashlib.blake2b(f"{dataset.uri}\0{dataset.version}".encode(), digest_size=16).hexdigest()


def dataset_rows(codec: RowCodec, event: TraceEvent, bucket: int) -> Iterator[tuple[Any, ...]]:
    """Give a row for each dataset that the event has read or written, in the order of the columns."""
    read, written = datasets_of(event.inputs, event.outputs, event.status_body)
    record_time = codec.time_in(event.record_time)
    for is_output, datasets in ((False, read), (True, written)):
        for dataset in datasets:
            yield (
                bucket,
                event.trace_id,
                is_output,
                dataset_key(dataset),
                dataset.uri,
                dataset.version or None,
                event.sequence,
                record_time,
            )


@dataclass(frozen=True, slots=True)
class TraceKey:
    """A trace, and the bucket that the rows of its datasets lie in."""

    bucket: int
    trace_id: str


@dataclass(frozen=True, slots=True)
class DatasetKey:
    """A dataset as it was said with this version ("": without one), or with any (None)."""

    uri: str
    version: str | None


@dataclass(frozen=True, slots=True)
class FoundEdge:
    """An edge as it is stored."""

    trace: TraceKey
    written: bool
    dataset: Dataset
    sequence: int
    record_time: datetime


class LineageStore:
    """Reads what traces have read and written. Every call is one statement, whatever the number of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._codec = database.codec
        edges = trace_datasets.c
        found = sa.select(
            edges.bucket, edges.trace_id, edges.uri, edges.version, edges.sequence, edges.record_time
        ).where((edges.written == sa.bindparam("written")) & (edges.record_time <= sa.bindparam("as_of")))

        def of_each(keys: sa.FromClause, of_key: sa.ColumnElement[bool], *order: sa.ColumnElement[Any]) -> Any:
            rows = found.where(of_key).order_by(*order).limit(sa.bindparam("count", type_=sa.Integer))
            return database.of_each(keys, rows, sa.bindparam("most", type_=sa.Integer))

        dataset_keys = database.keys(("uri", sa.Text()), ("version", sa.Text()), ("any_version", sa.Integer()))
        wanted = dataset_keys.c
        self._of_datasets = of_each(
            dataset_keys,
            (edges.uri == wanted.uri)
            & ((wanted.any_version == 1) | (sa.func.coalesce(edges.version, "") == wanted.version)),
            edges.record_time.desc(),
            edges.trace_id.desc(),
        )
        trace_keys = database.keys(("bucket", sa.Integer()), ("trace_id", sa.Text()))
        self._of_traces = of_each(
            trace_keys,
            (edges.bucket == trace_keys.c.bucket) & (edges.trace_id == trace_keys.c.trace_id),
            edges.dataset_key,
        )
        columns = traces.c
        self._bucket = sa.select(columns.bucket).where(columns.trace_id == sa.bindparam("trace_id"))
        ids = database.keys(("trace_id", sa.Text()))
        self._traces = sa.select(
            columns.trace_id,
            columns.domain,
            columns.domain_id,
            columns.trace_status,
            columns.trace_event_status,
            columns.done,
            columns.create_time,
            columns.finish_time,
            columns.component,
        ).join_from(ids, traces, columns.trace_id == ids.c.trace_id)

    async def of_datasets(
        self, dataset_keys: Sequence[DatasetKey], *, written: bool, as_of: datetime, most: int
    ) -> list[FoundEdge]:
        """Return which traces have written (or read) these datasets, of each the newest first.

        At most `most` edges, recorded not later than `as_of`, the first datasets first.
        """
        keys = [[key.uri, key.version or "", int(key.version is None)] for key in dataset_keys]
        return await self._edges(self._of_datasets, keys, written, as_of, most)

    async def of_traces(
        self, trace_keys: Sequence[TraceKey], *, written: bool, as_of: datetime, most: int
    ) -> list[FoundEdge]:
        """Return what these traces have written (or read), in an order that stays.

        At most `most` edges, recorded not later than `as_of`, the first traces first.
        """
        keys = [[key.bucket, key.trace_id] for key in trace_keys]
        return await self._edges(self._of_traces, keys, written, as_of, most)

    async def _edges(
        self, statement: sa.Select[Any], keys: list[list[Any]], written: bool, as_of: datetime, most: int
    ) -> list[FoundEdge]:
        codec = self._codec
        parameters = self._database.key_parameters(keys)
        parameters |= {"written": written, "as_of": codec.time_in(as_of), "count": most, "most": most}

        def work(connection: sa.Connection) -> list[FoundEdge]:
            return [
                FoundEdge(
                    TraceKey(bucket, trace_id),
                    written,
                    Dataset(uri, version or ""),
                    sequence,
                    codec.time_out(record_time),
                )
                for bucket, trace_id, uri, version, sequence, record_time in self._database.fetch(
                    connection, statement, parameters
                )
            ]

        return await self._database.read(work)

    async def key_of(self, trace_id: str) -> TraceKey | None:
        """Return the key of a trace, or None when there is none."""
        parameters = {"trace_id": trace_id}
        rows = await self._database.read(lambda connection: self._database.fetch(connection, self._bucket, parameters))
        return TraceKey(rows[0][0], trace_id) if rows else None

    async def traces(self, trace_ids: Sequence[str]) -> dict[str, LineageTrace]:
        """Return what there is to tell of these traces, by their ids."""
        parameters = self._database.key_parameters([[trace_id] for trace_id in trace_ids])
        rows = await self._database.read(lambda connection: self._database.fetch(connection, self._traces, parameters))
        return {row[0]: self._trace(row) for row in rows}

    def _trace(self, row: Sequence[Any]) -> LineageTrace:
        trace_id, domain, domain_id, trace_status, trace_event_status, done, create_time, finish_time, component = row
        time_out = self._codec.time_out
        return LineageTrace(
            trace_id=trace_id,
            domain=domain,
            domain_id=domain_id,
            trace_status=TraceStatus(trace_status),
            trace_event_status=TraceEventStatus(trace_event_status),
            done=bool(done),
            create_time=time_out(create_time),
            finish_time=time_out(finish_time) if finish_time else None,
            component=component or "",
        )
